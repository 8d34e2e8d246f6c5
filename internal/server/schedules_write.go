package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/runledger/runledger/internal/agenda"
	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/schedule"
	"github.com/runledger/runledger/internal/workspace"
)

// The bounds of what a schedule may say.
const (
	maxSchedules  = 1000 // of a workspace, without those that are deleted
	mostKept      = 10_000
	shortestGrace = 60    // seconds
	longestGrace  = 43200 // seconds
)

// createBackupSchedule makes a schedule.
func (s *Server) createBackupSchedule(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	p := parseParams(r).noCondition(r)
	p.noKey(r, "A schedule is made anew by each request. Where an answer did not come, look in the list before the next one.")
	if err := p.done(); err != nil {
		return err
	}
	body, err := readBody(r)
	if err != nil {
		return err
	}
	f := parseFields(body, "")
	row := dbsqlc.BackupSchedule{IsEnabled: true, Timezone: "UTC", RetentionKeepLast: 30, TenantID: f.id("tenant_id")}
	for _, name := range []string{"name", "frequency", "time_of_day"} {
		f.requires(name)
	}
	f.schedule(&row)
	if faults := f.faultless(); len(faults) > 0 {
		return errInvalidFields(faults...)
	}
	// Two at the same moment may make one more; the bound is for those who make them without end.
	full, err := s.queries.HasSchedulesInForce(r.Context(), s.db, dbsqlc.HasSchedulesInForceParams{WorkspaceID: ws.ID(), Many: maxSchedules})
	if err != nil {
		return err
	}
	if full {
		return errConflict(nil, fmt.Sprintf("The workspace has %d schedules, as many as there may be; delete one that is not needed.", maxSchedules))
	}
	made, err := s.queries.CreateBackupSchedule(r.Context(), s.db, dbsqlc.CreateBackupScheduleParams{
		WorkspaceID: ws.ID(), TenantID: row.TenantID, Name: row.Name, IsEnabled: row.IsEnabled, Timezone: row.Timezone,
		Frequency: row.Frequency, TimeOfDay: row.TimeOfDay, DaysOfWeek: row.DaysOfWeek,
		RetentionKeepLast: row.RetentionKeepLast, GraceSeconds: row.GraceSeconds, NextRunAt: nextRun(&row), Actor: ws.UserName(),
	})
	if errors.Is(err, pgx.ErrNoRows) || hasCode(err, foreignKeyViolation) { // a tenant that goes at this moment fails by its key
		return errInvalidFields(fault{Pointer: "/tenant_id", Detail: noSuchTenant}).because(err)
	}
	if err != nil {
		return err
	}
	row = dbsqlc.BackupSchedule(made)
	w.Header().Set("Location", fmt.Sprintf("/workspaces/%d/backup-schedules/%d", ws.ID(), row.ID))
	return answerBackupSchedule(w, r, http.StatusCreated, &row)
}

// patchBackupSchedule changes of a schedule what the body mentions; what it is already, it stays.
func (s *Server) patchBackupSchedule(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	row, err := s.backupSchedule(r, ws)
	if err != nil {
		return err
	}
	if err := noParams(r); err != nil {
		return err
	}
	body, err := readBody(r)
	if err != nil {
		return err
	}
	return s.editSchedule(w, r, ws, row, func(row *dbsqlc.BackupSchedule) (bool, error) {
		f := parseFields(body, "")
		before := *row
		f.schedule(row)
		if faults := f.faultless(); len(faults) > 0 {
			return false, errInvalidFields(faults...)
		}
		if row.DeletedAt.Valid {
			return false, errConflict(nil, "The schedule is deleted; its history is all that is left of it.")
		}
		return !sameSchedule(&before, row), nil
	})
}

// deleteBackupSchedule deletes a schedule: it is due no more, and its history stays.
func (s *Server) deleteBackupSchedule(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	row, err := s.backupSchedule(r, ws)
	if err != nil {
		return err
	}
	if err := noParams(r); err != nil {
		return err
	}
	if err := noBody(r); err != nil {
		return err
	}
	return s.editSchedule(w, r, ws, row, func(row *dbsqlc.BackupSchedule) (bool, error) {
		deleted := row.DeletedAt.Valid
		row.DeletedAt.Valid = true
		return !deleted, nil
	})
}

