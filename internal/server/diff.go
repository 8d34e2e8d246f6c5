package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/workspace"
)

// lastGood is the value of against that stands for the last run of the same work that worked.
const lastGood = "last_good"

// In which sense the run that another is compared with is of the same work.
const (
	byRequest  = "id"
	bySchedule = "backup_schedule"
	byIdentity = "identity"
	byType     = "type"
)

// getRunDiff tells what changed from another run to this one.
func (s *Server) getRunDiff(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	id, err := rowID(r)
	if err != nil {
		return err
	}
	run, err := s.queries.GetRun(r.Context(), s.db, dbsqlc.GetRunParams{WorkspaceID: ws.ID(), ID: id})
	if err != nil {
		return err
	}
	p := parseParams(r)
	against, given := p.text("against")
	if !given || against == lastGood {
		if err := p.done(); err != nil {
			return err
		}
		before, by, err := s.lastGoodBefore(r, ws, &run)
		if err != nil {
			return err
		}
		return answerDiff(w, r, before, &run, by)
	}
	otherID, ok := parseID(against)
	if !ok {
		p.fault("against", "Either %s or the id of a run.", lastGood)
	}
	if err := p.done(); err != nil {
		return err
	}
	before, err := s.queries.GetRun(r.Context(), s.db, dbsqlc.GetRunParams{WorkspaceID: ws.ID(), ID: otherID})
	if errors.Is(err, pgx.ErrNoRows) {
		p.fault("against", noSuchRun)
		return p.done()
	}
	if err != nil {
		return err
	}
	return answerDiff(w, r, &before, &run, byRequest)
}

// lastGoodBefore is the last run of the same work before a run that worked, and in which sense it
// is of the same work; nil if there is none.
func (s *Server) lastGoodBefore(r *http.Request, ws workspace.Scope, run *dbsqlc.OperationRun) (*dbsqlc.OperationRun, string, error) {
	// A plan for all tenants, the lack of one among them, would walk the runs of all of them.
	ctx := withPlanning(r.Context(), planForValues)
	at := positionAt(run.CreatedAt, run.ID)
	ofType := dbsqlc.FindLastGoodOfTypeParams{
		WorkspaceID: ws.ID(), Type: run.Type, TenantID: run.TenantID, Position: at.timestamptz(), PositionID: at.id,
	}
	for _, sense := range []struct {
		by   string
		find func() (dbsqlc.OperationRun, error)
	}{
		{bySchedule, func() (dbsqlc.OperationRun, error) {
			schedule, ok := scheduleOf(run)
			if !ok {
				return dbsqlc.OperationRun{}, pgx.ErrNoRows
			}
			return s.queries.FindLastGoodOfSchedule(ctx, s.db, dbsqlc.FindLastGoodOfScheduleParams{
				WorkspaceID: ws.ID(), ScheduleID: schedule, Type: run.Type, Position: at.timestamptz(), PositionID: at.id,
			})
		}},
		{byIdentity, func() (dbsqlc.OperationRun, error) {
			return s.queries.FindLastGoodOfIdentity(ctx, s.db, dbsqlc.FindLastGoodOfIdentityParams{
				WorkspaceID: ws.ID(), RunIdentityHash: run.RunIdentityHash, TenantID: run.TenantID, Position: at.timestamptz(), PositionID: at.id,
			})
		}},
		{byType, func() (dbsqlc.OperationRun, error) { return s.queries.FindLastGoodOfType(ctx, s.db, ofType) }},
	} {
		found, err := sense.find()
		if err == nil {
			return &found, sense.by, nil
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return nil, "", err
		}
		if _, scheduled := scheduleOf(run); scheduled && sense.by == byIdentity {
			break // the backups of another schedule are other work
		}
	}
	return nil, "", nil
}

// scheduleOf is the backup schedule of which a run is part, as its context names it.
func scheduleOf(run *dbsqlc.OperationRun) (id string, ok bool) {
	var context map[string]json.RawMessage // whose names are told by their case, unlike those of a struct
	if !slices.Contains(ledger.ScheduleTypes, run.Type) || json.Unmarshal(run.Context, &context) != nil {
		return "", false
	}
	// A number or its text, as PostgreSQL's ->> reads it.
	id = strings.Trim(string(context["backup_schedule_id"]), `"`)
	_, ok = parseID(id)
	return id, ok
}

// getFindingDiff tells what changed from a finding's baseline run to its current run.
func (s *Server) getFindingDiff(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	id, err := rowID(r)
	if err != nil {
		return err
	}
	if err := noParams(r); err != nil {
		return err
	}
	found, err := s.queries.GetFinding(r.Context(), s.db, dbsqlc.GetFindingParams{WorkspaceID: ws.ID(), ID: id})
	if err != nil {
		return err
	}
	runs := make([]*dbsqlc.OperationRun, 2)
	for i, runID := range []*int64{found.Finding.BaselineOperationRunID, found.Finding.CurrentOperationRunID} {
		if runID == nil {
			continue
		}
		run, err := s.queries.GetRun(r.Context(), s.db, dbsqlc.GetRunParams{WorkspaceID: ws.ID(), ID: *runID})
		if err == nil {
			runs[i] = &run
		} else if !errors.Is(err, pgx.ErrNoRows) { // else it was let go in between
			return err
		}
	}
	by := ""
	if runs[0] != nil {
		by = byRequest
	}
	return answerDiff(w, r, runs[0], runs[1], by)
}

// answerDiff writes two runs side by side, either of which may be nil.
func answerDiff(w http.ResponseWriter, r *http.Request, before, after *dbsqlc.OperationRun, by string) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // which makes six bytes of one
	if err := encoder.Encode(ledger.Compare(snapshot(before), snapshot(after))); err != nil {
		return err
	}
	diff := bytes.TrimSuffix(text.Bytes(), []byte("\n"))
	return answerJSON(w, r, func(b []byte) []byte {
		b = appendRunSummary(append(b, '{'), "run", after)
		b = appendRunSummary(b, "against", before)
		b = appendKey(b, "against_by")
		if by == "" {
			b = append(b, "null"...)
		} else {
			b = appendQuoted(b, by)
		}
		return append(append(b, ','), diff[1:]...) // its members are the answer's
	})
}

// snapshot is what a run says of itself.
func snapshot(run *dbsqlc.OperationRun) ledger.Snapshot {
	if run == nil {
		return ledger.Snapshot{}
	}
	return ledger.Snapshot{
		Counts: run.SummaryCounts, Failures: run.FailureSummary, Context: run.Context,
		Micros: microsBetween(run.StartedAt, run.CompletedAt),
	}
}

// microsBetween is how long a run took in microseconds, nil where that is not known. It may be more than a
// time.Duration holds.
func microsBetween(started, completed pgtype.Timestamptz) *int64 {
	if !started.Valid || !completed.Valid || started.InfinityModifier != pgtype.Finite || completed.InfinityModifier != pgtype.Finite {
		return nil
	}
	micros := completed.Time.UnixMicro() - started.Time.UnixMicro()
	return &micros
}

// appendRunSummary appends the summary of a run, null for none, as runSummary shows one.
func appendRunSummary(b []byte, name string, run *dbsqlc.OperationRun) []byte {
	b = appendKey(b, name)
	if run == nil {
		return append(b, "null"...)
	}
	return appendSummary(b, &dbsqlc.ListCompletedBackupsRow{
		ID: run.ID, Type: run.Type, Status: run.Status, Outcome: run.Outcome, StartedAt: run.StartedAt, CompletedAt: run.CompletedAt,
	})
}
