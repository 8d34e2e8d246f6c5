-- name: GetWorkspace :one
SELECT id, slug, name, archived_at, created_at, updated_at FROM workspaces
WHERE id = (SELECT m.workspace_id FROM workspace_memberships AS m
            WHERE m.workspace_id = @workspace_id AND m.user_id = @user_id);

-- name: ListMembers :many
SELECT u.subject, u.name, u.email, m.role, m.created_at
FROM workspace_memberships AS m
JOIN users AS u ON u.id = m.user_id
WHERE m.workspace_id = @workspace_id
ORDER BY u.id;

-- name: FindMemberRole :one
-- Holds the membership until the transaction ends, so that what it was before a change is known.
SELECT m.role FROM workspace_memberships AS m JOIN users AS u ON u.id = m.user_id
WHERE m.workspace_id = @workspace_id AND u.subject = @subject
FOR UPDATE OF m;

-- name: PutMember :execrows
INSERT INTO workspace_memberships (workspace_id, user_id, role)
SELECT @workspace_id, id, @role FROM users WHERE subject = @subject
ON CONFLICT (workspace_id, user_id) DO UPDATE SET role = excluded.role, updated_at = excluded.updated_at;

-- name: RemoveMember :execrows
DELETE FROM workspace_memberships AS m USING users AS u
WHERE m.workspace_id = @workspace_id AND u.id = m.user_id AND u.subject = @subject;
