-- The stall sweep. A statement changes at most one batch of the runs of one workspace, each together
-- with its event. It passes over runs that somebody else has locked; what it finds is what the row
-- says once it is locked, and the update wants the row as it was found, so that two sweepers at once
-- and a report in between are harmless.

-- name: SweepRuns :many
-- The finding is no_heartbeat for a run that has become silent, no_progress for one that lives and
-- gets nowhere, and run_stalled for one that stayed silent as long again: that is the end of it.
-- A type that is not in the allow-list is as patient as the default; a null is so for ever. Rows from before
-- the constraints held may break them; PostgreSQL lets nobody update those, so they are passed over.
WITH due AS MATERIALIZED (
    SELECT r.id, r.revision, r.heartbeat_at, r.stalled_at, finding.name AS finding
    FROM operation_runs AS r
    LEFT JOIN operation_types AS t ON t.name = r.type
    CROSS JOIN LATERAL (
        SELECT now() - CASE WHEN t.name IS NULL THEN '15 minutes'::interval ELSE t.stale_after END AS before
    ) AS stale
    CROSS JOIN LATERAL (
        SELECT coalesce(r.heartbeat_at, r.started_at, r.updated_at, r.created_at, '-infinity') < stale.before AS silent
    ) AS sign
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN sign.silent AND r.stalled_at < stale.before AND coalesce(r.stalled, 'no_heartbeat') = 'no_heartbeat' THEN 'run_stalled'
            WHEN sign.silent AND (r.stalled_at IS NULL OR r.stalled = 'no_progress') THEN 'no_heartbeat'
            WHEN NOT sign.silent AND r.stalled_at IS NULL
                 AND coalesce(r.progressed_at, r.started_at, r.created_at) < stale.before THEN 'no_progress'
        END AS name
    ) AS finding
    WHERE r.workspace_id = @workspace_id AND r.status = 'running' AND finding.name IS NOT NULL
      AND r.outcome = 'pending' AND r.completed_at IS NULL
    ORDER BY r.id
    LIMIT @batch_size
    FOR NO KEY UPDATE OF r SKIP LOCKED
), run AS (
    UPDATE operation_runs AS r
    SET stalled = CASE due.finding WHEN 'run_stalled' THEN 'no_heartbeat' ELSE due.finding END,
        stalled_at = CASE due.finding WHEN 'run_stalled' THEN r.stalled_at ELSE now() END,
        status = CASE due.finding WHEN 'run_stalled' THEN 'completed' ELSE r.status END,
        outcome = CASE due.finding WHEN 'run_stalled' THEN 'failed' ELSE r.outcome END,
        completed_at = CASE due.finding WHEN 'run_stalled' THEN greatest(now(), r.started_at) END,
        failure_summary = CASE due.finding WHEN 'run_stalled'
            THEN CASE jsonb_typeof(r.failure_summary) WHEN 'array' THEN r.failure_summary ELSE '[]' END
                 || jsonb_build_object('code', 'run_stalled', 'message', @message::text)
            ELSE r.failure_summary END,
        updated_at = now(),
        revision = CASE due.finding WHEN 'run_stalled' THEN r.revision + 1 ELSE r.revision END
    FROM due
    WHERE r.workspace_id = @workspace_id AND r.id = due.id
      AND r.status = 'running' AND r.revision = due.revision
      AND r.heartbeat_at IS NOT DISTINCT FROM due.heartbeat_at
      AND r.stalled_at IS NOT DISTINCT FROM due.stalled_at
    RETURNING r.workspace_id, r.id, r.heartbeat_at, r.progressed_at, r.stalled_at, r.status, r.outcome, due.finding
), event AS (
    INSERT INTO operation_run_events (workspace_id, run_id, kind, actor, data)
    SELECT run.workspace_id, run.id, CASE run.finding WHEN 'run_stalled' THEN 'completed' ELSE 'stalled' END, @actor,
           jsonb_strip_nulls(CASE run.finding
               -- Instants as the interface shows them, which end in Z.
               WHEN 'run_stalled' THEN jsonb_build_object(
                   'status', run.status, 'outcome', run.outcome, 'verdict', run.finding,
                   'heartbeat_at', to_jsonb(run.heartbeat_at AT TIME ZONE 'UTC') #>> '{}' || 'Z',
                   'stalled_at', to_jsonb(run.stalled_at AT TIME ZONE 'UTC') #>> '{}' || 'Z')
               WHEN 'no_heartbeat' THEN jsonb_build_object(
                   'stalled', run.finding, 'heartbeat_at', to_jsonb(run.heartbeat_at AT TIME ZONE 'UTC') #>> '{}' || 'Z')
               ELSE jsonb_build_object(
                   'stalled', run.finding, 'progressed_at', to_jsonb(run.progressed_at AT TIME ZONE 'UTC') #>> '{}' || 'Z') END)
    FROM run
)
SELECT run.id, run.finding::text AS finding FROM run;
