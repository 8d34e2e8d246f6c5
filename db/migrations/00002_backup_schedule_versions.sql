-- What the plan of a backup schedule was from when on, so that an edit never rewrites the past, and
-- what was found out about its slots.

-- +goose Up
ALTER TABLE backup_schedules
    ADD COLUMN revision bigint NOT NULL DEFAULT 1,
    -- How late a backup may come and be on time; null for the default of the frequency.
    ADD COLUMN grace_seconds bigint,
    ADD CONSTRAINT backup_schedules_grace_seconds_check CHECK (grace_seconds BETWEEN 60 AND 43200);

-- A version holds from valid_from until the next one does. Whoever edits through the service writes
-- it with the edit; what others have written into backup_schedules is noted when it is noticed.
CREATE TABLE backup_schedule_versions (
    workspace_id bigint NOT NULL,
    schedule_id bigint NOT NULL,
    version bigint NOT NULL,
    valid_from timestamptz NOT NULL,
    timezone text NOT NULL,
    frequency text NOT NULL,
    time_of_day time NOT NULL,
    days_of_week jsonb,
    grace_seconds bigint,
    is_enabled boolean NOT NULL,
    is_deleted boolean NOT NULL,
    -- The schedule's updated_at when it was last compared with this version: an edit that does not
    -- move it began when it was noticed, one that does began then.
    compared_updated_at timestamptz,
    noted_at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL DEFAULT '',
    PRIMARY KEY (workspace_id, schedule_id, version),
    CONSTRAINT backup_schedule_versions_schedule_id_fkey
        FOREIGN KEY (workspace_id, schedule_id) REFERENCES backup_schedules (workspace_id, id) ON DELETE CASCADE
);
-- Of a schedule from before there were versions nothing is known but its row: that is its plan from
-- the beginning, and if it was deleted, until then.
INSERT INTO backup_schedule_versions (
    workspace_id, schedule_id, version, valid_from, timezone, frequency, time_of_day, days_of_week, is_enabled,
    is_deleted, compared_updated_at)
SELECT workspace_id, id, 1,
       CASE WHEN isfinite(created_at) THEN created_at WHEN isfinite(updated_at) THEN updated_at ELSE '-infinity' END,
       timezone, frequency, time_of_day, days_of_week, is_enabled, false, updated_at
FROM backup_schedules;
INSERT INTO backup_schedule_versions (
    workspace_id, schedule_id, version, valid_from, timezone, frequency, time_of_day, days_of_week, is_enabled,
    is_deleted, compared_updated_at)
SELECT s.workspace_id, s.id, 2, greatest(v.valid_from, CASE WHEN isfinite(s.deleted_at) THEN s.deleted_at ELSE now() END),
       s.timezone, s.frequency, s.time_of_day, s.days_of_week, s.is_enabled, true, s.updated_at
FROM backup_schedules AS s
JOIN backup_schedule_versions AS v ON v.workspace_id = s.workspace_id AND v.schedule_id = s.id
WHERE s.deleted_at IS NOT NULL;

-- Slots that were missed, and those by which a schedule recovered. The key lets each be told once,
-- whoever finds it. The ids are those of the runs' events, so that the changes of a workspace have
-- one order.
CREATE TABLE backup_schedule_events (
    id bigint NOT NULL DEFAULT nextval('operation_run_events_id_seq'),
    workspace_id bigint NOT NULL,
    schedule_id bigint NOT NULL,
    slot_at timestamptz NOT NULL,
    kind text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL DEFAULT '',
    data jsonb NOT NULL DEFAULT '{}',
    transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (workspace_id, schedule_id, slot_at, kind),
    CONSTRAINT backup_schedule_events_schedule_id_fkey
        FOREIGN KEY (workspace_id, schedule_id) REFERENCES backup_schedules (workspace_id, id) ON DELETE CASCADE,
    CONSTRAINT backup_schedule_events_kind_check CHECK (kind IN ('schedule_missed', 'schedule_recovered'))
);
CREATE INDEX backup_schedule_events_transaction_id_idx
    ON backup_schedule_events (workspace_id, transaction_id, id);

-- +goose Down
DROP TABLE backup_schedule_events, backup_schedule_versions;
ALTER TABLE backup_schedules DROP COLUMN revision, DROP COLUMN grace_seconds;
