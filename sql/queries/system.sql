-- Queries of the whole installation. Each says why it is not bound to a workspace.

-- name: ListWorkspacesOfSubject :many
-- @sqlc-vet-disable workspace-scope
-- The list of the caller's own workspaces: bound to the caller instead.
SELECT w.id, w.slug, w.name, w.archived_at, w.created_at, w.updated_at, m.role
FROM users AS u
JOIN workspace_memberships AS m ON m.user_id = u.id
JOIN workspaces AS w ON w.id = m.workspace_id
WHERE u.subject = @subject AND m.workspace_id > @position_id
ORDER BY m.workspace_id
LIMIT @page_size;

-- name: ListOperationTypes :many
-- @sqlc-vet-disable workspace-scope
-- The allow-list is one for all workspaces.
SELECT name, label, accepts_new_runs, stale_after, keep_days, keep_last FROM operation_types ORDER BY name;

-- name: AddOperationType :execrows
-- @sqlc-vet-disable workspace-scope
-- The allow-list is one for all workspaces.
INSERT INTO operation_types (name, label, stale_after) VALUES (@name, @label, @stale_after)
ON CONFLICT (name) DO NOTHING;

-- name: SetOperationTypeAcceptsNewRuns :execrows
-- @sqlc-vet-disable workspace-scope
-- The allow-list is one for all workspaces.
UPDATE operation_types SET accepts_new_runs = @accepts_new_runs, updated_at = now()
WHERE name = @name AND accepts_new_runs <> @accepts_new_runs;

-- name: PutServerKey :exec
-- @sqlc-vet-disable workspace-scope
-- Keys belong to the installation.
INSERT INTO server_keys (name, key) VALUES (@name, @key) ON CONFLICT (name) DO NOTHING;

-- name: GetServerKey :one
-- @sqlc-vet-disable workspace-scope
-- Keys belong to the installation.
SELECT key FROM server_keys WHERE name = @name;

-- name: CreateWorkspace :one
-- @sqlc-vet-disable workspace-scope
-- The operator makes a workspace; there is none yet to be bound to.
INSERT INTO workspaces (slug, name) VALUES (@slug, @name)
ON CONFLICT (slug) DO NOTHING
RETURNING id;

-- name: ListWorkspaces :many
-- @sqlc-vet-disable workspace-scope
-- The operator's own list, from the command line only.
SELECT w.id, w.slug, w.name, w.archived_at, w.created_at, count(m.user_id) AS members
FROM workspaces AS w
LEFT JOIN workspace_memberships AS m ON m.workspace_id = w.id
GROUP BY w.id
ORDER BY w.id;

-- name: FindWorkspaces :many
-- @sqlc-vet-disable workspace-scope
-- The operator names a workspace by its slug or id, from the command line only. Two answer to it if the
-- slug of the one, the first of them, is the id of the other.
SELECT id, slug, name, archived_at FROM workspaces WHERE slug = @name OR id::text = @name ORDER BY slug = @name DESC NULLS LAST;

-- name: ArchiveWorkspace :execrows
-- @sqlc-vet-disable workspace-scope
-- The operator's, from the command line only.
UPDATE workspaces SET archived_at = now(), updated_at = now() WHERE id = @id AND archived_at IS NULL;

-- name: UnarchiveWorkspace :execrows
-- @sqlc-vet-disable workspace-scope
-- The operator's, from the command line only.
UPDATE workspaces SET archived_at = NULL, updated_at = now() WHERE id = @id AND archived_at IS NOT NULL;

-- name: AddUser :execrows
-- @sqlc-vet-disable workspace-scope
-- Users belong to the installation; a membership is what binds one to a workspace.
INSERT INTO users (subject, name, email)
VALUES (@subject, coalesce(sqlc.narg(name)::text, @subject), sqlc.narg(email)::text)
ON CONFLICT (subject) DO NOTHING;

-- name: FindUser :one
-- @sqlc-vet-disable workspace-scope
-- Users belong to the installation. Holds the user until the transaction ends, so that what they were
-- called before a change is known.
SELECT name, email FROM users WHERE subject = @subject FOR UPDATE;

-- name: SetUser :exec
-- @sqlc-vet-disable workspace-scope
-- Users belong to the installation.
UPDATE users SET name = @name, email = @email, updated_at = now() WHERE subject = @subject;

-- name: SurveyActiveRuns :many
-- @sqlc-vet-disable workspace-scope
-- The sweeper asks which workspaces have work for it; the work itself is done one workspace at a time.
SELECT workspace_id,
       (min(created_at) FILTER (WHERE isfinite(created_at)))::timestamptz AS oldest_created_at,
       count(*) FILTER (WHERE status = 'running') AS running,
       count(*) FILTER (WHERE stalled = 'no_progress') AS no_progress,
       count(*) FILTER (WHERE stalled_at IS NOT NULL AND stalled IS DISTINCT FROM 'no_progress') AS no_heartbeat
