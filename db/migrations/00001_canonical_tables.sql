-- The canonical tables. Ids come from sequences, instants are timestamptz, and every key of a
-- workspace's table leads with workspace_id, so that the database itself refuses a row that
-- points into another workspace and the tables can be distributed by that column as they are.
--
-- created_at, updated_at and the free data of a run have defaults but no NOT NULL: a database
-- that comes from the legacy run stores has rows without them, and they are served as they are.

-- +goose Up
CREATE TABLE workspaces (
    id bigserial PRIMARY KEY,
    slug text UNIQUE,
    name text NOT NULL,
    archived_at timestamptz,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now()
);

CREATE TABLE users (
    id bigserial PRIMARY KEY,
    -- The sub claim of the user's tokens. A user without one cannot sign in.
    subject text UNIQUE,
    name text NOT NULL,
    email text,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now()
);

CREATE TABLE workspace_memberships (
    workspace_id bigint NOT NULL REFERENCES workspaces (id),
    user_id bigint NOT NULL REFERENCES users (id),
    role text NOT NULL,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    PRIMARY KEY (workspace_id, user_id),
    CONSTRAINT workspace_memberships_role_check
        CHECK (role IN ('owner', 'manager', 'operator', 'readonly'))
);
CREATE INDEX workspace_memberships_user_id_idx ON workspace_memberships (user_id, workspace_id);

CREATE TABLE tenants (
    id bigserial,
    workspace_id bigint NOT NULL REFERENCES workspaces (id),
    name text NOT NULL,
    external_id text,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    PRIMARY KEY (workspace_id, id),
    CONSTRAINT tenants_external_id_key UNIQUE (workspace_id, external_id)
);

CREATE TABLE operation_types (
    name text PRIMARY KEY,
    label text NOT NULL,
    accepts_new_runs boolean NOT NULL DEFAULT true,
    -- How long a running run may be silent before it counts as stalled; null means for ever.
    stale_after interval DEFAULT '15 minutes',
    -- What retention lets go: completed runs that are older than keep_days and not among the
    -- keep_last latest of their tenant. A null asks nothing; two nulls keep for ever.
    keep_days bigint,
    keep_last bigint,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT operation_types_name_check CHECK (name ~ '^[a-z][a-z0-9]*(_[a-z0-9]+)*$'),
    CONSTRAINT operation_types_stale_after_check CHECK (stale_after > '0'),
    CONSTRAINT operation_types_keep_days_check CHECK (keep_days BETWEEN 0 AND 36500),
    CONSTRAINT operation_types_keep_last_check CHECK (keep_last >= 0)
);
INSERT INTO operation_types (name, label) VALUES
    ('inventory_sync', 'Inventory sync'),
    ('entra_group_sync', 'Directory group sync'),
    ('backup_schedule_run', 'Scheduled backup'),
    ('backup_schedule_retention', 'Backup retention'),
    ('backup_schedule_purge', 'Backup purge'),
    ('drift_generate_findings', 'Drift finding generation');

