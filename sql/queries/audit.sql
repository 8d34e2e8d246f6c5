-- The record of what was done to the installation itself.

-- name: AppendAuditEvent :exec
-- @sqlc-vet-disable workspace-scope
-- What is done to a type, or by the installation, belongs to no workspace.
INSERT INTO audit_events (action, actor, workspace_id, target, data)
VALUES (@action, @actor, sqlc.narg(workspace_id), @target, @data);

-- name: ListAuditEvents :many
-- @sqlc-vet-disable workspace-scope
-- The operator's own list, from the command line only: the newest first.
SELECT id, at, action, actor, database_role, workspace_id, target, data
FROM audit_events
WHERE id < @before_id
ORDER BY id DESC
LIMIT @page_size;

-- name: ListAuditEventsOfWorkspace :many
SELECT id, at, action, actor, database_role, workspace_id, target, data
FROM audit_events
WHERE workspace_id = @workspace_id AND id < @before_id
ORDER BY id DESC
LIMIT @page_size;
