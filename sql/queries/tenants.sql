-- name: ListTenants :many
SELECT * FROM tenants
WHERE workspace_id = @workspace_id AND true AND id < @position_id
ORDER BY id DESC
LIMIT @page_size;

-- name: GetTenant :one
SELECT * FROM tenants WHERE workspace_id = @workspace_id AND id = @id;

-- name: AddTenant :one
-- There is no row if the workspace has a tenant with that external id already.
INSERT INTO tenants (workspace_id, name, external_id) VALUES (@workspace_id, @name, @external_id)
ON CONFLICT (workspace_id, external_id) DO NOTHING
RETURNING id;

-- name: FindTenantByExternalID :one
SELECT id, name FROM tenants WHERE workspace_id = @workspace_id AND external_id = @external_id;

-- name: FindTenantName :one
-- Holds the tenant until the transaction ends, so that what it was called before a change is known. Runs that
-- name it are recorded meanwhile.
SELECT name FROM tenants WHERE workspace_id = @workspace_id AND id = @id FOR NO KEY UPDATE;

-- name: RenameTenant :exec
UPDATE tenants SET name = @name, updated_at = now() WHERE workspace_id = @workspace_id AND id = @id;
