-- The last run before another that worked: it succeeded, wholly, and nobody has recalled it or what
-- it names. Which runs are of the same work is asked from the narrowest sense to the widest.

-- name: FindLastGoodOfSchedule :one
SELECT * FROM operation_runs
WHERE workspace_id = @workspace_id AND context ->> 'backup_schedule_id' = @schedule_id::text AND type = @type
  AND type IN ('backup_schedule_run', 'backup_schedule_retention', 'backup_schedule_purge')
  AND outcome = 'succeeded' AND NOT recalled
  AND (coalesce(created_at, '-infinity'), id) < (@position::timestamptz, @position_id::bigint)
ORDER BY coalesce(created_at, '-infinity') DESC, id DESC
LIMIT 1;

-- name: FindLastGoodOfIdentity :one
SELECT * FROM operation_runs
WHERE workspace_id = @workspace_id AND run_identity_hash = @run_identity_hash
  AND tenant_id IS NOT DISTINCT FROM sqlc.narg(tenant_id)
  AND outcome = 'succeeded' AND NOT recalled
  AND (coalesce(created_at, '-infinity'), id) < (@position::timestamptz, @position_id::bigint)
ORDER BY coalesce(created_at, '-infinity') DESC, id DESC
LIMIT 1;

-- name: FindLastGoodOfType :one
-- A tenant is the same for all, and leads the index.
SELECT * FROM operation_runs
WHERE workspace_id = @workspace_id AND type = @type
  AND (tenant_id = sqlc.narg(tenant_id) OR sqlc.narg(tenant_id) IS NULL AND tenant_id IS NULL)
  AND outcome = 'succeeded' AND NOT recalled
  AND (coalesce(created_at, '-infinity'), id) < (@position::timestamptz, @position_id::bigint)
ORDER BY tenant_id DESC, coalesce(created_at, '-infinity') DESC, id DESC
LIMIT 1;
