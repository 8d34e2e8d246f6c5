-- contract: what read these indexes is a release that is not supported any more. Each costs writes, and every
-- statement about runs that is planned for its values looks at each index of the table.

-- +goose Up
DROP INDEX operation_runs_second_failure_code_idx, operation_runs_further_failures_idx;

-- +goose Down
CREATE INDEX operation_runs_second_failure_code_idx
    ON operation_runs (workspace_id, (failure_summary -> 1 ->> 'code'),
                       coalesce(created_at, '-infinity'::timestamptz), id)
    WHERE failure_summary -> 1 ->> 'code' IS NOT NULL;
CREATE INDEX operation_runs_further_failures_idx
    ON operation_runs (workspace_id, coalesce(created_at, '-infinity'::timestamptz), id)
    WHERE failure_summary -> 2 IS NOT NULL;
