-- name: ListBackupSchedules :many
SELECT * FROM backup_schedules
WHERE workspace_id = @workspace_id AND true AND id < @position_id
ORDER BY id DESC
LIMIT @page_size;

-- name: GetBackupSchedule :one
SELECT * FROM backup_schedules WHERE workspace_id = @workspace_id AND id = @id;

-- name: ListSchedulesInForce :many
-- The schedules that are not deleted: there are as many as people have made.
SELECT * FROM backup_schedules
WHERE workspace_id = @workspace_id AND deleted_at IS NULL
ORDER BY id;

-- name: HasSchedulesInForce :one
-- Whether the workspace has that many schedules that are not deleted.
SELECT count(*) >= @many::int AS yes FROM (
    SELECT FROM backup_schedules WHERE workspace_id = @workspace_id AND deleted_at IS NULL LIMIT @many::int
) AS s;

-- name: ListScheduleVersions :many
SELECT * FROM backup_schedule_versions
WHERE workspace_id = @workspace_id AND schedule_id = ANY (@schedule_ids::bigint[])
ORDER BY schedule_id, version;

-- name: ListBackupsOfSchedules :many
-- The newest backup runs of each schedule, created in a range, as many as each_at_most says. One look
-- into the index of a schedule's history for each.
SELECT s.id::bigint AS schedule_id, r.id, r.status, r.outcome, r.created_at, r.started_at, r.completed_at,
       coalesce(r.scheduled_for, '')::text AS scheduled_for, r.retry_of_id
FROM unnest(@schedule_ids::bigint[]) AS s (id)
CROSS JOIN LATERAL (
    SELECT run.id, run.status, run.outcome, run.created_at, run.started_at, run.completed_at,
           run.context ->> 'scheduled_for' AS scheduled_for, run.retry_of_id
    FROM operation_runs AS run
    WHERE run.workspace_id = @workspace_id AND run.context ->> 'backup_schedule_id' = s.id::text
      AND run.type = 'backup_schedule_run'
      AND coalesce(run.created_at, '-infinity') >= @created_from AND coalesce(run.created_at, '-infinity') < @created_before
    ORDER BY coalesce(run.created_at, '-infinity') DESC, run.id DESC
    LIMIT @each_at_most
) AS r;

-- name: ListLastBackups :many
-- The newest run of each schedule that made a backup and was created since an instant.
SELECT s.id::bigint AS schedule_id, r.id, r.completed_at, r.created_at
FROM unnest(@schedule_ids::bigint[]) AS s (id)
CROSS JOIN LATERAL (
    SELECT run.id, run.completed_at, run.created_at
    FROM operation_runs AS run
    WHERE run.workspace_id = @workspace_id AND run.context ->> 'backup_schedule_id' = s.id::text
      AND run.type = 'backup_schedule_run' AND run.outcome IN ('succeeded', 'partially_succeeded')
      AND coalesce(run.created_at, '-infinity') >= @created_from
    ORDER BY coalesce(run.created_at, '-infinity') DESC, run.id DESC
    LIMIT 1
) AS r;

-- name: NoteScheduleEdits :many
-- Writes down what others have written into the workspace's schedules: a version for each whose plan is
-- not that of its last one. An edit that has moved the row's updated_at, or its deleted_at, began then, if
-- that is not before what is known of the row already; any other begins now. Of a schedule without a
-- version, what is known is that its plan is what it is. schedule_id 0 is for all schedules. A row whose
-- updated_at alone has moved is only marked as compared. Two at once write the same version once.
WITH compared AS MATERIALIZED (
    SELECT s.id, s.timezone, s.frequency, s.time_of_day, s.days_of_week, s.grace_seconds, s.is_enabled,
           s.deleted_at IS NOT NULL AND v.version IS NOT NULL AS is_deleted,
           s.created_at, s.updated_at, s.deleted_at, v.version, v.valid_from, v.compared_updated_at,
           CASE WHEN s.deleted_at IS NOT NULL AND NOT v.is_deleted THEN s.deleted_at ELSE s.updated_at END AS told,
           (v.timezone, v.frequency, v.time_of_day, v.days_of_week, v.grace_seconds, v.is_enabled, v.is_deleted)
           IS DISTINCT FROM (s.timezone, s.frequency, s.time_of_day, s.days_of_week, s.grace_seconds, s.is_enabled,
                             s.deleted_at IS NOT NULL) AS differs
    FROM backup_schedules AS s
    LEFT JOIN LATERAL (
        SELECT * FROM backup_schedule_versions AS newest
        WHERE newest.workspace_id = @workspace_id AND newest.schedule_id = s.id
        ORDER BY newest.version DESC LIMIT 1
    ) AS v ON true
    WHERE s.workspace_id = @workspace_id AND (@schedule_id::bigint = 0 OR s.id = @schedule_id)
), marked AS (
    UPDATE backup_schedule_versions AS v SET compared_updated_at = compared.updated_at
    FROM compared
    WHERE v.workspace_id = @workspace_id AND v.schedule_id = compared.id AND v.version = compared.version
      AND NOT compared.differs AND compared.compared_updated_at IS DISTINCT FROM compared.updated_at
)
INSERT INTO backup_schedule_versions (
    workspace_id, schedule_id, version, valid_from, timezone, frequency, time_of_day, days_of_week, grace_seconds,
    is_enabled, is_deleted, compared_updated_at, actor)
