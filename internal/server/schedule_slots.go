package server

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/runledger/runledger/internal/agenda"
	"github.com/runledger/runledger/internal/schedule"
	"github.com/runledger/runledger/internal/workspace"
)

// What a history of slots reaches over.
const (
	slotsBack     = 30 * 24 * time.Hour  // before now, unless told otherwise
	slotsAhead    = 7 * 24 * time.Hour   // after now, likewise
	longestSlots  = 400 * 24 * time.Hour // the most that is told at once, by the clock
	largestAgenda = 1000                 // entries of a page: a year fits, and so do a thousand schedules
)

// listSlots tells of a schedule when it was and will be due and what became of it, and which runs
// came for no slot.
func (s *Server) listSlots(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	row, err := s.backupSchedule(r, ws)
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	p := parseParams(r)
	p.pages = pageSizes{usual: largestAgenda, most: largestAgenda}
	from, before := p.slotsRange(now)
	pg, err := s.pageOf(r, ws.ID(), p, beforeAll)
	if err != nil {
		return err
	}
	entries, err := agenda.History(r.Context(), s.db, &row, from, before, now)
	if errors.Is(err, agenda.ErrTooManyRuns) {
		return errInvalidParameters([]fault{{
			Parameter: "before", Detail: fmt.Sprintf("The range and the %d days before and after it, whose runs may be its slots', hold more than %d runs; ask for another one.",
				schedule.Reach/(24*time.Hour), agenda.MostRuns),
		}})
	}
	if err != nil {
		return err
	}
	return answerPage(s, w, r, pg, pageAfter(entries, pg.after, entryPosition), appendEntry, entryPosition)
}

// slotsRange reads the range of a history.
func (p *params) slotsRange(now time.Time) (from, before time.Time) {
	from, hasFrom := p.time("from")
	before, hasBefore := p.time("before")
	blamed, end := "before", "It"
	if !hasBefore {
		before = now.Add(slotsAhead)
		blamed, end = "from", "before, which is in 7 days if it is not given,"
	}
	if !hasFrom {
		from = now.Add(-slotsBack)
		if hasBefore && before.Before(now) {
			from = before.Add(-slotsBack)
		}
	}
	switch {
	case p.faulted("from", "before"):
	case !from.Before(before):
		p.fault(blamed, "%s is not after from, so that no slot could be in the range.", end)
	case before.Sub(from) > longestSlots+setBack:
		p.fault(blamed, "%s is more than 400 days after from.", end)
	}
	return from, before
}

// pageAfter are the rows behind a position in a list that is in order.
func pageAfter[Row any](rows []Row, after position, at func(row *Row) position) []Row {
	first, _ := slices.BinarySearchFunc(rows, after, func(row Row, after position) int {
		if at(&row).compare(after) <= 0 {
			return -1
		}
		return 1
	})
	return rows[first:]
}

// entryPosition is where an entry stands: at its instant, a slot before the manual runs.
func entryPosition(e *schedule.Entry) position {
	id := int64(0)
	if e.Slot == nil {
		id = e.Runs[0].ID
	}
	return positionAt(timestamptz(e.At()), id)
}

// timestamptz is an instant as a column has it; the zero time is null.
func timestamptz(at time.Time) pgtype.Timestamptz {
	return pgtype.Timestamptz{Time: at, Valid: !at.IsZero()}
}

// appendEntry appends a line of a schedule's history.
func appendEntry(b []byte, e *schedule.Entry) []byte {
	b = append(b, '{')
	if e.Slot == nil {
		b = append(b, `"slot_at":null,"local_time":null,"timezone":null`...)
	} else {
		b = appendTime(b, "slot_at", timestamptz(e.Slot.At))
		b = appendText(b, "local_time", e.Slot.At.In(e.Slot.Zone).Format(time.RFC3339))
		b = appendText(b, "timezone", e.Slot.Zone.String())
	}
	b = appendText(b, "verdict", string(e.Verdict))
	b = appendKey(b, "late_by_seconds")
	if e.LateBy > 0 {
		b = strconv.AppendFloat(b, e.LateBy.Seconds(), 'f', -1, 64)
	} else {
		b = append(b, "null"...)
	}
	var surest schedule.Match
	for i := range e.Runs {
		if surest != schedule.ByName {
			surest = e.Runs[i].By
		}
	}
	b = appendMatch(b, surest)
	b = append(appendKey(b, "runs"), '[')
	for i := range e.Runs {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendSlotRun(b, &e.Runs[i])
	}
	return append(b, "]}"...)
}

// appendMatch appends how runs were matched.
func appendMatch(b []byte, by schedule.Match) []byte {
	if by == "" {
		return append(appendKey(b, "matched_by"), "null"...)
	}
	return appendText(b, "matched_by", string(by))
}

// appendSlotRun appends the summary of a run that came for a slot, or for none.
func appendSlotRun(b []byte, run *schedule.MatchedRun) []byte {
	b = appendInt(append(b, '{'), "id", run.ID)
	b = appendText(b, "type", "backup_schedule_run")
	b = appendText(b, "status", run.Status)
	b = appendText(b, "outcome", run.Outcome)
	b = appendTime(b, "created_at", timestamptz(run.CreatedAt))
	b = appendTime(b, "started_at", timestamptz(run.StartedAt))
	b = appendTime(b, "completed_at", timestamptz(run.CompletedAt))
	return append(appendMatch(b, run.By), '}')
}
