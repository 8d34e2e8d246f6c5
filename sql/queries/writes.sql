-- What changes runs. Each statement does its change and writes the event of it together, and the
-- guard of the change is in the statement itself: what the row is at that moment decides.

-- name: StartRuns :many
-- Starts runs, or finds the active run of the same identity: the unique index decides, and a start
-- that meets one waits for nobody but that row. An item whose type takes no new runs, whose tenant
-- is not of the workspace or whose run to retry is not completed is missing from the result. No
-- two items may have one identity. The update changes nothing; it is there to return the row.
WITH item AS (
    SELECT unnest(@types::text[]) AS type,
           nullif(unnest(@tenant_ids::bigint[]), 0) AS tenant_id,
           unnest(@initiator_names::text[]) AS initiator_name,
           unnest(@run_identity_hashes::text[]) AS run_identity_hash,
           unnest(@contexts::text[])::jsonb AS context,
           nullif(unnest(@idempotency_keys::text[]), '') AS idempotency_key,
           unnest(@request_hashes::text[]) AS request_hash,
           nullif(unnest(@retry_of_ids::bigint[]), 0) AS retry_of_id,
           unnest(@attempts::bigint[]) AS attempt
), candidate AS MATERIALIZED (
    SELECT nextval('operation_runs_id_seq') AS id, item.*
    FROM item
    JOIN operation_types ON operation_types.name = item.type AND operation_types.accepts_new_runs
    WHERE (item.tenant_id IS NULL OR EXISTS (
              SELECT FROM tenants WHERE tenants.workspace_id = @workspace_id AND tenants.id = item.tenant_id))
      AND (item.retry_of_id IS NULL OR EXISTS (
              SELECT FROM operation_runs AS retried
              WHERE retried.workspace_id = @workspace_id AND retried.id = item.retry_of_id AND retried.status = 'completed'))
), run AS (
    INSERT INTO operation_runs (workspace_id, id, tenant_id, user_id, initiator_name, type, run_identity_hash,
                                context, idempotency_key, retry_of_id, attempt, recalled)
    SELECT @workspace_id, id, tenant_id, @user_id, initiator_name, type, run_identity_hash,
           context, idempotency_key, retry_of_id, attempt, EXISTS (
               -- What names a recalled run rests on it from the start.
               SELECT FROM operation_runs AS named
               WHERE named.workspace_id = @workspace_id AND named.recalled_at IS NOT NULL
                 AND named.id::text IN (candidate.context ->> 'baseline_operation_run_id',
                                        candidate.context ->> 'current_operation_run_id',
                                        candidate.context ->> 'operation_run_id')) AS recalled
    FROM candidate
    ORDER BY tenant_id, run_identity_hash -- the same order for everybody, so that none waits in a circle
    ON CONFLICT (workspace_id, tenant_id, run_identity_hash) WHERE status IN ('queued', 'running')
    DO UPDATE SET revision = operation_runs.revision
    RETURNING *
), event AS (
    INSERT INTO operation_run_events (workspace_id, run_id, kind, actor, data)
    SELECT run.workspace_id, run.id, 'created', @actor,
           jsonb_strip_nulls(jsonb_build_object('status', run.status, 'type', run.type, 'retry_of_id', run.retry_of_id))
    FROM run JOIN candidate ON candidate.id = run.id
), key AS (
    INSERT INTO operation_run_idempotency_keys (workspace_id, key, run_id, request_hash)
    SELECT run.workspace_id, candidate.idempotency_key, run.id, candidate.request_hash
    FROM run JOIN candidate ON candidate.run_identity_hash = run.run_identity_hash
                           AND candidate.tenant_id IS NOT DISTINCT FROM run.tenant_id
    WHERE candidate.idempotency_key IS NOT NULL
    ORDER BY candidate.idempotency_key -- likewise
)
SELECT run.*, EXISTS (SELECT FROM candidate WHERE candidate.id = run.id)::boolean AS created FROM run;

-- name: FindTenants :many
-- Which of the tenants are of the workspace.
SELECT id FROM tenants WHERE workspace_id = @workspace_id AND id = ANY(@ids::bigint[]);

-- name: ListRunsByIdempotencyKeys :many
-- What was answered to keys before.
SELECT sqlc.embed(operation_runs), keys.key, keys.request_hash
FROM operation_run_idempotency_keys AS keys
JOIN operation_runs ON operation_runs.workspace_id = keys.workspace_id AND operation_runs.id = keys.run_id
WHERE keys.workspace_id = @workspace_id AND keys.key = ANY (@keys::text[]);

