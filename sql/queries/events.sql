-- What happened to runs. The order of a workspace's changes is (transaction_id, id), and a change
-- is settled once every transaction up to its own has ended: from then on none can come before it.
-- An open transaction of another database of the cluster cannot write here and does not count.

-- An event may hold a report of a mebibyte, and a page of them is not to take a server's memory. The data of
-- those that do not fit stays where it is; the first always fits. How large it is, is told by how it is stored,
-- which reads none of it: what is compressed is taken for 64 times as much.

-- name: ListRunEvents :many
SELECT e.id, e.run_id, e.kind, e.at, e.actor, CASE WHEN e.fits THEN e.data ELSE '{}' END::jsonb AS data, e.fits::boolean AS fits
FROM (
    SELECT listed.*, sum(listed.weight) OVER (ORDER BY listed.id ROWS UNBOUNDED PRECEDING) - listed.weight < 8 * 1024 * 1024 AS fits
    FROM (
        SELECT operation_run_events.*,
               pg_column_size(operation_run_events.data) * CASE WHEN pg_column_compression(operation_run_events.data) IS NULL THEN 1 ELSE 64 END AS weight
        FROM operation_run_events
        WHERE workspace_id = @workspace_id AND run_id = @run_id AND id > @position_id
        ORDER BY id
        LIMIT @page_size
    ) AS listed
) AS e
ORDER BY e.id;

-- name: ListChanges :many
-- The settled changes behind a position: of runs, and of backup schedules, whose run_id is 0. Both
-- take their ids from one sequence. horizon comes from one of the two queries below.
SELECT c.id, c.run_id, c.kind, c.at, c.actor, CASE WHEN c.fits THEN c.data ELSE '{}' END::jsonb AS data,
       c.transaction_id::text::bigint AS transaction, c.fits::boolean AS fits
FROM (
SELECT change.*, sum(change.weight) OVER (ORDER BY change.transaction_id, change.id ROWS UNBOUNDED PRECEDING) - change.weight < 8 * 1024 * 1024 AS fits
FROM (
    (SELECT r.id, r.run_id, r.kind, r.at, r.actor, r.data, r.transaction_id,
            pg_column_size(r.data) * CASE WHEN pg_column_compression(r.data) IS NULL THEN 1 ELSE 64 END AS weight
     FROM operation_run_events AS r
     WHERE r.workspace_id = @workspace_id
       AND (r.transaction_id, r.id) > ((@position_transaction::bigint)::text::xid8, @position_id::bigint)
       AND r.transaction_id < (@horizon::bigint)::text::xid8
     ORDER BY r.transaction_id, r.id
     LIMIT @page_size)
    UNION ALL
    (SELECT s.id, 0, s.kind, s.at, s.actor, s.data, s.transaction_id,
            pg_column_size(s.data) * CASE WHEN pg_column_compression(s.data) IS NULL THEN 1 ELSE 64 END
     FROM backup_schedule_events AS s
     WHERE s.workspace_id = @workspace_id
       AND (s.transaction_id, s.id) > ((@position_transaction::bigint)::text::xid8, @position_id::bigint)
       AND s.transaction_id < (@horizon::bigint)::text::xid8
     ORDER BY s.transaction_id, s.id
     LIMIT @page_size)
) AS change
ORDER BY change.transaction_id, change.id
LIMIT @page_size
) AS c
ORDER BY c.transaction_id, c.id;

-- name: GetFeedHorizon :one
-- @sqlc-vet-disable workspace-scope
-- It reads no table. Every transaction below the horizon that could write here has ended: of those
-- in progress, the ones of other databases do not count. beyond is above all that have begun.
SELECT coalesce((
           SELECT min(x::text::bigint) FROM pg_snapshot_xip(pg_current_snapshot()) AS x
           WHERE x::xid NOT IN (
               SELECT l.transactionid FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
               WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
                 AND a.datname <> current_database())
       ), pg_snapshot_xmax(pg_current_snapshot())::text::bigint)::bigint AS horizon,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS beyond;