CREATE TABLE operation_runs (
    id bigserial,
    workspace_id bigint NOT NULL REFERENCES workspaces (id),
    tenant_id bigint,
    user_id bigint REFERENCES users (id),
    initiator_name text,
    type text NOT NULL,
    status text NOT NULL DEFAULT 'queued',
    outcome text NOT NULL DEFAULT 'pending',
    -- A run that names no identity is the same piece of work as no other.
    run_identity_hash text NOT NULL
        DEFAULT encode(sha256(convert_to(gen_random_uuid()::text, 'UTF8')), 'hex'),
    summary_counts jsonb DEFAULT '{}',
    failure_summary jsonb DEFAULT '[]',
    context jsonb DEFAULT '{}',
    started_at timestamptz,
    completed_at timestamptz,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    idempotency_key text,
    heartbeat_at timestamptz,
    -- When the summary counts last moved.
    progressed_at timestamptz,
    stalled_at timestamptz,
    -- What the sweeper saw at stalled_at: silence, or heartbeats without progress.
    stalled text,
    cancel_requested_at timestamptz,
    retry_of_id bigint,
    attempt bigint NOT NULL DEFAULT 1,
    revision bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (workspace_id, id),
    CONSTRAINT operation_runs_tenant_id_fkey
        FOREIGN KEY (workspace_id, tenant_id) REFERENCES tenants (workspace_id, id),
    CONSTRAINT operation_runs_retry_of_id_fkey
        FOREIGN KEY (workspace_id, retry_of_id) REFERENCES operation_runs (workspace_id, id),
    CONSTRAINT operation_runs_status_check
        CHECK (status IN ('queued', 'running', 'completed')),
    CONSTRAINT operation_runs_outcome_check
        CHECK (outcome IN ('pending', 'succeeded', 'partially_succeeded', 'failed', 'blocked', 'cancelled')),
    CONSTRAINT operation_runs_completed_outcome_check
        CHECK ((status = 'completed') = (outcome <> 'pending')),
    CONSTRAINT operation_runs_completed_at_check
        CHECK ((status = 'completed') = (completed_at IS NOT NULL)),
    CONSTRAINT operation_runs_started_before_completed_check
        CHECK (started_at <= completed_at),
    CONSTRAINT operation_runs_stalled_check
        CHECK (stalled IN ('no_heartbeat', 'no_progress'))
);

-- At most one active run has a given identity; a run without a tenant is no exception.
CREATE UNIQUE INDEX operation_runs_active_identity_idx
    ON operation_runs (workspace_id, tenant_id, run_identity_hash) NULLS NOT DISTINCT
    WHERE status IN ('queued', 'running');

-- One index for each filter of the list of runs, in the list's order: what the filter names comes
-- first, then the position, then columns that other filters can be answered from without a visit
-- to the table. A run without created_at stands before all others.
CREATE INDEX operation_runs_created_at_idx
    ON operation_runs (workspace_id, coalesce(created_at, '-infinity'::timestamptz), id);
CREATE INDEX operation_runs_type_idx
    ON operation_runs (workspace_id, type, coalesce(created_at, '-infinity'::timestamptz), id, user_id, status);
CREATE INDEX operation_runs_type_outcome_idx
    ON operation_runs (workspace_id, type, outcome, coalesce(created_at, '-infinity'::timestamptz), id, user_id);
CREATE INDEX operation_runs_outcome_idx
    ON operation_runs (workspace_id, outcome, coalesce(created_at, '-infinity'::timestamptz), id, user_id);
CREATE INDEX operation_runs_status_idx
    ON operation_runs (workspace_id, status, coalesce(created_at, '-infinity'::timestamptz), id, type, tenant_id, user_id);
CREATE INDEX operation_runs_tenant_id_idx
    ON operation_runs (workspace_id, tenant_id, coalesce(created_at, '-infinity'::timestamptz), id, outcome, user_id);
CREATE INDEX operation_runs_tenant_id_type_idx
    ON operation_runs (workspace_id, tenant_id, type, coalesce(created_at, '-infinity'::timestamptz), id, outcome, user_id);
CREATE INDEX operation_runs_user_id_idx
    ON operation_runs (workspace_id, user_id, coalesce(created_at, '-infinity'::timestamptz), id, type, outcome, tenant_id)
    WHERE user_id IS NOT NULL;
CREATE INDEX operation_runs_run_identity_hash_idx
    ON operation_runs (workspace_id, run_identity_hash, coalesce(created_at, '-infinity'::timestamptz), id, outcome);
CREATE INDEX operation_runs_stalled_at_idx
    ON operation_runs (workspace_id, coalesce(created_at, '-infinity'::timestamptz), id)
    WHERE stalled_at IS NOT NULL;
