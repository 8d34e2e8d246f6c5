-- Who is a member of which workspace, said once: for the question of the gate and for the statements
-- that ask it along with what they read.

-- +goose Up
CREATE VIEW workspace_members AS
SELECT m.workspace_id, u.subject, m.role, u.id AS user_id, u.name AS user_name
FROM users AS u
JOIN workspace_memberships AS m ON m.user_id = u.id;

-- Servers that run under a role of their own go on without a moment in which they may not ask.
-- +goose StatementBegin
DO $$
DECLARE
    reader text;
BEGIN
    FOR reader IN
        SELECT DISTINCT grantee FROM information_schema.role_table_grants
        WHERE table_schema = current_schema() AND table_name = 'workspace_memberships'
          AND privilege_type = 'SELECT' AND grantee <> current_user
    LOOP
        EXECUTE 'GRANT SELECT ON workspace_members TO ' || CASE reader WHEN 'PUBLIC' THEN reader ELSE quote_ident(reader) END;
    END LOOP;
END
$$;
-- +goose StatementEnd

-- +goose Down
DROP VIEW workspace_members;
