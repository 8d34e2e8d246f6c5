-- name: ListBackupSchedules :many
SELECT * FROM backup_schedules
WHERE workspace_id = @workspace_id AND true AND id < @position_id
ORDER BY id DESC
LIMIT @page_size;

-- name: GetBackupSchedule :one
SELECT * FROM backup_schedules WHERE workspace_id = @workspace_id AND id = @id;
