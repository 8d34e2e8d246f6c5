-- A failure's code is looked for among the first failures of the runs, where an index has it, and
-- among their later ones. The later ones were two indexes, of which the last held no codes: a code
-- behind the second was looked for in each run with more than two. And neither held what a second
-- filter asks for, so that a common code with a rare tenant was looked for in each run with the code.

-- +goose Up
-- The first code, in the list's order, with the columns of the other filters. These are written so
-- that no other index knows them, because PostgreSQL knows nothing about what conditions on
-- expressions keep, and would rather read another index: internal/server/failures.go says them alike.
CREATE INDEX operation_runs_failure_code_idx
    ON operation_runs (workspace_id, (failure_summary -> 0 ->> 'code'), coalesce(created_at, '-infinity'::timestamptz), id,
                       type COLLATE "C", outcome COLLATE "C", status COLLATE "C", (tenant_id + 0), (user_id + 0))
    WHERE failure_summary -> 0 ->> 'code' IS NOT NULL;
-- The few runs with more failures than one, in the list's order. An index has one entry for a run,
-- and such a run has several codes, so the entry says of each length, modulo 16, whether a later
-- failure has a code so long: of runs without one, none is visited.
CREATE INDEX operation_runs_later_failures_idx
    ON operation_runs (workspace_id, coalesce(created_at, '-infinity'::timestamptz), id,
                       type COLLATE "C", outcome COLLATE "C", status COLLATE "C", (tenant_id + 0), (user_id + 0),
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

-- +goose Down
DROP INDEX operation_runs_later_failures_idx, operation_runs_failure_code_idx;
