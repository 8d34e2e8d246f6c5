-- name: ListInventoryItems :many
SELECT sqlc.embed(inventory_items),
       run.type AS run_type, run.status AS run_status, run.outcome AS run_outcome,
       run.started_at AS run_started_at, run.completed_at AS run_completed_at,
       (run.recalled_at IS NOT NULL)::boolean AS recalled
FROM inventory_items
LEFT JOIN operation_runs AS run
    ON run.workspace_id = inventory_items.workspace_id AND run.id = inventory_items.last_seen_operation_run_id
WHERE inventory_items.workspace_id = @workspace_id AND true AND inventory_items.id < @position_id
ORDER BY inventory_items.id DESC
LIMIT @page_size;

-- name: GetInventoryItem :one
SELECT sqlc.embed(inventory_items),
       run.type AS run_type, run.status AS run_status, run.outcome AS run_outcome,
       run.started_at AS run_started_at, run.completed_at AS run_completed_at,
       (run.recalled_at IS NOT NULL)::boolean AS recalled
FROM inventory_items
LEFT JOIN operation_runs AS run
    ON run.workspace_id = inventory_items.workspace_id AND run.id = inventory_items.last_seen_operation_run_id
WHERE inventory_items.workspace_id = @workspace_id AND inventory_items.id = @id;

-- name: UpsertInventoryItems :many
-- Records inventory items as one run saw them. What a newer run has seen stays as it is: a run
-- that this statement cannot see yet was created after it began and is newer than any. An item
-- whose tenant is not of the workspace is missing from the result, and all are if the run is not.
-- No two may be the same item.
WITH item AS (
    SELECT unnest(@places::bigint[]) AS place,
           nullif(unnest(@tenant_ids::bigint[]), 0) AS tenant_id,
           unnest(@policy_types::text[]) AS policy_type,
           unnest(@external_ids::text[]) AS external_id,
           nullif(unnest(@display_names::text[]), '') AS display_name,
           nullif(unnest(@categories::text[]), '') AS category,
           nullif(unnest(@platforms::text[]), '') AS platform,
           unnest(@metas::text[]) AS meta,
           unnest(@last_seen_ats::timestamptz[]) AS last_seen_at
), candidate AS MATERIALIZED (
    SELECT nextval('inventory_items_id_seq') AS id, item.*
    FROM item
    WHERE (item.tenant_id IS NULL OR EXISTS (
              SELECT FROM tenants WHERE tenants.workspace_id = @workspace_id AND tenants.id = item.tenant_id))
      AND EXISTS (
              SELECT FROM operation_runs AS seer
              WHERE seer.workspace_id = @workspace_id AND seer.id = @operation_run_id)
), written AS (
    INSERT INTO inventory_items AS known (workspace_id, id, tenant_id, policy_type, external_id, display_name, category,
                                          platform, meta, last_seen_at, last_seen_operation_run_id, created_at, updated_at)
    SELECT @workspace_id, id, tenant_id, policy_type, external_id, display_name, category,
           platform, meta::jsonb, coalesce(last_seen_at, now()), @operation_run_id, now(), now()
    FROM candidate
    ORDER BY tenant_id, policy_type, external_id -- the same order for everybody, so that none waits in a circle
    ON CONFLICT (workspace_id, tenant_id, policy_type, external_id) DO UPDATE
    SET display_name = excluded.display_name,
        category = excluded.category,
        platform = excluded.platform,
        meta = excluded.meta,
        last_seen_at = excluded.last_seen_at,
        last_seen_operation_run_id = excluded.last_seen_operation_run_id,
        updated_at = excluded.updated_at
    WHERE known.last_seen_operation_run_id IS NULL OR EXISTS (
        SELECT
        FROM operation_runs AS last, operation_runs AS this
        WHERE last.workspace_id = @workspace_id AND last.id = known.last_seen_operation_run_id
          AND this.workspace_id = @workspace_id AND this.id = excluded.last_seen_operation_run_id
          AND (coalesce(last.created_at, '-infinity'), last.id) <= (coalesce(this.created_at, '-infinity'), this.id))
    RETURNING known.id
)
SELECT candidate.place::bigint AS place, (written.id IS NOT NULL)::boolean AS created
FROM candidate LEFT JOIN written ON written.id = candidate.id;

-- name: ListInventoryItemsByExternalID :many
-- The inventory items that the keys name, each with its place among them. Each key is looked up by
-- itself: of a table that was empty a moment ago PostgreSQL knows nothing yet, and would join it
-- row by row.
WITH item AS (
    SELECT unnest(@places::bigint[]) AS place,
           nullif(unnest(@tenant_ids::bigint[]), 0) AS tenant_id,
           unnest(@policy_types::text[]) AS policy_type,
           unnest(@external_ids::text[]) AS external_id
), found AS MATERIALIZED (
    SELECT item.place, coalesce((
               SELECT i.id FROM inventory_items AS i
               WHERE i.workspace_id = @workspace_id AND i.tenant_id = item.tenant_id
                 AND i.policy_type = item.policy_type AND i.external_id = item.external_id
           ), (
               SELECT i.id FROM inventory_items AS i
               WHERE i.workspace_id = @workspace_id AND i.tenant_id IS NULL AND item.tenant_id IS NULL
                 AND i.policy_type = item.policy_type AND i.external_id = item.external_id
           )) AS id
    FROM item
)
SELECT found.place::bigint AS place,
       sqlc.embed(inventory_items),
       run.type AS run_type, run.status AS run_status, run.outcome AS run_outcome,
       run.started_at AS run_started_at, run.completed_at AS run_completed_at,
       (run.recalled_at IS NOT NULL)::boolean AS recalled
FROM inventory_items
JOIN found ON found.id = inventory_items.id
LEFT JOIN operation_runs AS run
    ON run.workspace_id = inventory_items.workspace_id AND run.id = inventory_items.last_seen_operation_run_id
WHERE inventory_items.workspace_id = @workspace_id AND inventory_items.id = ANY (ARRAY(SELECT f.id FROM found AS f))
ORDER BY found.place;
