package server

import (
	"net/http"
	"slices"
	"time"

	"github.com/runledger/runledger/internal/agenda"
	"github.com/runledger/runledger/internal/schedule"
	"github.com/runledger/runledger/internal/workspace"
)

// listScheduleHealth tells how every schedule fares, the worst first.
func (s *Server) listScheduleHealth(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	p := parseParams(r)
	p.pages = pageSizes{usual: largestAgenda, most: largestAgenda}
	states := p.list("state", texts(schedule.States)...)
	pg, err := s.pageOf(r, ws.ID(), p, beforeAll)
	if err != nil {
		return err
	}
	rows, err := agenda.Assess(r.Context(), s.db, ws.ID(), time.Now().UTC())
	if err != nil {
		return err
	}
	rows = slices.DeleteFunc(rows, func(a agenda.Assessment) bool {
		return len(states) > 0 && !slices.Contains(states, string(a.State))
	})
	slices.SortFunc(rows, func(a, b agenda.Assessment) int { return healthPosition(&a).compare(healthPosition(&b)) })
	return answerPage(s, w, r, pg, pageAfter(rows, pg.after, healthPosition), appendAssessment, healthPosition)
}

// healthPosition is where a schedule stands: by its state, the worst first, then by the length of its
// streak, the longest first.
func healthPosition(a *agenda.Assessment) position {
	const longest = 1 << 20
	return position{at: int64(a.State.Rank()+1)*longest - int64(min(a.Failed+a.Missed, longest-1)), id: a.ID}
}

// appendAssessment appends how a schedule fares.
func appendAssessment(b []byte, a *agenda.Assessment) []byte {
	b = appendInt(append(b, '{'), "backup_schedule_id", a.ID)
	b = appendText(b, "name", a.Name)
	b = appendText(b, "state", string(a.State))
	b = appendTime(b, "last_success_at", timestamptz(a.LastSuccessAt))
	var run *int64
	if a.LastSuccessRunID != 0 {
		run = &a.LastSuccessRunID
	}
	b = appendOptionalInt(b, "last_success_run_id", run)
	b = append(appendKey(b, "streak"), '{')
	b = appendInt(b, "failed", int64(a.Failed))
	b = appendInt(b, "missed", int64(a.Missed))
	b = append(appendTime(b, "since", timestamptz(a.Since)), '}')
	b = appendTime(b, "next_slot_at", timestamptz(a.Next))
	var fault *string
	if a.Fault != nil {
		text := a.Fault.Error()
		fault = &text
	}
	return append(appendOptionalText(b, "plan_fault", fault), '}')
}
