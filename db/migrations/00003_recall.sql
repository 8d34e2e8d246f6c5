-- A completed run can be recalled: it stays, and is not to be trusted. recalled is what a list
-- shows. It is true for the run that somebody recalled, which alone has the other three, and for
-- later runs that name it, until a newer run of their identity has succeeded.

-- +goose Up
ALTER TABLE operation_runs
    ADD COLUMN recalled_at timestamptz,
    ADD COLUMN recalled_by_user_id bigint REFERENCES users (id),
    ADD COLUMN recall_reason text;
ALTER TABLE operation_runs ADD COLUMN recalled boolean NOT NULL DEFAULT false;

-- +goose Down
ALTER TABLE operation_runs
    DROP COLUMN recalled,
    DROP COLUMN recall_reason,
    DROP COLUMN recalled_by_user_id,
    DROP COLUMN recalled_at;