// editSchedule changes a schedule by change, which tells whether there is anything to write, and
// answers what it is then. What others have written into the row is noted first, so that its time
// ends with this edit and is not lost. If somebody edits it in between, it is tried anew, unless the
// request wants one revision and no other.
func (s *Server) editSchedule(
	w http.ResponseWriter, r *http.Request, ws workspace.Scope, row dbsqlc.BackupSchedule,
	change func(row *dbsqlc.BackupSchedule) (bool, error),
) error {
	wanted, ok := wantedRevision(r)
	if !ok {
		return errRevision
	}
	const attempts = 5
	for attempt := 1; ; attempt++ {
		if wanted != 0 && wanted != row.Revision {
			return errRevision
		}
		edited := row
		changed, err := change(&edited)
		if err != nil {
			return err
		}
		if !changed {
			return answerBackupSchedule(w, r, http.StatusOK, &row)
		}
		written, err := s.writeSchedule(r.Context(), ws, &row, &edited)
		meanwhile := errors.Is(err, pgx.ErrNoRows) || hasCode(err, uniqueViolation)
		if meanwhile && attempt < attempts {
			if row, err = s.backupSchedule(r, ws); err != nil {
				return err
			}
			continue
		}
		switch {
		case meanwhile:
			return errUnavailable.because(err)
		case hasCode(err, checkViolation):
			return errConflict(nil, outsidePlans).because(err)
		case err != nil:
			return err
		}
		return answerBackupSchedule(w, r, http.StatusOK, &written)
	}
}

const outsidePlans = "The schedule is of the time before its frequency had to be daily or weekly, and it is neither. " +
	"It can be read, and a PATCH that gives it a frequency makes it whole; nothing else of it can change."

// writeSchedule writes a schedule as it is to be instead of before, with the version that begins with
// it if its plan is another one. The error is pgx.ErrNoRows, or a uniqueViolation of the
// versions, if somebody else has edited it meanwhile.
func (s *Server) writeSchedule(ctx context.Context, ws workspace.Scope, before, row *dbsqlc.BackupSchedule) (dbsqlc.BackupSchedule, error) {
	_, err := s.queries.NoteScheduleEdits(ctx, s.db, dbsqlc.NoteScheduleEditsParams{
		WorkspaceID: ws.ID(), ScheduleID: row.ID, NoticedAt: timestamptz(time.Now()), Actor: ledger.Service,
	})
	if err != nil {
		return dbsqlc.BackupSchedule{}, err
	}
	written, err := s.queries.EditBackupSchedule(ctx, s.db, dbsqlc.EditBackupScheduleParams{
		WorkspaceID: ws.ID(), ID: row.ID, Revision: row.Revision, UpdatedAt: row.UpdatedAt,
		Name: row.Name, IsEnabled: row.IsEnabled, Timezone: row.Timezone, Frequency: row.Frequency,
		TimeOfDay: row.TimeOfDay, DaysOfWeek: row.DaysOfWeek, RetentionKeepLast: row.RetentionKeepLast,
		GraceSeconds: row.GraceSeconds, Moves: !sameSlots(before, row), NextRunAt: nextRun(row), Delete: row.DeletedAt.Valid, Actor: ws.UserName(),
	})
	return dbsqlc.BackupSchedule(written), err
}

// nextRun is when a schedule is next due; null if it is not.
func nextRun(row *dbsqlc.BackupSchedule) pgtype.Timestamptz {
	plan, err := agenda.ColumnsOf(row).Plan()
	if err != nil || !row.IsEnabled || row.DeletedAt.Valid {
		return pgtype.Timestamptz{}
	}
	return timestamptz(plan.Next(time.Now()))
}

// sameSlots tells whether two states of a schedule are due at the same times. Days may be written in several
// ways, and those of a daily schedule count for nothing.
func sameSlots(a, b *dbsqlc.BackupSchedule) bool {
	if a.IsEnabled != b.IsEnabled || a.DeletedAt.Valid != b.DeletedAt.Valid || a.Timezone != b.Timezone {
		return false
	}
	if a.Frequency == b.Frequency && a.TimeOfDay == b.TimeOfDay && bytes.Equal(a.DaysOfWeek, b.DaysOfWeek) {
		return true // also if nobody can read them
	}
	before, err := agenda.ColumnsOf(a).Plan()
	after, failed := agenda.ColumnsOf(b).Plan()
	return err == nil && failed == nil && before.Days == after.Days && before.TimeOfDay == after.TimeOfDay
}

// sameSchedule tells whether two states of a schedule differ in nothing that can be edited.
func sameSchedule(a, b *dbsqlc.BackupSchedule) bool {
	grace := a.GraceSeconds == b.GraceSeconds ||
		a.GraceSeconds != nil && b.GraceSeconds != nil && *a.GraceSeconds == *b.GraceSeconds
	return grace && a.Name == b.Name && a.IsEnabled == b.IsEnabled && a.Timezone == b.Timezone &&
		a.Frequency == b.Frequency && a.TimeOfDay == b.TimeOfDay && a.RetentionKeepLast == b.RetentionKeepLast &&
		bytes.Equal(a.DaysOfWeek, b.DaysOfWeek)
}

// noSuchZone is what is wrong with the name of a time zone.
const noSuchZone = "A time zone of the IANA database, such as Europe/Berlin."