-- name: GetFeedPlace :one
-- Where a position is among the changes of a workspace. is_there tells that its change exists,
-- is_adopted that it exists as one that was adopted, is_ahead that no transaction has come as far.
-- last is the last settled change, 0 if there is none. last_foreign_id is above 0 if there are
-- changes that no transaction of this cluster can have written. horizon is as in GetFeedHorizon.
WITH horizon AS MATERIALIZED (
    SELECT coalesce((
        SELECT min(x::text::bigint) FROM pg_snapshot_xip(pg_current_snapshot()) AS x
        WHERE x::xid NOT IN (
            SELECT l.transactionid FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
            WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
              AND a.datname <> current_database())
    ), pg_snapshot_xmax(pg_current_snapshot())::text::bigint)::bigint AS horizon
)
SELECT horizon.horizon,
       EXISTS (
           SELECT FROM operation_run_events AS e
           WHERE e.workspace_id = @workspace_id
             AND e.transaction_id = (@position_transaction::bigint)::text::xid8 AND e.id = @position_id
           UNION ALL
           SELECT FROM backup_schedule_events AS e
           WHERE e.workspace_id = @workspace_id
             AND e.transaction_id = (@position_transaction::bigint)::text::xid8 AND e.id = @position_id
       )::boolean AS is_there,
       EXISTS (
           SELECT FROM operation_run_events AS e
           WHERE e.workspace_id = @workspace_id AND e.transaction_id = '0' AND e.id = @position_id
           UNION ALL
           SELECT FROM backup_schedule_events AS e
           WHERE e.workspace_id = @workspace_id AND e.transaction_id = '0' AND e.id = @position_id
       )::boolean AS is_adopted,
       ((@position_transaction::bigint)::text::xid8 >= pg_snapshot_xmax(pg_current_snapshot()))::boolean AS is_ahead,
       coalesce(last.transaction_id::text::bigint, 0)::bigint AS last_transaction,
       coalesce(last.id, 0)::bigint AS last_id,
       greatest(coalesce((
           SELECT max(newest.id) FROM (
               SELECT e.id FROM operation_run_events AS e
               WHERE e.workspace_id = @workspace_id AND e.transaction_id >= pg_snapshot_xmax(pg_current_snapshot())
               ORDER BY e.transaction_id DESC, e.id DESC LIMIT 1000
           ) AS newest
       ), 0), coalesce((
           SELECT max(newest.id) FROM (
               SELECT e.id FROM backup_schedule_events AS e
               WHERE e.workspace_id = @workspace_id AND e.transaction_id >= pg_snapshot_xmax(pg_current_snapshot())
               ORDER BY e.transaction_id DESC, e.id DESC LIMIT 1000
           ) AS newest
       ), 0))::bigint AS last_foreign_id
FROM horizon
LEFT JOIN LATERAL (
    SELECT newest.transaction_id, newest.id FROM (
        (SELECT e.transaction_id, e.id FROM operation_run_events AS e
         WHERE e.workspace_id = @workspace_id AND e.transaction_id < (horizon.horizon)::text::xid8
         ORDER BY e.transaction_id DESC, e.id DESC LIMIT 1)
        UNION ALL
        (SELECT e.transaction_id, e.id FROM backup_schedule_events AS e
         WHERE e.workspace_id = @workspace_id AND e.transaction_id < (horizon.horizon)::text::xid8
         ORDER BY e.transaction_id DESC, e.id DESC LIMIT 1)
    ) AS newest
    ORDER BY newest.transaction_id DESC, newest.id DESC LIMIT 1
) AS last ON true;

-- name: AdoptChanges :one
-- Puts changes that another cluster wrote before all of this one, in the order of their ids, and
-- counts them. Those that tell that there are foreign ones come last, so that whoever is interrupted
-- goes on: one order for the events of runs and those of schedules.
WITH foreigner AS MATERIALIZED (
    SELECT e.run_id, e.id, e.transaction_id FROM operation_run_events AS e
    WHERE e.workspace_id = @workspace_id AND e.transaction_id > '0' AND e.id <= @last_foreign_id
    UNION ALL
    SELECT 0, e.id, e.transaction_id FROM backup_schedule_events AS e
    WHERE e.workspace_id = @workspace_id AND e.transaction_id > '0' AND e.id <= @last_foreign_id
    ORDER BY transaction_id, id
    LIMIT @page_size
), of_run AS (
    UPDATE operation_run_events AS adopted SET transaction_id = '0'
    WHERE adopted.workspace_id = @workspace_id AND (adopted.run_id, adopted.id) IN (SELECT f.run_id, f.id FROM foreigner AS f)
), of_schedule AS (
    UPDATE backup_schedule_events AS adopted SET transaction_id = '0'
    WHERE adopted.workspace_id = @workspace_id AND adopted.id IN (SELECT f.id FROM foreigner AS f WHERE f.run_id = 0)
)
SELECT count(*) FROM foreigner;
