-- name: ListInventoryItems :many
SELECT sqlc.embed(inventory_items),
       run.type AS run_type, run.status AS run_status, run.outcome AS run_outcome,
       run.started_at AS run_started_at, run.completed_at AS run_completed_at
FROM inventory_items
LEFT JOIN operation_runs AS run
    ON run.workspace_id = inventory_items.workspace_id AND run.id = inventory_items.last_seen_operation_run_id
WHERE inventory_items.workspace_id = @workspace_id AND true AND inventory_items.id < @position_id
ORDER BY inventory_items.id DESC
LIMIT @page_size;

-- name: GetInventoryItem :one
SELECT sqlc.embed(inventory_items),
       run.type AS run_type, run.status AS run_status, run.outcome AS run_outcome,
       run.started_at AS run_started_at, run.completed_at AS run_completed_at
FROM inventory_items
LEFT JOIN operation_runs AS run
    ON run.workspace_id = inventory_items.workspace_id AND run.id = inventory_items.last_seen_operation_run_id
WHERE inventory_items.workspace_id = @workspace_id AND inventory_items.id = @id;
