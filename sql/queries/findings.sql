-- name: ListFindings :many
SELECT sqlc.embed(findings),
       baseline.type AS baseline_type, baseline.status AS baseline_status, baseline.outcome AS baseline_outcome,
       baseline.started_at AS baseline_started_at, baseline.completed_at AS baseline_completed_at,
       current.type AS current_type, current.status AS current_status, current.outcome AS current_outcome,
       current.started_at AS current_started_at, current.completed_at AS current_completed_at
FROM findings
LEFT JOIN operation_runs AS baseline
    ON baseline.workspace_id = findings.workspace_id AND baseline.id = findings.baseline_operation_run_id
LEFT JOIN operation_runs AS current
    ON current.workspace_id = findings.workspace_id AND current.id = findings.current_operation_run_id
WHERE findings.workspace_id = @workspace_id AND true AND findings.id < @position_id
ORDER BY findings.id DESC
LIMIT @page_size;

-- name: GetFinding :one
SELECT sqlc.embed(findings),
       baseline.type AS baseline_type, baseline.status AS baseline_status, baseline.outcome AS baseline_outcome,
       baseline.started_at AS baseline_started_at, baseline.completed_at AS baseline_completed_at,
       current.type AS current_type, current.status AS current_status, current.outcome AS current_outcome,
       current.started_at AS current_started_at, current.completed_at AS current_completed_at
FROM findings
LEFT JOIN operation_runs AS baseline
    ON baseline.workspace_id = findings.workspace_id AND baseline.id = findings.baseline_operation_run_id
LEFT JOIN operation_runs AS current
    ON current.workspace_id = findings.workspace_id AND current.id = findings.current_operation_run_id
WHERE findings.workspace_id = @workspace_id AND findings.id = @id;