SELECT @workspace_id, c.id, coalesce(c.version, 0) + 1,
       CASE WHEN c.version IS NOT NULL THEN greatest(c.valid_from, CASE
                WHEN c.told > c.valid_from AND c.told > coalesce(c.compared_updated_at, '-infinity') AND c.told <= @noticed_at::timestamptz
                THEN c.told ELSE @noticed_at::timestamptz END)
            WHEN isfinite(c.created_at) THEN c.created_at
            WHEN isfinite(c.updated_at) THEN c.updated_at
            ELSE '-infinity' END,
       c.timezone, c.frequency, c.time_of_day, c.days_of_week, c.grace_seconds, c.is_enabled, c.is_deleted,
       CASE WHEN c.version IS NULL AND c.deleted_at IS NOT NULL THEN NULL ELSE c.updated_at END, @actor
FROM compared AS c
WHERE c.differs
ON CONFLICT (workspace_id, schedule_id, version) DO NOTHING
RETURNING schedule_id, version, valid_from;

-- name: ListScheduleEvents :many
-- The newest events of each schedule, by their slots.
SELECT s.id::bigint AS schedule_id, e.kind, e.slot_at
FROM unnest(@schedule_ids::bigint[]) AS s (id)
CROSS JOIN LATERAL (
    SELECT event.kind, event.slot_at FROM backup_schedule_events AS event
    WHERE event.workspace_id = @workspace_id AND event.schedule_id = s.id
    ORDER BY event.slot_at DESC, event.kind DESC
    LIMIT @each_at_most
) AS e;

-- name: PutScheduleEvents :many
-- Tells of slots. What somebody else has told already is left out, of this and of the result.
INSERT INTO backup_schedule_events (workspace_id, schedule_id, slot_at, kind, actor, data)
SELECT @workspace_id, told.schedule_id, told.slot_at, told.kind, @actor, told.data
FROM (
    SELECT unnest(@schedule_ids::bigint[]) AS schedule_id, unnest(@slots_at::timestamptz[]) AS slot_at,
           unnest(@kinds::text[]) AS kind, unnest(@data::jsonb[]) AS data
) AS told
JOIN backup_schedules AS s ON s.workspace_id = @workspace_id AND s.id = told.schedule_id
ON CONFLICT (workspace_id, schedule_id, slot_at, kind) DO NOTHING
RETURNING schedule_id, slot_at, kind;

-- name: CreateBackupSchedule :one
-- Makes a schedule with its first version. There is no row if the tenant is not of the workspace.
WITH made AS (
    INSERT INTO backup_schedules (
        workspace_id, tenant_id, name, is_enabled, timezone, frequency, time_of_day, days_of_week,
        retention_keep_last, grace_seconds, next_run_at)
    SELECT @workspace_id, sqlc.narg(tenant_id)::bigint, @name::text, @is_enabled::boolean, @timezone::text,
           @frequency::text, @time_of_day::time, sqlc.narg(days_of_week)::jsonb, @retention_keep_last::integer,
           sqlc.narg(grace_seconds)::bigint, sqlc.narg(next_run_at)::timestamptz
    WHERE sqlc.narg(tenant_id)::bigint IS NULL
       OR EXISTS (SELECT FROM tenants AS t WHERE t.workspace_id = @workspace_id AND t.id = sqlc.narg(tenant_id)::bigint)
    RETURNING *
), version AS (
    INSERT INTO backup_schedule_versions (
        workspace_id, schedule_id, version, valid_from, timezone, frequency, time_of_day, days_of_week, grace_seconds,
        is_enabled, is_deleted, compared_updated_at, actor)
    SELECT made.workspace_id, made.id, 1, made.created_at, made.timezone, made.frequency, made.time_of_day,
           made.days_of_week, made.grace_seconds, made.is_enabled, false, made.updated_at, @actor::text
    FROM made
)
SELECT * FROM made;

