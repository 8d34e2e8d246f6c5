-- The lists of runs. Each is a keyset page: it starts behind a position and reads its order out
-- of an index. The filters of a request take the place of "AND true" (internal/server/narrow.go),
-- so that a statement has exactly the conditions that it needs and PostgreSQL plans it with them.
-- A run without created_at stands where '-infinity' would.

-- name: ListRuns :many
SELECT * FROM operation_runs
WHERE workspace_id = @workspace_id AND true
  AND (coalesce(created_at, '-infinity'), id) < (@position::timestamptz, @position_id::bigint)
ORDER BY coalesce(created_at, '-infinity') DESC, id DESC
LIMIT @page_size;

-- name: ListRunsOldestFirst :many
SELECT * FROM operation_runs
WHERE workspace_id = @workspace_id AND true
  AND (coalesce(created_at, '-infinity'), id) > (@position::timestamptz, @position_id::bigint)
ORDER BY coalesce(created_at, '-infinity'), id
LIMIT @page_size;

-- name: ListRunsByUpdate :many
SELECT * FROM operation_runs
WHERE workspace_id = @workspace_id AND true
  AND (coalesce(updated_at, '-infinity'), id) > (@position::timestamptz, @position_id::bigint)
ORDER BY coalesce(updated_at, '-infinity'), id
LIMIT @page_size;

-- name: CountRuns :one
SELECT count(*) FROM (
    SELECT FROM operation_runs
    WHERE workspace_id = @workspace_id AND true
    LIMIT @ceiling
) AS counted;

-- name: GetRun :one
SELECT * FROM operation_runs WHERE workspace_id = @workspace_id AND id = @id;