-- A schedule's history. ->> gives the same text for the number 12 and the string "12".
CREATE INDEX operation_runs_backup_schedule_id_idx
    ON operation_runs (workspace_id, (context ->> 'backup_schedule_id'),
                       coalesce(created_at, '-infinity'::timestamptz), id, outcome, type)
    WHERE type IN ('backup_schedule_run', 'backup_schedule_retention', 'backup_schedule_purge');
-- The code of a failure: nearly every run that failed has one failure, few have more than two, so
-- that each of these holds a fraction of what is before it.
CREATE INDEX operation_runs_first_failure_code_idx
    ON operation_runs (workspace_id, (failure_summary -> 0 ->> 'code'),
                       coalesce(created_at, '-infinity'::timestamptz), id)
    WHERE failure_summary -> 0 ->> 'code' IS NOT NULL;
CREATE INDEX operation_runs_second_failure_code_idx
    ON operation_runs (workspace_id, (failure_summary -> 1 ->> 'code'),
                       coalesce(created_at, '-infinity'::timestamptz), id)
    WHERE failure_summary -> 1 ->> 'code' IS NOT NULL;
CREATE INDEX operation_runs_further_failures_idx
    ON operation_runs (workspace_id, coalesce(created_at, '-infinity'::timestamptz), id)
    WHERE failure_summary -> 2 IS NOT NULL;
-- Nearly all runs start, complete and are last updated within two hours of their creation, so
-- that a range of one of these instants is a range of another, too. These hold the runs of which
-- that is not true, in the order of either list. (Infinite instants cannot be subtracted.)
CREATE INDEX operation_runs_untimely_execution_idx
    ON operation_runs (workspace_id, coalesce(created_at, '-infinity'::timestamptz), id)
    WHERE started_at < created_at OR CASE WHEN NOT isfinite(started_at) OR NOT isfinite(created_at) THEN true ELSE started_at - created_at > '02:00:00' END
       OR completed_at < created_at OR CASE WHEN NOT isfinite(completed_at) OR NOT isfinite(created_at) THEN true ELSE completed_at - created_at > '02:00:00' END OR created_at IS NULL;
CREATE INDEX operation_runs_untimely_execution_by_update_idx
    ON operation_runs (workspace_id, coalesce(updated_at, '-infinity'::timestamptz), id)
    WHERE started_at < created_at OR CASE WHEN NOT isfinite(started_at) OR NOT isfinite(created_at) THEN true ELSE started_at - created_at > '02:00:00' END
       OR completed_at < created_at OR CASE WHEN NOT isfinite(completed_at) OR NOT isfinite(created_at) THEN true ELSE completed_at - created_at > '02:00:00' END OR created_at IS NULL;
CREATE INDEX operation_runs_untimely_update_idx
    ON operation_runs (workspace_id, coalesce(created_at, '-infinity'::timestamptz), id)
    WHERE updated_at < created_at OR CASE WHEN NOT isfinite(updated_at) OR NOT isfinite(created_at) THEN true ELSE updated_at - created_at > '02:00:00' END
       OR created_at IS NULL OR updated_at IS NULL;
CREATE INDEX operation_runs_untimely_update_by_update_idx
    ON operation_runs (workspace_id, coalesce(updated_at, '-infinity'::timestamptz), id)
    WHERE updated_at < created_at OR CASE WHEN NOT isfinite(updated_at) OR NOT isfinite(created_at) THEN true ELSE updated_at - created_at > '02:00:00' END
       OR created_at IS NULL OR updated_at IS NULL;
CREATE INDEX operation_runs_updated_at_idx
    ON operation_runs (workspace_id, coalesce(updated_at, '-infinity'::timestamptz), id,
                       type, status, outcome, tenant_id, user_id);
CREATE INDEX operation_runs_retry_of_id_idx
    ON operation_runs (workspace_id, retry_of_id) WHERE retry_of_id IS NOT NULL;

