-- Recalling a run: it is not to be trusted any more, and neither is what rests on it.

-- name: RecallRun :one
-- Recalls a completed run that is not recalled yet, and marks the later runs that name it, but for
-- those of whose identity a newer one has succeeded. A retry of it that there is already is among
-- them; one that is started afterwards is what replaces it.
WITH run AS (
    UPDATE operation_runs AS r
    SET recalled = true, recalled_at = now(), recalled_by_user_id = @user_id::bigint, recall_reason = @reason::text,
        updated_at = now(), revision = r.revision + 1
    WHERE r.workspace_id = @workspace_id AND r.id = @id AND r.status = 'completed' AND r.recalled_at IS NULL
    RETURNING r.*
), naming AS MATERIALIZED (
    SELECT n.id FROM operation_runs AS n WHERE n.workspace_id = @workspace_id AND n.retry_of_id = @id
    UNION
    SELECT n.id FROM operation_runs AS n WHERE n.workspace_id = @workspace_id AND n.context ->> 'baseline_operation_run_id' = (@id)::text
    UNION
    SELECT n.id FROM operation_runs AS n WHERE n.workspace_id = @workspace_id AND n.context ->> 'current_operation_run_id' = (@id)::text
    UNION
    SELECT n.id FROM operation_runs AS n WHERE n.workspace_id = @workspace_id AND n.context ->> 'operation_run_id' = (@id)::text
), marked AS (
    UPDATE operation_runs AS n
    SET recalled = true, updated_at = now(), revision = n.revision + 1
    FROM run
    WHERE n.workspace_id = @workspace_id AND n.id IN (SELECT naming.id FROM naming) AND n.id <> run.id AND NOT n.recalled
      AND (coalesce(n.created_at, '-infinity'), n.id) > (coalesce(run.created_at, '-infinity'), run.id)
      AND NOT EXISTS (
          SELECT FROM operation_runs AS newer
          WHERE newer.workspace_id = @workspace_id AND newer.run_identity_hash = n.run_identity_hash
            AND newer.tenant_id IS NOT DISTINCT FROM n.tenant_id
            AND newer.outcome IN ('succeeded', 'partially_succeeded') AND NOT newer.recalled
            AND newer.id NOT IN (SELECT naming.id FROM naming)
            AND (coalesce(newer.created_at, '-infinity'), newer.id) > (coalesce(n.created_at, '-infinity'), n.id))
      -- Nobody may update a row from before the constraints held, which breaks them.
      AND (n.status, n.outcome <> 'pending', n.completed_at IS NOT NULL)
          IN (('queued', false, false), ('running', false, false), ('completed', true, true))
      AND n.outcome IN ('pending', 'succeeded', 'partially_succeeded', 'failed', 'blocked', 'cancelled')
      AND (n.started_at <= n.completed_at) IS NOT FALSE
    RETURNING n.workspace_id, n.id
), event AS (
    INSERT INTO operation_run_events (workspace_id, run_id, kind, actor, data)
    SELECT run.workspace_id, run.id, 'recalled', @actor, jsonb_build_object('reason', run.recall_reason)
    FROM run
), marked_event AS (
    INSERT INTO operation_run_events (workspace_id, run_id, kind, actor, data)
    SELECT marked.workspace_id, marked.id, 'recalled', @actor, jsonb_build_object('operation_run_id', (@id)::bigint)
    FROM marked
)
SELECT * FROM run;

