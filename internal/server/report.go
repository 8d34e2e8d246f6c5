package server

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/workspace"
)

// report is what a worker says of a run. What is empty, zero or not valid was not said.
type report struct {
	id           int64
	status       ledger.Status
	outcome      ledger.Outcome
	counts       json.RawMessage
	failures     json.RawMessage
	contextPatch json.RawMessage
	at           pgtype.Timestamptz
	revision     int64
}

func (s *Server) patchRun(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	id, err := rowID(r)
	if err != nil {
		return err
	}
	item, err := readReport(r)
	if err != nil {
		// What is wrong with a report on nothing is of no interest.
		_, missing := s.queries.GetRun(r.Context(), s.db, dbsqlc.GetRunParams{WorkspaceID: ws.ID(), ID: id})
		return cmp.Or(missing, err)
	}
	item.id = id
	reported := s.reportMany(r.Context(), sparingNothing(s.db), ws, []report{item})[0]
	if reported.err != nil {
		return reported.err
	}
	return answerRun(w, r, reported.status, &reported.run)
}

// readReport reads the report in a request.
func readReport(r *http.Request) (report, error) {
	if err := noParams(r); err != nil {
		return report{}, err
	}
	revision, ok := wantedRevision(r)
	if !ok {
		return report{}, errRevision
	}
	body, err := readBody(r)
	if err != nil {
		return report{}, err
	}
	f := parseFields(body, "")
	item := parseReport(f)
	item.revision = revision
	if faults := f.faultless(); len(faults) > 0 {
		return report{}, errInvalidFields(faults...)
	}
	return item, nil
}