-- name: ListIdentitiesByIdempotencyKeys :many
SELECT keys.key, operation_runs.tenant_id, operation_runs.run_identity_hash
FROM operation_run_idempotency_keys AS keys
JOIN operation_runs ON operation_runs.workspace_id = keys.workspace_id AND operation_runs.id = keys.run_id
WHERE keys.workspace_id = @workspace_id AND keys.key = ANY (@keys::text[]);

-- name: ListIdentitiesOfRuns :many
SELECT id, tenant_id, run_identity_hash FROM operation_runs
WHERE workspace_id = @workspace_id AND id = ANY (@ids::bigint[]);

-- name: ListRunsByID :many
SELECT * FROM operation_runs WHERE workspace_id = @workspace_id AND id = ANY (@ids::bigint[]);

-- name: ReportRuns :many
-- Applies one report to each of several runs. A run that is completed does not change, unless it
-- was the sweeper that completed it: then the report, which is the truth, wins. An item whose run
-- may not make the move is missing from the result. No two items may be of one run.
WITH report AS (
    SELECT unnest(@ids::bigint[]) AS id,
           nullif(unnest(@statuses::text[]), '') AS status,
           nullif(unnest(@outcomes::text[]), '') AS outcome,
           nullif(unnest(@summary_counts::text[]), '')::jsonb AS summary_counts,
           nullif(unnest(@failure_summaries::text[]), '')::jsonb AS failure_summary,
           nullif(unnest(@context_patches::text[]), '')::jsonb AS context_patch,
           unnest(@ats::timestamptz[]) AS at,
           nullif(unnest(@revisions::bigint[]), 0) AS revision
), before AS MATERIALIZED (
    SELECT operation_runs.id, operation_runs.status, operation_runs.context
    FROM operation_runs
    WHERE operation_runs.workspace_id = @workspace_id AND operation_runs.id = ANY (@ids::bigint[])
    ORDER BY operation_runs.tenant_id, operation_runs.run_identity_hash, operation_runs.id -- as starts take them
    FOR NO KEY UPDATE
), move AS MATERIALIZED ( -- merged once
    SELECT report.*, before.status AS old_status,
           coalesce(report.status, CASE before.status WHEN 'completed' THEN 'running' ELSE before.status END) AS new_status,
           CASE WHEN report.context_patch IS NOT NULL THEN runledger_merge_patch(before.context, report.context_patch) END AS merged
    FROM report JOIN before ON before.id = report.id
), run AS (
    UPDATE operation_runs AS r
    SET status = move.new_status,
        outcome = CASE move.new_status WHEN 'completed' THEN move.outcome ELSE 'pending' END,
        started_at = CASE WHEN move.new_status = 'running' THEN coalesce(r.started_at, move.at, now()) ELSE r.started_at END,
        completed_at = CASE WHEN move.new_status = 'completed' THEN coalesce(move.at, greatest(now(), r.started_at)) END,
        summary_counts = coalesce(move.summary_counts, r.summary_counts),
        failure_summary = coalesce(move.failure_summary, CASE
            WHEN r.status = 'completed' THEN jsonb_path_query_array(r.failure_summary, '$[*] ? (!(@.code == "run_stalled"))')
            ELSE r.failure_summary END),
        context = coalesce(move.merged, r.context),
        -- What a report makes name a recalled run that came before it rests on it from then on. The
        -- context that a run had before was looked at when it started, or by the recall.
        recalled = r.recalled OR move.context_patch IS NOT NULL AND EXISTS (
            SELECT FROM operation_runs AS named
            WHERE named.workspace_id = @workspace_id AND named.recalled_at IS NOT NULL
              AND named.id::text IN (move.context_patch ->> 'baseline_operation_run_id',
                                     move.context_patch ->> 'current_operation_run_id',
                                     move.context_patch ->> 'operation_run_id')
              AND (coalesce(named.created_at, '-infinity'), named.id) < (coalesce(r.created_at, '-infinity'), r.id)),
        heartbeat_at = now(),
        progressed_at = CASE WHEN move.summary_counts IS NOT NULL AND move.summary_counts IS DISTINCT FROM r.summary_counts
                                  OR r.progressed_at IS NULL
                             THEN now() ELSE r.progressed_at END,
        stalled = CASE WHEN r.stalled = 'no_progress' AND move.new_status <> 'completed'
                        AND (move.summary_counts IS NULL OR move.summary_counts IS NOT DISTINCT FROM r.summary_counts)
                       THEN r.stalled END,
        stalled_at = CASE WHEN r.stalled = 'no_progress' AND move.new_status <> 'completed'
                           AND (move.summary_counts IS NULL OR move.summary_counts IS NOT DISTINCT FROM r.summary_counts)
                          THEN r.stalled_at END,
        updated_at = now(),
        revision = r.revision + 1
    FROM move
    WHERE r.workspace_id = @workspace_id AND r.id = move.id
      AND (r.status IN ('queued', 'running') OR r.status = 'completed' AND r.stalled = 'no_heartbeat')
      AND NOT (move.new_status = 'queued' AND r.status <> 'queued')
      AND (move.at IS NULL OR move.at >= coalesce(r.created_at, move.at) AND (move.new_status <> 'completed' OR move.at >= coalesce(r.started_at, move.at)))
      AND (move.revision IS NULL OR move.revision = r.revision)
      AND (move.merged IS NULL
           OR octet_length(move.merged::text) <= greatest(@context_limit::integer, octet_length(r.context::text))
           -- The space that PostgreSQL prints outside of texts does not count.
           OR octet_length(move.merged::text) - regexp_count(regexp_replace(move.merged::text, '"([^"\\]|\\.)*"', '', 'g'), ' ')
              <= @context_limit::integer)
    RETURNING r.*
), replaced AS (
    -- What named a recalled run is replaced by a newer run of the same identity that does not.
    UPDATE operation_runs AS old
    SET recalled = false, updated_at = now(), revision = old.revision + 1
    FROM run
    WHERE old.workspace_id = @workspace_id AND old.run_identity_hash = run.run_identity_hash
      AND old.tenant_id IS NOT DISTINCT FROM run.tenant_id AND old.recalled AND old.recalled_at IS NULL
      AND run.outcome IN ('succeeded', 'partially_succeeded') AND NOT run.recalled
      AND (coalesce(old.created_at, '-infinity'), old.id) < (coalesce(run.created_at, '-infinity'), run.id)
      AND old.id <> ALL (@ids::bigint[])
    RETURNING old.workspace_id, old.id, run.id AS by_id
), event AS (
    INSERT INTO operation_run_events (workspace_id, run_id, kind, actor, data)
    SELECT run.workspace_id, run.id,
           CASE WHEN run.status = 'completed' THEN 'completed'
                WHEN run.status = move.old_status THEN 'reported'
                ELSE 'started' END,
           @actor,
           jsonb_strip_nulls(jsonb_build_object(
               'status', run.status, 'outcome', nullif(run.outcome, 'pending'), 'summary_counts', move.summary_counts,
               'failure_summary', move.failure_summary, 'at', to_jsonb(move.at AT TIME ZONE 'UTC') #>> '{}' || 'Z',
               'overruled', CASE WHEN move.old_status = 'completed' THEN 'run_stalled' END))
    FROM run JOIN move ON move.id = run.id
), replaced_event AS (
    INSERT INTO operation_run_events (workspace_id, run_id, kind, actor, data)
    SELECT replaced.workspace_id, replaced.id, 'replaced', @actor,
           jsonb_build_object('operation_run_id', replaced.by_id)
    FROM replaced
)
SELECT * FROM run;