// schedule reads what a body says of a schedule into row, which says the rest.
func (f *fields) schedule(row *dbsqlc.BackupSchedule) {
	if name, ok := f.text("name", maxName); ok {
		row.Name = name
	}
	if enabled, ok := f.flag("is_enabled"); ok {
		row.IsEnabled = enabled
	}
	if zone, ok := f.text("timezone", maxName); ok {
		if _, err := schedule.LoadZone(zone); err != nil {
			f.fault("timezone", noSuchZone)
		}
		row.Timezone = zone
	}
	if at, ok := f.clock("time_of_day"); ok {
		row.TimeOfDay = at
	}
	if keep, ok := f.number("retention_keep_last", 1, mostKept); ok {
		row.RetentionKeepLast = int32(keep) //nolint:gosec // at most mostKept
	}
	if grace, ok := f.number("grace_seconds", shortestGrace, longestGrace); ok {
		row.GraceSeconds = &grace
	} else if f.isNull("grace_seconds") {
		row.GraceSeconds = nil
	}
	f.days(row)
}

// days reads the frequency and the days of the week, which belong together.
func (f *fields) days(row *dbsqlc.BackupSchedule) { //nolint:cyclop // each case is a rule of its own
	frequency, changed := f.choice("frequency", []string{schedule.Daily, schedule.Weekly})
	if changed {
		row.Frequency = frequency
	}
	value, given := f.value("days_of_week")
	var days schedule.Days
	if given {
		var ok bool
		if days, ok = namedDays(value); !ok {
			f.fault("days_of_week", "An array of days, 1 for Monday to 7 for Sunday.")
			return
		}
	}
	switch {
	case row.Frequency == schedule.Daily && days != 0:
		f.fault("days_of_week", "A daily schedule has none; a weekly one has.")
	case row.Frequency == schedule.Daily && (changed || given || f.isNull("days_of_week")):
		row.DaysOfWeek = nil
	case row.Frequency == schedule.Weekly && days != 0:
		row.DaysOfWeek = jsonDays(days)
	case row.Frequency == schedule.Weekly && (given || f.isNull("days_of_week") || changed && !hasDays(row)):
		f.fault("days_of_week", "A weekly schedule has at least one: 1 for Monday to 7 for Sunday.")
	}
}

// namedDays reads the days of the week that a request names, all of them by numbers from 1: the other
// ways to name them, and 0 for Sunday, are those of older stores.
func namedDays(value json.RawMessage) (schedule.Days, bool) {
	var list []any
	err := json.Unmarshal(value, &list)
	for _, day := range list {
		if number, isNumber := day.(float64); !isNumber || number == 0 {
			return 0, false
		}
	}
	days, wrong := schedule.ParseDays(value)
	return days, err == nil && wrong == nil
}

// hasDays tells whether a schedule has days of the week to be due on. Older stores left all kinds of
// things beside a frequency that knows none.
func hasDays(row *dbsqlc.BackupSchedule) bool {
	days, err := schedule.ParseDays(row.DaysOfWeek)
	return err == nil && days != 0
}

// jsonDays are days of the week as jsonb prints them.
func jsonDays(days schedule.Days) []byte {
	b := []byte("[")
	for i, number := range days.Numbers() {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = strconv.AppendInt(b, int64(number), 10)
	}
	return append(b, ']')
}

// isNull tells whether a member is there and null.
func (f *fields) isNull(name string) bool { return string(f.values[name]) == "null" }

// flag is a member that is true or false.
func (f *fields) flag(name string) (value, ok bool) {
	raw, ok := f.value(name)
	if !ok {
		return false, false
	}
	if json.Unmarshal(raw, &value) != nil {
		f.fault(name, "Either true or false.")
		return false, false
	}
	return value, true
}

// number is a member that is a whole number within bounds.
func (f *fields) number(name string, least, most int64) (int64, bool) {
	raw, ok := f.value(name)
	if !ok {
		return 0, false
	}
	var n float64
	if json.Unmarshal(raw, &n) != nil || n != math.Trunc(n) || n < float64(least) || n > float64(most) {
		f.fault(name, "A whole number from %d to %d.", least, most)
		return 0, false
	}
	return int64(n), true
}

// clock is a member that is a local time of day: hh:mm or hh:mm:ss, to 24:00.
func (f *fields) clock(name string) (pgtype.Time, bool) {
	text, ok := f.text(name, maxName)
	if !ok {
		return pgtype.Time{}, false
	}
	const long = "15:04:05"
	if len(text) == len("15:04") {
		text += ":00"
	}
	if text == "24:00:00" {
		return pgtype.Time{Microseconds: endOfDay, Valid: true}, true
	}
	at, err := time.Parse(long, text)
	if err != nil || len(text) != len(long) {
		f.fault(name, "A time of day from 00:00 to 24:00, such as 02:30.")
		return pgtype.Time{}, false
	}
	midnight := time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, time.UTC)
	return pgtype.Time{Microseconds: at.Sub(midnight).Microseconds(), Valid: true}, true
}
