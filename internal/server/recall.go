package server

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/workspace"
)

// maxRecallReason is how many characters the reason of a recall may have.
const maxRecallReason = 1000

// recallRun marks a completed run as not to be trusted. A run that is recalled already stays so,
// with the name and the reason of who did it first.
func (s *Server) recallRun(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	old, err := s.runToChange(r, ws)
	if err != nil {
		return err
	}
	reason, err := readRecallReason(r)
	if err != nil {
		return err
	}
	row, err := s.queries.RecallRun(r.Context(), s.db, dbsqlc.RecallRunParams{
		WorkspaceID: ws.ID(), ID: old.ID, UserID: ws.UserID(), Reason: reason, Actor: ws.UserName(),
	})
	run := dbsqlc.OperationRun(row)
	if err == nil {
		s.reconcileRecall(r.Context(), ws, &run)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		run, err = s.queries.GetRun(r.Context(), s.db, dbsqlc.GetRunParams{WorkspaceID: ws.ID(), ID: old.ID})
		if err == nil && !run.RecalledAt.Valid {
			return errConflict(&run, "The run is not completed; ask it to stop instead, or recall it once it has ended.")
		}
	}
	if err != nil {
		return err
	}
	return answerRun(w, r, http.StatusOK, &run)
}

// reconcileRecall marks and unmarks what was under way when a run was just recalled, which knew nothing of
// the recall, nor that of it. What still is under way, the sweep finds.
func (s *Server) reconcileRecall(ctx context.Context, ws workspace.Scope, run *dbsqlc.OperationRun) {
	if _, err := s.queries.ReconcileRecalls(ctx, s.db, dbsqlc.ReconcileRecallsParams{
		WorkspaceID: ws.ID(), Since: run.RecalledAt, Actor: ws.UserName(),
	}); err != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "what rests on a recalled run is looked for by the next sweep", slog.Any("error", err))
	}
}

// readRecallReason reads why a run is recalled.
func readRecallReason(r *http.Request) (string, error) {
	body, err := readBody(r)
	if err != nil {
		return "", err
	}
	f := parseFields(body, "")
	if _, given := f.value("reason"); !given {
		f.fault("reason", "It is required: why the run is not to be trusted.")
	}
	reason, _ := f.text("reason", maxRecallReason)
	if faults := f.faultless(); len(faults) > 0 {
		return "", errInvalidFields(faults...)
	}
	return ledger.RedactText(reason), nil
}

// dependence is a way in which a row rests on a run.
type dependence struct{ kind, relation string }

// dependences are the ways, in the order in which the statement numbers them from 1.
var dependences = []dependence{
	{"inventory_item", "last_seen"}, {"finding", "baseline"}, {"finding", "current"},
	{"operation_run", "retry"}, {"operation_run", "context"},
}

// listDependents answers what rests on a run: the items, findings and later runs that a recall of
// it casts doubt on. Its order is that of dependences, and of ids in each.
func (s *Server) listDependents(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	id, err := rowID(r)
	if err != nil {
		return err
	}
	run, err := s.queries.GetRun(r.Context(), s.db, dbsqlc.GetRunParams{WorkspaceID: ws.ID(), ID: id})
	if err != nil {
		return err
	}
	pg, err := s.pageOf(r, ws.ID(), parseParams(r), beforeAll)
	if err != nil {
		return err
	}
	// Behind which id each way goes on: one that is done has none left, one that is to come all.
	after := make([]int64, len(dependences)+1)
	for place := range after {
		switch {
		case int64(place) < pg.after.at:
			after[place] = math.MaxInt64
		case int64(place) == pg.after.at:
			after[place] = pg.after.id
		}
	}
	rows, err := s.queries.ListDependents(r.Context(), s.db, dbsqlc.ListDependentsParams{
		WorkspaceID: ws.ID(), RunID: id, Created: positionAt(run.CreatedAt, id).timestamptz(), PageSize: pg.rows(),
		ItemAfter: after[1], BaselineAfter: after[2], CurrentAfter: after[3], RetryAfter: after[4], ContextAfter: after[5],
	})
	if err != nil {
		return err
	}
	return answerPage(s, w, r, pg, rows, appendDependent,
		func(row *dbsqlc.ListDependentsRow) position { return position{at: row.Place, id: row.ID} })
}

// appendDependent appends what rests on a run.
func appendDependent(b []byte, row *dbsqlc.ListDependentsRow) []byte {
	d := dependences[row.Place-1]
	b = appendText(append(b, '{'), "kind", d.kind)
	b = appendInt(b, "id", row.ID)
	b = appendText(b, "name", row.Name)
	return append(appendText(b, "relation", d.relation), '}')
}

// runToChange is the run that the path names, for a write without parameters.
func (s *Server) runToChange(r *http.Request, ws workspace.Scope) (dbsqlc.OperationRun, error) {
	id, err := rowID(r)
	if err != nil {
		return dbsqlc.OperationRun{}, err
	}
	if err := unconditional(r); err != nil {
		return dbsqlc.OperationRun{}, err
	}
	return s.queries.GetRun(r.Context(), s.db, dbsqlc.GetRunParams{WorkspaceID: ws.ID(), ID: id})
}
