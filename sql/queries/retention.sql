-- Retention: which runs a policy lets go, and what goes with them. The preview and the work itself
-- ask the same statements; the work locks a batch in between.

-- name: FindKeptPosition :one
-- The last of the latest completed runs of a type and tenant that a policy keeps, whatever their age.
SELECT coalesce(created_at, '-infinity')::timestamptz AS position, id
FROM operation_runs
WHERE workspace_id = @workspace_id AND type = @type
  AND (tenant_id = sqlc.narg(tenant_id) OR sqlc.narg(tenant_id) IS NULL AND tenant_id IS NULL)
  AND outcome <> 'pending' AND status = 'completed'
ORDER BY tenant_id DESC, coalesce(created_at, '-infinity') DESC, id DESC
LIMIT 1 OFFSET @newer;

-- name: ListExpiredRuns :many
-- The completed runs of a type and tenant behind the position of the last that is kept, which ended
-- long enough ago; the newest first. A tenant is the same for all, and leads the index.
SELECT id
FROM operation_runs
WHERE workspace_id = @workspace_id AND type = @type
  AND (tenant_id = sqlc.narg(tenant_id) OR sqlc.narg(tenant_id) IS NULL AND tenant_id IS NULL)
  AND outcome <> 'pending' AND status = 'completed' AND completed_at < @completed_before
  AND (coalesce(created_at, '-infinity'), id) < (@position::timestamptz, @position_id::bigint)
ORDER BY tenant_id DESC, coalesce(created_at, '-infinity') DESC, id DESC;

-- name: LockExpiredRuns :many
-- Holds the runs of a batch, so that nothing can refer to them any more. One that somebody else
-- holds, or that a report has reopened meanwhile, is missing from the result.
SELECT id
FROM operation_runs
WHERE workspace_id = @workspace_id AND id = ANY (@ids::bigint[])
  AND status = 'completed' AND completed_at < @completed_before
ORDER BY id
FOR UPDATE SKIP LOCKED;

-- name: ListReleasableRuns :many
-- Of the given runs those that nothing which stays refers to: no finding and no item, unless the
-- references are to be cleared, and no retry. What a kept run is a retry of is kept with it. A
-- recalled run stays for as long as anything refers to it: without it, nothing would tell that
-- what it saw is not to be trusted.
WITH RECURSIVE candidate AS MATERIALIZED (
    SELECT unnest(@ids::bigint[]) AS id
), kept AS (
    SELECT r.id, r.retry_of_id
    FROM candidate JOIN operation_runs AS r ON r.workspace_id = @workspace_id AND r.id = candidate.id
    WHERE (NOT @including_referenced::boolean OR r.recalled_at IS NOT NULL) AND (
              EXISTS (SELECT FROM findings AS f WHERE f.workspace_id = @workspace_id AND f.baseline_operation_run_id = r.id)
              OR EXISTS (SELECT FROM findings AS f WHERE f.workspace_id = @workspace_id AND f.current_operation_run_id = r.id)
              OR EXISTS (SELECT FROM inventory_items AS i WHERE i.workspace_id = @workspace_id AND i.last_seen_operation_run_id = r.id))
       OR EXISTS (SELECT FROM operation_runs AS retry
                  WHERE retry.workspace_id = @workspace_id AND retry.retry_of_id = r.id
                    AND retry.id NOT IN (SELECT candidate.id FROM candidate))
    UNION
    SELECT r.id, r.retry_of_id
    FROM kept
    JOIN candidate ON candidate.id = kept.retry_of_id
    JOIN operation_runs AS r ON r.workspace_id = @workspace_id AND r.id = candidate.id
)
SELECT candidate.id::bigint AS id FROM candidate
WHERE candidate.id NOT IN (SELECT kept.id FROM kept)
ORDER BY candidate.id;

-- name: ListFindingsOfRuns :many
SELECT f.id FROM findings AS f
WHERE f.workspace_id = @workspace_id AND f.baseline_operation_run_id = ANY (@ids::bigint[])
UNION
SELECT f.id FROM findings AS f
WHERE f.workspace_id = @workspace_id AND f.current_operation_run_id = ANY (@ids::bigint[])
ORDER BY id;

-- name: ListItemsOfRuns :many
SELECT i.id FROM inventory_items AS i
WHERE i.workspace_id = @workspace_id AND i.last_seen_operation_run_id = ANY (@ids::bigint[])
ORDER BY i.id;

-- name: ClearBaselinesOfFindings :exec
UPDATE findings SET baseline_operation_run_id = NULL, updated_at = now(), revision = revision + 1
WHERE workspace_id = @workspace_id AND baseline_operation_run_id = ANY (@ids::bigint[]);

-- name: ClearCurrentsOfFindings :exec
UPDATE findings SET current_operation_run_id = NULL, updated_at = now(), revision = revision + 1
WHERE workspace_id = @workspace_id AND current_operation_run_id = ANY (@ids::bigint[]);

-- name: ClearRunsOfItems :exec
UPDATE inventory_items SET last_seen_operation_run_id = NULL, updated_at = now()
WHERE workspace_id = @workspace_id AND last_seen_operation_run_id = ANY (@ids::bigint[]);

-- name: DeleteEventsOfRuns :exec
DELETE FROM operation_run_events WHERE workspace_id = @workspace_id AND run_id = ANY (@ids::bigint[]);

-- name: DeleteIdempotencyKeysOfRuns :exec
DELETE FROM operation_run_idempotency_keys WHERE workspace_id = @workspace_id AND run_id = ANY (@ids::bigint[]);

-- name: DeleteCompletedRuns :execrows
DELETE FROM operation_runs WHERE workspace_id = @workspace_id AND id = ANY (@ids::bigint[]) AND status = 'completed';

-- name: ListTenantIDs :many
SELECT id FROM tenants WHERE workspace_id = @workspace_id ORDER BY id;

-- name: FindKeptBackupPosition :one
-- The last of a schedule's latest runs that made a backup and that its retention keeps. A recalled
-- one is not to be trusted, and keeps no place from one that is.
SELECT coalesce(created_at, '-infinity')::timestamptz AS position, id
FROM operation_runs
WHERE workspace_id = @workspace_id AND context ->> 'backup_schedule_id' = @schedule_id::text
  AND type = 'backup_schedule_run' AND outcome IN ('succeeded', 'partially_succeeded') AND NOT recalled
ORDER BY coalesce(created_at, '-infinity') DESC, id DESC
LIMIT 1 OFFSET @newer;

-- name: ListCompletedBackups :many
-- The completed runs of a backup schedule behind a position, the newest first.
SELECT id, type, status, outcome, created_at, started_at, completed_at, recalled
FROM operation_runs
WHERE workspace_id = @workspace_id AND context ->> 'backup_schedule_id' = @schedule_id::text
  AND type = 'backup_schedule_run' AND outcome <> 'pending'
  AND (coalesce(created_at, '-infinity'), id) < (@position::timestamptz, @position_id::bigint)
ORDER BY coalesce(created_at, '-infinity') DESC, id DESC
LIMIT @page_size;
