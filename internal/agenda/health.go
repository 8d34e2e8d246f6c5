package agenda

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/schedule"
)

const (
	// fewRuns is how many of its newest runs are read of a schedule at first. They are enough where the
	// newest slot has its backup, which is the rule.
	fewRuns = 5
	// lookback is how far back a streak is followed.
	lookback = 60 * 24 * time.Hour
	// longestMemory is how far back the last backup is looked for where the newest runs made none.
	longestMemory = 400 * 24 * time.Hour
)

// Assessment is how one schedule fares.
type Assessment struct {
	schedule.Health

	ID   int64
	Name string
	// LastSuccessAt is when the newest run that made a backup ended, zero if there is none, and
	// LastSuccessRunID is its id.
	LastSuccessAt    time.Time
	LastSuccessRunID int64
}

// Assess tells how every schedule of a workspace that is not deleted fares, in the order of their ids.
// It asks seven queries at most, however many schedules there are.
func Assess(ctx context.Context, db dbsqlc.DBTX, workspaceID int64, now time.Time) ([]Assessment, error) {
	s, err := read(ctx, db, workspaceID, now)
	if err != nil {
		return nil, err
	}
	return s.assess(ctx)
}

// survey is what was read of a workspace's schedules.
type survey struct {
	db          dbsqlc.DBTX
	workspaceID int64
	now         time.Time
	rows        []dbsqlc.BackupSchedule
	versions    map[int64][]schedule.Version
}

func read(ctx context.Context, db dbsqlc.DBTX, workspaceID int64, now time.Time) (*survey, error) {
	rows, err := dbsqlc.New().ListSchedulesInForce(ctx, db, workspaceID)
	if err != nil {
		return nil, fmt.Errorf("list schedules: %w", err)
	}
	s := &survey{db: db, workspaceID: workspaceID, now: now, rows: rows}
	s.versions, err = versionsOf(ctx, db, workspaceID, rows, now)
	return s, err
}

// ids are the ids of all schedules.
func (s *survey) ids() []int64 {
	ids := make([]int64, 0, len(s.rows))
	for i := range s.rows {
		ids = append(ids, s.rows[i].ID)
	}
	return ids
}

func (s *survey) assess(ctx context.Context) ([]Assessment, error) {
	newest, err := runsOf(ctx, s.db, dbsqlc.ListBackupsOfSchedulesParams{
		WorkspaceID: s.workspaceID, ScheduleIds: s.ids(), CreatedFrom: always,
		CreatedBefore: instant(s.now.Add(schedule.Early)), EachAtMost: fewRuns,
	})
	if err != nil {
		return nil, err
	}
	assessments := make([]Assessment, len(s.rows))
	place := make(map[int64]int, len(s.rows))
	var open, unkept []int64 // whose streak and whose last backup are yet to be found
	for i := range s.rows {
		row := &s.rows[i]
		runs := newest[row.ID]
		a := Assessment{ID: row.ID, Name: row.Name}
		place[row.ID] = i
		var settled bool
		a.Health, settled = s.assessFew(row.ID, runs)
		if !settled {
			open = append(open, row.ID)
		}
		if !a.keep(runs) && len(runs) == fewRuns {
			unkept = append(unkept, row.ID)
		}
		assessments[i] = a
	}
	if err := s.assessRest(ctx, open, newest, assessments, place); err != nil {
		return nil, err
	}
	return assessments, s.findBackups(ctx, unkept, assessments, place)
}

// assessFew assesses a schedule by its newest runs, and tells whether they are enough. They are if
// there are no others, or if the newest slot of those whose runs are all known has its backup: then
// nothing before it matters.
func (s *survey) assessFew(id int64, runs []schedule.Run) (schedule.Health, bool) {
	complete := len(runs) < fewRuns
	from := knownFrom(s.now.Add(-lookback), runs, fewRuns, schedule.NamedEarly)
	history := schedule.Judge(s.versions[id], runs, from, s.now.Add(1), s.now)
	health := schedule.Assess(s.versions[id], history, len(runs) > 0, s.now)
	if complete {
		return health, true
	}
	for i := range history {
		if e := &history[len(history)-1-i]; e.Settled() {
			return health, e.Kept()
		}
	}
	return health, false
}

// assessRest assesses the schedules that a few runs were not enough for: by many runs each, and those with
// more, beside which the newest slot is lost from sight, by very many.
func (s *survey) assessRest(
	ctx context.Context, ids []int64, newest map[int64][]schedule.Run, assessments []Assessment, place map[int64]int,
) error {
	const many = 2000
	from := s.now.Add(-lookback)
	for _, most := range []int{many, MostRuns} {
		if len(ids) == 0 {
			return nil
		}
		runs, err := runsOf(ctx, s.db, dbsqlc.ListBackupsOfSchedulesParams{
			WorkspaceID: s.workspaceID, ScheduleIds: ids, CreatedFrom: instant(from.Add(-schedule.Reach)),
			CreatedBefore: instant(s.now.Add(schedule.Early)), EachAtMost: int32(most), //nolint:gosec // a constant
		})
		if err != nil {
			return err
		}
		var blind []int64
		for _, id := range ids {
			history := schedule.Judge(s.versions[id], runs[id], knownFrom(from, runs[id], most, schedule.NamedEarly), s.now.Add(1), s.now)
			assessments[place[id]].Health = schedule.Assess(s.versions[id], history, len(newest[id]) > 0, s.now)
			if len(runs[id]) == most && !slices.ContainsFunc(history, func(e schedule.Entry) bool { return e.Settled() }) {
				blind = append(blind, id)
			}
		}
		ids = blind
	}
	return nil
}

// findBackups finds the last backup of the schedules whose newest runs made none.
func (s *survey) findBackups(ctx context.Context, ids []int64, assessments []Assessment, place map[int64]int) error {
	if len(ids) == 0 {
		return nil
	}
	found, err := dbsqlc.New().ListLastBackups(ctx, s.db, dbsqlc.ListLastBackupsParams{
		WorkspaceID: s.workspaceID, ScheduleIds: ids, CreatedFrom: instant(s.now.Add(-longestMemory)),
	})
	if err != nil {
		return fmt.Errorf("list last backups: %w", err)
	}
	for i := range found {
		f := &found[i]
		assessments[place[f.ScheduleID]].kept(f.ID, at(f.CompletedAt), at(f.CreatedAt))
	}
	return nil
}

// keep notes the newest of runs that made a backup, and tells whether there is one.
func (a *Assessment) keep(runs []schedule.Run) bool {
	for i := range runs {
		if runs[i].Made() {
			a.kept(runs[i].ID, runs[i].CompletedAt, runs[i].CreatedAt)
			return true
		}
	}
	return false
}

func (a *Assessment) kept(id int64, completedAt, createdAt time.Time) {
	a.LastSuccessRunID, a.LastSuccessAt = id, completedAt
	if completedAt.IsZero() {
		a.LastSuccessAt = createdAt
	}
}
