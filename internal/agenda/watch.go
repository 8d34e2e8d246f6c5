package agenda

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/schedule"
)

const (
	// window is how far back slots are judged for what is to be told of them: a week for those that
	// were missed, and another to see what a weekly schedule recovers from.
	window = 14 * 24 * time.Hour
	// recent is how old a missed slot may be to be told of: what a server finds that comes late is news,
	// what an older database is full of is not.
	recent = 7 * 24 * time.Hour
	// eventsEach is how many of its newest events are read of a schedule: two a day for the window.
	eventsEach = 32
)

// Watched is what a look at the schedules of a workspace has found.
type Watched struct {
	States map[schedule.State]int // schedules by state
	Events map[string]int         // events told, by kind
}

// Watch looks after the schedules of a workspace: it notes the edits that others have made, and tells
// of slots that were missed and of recoveries. Any number of servers may do so at once; each version
// and each event is written by one of them.
func Watch(ctx context.Context, db dbsqlc.DBTX, workspaceID int64, now time.Time) (Watched, error) {
	w := Watched{States: map[schedule.State]int{}, Events: map[string]int{}}
	_, err := dbsqlc.New().NoteScheduleEdits(ctx, db, dbsqlc.NoteScheduleEditsParams{
		WorkspaceID: workspaceID, NoticedAt: instant(now), Actor: ledger.Service,
	})
	if err != nil {
		return w, fmt.Errorf("note edits of schedules: %w", err)
	}
	s, err := read(ctx, db, workspaceID, now)
	if err != nil {
		return w, err
	}
	assessments, err := s.assess(ctx)
	if err != nil {
		return w, err
	}
	for i := range assessments {
		w.States[assessments[i].State]++
	}
	told, err := s.tell(ctx)
	for i := range told {
		w.Events[told[i].Kind]++
	}
	return w, err
}

// tell writes the events that the schedules' last slots call for, and returns those that it was the
// first to write.
func (s *survey) tell(ctx context.Context) ([]dbsqlc.PutScheduleEventsRow, error) {
	queries := dbsqlc.New()
	runs, err := s.latest(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := queries.ListScheduleEvents(ctx, s.db, dbsqlc.ListScheduleEventsParams{
		WorkspaceID: s.workspaceID, ScheduleIds: s.ids(), EachAtMost: eventsEach,
	})
	if err != nil {
		return nil, fmt.Errorf("list events of schedules: %w", err)
	}
	told := map[int64][]schedule.Event{}
	for i := range rows {
		told[rows[i].ScheduleID] = append(told[rows[i].ScheduleID], schedule.Event{Kind: rows[i].Kind, SlotAt: at(rows[i].SlotAt)})
	}
	p := dbsqlc.PutScheduleEventsParams{WorkspaceID: s.workspaceID, Actor: ledger.Service}
	for i := range s.rows {
		row := &s.rows[i]
		// A run that hangs keeps others from their slots, and is not to be out of sight where one is missed.
		from := knownFrom(s.now.Add(-window), runs[row.ID], MostRuns, schedule.Blocking)
		history := schedule.Judge(s.versions[row.ID], runs[row.ID], from, s.now.Add(1), s.now)
		for _, event := range schedule.Alerts(history, told[row.ID], s.now.Add(-recent)) {
			p.ScheduleIds = append(p.ScheduleIds, row.ID)
			p.SlotsAt = append(p.SlotsAt, pgtype.Timestamptz{Time: event.SlotAt, Valid: true})
			p.Kinds = append(p.Kinds, event.Kind)
			p.Data = append(p.Data, eventData(row, event.SlotAt))
		}
	}
	if len(p.ScheduleIds) == 0 {
		return nil, nil
	}
	fresh, err := queries.PutScheduleEvents(ctx, s.db, p)
	if err != nil {
		return nil, fmt.Errorf("tell of slots: %w", err)
	}
	return fresh, nil
}

// latest are the runs of the window, of each schedule MostRuns at most: few of all, and many of those that
// have more than few.
func (s *survey) latest(ctx context.Context) (map[int64][]schedule.Run, error) {
	const few = 1000
	p := dbsqlc.ListBackupsOfSchedulesParams{
		WorkspaceID: s.workspaceID, ScheduleIds: s.ids(), CreatedFrom: instant(s.now.Add(-window - schedule.Reach)),
		CreatedBefore: instant(s.now.Add(schedule.Early)), EachAtMost: few,
	}
	runs, err := runsOf(ctx, s.db, p)
	if err != nil {
		return nil, err
	}
	p.ScheduleIds, p.EachAtMost = nil, MostRuns
	for id := range runs {
		if len(runs[id]) == few {
			p.ScheduleIds = append(p.ScheduleIds, id)
		}
	}
	if len(p.ScheduleIds) == 0 {
		return runs, nil
	}
	more, err := runsOf(ctx, s.db, p)
	maps.Copy(runs, more)
	return runs, err
}

// eventData is what an event says of its schedule and slot.
func eventData(row *dbsqlc.BackupSchedule, slotAt time.Time) []byte {
	data, err := json.Marshal(map[string]any{
		"backup_schedule_id": row.ID, "name": row.Name, "slot_at": slotAt.UTC().Format(time.RFC3339Nano),
	})
	if err != nil {
		panic(err) // it is made of texts and a number
	}
	return data
}
