-- Who did what to the installation itself: memberships, types, workspaces, retention. What happens
-- to runs is in their own timelines. The table belongs to no workspace, because a type belongs to
-- none, and outlives what it tells of. The server's role may add to it and change nothing.

-- +goose Up
CREATE TABLE audit_events (
    id bigserial PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    action text NOT NULL,
    -- Who, as the command knows it, and the database's role, which nobody can claim without having.
    actor text NOT NULL,
    database_role text NOT NULL DEFAULT session_user,
    workspace_id bigint REFERENCES workspaces (id),
    -- What it was done to: a subject, a type, a slug.
    target text NOT NULL,
    data jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT audit_events_action_check CHECK (action ~ '^[a-z]+(_[a-z]+)*$')
);
CREATE INDEX audit_events_workspace_id_idx ON audit_events (workspace_id, id);

-- +goose Down
DROP TABLE audit_events;
