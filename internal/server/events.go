package server

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/feed"
	"github.com/runledger/runledger/internal/workspace"
)

// listRunEvents answers the timeline of a run.
func (s *Server) listRunEvents(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	id, err := rowID(r)
	if err != nil {
		return err
	}
	pg, err := s.pageOf(r, ws.ID(), parseParams(r), beforeAll)
	if err != nil {
		return err
	}
	events, err := s.queries.ListRunEvents(r.Context(), s.db, dbsqlc.ListRunEventsParams{
		WorkspaceID: ws.ID(), RunID: id, PositionID: pg.after.id, PageSize: pg.rows(),
	})
	if err != nil {
		return err
	}
	if len(events) == 0 { // of a run without events, or of none
		if _, err := s.queries.GetRun(r.Context(), s.db, dbsqlc.GetRunParams{WorkspaceID: ws.ID(), ID: id}); err != nil {
			return err
		}
	}
	if fit := slices.IndexFunc(events, func(event dbsqlc.ListRunEventsRow) bool { return !event.Fits }); fit >= 0 {
		pg.limit = min(pg.limit, fit)
	}
	return answerPage(s, w, r, pg, events, appendRunEvent,
		func(event *dbsqlc.ListRunEventsRow) position { return byID(event.ID) })
}

// listChanges answers what happened to the workspace's runs behind a position.
func (s *Server) listChanges(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	p := parseParams(r)
	limit := p.limit()
	after, given := p.text("after")
	if err := s.cursors.load(r.Context(), s.db, s.queries); err != nil {
		return err
	}
	asked, now := feed.Position{}, after == "now"
	if given && !now {
		var ok bool
		if asked, ok = s.changesPosition(after, ws); !ok {
			p.fault("after", noChangesPosition)
		}
	}
	if err := p.done(); err != nil {
		return err
	}
	var page feed.Page
	var err error
	if now {
		page.Next, err = feed.Last(r.Context(), s.db, ws.ID())
	} else {
		page, err = feed.Read(r.Context(), s.db, ws.ID(), asked, int32(limit)) //nolint:gosec // at most maxPageSize
	}
	if err != nil {
		return changesFailed(err)
	}
	if len(page.Changes) > 0 {
		s.polls.heard(ws.ID())
	}
	return answerJSON(w, r, func(b []byte) []byte {
		b = append(b, `{"data":[`...)
		for i := range page.Changes {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendChange(b, &page.Changes[i])
		}
		b = append(b, `],"has_more":`...)
		b = strconv.AppendBool(b, page.More)
		b = appendText(b, "next_after", s.sealChanges(page.Next, ws.ID()))
		return append(b, '}')
	})
}

const noChangesPosition = "It is no position in the changes of this workspace: use next_after, or the id of an event, as it came."

// changesPosition opens a position in the changes of a workspace; ok is false for what is none.
func (s *Server) changesPosition(sealed string, ws workspace.Scope) (at feed.Position, ok bool) {
	opened, ok := s.cursors.open(sealed, changesBinding(ws.ID()))
	return feed.Position{Transaction: opened.at, ID: opened.id}, ok
}

// sealChanges is a position in the changes of a workspace for clients to keep.
func (s *Server) sealChanges(at feed.Position, workspaceID int64) string {
	return s.cursors.seal(position{at: at.Transaction, id: at.ID}, changesBinding(workspaceID))
}

// changesBinding is what a position in the changes of a workspace is bound to.
func changesBinding(workspaceID int64) string {
	return "changes of workspace " + strconv.FormatInt(workspaceID, 10)
}

// appendRunEvent appends an entry of a run's timeline.
func appendRunEvent(b []byte, event *dbsqlc.ListRunEventsRow) []byte {
	b = append(b, '{')
	b = appendInt(b, "id", event.ID)
	b = appendInt(b, "run_id", event.RunID)
	b = appendText(b, "kind", event.Kind)
	b = appendTime(b, "at", event.At)
	b = appendText(b, "actor", event.Actor)
	b = appendJSON(b, "data", event.Data)
	return append(b, '}')
}

// appendChange appends a change: of a run, shown as in the run's timeline, or of a backup schedule,
// which has no run.
func appendChange(b []byte, change *dbsqlc.ListChangesRow) []byte {
	var run *int64
	if change.RunID != 0 {
		run = &change.RunID
	}
	b = append(b, '{')
	b = appendInt(b, "id", change.ID)
	b = appendOptionalInt(b, "run_id", run)
	b = appendText(b, "kind", change.Kind)
	b = appendTime(b, "at", change.At)
	b = appendText(b, "actor", change.Actor)
	b = appendJSON(b, "data", change.Data)
	return append(b, '}')
}