-- Which run a request with an Idempotency-Key was answered with. The run may be one that another
-- request started: two requests for the same piece of work have one run and a key each.
CREATE TABLE operation_run_idempotency_keys (
    workspace_id bigint NOT NULL,
    key text NOT NULL,
    run_id bigint NOT NULL,
    -- The SHA-256 of the request: the same key with another payload is a mistake.
    request_hash text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, key),
    CONSTRAINT operation_run_idempotency_keys_run_id_fkey
        FOREIGN KEY (workspace_id, run_id) REFERENCES operation_runs (workspace_id, id)
);
CREATE INDEX operation_run_idempotency_keys_run_id_idx
    ON operation_run_idempotency_keys (workspace_id, run_id);

CREATE TABLE operation_run_events (
    id bigserial,
    workspace_id bigint NOT NULL,
    run_id bigint NOT NULL,
    kind text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL DEFAULT '',
    data jsonb NOT NULL DEFAULT '{}',
    -- The transaction that wrote the event. Transactions become visible in another order than
    -- their events are numbered in; a reader that must miss nothing orders by this first.
    transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (workspace_id, run_id, id),
    CONSTRAINT operation_run_events_run_id_fkey
        FOREIGN KEY (workspace_id, run_id) REFERENCES operation_runs (workspace_id, id)
);
CREATE INDEX operation_run_events_transaction_id_idx
    ON operation_run_events (workspace_id, transaction_id, id);

CREATE TABLE backup_schedules (
    id bigserial,
    workspace_id bigint NOT NULL REFERENCES workspaces (id),
    tenant_id bigint,
    name text NOT NULL,
    is_enabled boolean NOT NULL DEFAULT true,
    timezone text NOT NULL DEFAULT 'UTC',
    frequency text NOT NULL,
    time_of_day time NOT NULL,
    days_of_week jsonb,
    retention_keep_last integer NOT NULL DEFAULT 30,
    last_run_at timestamptz,
    next_run_at timestamptz,
    deleted_at timestamptz,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    PRIMARY KEY (workspace_id, id),
    CONSTRAINT backup_schedules_tenant_id_fkey
        FOREIGN KEY (workspace_id, tenant_id) REFERENCES tenants (workspace_id, id),
    CONSTRAINT backup_schedules_frequency_check CHECK (frequency IN ('daily', 'weekly'))
);
CREATE INDEX backup_schedules_tenant_id_idx ON backup_schedules (workspace_id, tenant_id, id, is_enabled);

CREATE TABLE findings (
    id bigserial,
    workspace_id bigint NOT NULL REFERENCES workspaces (id),
    tenant_id bigint,
    finding_type text NOT NULL,
    scope_key text,
    fingerprint text NOT NULL,
    subject_type text,
    subject_external_id text,
    severity text NOT NULL DEFAULT 'medium',
    status text NOT NULL DEFAULT 'new',
    acknowledged_at timestamptz,
    acknowledged_by_user_id bigint REFERENCES users (id),
    evidence jsonb,
    baseline_operation_run_id bigint,
    current_operation_run_id bigint,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    revision bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (workspace_id, id),
    CONSTRAINT findings_fingerprint_key UNIQUE NULLS NOT DISTINCT (workspace_id, tenant_id, fingerprint),
    CONSTRAINT findings_tenant_id_fkey
        FOREIGN KEY (workspace_id, tenant_id) REFERENCES tenants (workspace_id, id),
    CONSTRAINT findings_baseline_operation_run_id_fkey
        FOREIGN KEY (workspace_id, baseline_operation_run_id) REFERENCES operation_runs (workspace_id, id),
    CONSTRAINT findings_current_operation_run_id_fkey
        FOREIGN KEY (workspace_id, current_operation_run_id) REFERENCES operation_runs (workspace_id, id)
);
CREATE INDEX findings_tenant_id_idx ON findings (workspace_id, tenant_id, id, status, severity, finding_type);
CREATE INDEX findings_status_idx ON findings (workspace_id, status, id, severity, finding_type, tenant_id);
CREATE INDEX findings_severity_idx ON findings (workspace_id, severity, id, status, finding_type, tenant_id);
CREATE INDEX findings_finding_type_idx ON findings (workspace_id, finding_type, id, status, severity, tenant_id);
CREATE INDEX findings_scope_key_idx ON findings (workspace_id, scope_key, id);
CREATE INDEX findings_baseline_operation_run_id_idx ON findings (workspace_id, baseline_operation_run_id, id);
CREATE INDEX findings_current_operation_run_id_idx ON findings (workspace_id, current_operation_run_id, id);

