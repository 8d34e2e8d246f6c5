-- What a recall looks for. They are apart from the columns so that reading goes on while they are
-- built; each holds few runs of those that there are.

-- +goose Up
-- The recalled runs, looked up by what a context says.
CREATE INDEX operation_runs_recalled_id_idx
    ON operation_runs (workspace_id, (id::text)) WHERE recalled_at IS NOT NULL;
-- The runs that name a recalled one, looked up by the run that replaces them.
CREATE INDEX operation_runs_recalled_identity_idx
    ON operation_runs (workspace_id, run_identity_hash) WHERE recalled AND recalled_at IS NULL;
-- The members of a context that name another run.
CREATE INDEX operation_runs_context_baseline_idx
    ON operation_runs (workspace_id, (context ->> 'baseline_operation_run_id'), id)
    WHERE context ->> 'baseline_operation_run_id' IS NOT NULL;
CREATE INDEX operation_runs_context_current_idx
    ON operation_runs (workspace_id, (context ->> 'current_operation_run_id'), id)
    WHERE context ->> 'current_operation_run_id' IS NOT NULL;
CREATE INDEX operation_runs_context_run_idx
    ON operation_runs (workspace_id, (context ->> 'operation_run_id'), id)
    WHERE context ->> 'operation_run_id' IS NOT NULL;

-- +goose Down
DROP INDEX operation_runs_context_run_idx, operation_runs_context_current_idx, operation_runs_context_baseline_idx,
    operation_runs_recalled_identity_idx, operation_runs_recalled_id_idx;
