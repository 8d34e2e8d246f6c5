package server

import (
	"net/http"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/workspace"
)

func (s *Server) listBackupSchedules(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	p := parseParams(r)
	var f filter
	if id, ok := p.id("tenant_id"); ok {
		f.and("tenant_id = ?", id)
	}
	if enabled, ok := p.flag("is_enabled"); ok {
		f.and("is_enabled = ?", enabled)
	}
	if deleted, ok := p.flag("deleted"); ok {
		f.and("(deleted_at IS NOT NULL) = ?", deleted)
	}
	p.position(r)
	pg, err := s.pageOf(r, ws.ID(), p, afterAll)
	if err != nil {
		return err
	}
	var schedules []dbsqlc.BackupSchedule
	err = s.reading(r, pg, func(db dbsqlc.DBTX) (err error) {
		schedules, err = s.queries.ListBackupSchedules(r.Context(), narrowed{DBTX: db, filter: f},
			dbsqlc.ListBackupSchedulesParams{WorkspaceID: ws.ID(), PositionID: pg.after.id, PageSize: pg.rows()})
		return err
	})
	if err != nil {
		return err
	}
	return answerPage(s, w, r, pg, schedules, appendBackupSchedule,
		func(row *dbsqlc.BackupSchedule) position { return byID(row.ID) })
}

func (s *Server) getBackupSchedule(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	schedule, err := s.backupSchedule(r, ws)
	if err != nil {
		return err
	}
	if err := noParams(r); err != nil {
		return err
	}
	return answerBackupSchedule(w, r, http.StatusOK, &schedule)
}

// answerBackupSchedule writes a schedule. Its tag begins with its revision, which If-Match compares.
func answerBackupSchedule(w http.ResponseWriter, r *http.Request, status int, schedule *dbsqlc.BackupSchedule) error {
	return answerTagged(w, r, status, revisionMark(schedule.Revision),
		func(b []byte) []byte { return appendBackupSchedule(b, schedule) })
}

// listBackupScheduleRuns is the history of a schedule: the list of runs, bound to the schedule. The
// list's own statement keeps to schedules that are there, so that another one is needed only to
// tell a schedule without runs from none.
func (s *Server) listBackupScheduleRuns(w http.ResponseWriter, r *http.Request, v *visitor) error {
	id, err := rowID(r)
	if err != nil {
		return err
	}
	p := parseParams(r)
	f := runFilter(p)
	if p.values.Has("backup_schedule_id") {
		p.fault("backup_schedule_id", "The address names the schedule already.")
	}
	f.ofSchedule(id)
	history := &f.all[len(f.all)-1]
	history.sql += " AND EXISTS (SELECT FROM backup_schedules WHERE workspace_id = ? AND id = ?)"
	history.args = append(history.args, v.workspaceID(), id)
	return s.answerRuns(w, r, v, p, f, func(r *http.Request) error {
		ws, err := v.admit(r)
		if err == nil {
			_, err = s.backupSchedule(r, ws)
		}
		return err
	})
}

// backupSchedule is the schedule that the path names.
func (s *Server) backupSchedule(r *http.Request, ws workspace.Scope) (dbsqlc.BackupSchedule, error) {
	id, err := rowID(r)
	if err != nil {
		return dbsqlc.BackupSchedule{}, err
	}
	return s.queries.GetBackupSchedule(r.Context(), s.db, dbsqlc.GetBackupScheduleParams{WorkspaceID: ws.ID(), ID: id})
}

// appendBackupSchedule appends a backup schedule as the interface shows it.
func appendBackupSchedule(b []byte, schedule *dbsqlc.BackupSchedule) []byte {
	b = append(b, '{')
	b = appendInt(b, "id", schedule.ID)
	b = appendInt(b, "workspace_id", schedule.WorkspaceID)
	b = appendOptionalInt(b, "tenant_id", schedule.TenantID)
	b = appendText(b, "name", schedule.Name)
	b = appendBool(b, "is_enabled", schedule.IsEnabled)
	b = appendText(b, "timezone", schedule.Timezone)
	b = appendText(b, "frequency", schedule.Frequency)
	b = appendTimeOfDay(appendKey(b, "time_of_day"), schedule.TimeOfDay.Microseconds)
	b = appendJSON(b, "days_of_week", schedule.DaysOfWeek)
	b = appendInt(b, "retention_keep_last", int64(schedule.RetentionKeepLast))
	b = appendOptionalInt(b, "grace_seconds", schedule.GraceSeconds)
	b = appendTime(b, "last_run_at", schedule.LastRunAt)
	b = appendTime(b, "next_run_at", schedule.NextRunAt)
	b = appendTime(b, "deleted_at", schedule.DeletedAt)
	b = appendTime(b, "created_at", schedule.CreatedAt)
	b = appendTime(b, "updated_at", schedule.UpdatedAt)
	b = appendInt(b, "revision", schedule.Revision)
	return append(b, '}')
}