CREATE TABLE inventory_items (
    id bigserial,
    workspace_id bigint NOT NULL REFERENCES workspaces (id),
    tenant_id bigint,
    policy_type text NOT NULL,
    external_id text NOT NULL,
    display_name text,
    category text,
    platform text,
    meta jsonb NOT NULL DEFAULT '{}',
    last_seen_at timestamptz,
    last_seen_operation_run_id bigint,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    PRIMARY KEY (workspace_id, id),
    CONSTRAINT inventory_items_external_id_key
        UNIQUE NULLS NOT DISTINCT (workspace_id, tenant_id, policy_type, external_id),
    CONSTRAINT inventory_items_tenant_id_fkey
        FOREIGN KEY (workspace_id, tenant_id) REFERENCES tenants (workspace_id, id),
    CONSTRAINT inventory_items_last_seen_operation_run_id_fkey
        FOREIGN KEY (workspace_id, last_seen_operation_run_id) REFERENCES operation_runs (workspace_id, id)
);
CREATE INDEX inventory_items_tenant_id_idx ON inventory_items (workspace_id, tenant_id, id, policy_type, platform, category);
CREATE INDEX inventory_items_policy_type_idx ON inventory_items (workspace_id, policy_type, id, tenant_id, platform, category);
CREATE INDEX inventory_items_category_idx ON inventory_items (workspace_id, category, id, tenant_id, platform);
CREATE INDEX inventory_items_platform_idx ON inventory_items (workspace_id, platform, id, tenant_id, category);
CREATE INDEX inventory_items_external_id_idx ON inventory_items (workspace_id, external_id, id);
CREATE INDEX inventory_items_last_seen_operation_run_id_idx
    ON inventory_items (workspace_id, last_seen_operation_run_id, id);

-- Merges a patch into a JSON value as RFC 7396 says. It is here and not in the service so that a
-- report is one guarded UPDATE of the row as it is at that moment.
-- +goose StatementBegin
CREATE FUNCTION runledger_merge_patch(target jsonb, patch jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    merged jsonb;
    member record;
BEGIN
    IF patch IS NULL OR jsonb_typeof(patch) <> 'object' THEN
        RETURN patch;
    END IF;
    merged := CASE WHEN jsonb_typeof(target) = 'object' THEN target ELSE '{}'::jsonb END;
    FOR member IN SELECT key, value FROM jsonb_each(patch) LOOP
        IF jsonb_typeof(member.value) = 'null' THEN
            merged := merged - member.key;
        ELSE
            merged := jsonb_set(merged, ARRAY[member.key],
                                runledger_merge_patch(merged -> member.key, member.value));
        END IF;
    END LOOP;
    RETURN merged;
END
$$;
-- +goose StatementEnd

-- Keys that all servers of one database share, made by the first that needs one.
CREATE TABLE server_keys (
    name text PRIMARY KEY,
    key bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT server_keys_key_check CHECK (length(key) >= 32)
);

-- +goose Down
DROP FUNCTION runledger_merge_patch(jsonb, jsonb);
DROP TABLE server_keys, inventory_items, findings, backup_schedules, operation_run_events,
    operation_run_idempotency_keys, operation_runs, operation_types, tenants, workspace_memberships, users, workspaces;