-- name: EditBackupSchedule :one
-- Makes a schedule what the parameters say, if it is at that revision still, and writes the version that
-- begins with it, if its plan is another one than that of the last. Two edits at once would write the same
-- version; the second one fails by its key. Where no slot moves, next_run_at stays, which is for whoever takes
-- the backups to move: one may be due that nobody has taken yet. How many backups are kept is no part of the
-- plan, and nobody can say afterwards who has made them fewer: that is audited.
WITH was AS (
    SELECT s.retention_keep_last FROM backup_schedules AS s WHERE s.workspace_id = @workspace_id AND s.id = @id
), edited AS (
    UPDATE backup_schedules AS s
    SET name = @name, is_enabled = @is_enabled, timezone = @timezone, frequency = @frequency,
        time_of_day = @time_of_day, days_of_week = sqlc.narg(days_of_week), retention_keep_last = @retention_keep_last,
        grace_seconds = sqlc.narg(grace_seconds),
        next_run_at = CASE
            WHEN @moves::boolean THEN sqlc.narg(next_run_at)::timestamptz ELSE s.next_run_at END,
        deleted_at = CASE WHEN @delete::boolean THEN now() ELSE s.deleted_at END,
        updated_at = now(), revision = s.revision + 1
    WHERE s.workspace_id = @workspace_id AND s.id = @id AND s.revision = @revision
      AND s.updated_at IS NOT DISTINCT FROM sqlc.narg(updated_at)
    RETURNING s.*
), compared AS MATERIALIZED (
    SELECT edited.*, v.version, v.valid_from,
           (v.timezone, v.frequency, v.time_of_day, v.days_of_week, v.grace_seconds, v.is_enabled, v.is_deleted)
           IS DISTINCT FROM (edited.timezone, edited.frequency, edited.time_of_day, edited.days_of_week,
                             edited.grace_seconds, edited.is_enabled, edited.deleted_at IS NOT NULL) AS differs
    FROM edited
    LEFT JOIN LATERAL (
        SELECT * FROM backup_schedule_versions AS newest
        WHERE newest.workspace_id = @workspace_id AND newest.schedule_id = edited.id
        ORDER BY newest.version DESC LIMIT 1
    ) AS v ON true
), marked AS (
    UPDATE backup_schedule_versions AS v SET compared_updated_at = c.updated_at
    FROM compared AS c
    WHERE v.workspace_id = @workspace_id AND v.schedule_id = c.id AND v.version = c.version AND NOT c.differs
), version AS (
    INSERT INTO backup_schedule_versions (
        workspace_id, schedule_id, version, valid_from, timezone, frequency, time_of_day, days_of_week, grace_seconds,
        is_enabled, is_deleted, compared_updated_at, actor)
    SELECT c.workspace_id, c.id, coalesce(c.version, 0) + 1, greatest(now(), c.valid_from), c.timezone, c.frequency,
           c.time_of_day, c.days_of_week, c.grace_seconds, c.is_enabled, c.deleted_at IS NOT NULL, c.updated_at, @actor::text
    FROM compared AS c
    WHERE c.differs
), audited AS (
    INSERT INTO audit_events (action, actor, workspace_id, target, data)
    SELECT 'schedule_retention_set', @actor::text, edited.workspace_id, 'backup schedule ' || edited.id,
           jsonb_build_object('keep_last', edited.retention_keep_last, 'keep_last_before', was.retention_keep_last)
    FROM edited CROSS JOIN was
    WHERE edited.retention_keep_last IS DISTINCT FROM was.retention_keep_last
)
SELECT * FROM edited;
