// Package agenda reads backup schedules with their versions and runs, and tells by the rules of the
// package schedule what became of their slots.
package agenda

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/schedule"
)

// MostRuns is how many runs of one schedule a history may rest on.
const MostRuns = 20_000

// ErrTooManyRuns says that a range of a schedule's history holds more than MostRuns runs.
var ErrTooManyRuns = errors.New("the range holds too many runs")

// History is what became of a schedule's slots between from and before, the latter excluded, and its
// manual runs, in order, as of now. It asks two queries. The error is ErrTooManyRuns or one of the
// database.
func History(
	ctx context.Context, db dbsqlc.DBTX, row *dbsqlc.BackupSchedule, from, before, now time.Time,
) ([]schedule.Entry, error) {
	versions, err := versionsOf(ctx, db, row.WorkspaceID, []dbsqlc.BackupSchedule{*row}, now)
	if err != nil {
		return nil, err
	}
	runs, err := runsOf(ctx, db, dbsqlc.ListBackupsOfSchedulesParams{
		WorkspaceID: row.WorkspaceID, ScheduleIds: []int64{row.ID},
		CreatedFrom: instant(from.Add(-schedule.Reach)), CreatedBefore: instant(before.Add(schedule.Reach)), EachAtMost: MostRuns + 1,
	})
	if err != nil {
		return nil, err
	}
	if len(runs[row.ID]) > MostRuns {
		return nil, ErrTooManyRuns
	}
	return schedule.Judge(versions[row.ID], runs[row.ID], from, before, now), nil
}

// versionsOf are the versions of schedules of a workspace by their ids, edits among them that are
// not written down yet.
func versionsOf(
	ctx context.Context, db dbsqlc.DBTX, workspaceID int64, rows []dbsqlc.BackupSchedule, now time.Time,
) (map[int64][]schedule.Version, error) {
	ids := make([]int64, 0, len(rows))
	for i := range rows {
		ids = append(ids, rows[i].ID)
	}
	found, err := dbsqlc.New().ListScheduleVersions(ctx, db, dbsqlc.ListScheduleVersionsParams{
		WorkspaceID: workspaceID, ScheduleIds: ids,
	})
	if err != nil {
		return nil, fmt.Errorf("list versions of schedules: %w", err)
	}
	stored := make(map[int64][]schedule.Version, len(rows))
	for i := range found {
		v := &found[i]
		stored[v.ScheduleID] = append(stored[v.ScheduleID], schedule.Version{
			From: at(v.ValidFrom), Enabled: v.IsEnabled, Deleted: v.IsDeleted, ComparedAt: at(v.ComparedUpdatedAt),
			Columns: schedule.Columns{
				Frequency: v.Frequency, TimeOfDay: timeOfDay(v.TimeOfDay), DaysOfWeek: v.DaysOfWeek,
				Timezone: v.Timezone, GraceSeconds: v.GraceSeconds,
			},
		})
	}
	versions := make(map[int64][]schedule.Version, len(rows))
	for i := range rows {
		versions[rows[i].ID] = schedule.Versions(stored[rows[i].ID], rowOf(&rows[i]), now)
	}
	return versions, nil
}

// ColumnsOf are the columns of a schedule that make its plan.
func ColumnsOf(row *dbsqlc.BackupSchedule) schedule.Columns {
	return schedule.Columns{
		Frequency: row.Frequency, TimeOfDay: timeOfDay(row.TimeOfDay), DaysOfWeek: row.DaysOfWeek,
		Timezone: row.Timezone, GraceSeconds: row.GraceSeconds,
	}
}

func rowOf(row *dbsqlc.BackupSchedule) schedule.Row {
	return schedule.Row{
		Columns: ColumnsOf(row), Enabled: row.IsEnabled, CreatedAt: at(row.CreatedAt), UpdatedAt: at(row.UpdatedAt),
		DeletedAt: at(row.DeletedAt), Deleted: row.DeletedAt.Valid,
	}
}

// runsOf are backup runs by the schedules that they belong to, the newest first.
func runsOf(ctx context.Context, db dbsqlc.DBTX, p dbsqlc.ListBackupsOfSchedulesParams) (map[int64][]schedule.Run, error) {
	found, err := dbsqlc.New().ListBackupsOfSchedules(ctx, db, p)
	if err != nil {
		return nil, fmt.Errorf("list runs of schedules: %w", err)
	}
	runs := make(map[int64][]schedule.Run, len(p.ScheduleIds))
	for i := range found {
		r := &found[i]
		run := schedule.Run{
			ID: r.ID, Status: r.Status, Outcome: r.Outcome,
			CreatedAt: at(r.CreatedAt), StartedAt: at(r.StartedAt), CompletedAt: at(r.CompletedAt),
			ScheduledFor: parseInstant(r.ScheduledFor),
		}
		if r.RetryOfID != nil {
			run.RetryOfID = *r.RetryOfID
		}
		runs[r.ScheduleID] = append(runs[r.ScheduleID], run)
	}
	return runs, nil
}

// knownFrom is the instant, not before from, from which on all runs are known that came for a slot, where
// the newest runs of a schedule were read and most at most. What came for an earlier slot, or was in its way,
// as long before as reach, may not have been read, so that nothing can be said of it.
func knownFrom(from time.Time, newest []schedule.Run, most int, reach time.Duration) time.Time {
	if len(newest) < most {
		return from
	}
	return later(from, newest[len(newest)-1].CreatedAt.Add(reach))
}

// later is the later of two instants.
func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// parseInstant reads what a context names: an instant as in RFC 3339, or one without a zone, which
// older stores wrote and which is UTC. What cannot be read is the zero time.
func parseInstant(text string) time.Time {
	text = strings.TrimSpace(text)
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05", time.DateTime} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC()
		}
	}
	return time.Time{}
}

// at is an instant of a row, the zero time for none and for the infinite ones.
func at(v pgtype.Timestamptz) time.Time {
	if !v.Valid || v.InfinityModifier != pgtype.Finite {
		return time.Time{}
	}
	return v.Time.UTC()
}

// instant is an instant as a parameter of a statement.
func instant(at time.Time) pgtype.Timestamptz { return pgtype.Timestamptz{Time: at, Valid: true} }

// always is the instant before all others.
var always = pgtype.Timestamptz{InfinityModifier: pgtype.NegativeInfinity, Valid: true}

func timeOfDay(v pgtype.Time) time.Duration { return time.Duration(v.Microseconds) * time.Microsecond }