func (s *Server) heartbeatRun(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	id, err := rowID(r)
	if err != nil {
		return err
	}
	if err := bodiless(r); err != nil {
		return err
	}
	row, err := s.queries.HeartbeatRun(r.Context(), s.db, dbsqlc.HeartbeatRunParams{
		WorkspaceID: ws.ID(), ID: id, Actor: ws.UserName(),
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return s.notActive(r.Context(), ws, id, "The run is completed; a heartbeat says that one is alive.")
	}
	if err != nil {
		return err
	}
	run := dbsqlc.OperationRun(row)
	return answerRun(w, r, http.StatusOK, &run)
}

// cancelRun asks a run to stop. Its worker sees the request in the next answer that it gets.
func (s *Server) cancelRun(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	id, err := rowID(r)
	if err != nil {
		return err
	}
	if err := bodiless(r); err != nil {
		return err
	}
	row, err := s.queries.CancelRun(r.Context(), s.db, dbsqlc.CancelRunParams{
		WorkspaceID: ws.ID(), ID: id, Actor: ws.UserName(),
	})
	run := dbsqlc.OperationRun(row)
	if errors.Is(err, pgx.ErrNoRows) {
		run, err = s.queries.GetRun(r.Context(), s.db, dbsqlc.GetRunParams{WorkspaceID: ws.ID(), ID: id})
		if err == nil && !ledger.Status(run.Status).Active() {
			return errConflict(&run, "The run is completed; there is nothing left to stop.")
		}
		// Else somebody has asked before, and asking again changes nothing.
	}
	if err != nil {
		return err
	}
	return answerRun(w, r, http.StatusOK, &run)
}

// notActive is the answer for a run that is not there or not active.
func (s *Server) notActive(ctx context.Context, ws workspace.Scope, id int64, detail string) error {
	run, err := s.queries.GetRun(ctx, s.db, dbsqlc.GetRunParams{WorkspaceID: ws.ID(), ID: id})
	if err != nil {
		return err
	}
	return errConflict(&run, detail)
}

// maxFuture is how far ahead of this server a worker's clock may be.
const maxFuture = time.Minute

// parseReport reads what a report says.
func parseReport(f *fields) report {
	var item report
	_, given := f.value("status")
	status, known := f.choice("status", texts(ledger.Statuses))
	item.status = ledger.Status(status)
	if outcome, ok := f.choice("outcome", texts(ledger.Outcomes[1:])); ok {
		item.outcome = ledger.Outcome(outcome)
	}
	completes := item.status == ledger.StatusCompleted
	switch {
	case completes && item.outcome == "" && len(f.faults) == 0:
		f.fault("outcome", "A completed run has one: %s.", strings.Join(texts(ledger.Outcomes[1:]), ", "))
	case item.outcome != "" && !completes && len(f.faults) == 0:
		f.fault("outcome", "It is pending until the run is completed: give it together with status completed.")
	}
	item.counts = parseCounts(f)
	item.failures = parseFailures(f)
	if patch, ok := f.freeObject("context"); ok {
		item.contextPatch = patch
	}
	if at, ok := f.instant("at"); ok {
		item.at = pgtype.Timestamptz{Time: at.Truncate(time.Microsecond), Valid: true} // as the database will, so that the same report is the same
		switch {
		case item.status != ledger.StatusRunning && !completes && given == known:
			f.fault("at", "It is when the run started or completed: give it together with that status.")
		case time.Until(at) > maxFuture:
			f.fault("at", "It is more than %s in the future.", maxFuture)
		}
	}
	return item
}

// parseCounts reads summary_counts: a flat object of whole numbers, none negative.
func parseCounts(f *fields) json.RawMessage {
	const longest = 16 << 10
	object, ok := f.object("summary_counts", longest)
	if !ok {
		return nil
	}
	counts := parseFields(object, f.pointer+"/summary_counts")
	for _, name := range slices.Sorted(maps.Keys(counts.values)) {
		if n, err := strconv.ParseInt(string(counts.values[name]), 10, 64); err != nil || n < 0 {
			counts.fault(name, "A whole number from 0 to 9223372036854775807.")
		}
	}
	f.faults = append(f.faults, counts.faults...)
	return object
}

// parseFailures reads failure_summary: entries of a code and a message.
func parseFailures(f *fields) json.RawMessage {
	value, ok := f.value("failure_summary")
	if !ok {
		return nil
	}
	var entries []json.RawMessage
	if err := json.Unmarshal(value, &entries); err != nil {
		f.fault("failure_summary", "An array of objects with code and message.")
		return nil
	}
	if len(entries) > maxFailures {
		f.fault("failure_summary", "At most %d entries; these are %d.", maxFailures, len(entries))
		return nil
	}
	failures := make([]ledger.Failure, 0, len(entries))
	for i, entry := range entries {
		e := parseFields(entry, fmt.Sprintf("%s/failure_summary/%d", f.pointer, i))
		code := e.requiredText("code", maxFailureCode)
		message := e.anyText("message", maxFailureMessage)
		f.faults = append(f.faults, e.faultless()...)
		if len(f.faults) >= maxFaults {
			f.faults = f.faults[:maxFaults]
			return nil
		}
		failures = append(failures, ledger.Failure{Code: code, Message: ledger.RedactText(message)})
	}
	var written bytes.Buffer
	encoder := json.NewEncoder(&written)
	encoder.SetEscapeHTML(false) // as it is stored
	if err := encoder.Encode(failures); err != nil {
		panic(err) // failures are made of texts
	}
	clean := bytes.TrimSpace(written.Bytes())
	if len(clean) > maxFailureSummary {
		f.fault("failure_summary", "At most %d bytes of JSON; these are %d.", maxFailureSummary, len(clean))
		return nil
	}
	return clean
}

// reportMany applies reports of which no two are of one run.
func (s *Server) reportMany(ctx context.Context, db *sparing, ws workspace.Scope, items []report) []result {
	return together(items, func(items []report) ([]result, error) {
		left := db.left
		results, err := s.reportDistinct(ctx, db, ws, items)
		if err != nil {
			db.left = left // of which nothing is kept
		}
		return results, err
	}, failedResult)
}

// reportDistinct applies reports of which no two are of one run, in one statement.
func (s *Server) reportDistinct(ctx context.Context, db *sparing, ws workspace.Scope, items []report) ([]result, error) {
	p := dbsqlc.ReportRunsParams{WorkspaceID: ws.ID(), Actor: ws.UserName(), ContextLimit: maxFree}
	for _, item := range items {
		p.Ids = append(p.Ids, item.id)
		p.Statuses = append(p.Statuses, string(item.status))
		p.Outcomes = append(p.Outcomes, string(item.outcome))
		p.SummaryCounts = append(p.SummaryCounts, string(item.counts))
		p.FailureSummaries = append(p.FailureSummaries, string(item.failures))
		p.ContextPatches = append(p.ContextPatches, string(item.contextPatch))
		p.Ats = append(p.Ats, item.at)
		p.Revisions = append(p.Revisions, item.revision)
	}
	rows, refused := s.queries.ReportRuns(ctx, db, p)
	if refused != nil && (!hasClass(refused, "23") || len(items) > 1) {
		return nil, refused
	}
	applied := make(map[int64]dbsqlc.OperationRun, len(rows))
	for _, row := range rows {
		applied[row.ID] = dbsqlc.OperationRun(row)
	}
	results := make([]result, len(items))
	var others []int // that broke a constraint, or that the guard refused
	for i, item := range items {
		if run, ok := applied[item.id]; ok {
			results[i] = result{status: http.StatusOK, run: run}
		} else {
			others = append(others, i)
		}
	}
	for some := range slices.Chunk(others, explainedAtOnce) {
		if err := s.explainRefused(ctx, db, ws, items, some, results, refused); err != nil {
			for _, i := range some { // and of no other: those were applied, and are not to be applied again
				results[i] = failedResult(err)
			}
		}
	}
	return results, nil
}

// explainedAtOnce is for how many reports that were not applied the runs are read at once: whole, as they are
// compared with the reports.
const explainedAtOnce = 128

// explainRefused writes to results why the reports at places were not applied.
func (s *Server) explainRefused(
	ctx context.Context, db *sparing, ws workspace.Scope, items []report, places []int, results []result, refused error,
) error {
	p := dbsqlc.ListRunsByIDParams{WorkspaceID: ws.ID()}
	for _, i := range places {
		p.Ids = append(p.Ids, items[i].id)
	}
	runs, err := s.queries.ListRunsByID(ctx, s.db, p)
	if err != nil {
		return err
	}
	asItIs := make(map[int64]*dbsqlc.OperationRun, len(runs))
	for _, run := range runs { // each by itself: an answer that keeps one is not to keep all of them
		asItIs[run.ID] = &run
	}
	for _, i := range places {
		results[i] = whyNotReported(items[i], asItIs[items[i].id], refused)
		kept := &results[i].run
		if conflict, ok := errors.AsType[*apiError](results[i].err); ok && conflict.run != nil {
			kept = conflict.run
		}
		db.spare(&kept.Context, &kept.FailureSummary, &kept.SummaryCounts)
	}
	return nil
}

// whyNotReported is the answer to a report that changed nothing: the run, if it says what the
// report says already, or else why not. There may be no run.
func whyNotReported(item report, run *dbsqlc.OperationRun, refused error) result {
	switch {
	case run == nil:
		return result{err: errNotFound}
	case item.revision != 0 && item.revision != run.Revision:
		return result{err: errRevision}
	case isFinal(run) && item.saysNothingNew(run):
		return result{status: http.StatusOK, run: *run}
	case isFinal(run):
		return result{err: errConflict(run, "The run is completed and does not change any more.")}
	case hasCode(refused, uniqueViolation):
		return result{err: errConflict(run, "Another run of the same identity is active by now.").because(refused)}
	case isOutsideStates(refused):
		return result{err: errConflict(run, outsideStates).because(refused)}
	default:
		return result{err: whyRefused(item, run)}
	}
}

// isFinal tells whether the run is completed and it was not the sweeper that said so.
func isFinal(run *dbsqlc.OperationRun) bool {
	verdict := run.Stalled != nil && *run.Stalled == string(ledger.StalledNoHeartbeat)
	return run.Status == string(ledger.StatusCompleted) && !verdict
}

// whyRefused is which part of a report the guard refused for a run that may still change.
func whyRefused(item report, run *dbsqlc.OperationRun) error {
	switch {
	case item.at.Valid && run.CreatedAt.Valid && item.at.Time.Before(run.CreatedAt.Time):
		return errInvalidFields(fault{Pointer: "/at", Detail: "It is before the run was created."})
	case item.at.Valid && item.status == ledger.StatusCompleted && run.StartedAt.Valid && item.at.Time.Before(run.StartedAt.Time):
		return errInvalidFields(fault{Pointer: "/at", Detail: "It is before the run started."})
	case item.status == ledger.StatusQueued && run.Status != string(ledger.StatusQueued):
		return errConflict(run, "The run has left the queue and does not go back.")
	case !slices.Contains(texts(ledger.Statuses), run.Status):
		return errConflict(run, outsideStates)
	case item.contextPatch != nil:
		return errInvalidFields(fault{
			Pointer: "/context", Detail: fmt.Sprintf("Merged, the context would have more than %d bytes.", maxFree),
		})
	default:
		return errConflict(run, "The run changed at the same moment; read it and report again.")
	}
}

// saysNothingNew tells whether the run is already what the report makes of it.
func (i report) saysNothingNew(run *dbsqlc.OperationRun) bool {
	return (i.status == "" || string(i.status) == run.Status) &&
		(i.outcome == "" || string(i.outcome) == run.Outcome) &&
		(i.counts == nil || ledger.SameJSON(i.counts, run.SummaryCounts)) &&
		(i.failures == nil || ledger.SameJSON(i.failures, run.FailureSummary)) &&
		(i.contextPatch == nil || ledger.ChangesNothing(run.Context, i.contextPatch)) &&
		(!i.at.Valid || i.at.Time.Equal(run.CompletedAt.Time))
}