FROM operation_runs
WHERE status IN ('queued', 'running')
GROUP BY workspace_id
ORDER BY workspace_id;

-- name: SetOperationTypeRetention :execrows
-- @sqlc-vet-disable workspace-scope
-- The allow-list is one for all workspaces.
UPDATE operation_types SET keep_days = @keep_days, keep_last = @keep_last, updated_at = now() WHERE name = @name;

-- name: ListWorkspacesWithSchedules :many
-- @sqlc-vet-disable workspace-scope
-- The sweeper asks which workspaces have schedules to look after, and does so one workspace at a time. That
-- a schedule was deleted is to be noted, too.
SELECT w.id FROM workspaces AS w
WHERE w.archived_at IS NULL
  AND EXISTS (SELECT FROM backup_schedules AS s WHERE s.workspace_id = w.id)
ORDER BY w.id;

-- name: SurveyOperationTypes :many
-- @sqlc-vet-disable workspace-scope
-- What operators watch of all workspaces: how many runs of each type are not completed, since when,
-- and when one last succeeded. Of each workspace and type it reads the runs that are not completed
-- and the one success that was created last.
SELECT w.id AS workspace_id, t.name AS type,
       coalesce(a.active, 0)::bigint AS active,
       a.oldest_created_at::timestamptz AS oldest_created_at,
       s.completed_at::timestamptz AS last_succeeded_at
FROM workspaces AS w
CROSS JOIN operation_types AS t
LEFT JOIN (
    SELECT r.workspace_id, r.type, count(*) AS active, min(r.created_at) FILTER (WHERE isfinite(r.created_at)) AS oldest_created_at
    FROM operation_runs AS r
    WHERE r.status IN ('queued', 'running')
    GROUP BY r.workspace_id, r.type
) AS a ON a.workspace_id = w.id AND a.type = t.name
LEFT JOIN LATERAL (
    SELECT r.completed_at
    FROM operation_runs AS r
    WHERE r.workspace_id = w.id AND r.type = t.name AND r.outcome = 'succeeded' AND isfinite(r.completed_at)
    ORDER BY coalesce(r.created_at, '-infinity'::timestamptz) DESC, r.id DESC
    LIMIT 1
) AS s ON true
WHERE w.archived_at IS NULL
ORDER BY t.name, w.id;

-- name: ResolveMemberships :many
-- @sqlc-vet-disable workspace-scope
-- The one question of the gate, for the requests of several workspaces at once, and each of them
-- bound to its own: a request is a workspace with a subject, and joins the rows of that workspace
-- alone. A stranger and a workspace that does not exist are the same answer, no row, by the same
-- plan: the LIMIT, of which each request has no more rows, keeps PostgreSQL from reading all users
-- at once for those of the requests. The snapshot is that of this statement, so that two that are
-- equal saw the same rows; a standby and a coordinator of Citus do not tell theirs whole, and say
-- nothing.
WITH asked AS (
    SELECT unnest(@places::bigint[]) AS place,
           unnest(@workspace_ids::bigint[]) AS workspace_id,
           unnest(@subjects::text[]) AS subject
)
SELECT asked.place::bigint AS place, member.workspace_id, member.role, member.user_id, member.user_name, member.archived_at,
       (CASE WHEN NOT pg_is_in_recovery() AND current_setting('citus.shard_count', true) IS NULL
             THEN pg_current_snapshot()::text ELSE '' END)::text AS snapshot,
       pg_postmaster_start_time()::timestamptz AS postmaster
FROM asked
CROSS JOIN LATERAL (
    SELECT m.workspace_id, m.role, m.user_id, m.user_name, w.archived_at
    FROM workspace_members AS m
    JOIN workspaces AS w ON w.id = m.workspace_id
    WHERE m.workspace_id = asked.workspace_id AND m.subject = asked.subject
    LIMIT 1
) AS member;

-- name: GetLogPosition :one
-- @sqlc-vet-disable workspace-scope
-- How far the database's log has come: whatever was committed before is in the log before it.
SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint AS position;

-- name: GetPrimaryStanding :one
-- @sqlc-vet-disable workspace-scope
-- Which cluster the primary is, and how far its log could have come to a replica.
SELECT system_identifier::bigint AS cluster, pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint AS flushed
FROM pg_control_system();

-- name: GetReplicaStanding :one
-- @sqlc-vet-disable workspace-scope
-- Which cluster a replica copies, whether it still does, and how much of the log it has replayed.
SELECT system_identifier::bigint AS cluster, pg_is_in_recovery()::boolean AS in_recovery,
       coalesce(pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0'), 0)::bigint AS replayed
FROM pg_control_system();