-- name: ReconcileRecalls :one
-- Marks what rests on runs that were recalled since, and unmarks what was replaced, where the statements
-- for that knew nothing of each other: a start, a report and a recall that are under way at the same
-- moment each see the rows as they were before. It changes nothing otherwise, and returns how much it did.
WITH recall AS MATERIALIZED (
    SELECT r.id, r.created_at, r.recalled_at FROM operation_runs AS r
    WHERE r.workspace_id = @workspace_id AND r.recalled_at >= @since
), naming AS MATERIALIZED (
    SELECT n.id, recall.id AS recalled_id FROM recall JOIN operation_runs AS n
        ON n.workspace_id = @workspace_id AND n.retry_of_id = recall.id AND n.created_at <= recall.recalled_at
    UNION
    SELECT n.id, recall.id FROM recall JOIN operation_runs AS n
        ON n.workspace_id = @workspace_id AND n.context ->> 'baseline_operation_run_id' = recall.id::text
    UNION
    SELECT n.id, recall.id FROM recall JOIN operation_runs AS n
        ON n.workspace_id = @workspace_id AND n.context ->> 'current_operation_run_id' = recall.id::text
    UNION
    SELECT n.id, recall.id FROM recall JOIN operation_runs AS n
        ON n.workspace_id = @workspace_id AND n.context ->> 'operation_run_id' = recall.id::text
), resting AS (
    SELECT n.id, max(recall.id) AS recalled_id
    FROM naming JOIN recall ON recall.id = naming.recalled_id
    JOIN operation_runs AS n ON n.workspace_id = @workspace_id AND n.id = naming.id
    WHERE (coalesce(n.created_at, '-infinity'), n.id) > (coalesce(recall.created_at, '-infinity'), recall.id)
    GROUP BY n.id
), judged AS MATERIALIZED (
    SELECT n.id, resting.recalled_id, (
        SELECT max(newer.id) FROM operation_runs AS newer
        WHERE newer.workspace_id = @workspace_id AND newer.run_identity_hash = n.run_identity_hash
          AND newer.tenant_id IS NOT DISTINCT FROM n.tenant_id
          AND newer.outcome IN ('succeeded', 'partially_succeeded') AND NOT newer.recalled
          AND newer.id NOT IN (SELECT resting.id FROM resting)
          AND (coalesce(newer.created_at, '-infinity'), newer.id) > (coalesce(n.created_at, '-infinity'), n.id)) AS by_id
    FROM resting JOIN operation_runs AS n ON n.workspace_id = @workspace_id AND n.id = resting.id
), changed AS (
    UPDATE operation_runs AS n
    SET recalled = judged.by_id IS NULL, updated_at = now(), revision = n.revision + 1
    FROM judged
    WHERE n.workspace_id = @workspace_id AND n.id = judged.id AND n.recalled_at IS NULL
      AND n.recalled <> (judged.by_id IS NULL)
      -- Nobody may update a row from before the constraints held, which breaks them.
      AND (n.status, n.outcome <> 'pending', n.completed_at IS NOT NULL)
          IN (('queued', false, false), ('running', false, false), ('completed', true, true))
      AND n.outcome IN ('pending', 'succeeded', 'partially_succeeded', 'failed', 'blocked', 'cancelled')
      AND (n.started_at <= n.completed_at) IS NOT FALSE
    RETURNING n.workspace_id, n.id, n.recalled, judged.recalled_id, judged.by_id
), event AS (
    INSERT INTO operation_run_events (workspace_id, run_id, kind, actor, data)
    SELECT changed.workspace_id, changed.id, CASE WHEN changed.recalled THEN 'recalled' ELSE 'replaced' END, @actor,
           jsonb_build_object('operation_run_id', coalesce(changed.by_id, changed.recalled_id))
    FROM changed
)
SELECT count(*) FROM changed;

-- name: ListWorkspacesWithRecalls :many
-- @sqlc-vet-disable workspace-scope
-- The workspaces in which a run was recalled since.
SELECT DISTINCT workspace_id FROM operation_runs WHERE recalled_at >= @since ORDER BY workspace_id;

-- name: ListDependents :many
-- What rests on a run, by kind of dependence and id: items last seen by it, findings whose baseline
-- or current run it is, later runs that try it again or whose context names it. Each kind has its
-- own position; one that is done has the last id there can be. place is the kind's among them.
(SELECT 1::bigint AS place, i.id, coalesce(i.display_name, i.external_id)::text AS name
 FROM inventory_items AS i
 WHERE i.workspace_id = @workspace_id AND i.last_seen_operation_run_id = @run_id::bigint AND i.id > @item_after
 ORDER BY i.id LIMIT @page_size)
UNION ALL
(SELECT 2, f.id, coalesce(f.subject_external_id, f.fingerprint)
 FROM findings AS f
 WHERE f.workspace_id = @workspace_id AND f.baseline_operation_run_id = @run_id AND f.id > @baseline_after
 ORDER BY f.id LIMIT @page_size)
UNION ALL
(SELECT 3, f.id, coalesce(f.subject_external_id, f.fingerprint)
 FROM findings AS f
 WHERE f.workspace_id = @workspace_id AND f.current_operation_run_id = @run_id AND f.id > @current_after
 ORDER BY f.id LIMIT @page_size)
UNION ALL
(SELECT 4, r.id, r.type
 FROM operation_runs AS r
 WHERE r.workspace_id = @workspace_id AND r.retry_of_id = @run_id AND r.id > @retry_after
   AND (coalesce(r.created_at, '-infinity'), r.id) > (@created::timestamptz, @run_id)
 ORDER BY r.id LIMIT @page_size)
UNION ALL
(SELECT 5, named.id, named.type FROM (
    (SELECT r.id, r.type FROM operation_runs AS r
     WHERE r.workspace_id = @workspace_id AND r.context ->> 'baseline_operation_run_id' = (@run_id)::text AND r.id > @context_after
       AND (coalesce(r.created_at, '-infinity'), r.id) > (@created::timestamptz, @run_id)
     ORDER BY r.id LIMIT @page_size)
    UNION
    (SELECT r.id, r.type FROM operation_runs AS r
     WHERE r.workspace_id = @workspace_id AND r.context ->> 'current_operation_run_id' = (@run_id)::text AND r.id > @context_after
       AND (coalesce(r.created_at, '-infinity'), r.id) > (@created::timestamptz, @run_id)
     ORDER BY r.id LIMIT @page_size)
    UNION
    (SELECT r.id, r.type FROM operation_runs AS r
     WHERE r.workspace_id = @workspace_id AND r.context ->> 'operation_run_id' = (@run_id)::text AND r.id > @context_after
       AND (coalesce(r.created_at, '-infinity'), r.id) > (@created::timestamptz, @run_id)
     ORDER BY r.id LIMIT @page_size)
 ) AS named
 ORDER BY named.id LIMIT @page_size)
ORDER BY place, id
LIMIT @page_size;