-- name: HeartbeatRun :one
-- A heartbeat that takes a mark away changes what others see of the run; any other is no change of it.
WITH run AS (
    UPDATE operation_runs AS r
    SET heartbeat_at = now(),
        updated_at = CASE WHEN r.stalled_at IS NOT NULL AND r.stalled IS DISTINCT FROM 'no_progress' THEN now() ELSE r.updated_at END,
        stalled_at = CASE WHEN r.stalled = 'no_progress' THEN r.stalled_at END,
        stalled = CASE WHEN r.stalled = 'no_progress' THEN r.stalled END
    WHERE r.workspace_id = @workspace_id AND r.id = @id AND r.status IN ('queued', 'running')
    RETURNING r.*
), event AS (
    INSERT INTO operation_run_events (workspace_id, run_id, kind, actor)
    SELECT run.workspace_id, run.id, 'heartbeat', @actor FROM run
)
SELECT * FROM run;

-- name: CancelRun :one
WITH run AS (
    UPDATE operation_runs AS r
    SET cancel_requested_at = now(), updated_at = now(), revision = r.revision + 1
    WHERE r.workspace_id = @workspace_id AND r.id = @id
      AND r.status IN ('queued', 'running') AND r.cancel_requested_at IS NULL
    RETURNING r.*
), event AS (
    INSERT INTO operation_run_events (workspace_id, run_id, kind, actor)
    SELECT run.workspace_id, run.id, 'cancel_requested', @actor FROM run
)
SELECT * FROM run;
