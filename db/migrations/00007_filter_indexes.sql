-- Filters that are asked for together. A failure's code was looked for behind the second failure of
-- a run among all runs with more than two, and a common code or identity with a rare tenant in each
-- run that has the first. What replaces an index here begins with the same columns, so that the
-- release before reads it instead.

-- +goose Up
-- The first code, in the list's order, with the columns of the other filters. These are written so
-- that no other index knows them, because PostgreSQL knows nothing about what conditions on
-- expressions keep, and would rather read another index: see condition.carried in the server.
CREATE INDEX operation_runs_failure_code_idx
    ON operation_runs (workspace_id, (failure_summary -> 0 ->> 'code'), coalesce(created_at, '-infinity'::timestamptz), id,
                       type COLLATE "C", outcome COLLATE "C", status COLLATE "C", run_identity_hash COLLATE "C",
                       (tenant_id + 0), (user_id + 0))
    WHERE failure_summary -> 0 ->> 'code' IS NOT NULL;
-- The few runs with more failures than one, in the list's order. An index has one entry for a run,
-- and such a run has several codes, so the entry says of each length, modulo 16, whether a later
-- failure has a code so long: of runs without one, none is visited.
CREATE INDEX operation_runs_later_failures_idx
    ON operation_runs (workspace_id, coalesce(created_at, '-infinity'::timestamptz), id,
                       type COLLATE "C", outcome COLLATE "C", status COLLATE "C", run_identity_hash COLLATE "C",
                       (tenant_id + 0), (user_id + 0),
                       jsonb_path_match(failure_summary, '$[1 to last].code like_regex "^(.{16})*.{0}$" flag "s"'),
                       jsonb_path_match(failure_summary, '$[1 to last].code like_regex "^(.{16})*.{1}$" flag "s"'),
                       jsonb_path_match(failure_summary, '$[1 to last].code like_regex "^(.{16})*.{2}$" flag "s"'),
                       jsonb_path_match(failure_summary, '$[1 to last].code like_regex "^(.{16})*.{3}$" flag "s"'),
                       jsonb_path_match(failure_summary, '$[1 to last].code like_regex "^(.{16})*.{4}$" flag "s"'),
                       jsonb_path_match(failure_summary, '$[1 to last].code like_regex "^(.{16})*.{5}$" flag "s"'),
                       jsonb_path_match(failure_summary, '$[1 to last].code like_regex "^(.{16})*.{6}$" flag "s"'),
                       jsonb_path_match(failure_summary, '$[1 to last].code like_regex "^(.{16})*.{7}$" flag "s"'),
                       jsonb_path_match(failure_summary, '$[1 to last].code like_regex "^(.{16})*.{8}$" flag "s"'),
                       jsonb_path_match(failure_summary, '$[1 to last].code like_regex "^(.{16})*.{9}$" flag "s"'),
                       jsonb_path_match(failure_summary, '$[1 to last].code like_regex "^(.{16})*.{10}$" flag "s"'),
                       jsonb_path_match(failure_summary, '$[1 to last].code like_regex "^(.{16})*.{11}$" flag "s"'),
                       jsonb_path_match(failure_summary, '$[1 to last].code like_regex "^(.{16})*.{12}$" flag "s"'),
                       jsonb_path_match(failure_summary, '$[1 to last].code like_regex "^(.{16})*.{13}$" flag "s"'),
                       jsonb_path_match(failure_summary, '$[1 to last].code like_regex "^(.{16})*.{14}$" flag "s"'),
                       jsonb_path_match(failure_summary, '$[1 to last].code like_regex "^(.{16})*.{15}$" flag "s"'))
    WHERE failure_summary -> 1 IS NOT NULL;
CREATE INDEX operation_runs_identity_idx
    ON operation_runs (workspace_id, run_identity_hash, coalesce(created_at, '-infinity'::timestamptz), id,
                       outcome, type, status, tenant_id, user_id);
-- The release before needs operation_runs_second_failure_code_idx and operation_runs_further_failures_idx.
DROP INDEX operation_runs_first_failure_code_idx, operation_runs_run_identity_hash_idx;

-- +goose Down
CREATE INDEX operation_runs_first_failure_code_idx
    ON operation_runs (workspace_id, (failure_summary -> 0 ->> 'code'),
                       coalesce(created_at, '-infinity'::timestamptz), id)
    WHERE failure_summary -> 0 ->> 'code' IS NOT NULL;
CREATE INDEX operation_runs_run_identity_hash_idx
    ON operation_runs (workspace_id, run_identity_hash, coalesce(created_at, '-infinity'::timestamptz), id, outcome);
DROP INDEX operation_runs_identity_idx, operation_runs_later_failures_idx, operation_runs_failure_code_idx;
