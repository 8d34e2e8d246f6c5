-- name: ListTenants :many
SELECT * FROM tenants
WHERE workspace_id = @workspace_id AND true AND id < @position_id
ORDER BY id DESC
LIMIT @page_size;

-- name: GetTenant :one
SELECT * FROM tenants WHERE workspace_id = @workspace_id AND id = @id;
