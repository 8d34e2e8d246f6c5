-- What statistics of runs are made of, so that they are read from this index alone.

-- +goose Up
CREATE INDEX operation_runs_stats_idx
    ON operation_runs (workspace_id, created_at, type, outcome, tenant_id, started_at, completed_at);

-- +goose Down
DROP INDEX operation_runs_stats_idx;
