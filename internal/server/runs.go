package server

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/workspace"
)

func (s *Server) listRuns(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	p := parseParams(r)
	return s.answerRuns(w, r, ws, p, runFilter(p))
}

// answerRuns writes the page of runs that a request asks for, out of those that f keeps.
func (s *Server) answerRuns(w http.ResponseWriter, r *http.Request, ws workspace.Scope, p *params, f filter) error {
	order := p.choice("order", "-created_at", "created_at", "updated_at")
	first := beforeAll
	if order == "-created_at" {
		first = afterAll
	}
	pg, err := s.pageOf(r, ws, p, first)
	if err != nil {
		return err
	}
	db := narrowed{DBTX: s.db, filter: f, branch: order != "updated_at"}
	after := dbsqlc.ListRunsParams{
		WorkspaceID: ws.ID(), Position: pg.after.timestamptz(), PositionID: pg.after.id, PageSize: pg.rows(),
	}
	var runs []dbsqlc.OperationRun
	at := func(run *dbsqlc.OperationRun) position { return positionAt(run.CreatedAt, run.ID) }
	switch order {
	case "created_at":
		runs, err = s.queries.ListRunsOldestFirst(r.Context(), db, dbsqlc.ListRunsOldestFirstParams(after))
	case "updated_at":
		runs, err = s.queries.ListRunsByUpdate(r.Context(), db, dbsqlc.ListRunsByUpdateParams(after))
		at = func(run *dbsqlc.OperationRun) position { return positionAt(run.UpdatedAt, run.ID) }
	default:
		runs, err = s.queries.ListRuns(r.Context(), db, after)
	}
	if err != nil {
		return err
	}
	return answerPage(s, w, r, pg, runs, appendRun, at)
}

// countCeiling is how far a count goes: beyond it the answer is "at least".
const countCeiling = 10_000

func (s *Server) countRuns(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	p := parseParams(r)
	f := runFilter(p)
	if err := p.done(); err != nil {
		return err
	}
	count, err := s.queries.CountRuns(r.Context(), narrowed{DBTX: s.db, filter: f}, dbsqlc.CountRunsParams{
		WorkspaceID: ws.ID(), Ceiling: countCeiling + 1,
	})
	if err != nil {
		return err
	}
	relation := "eq"
	if count > countCeiling {
		count, relation = countCeiling, "gte"
	}
	return answerJSON(w, r, func(b []byte) []byte {
		b = appendInt(append(b, '{'), "count", count)
		return append(appendText(b, "relation", relation), '}')
	})
}

func (s *Server) getRun(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	id, err := rowID(r)
	if err != nil {
		return err
	}
	if err := noParams(r); err != nil {
		return err
	}
	run, err := s.queries.GetRun(r.Context(), s.db, dbsqlc.GetRunParams{WorkspaceID: ws.ID(), ID: id})
	if err != nil {
		return err
	}
	return answerJSON(w, r, func(b []byte) []byte { return appendRun(b, &run) })
}

// runFilter reads the filters of a list of runs. Each has an index in the list's order.
func runFilter(p *params) filter {
	var f filter
	f.anyOf("type", p.list("type"))
	f.anyOf("status", p.list("status", texts(ledger.Statuses)...))
	f.anyOf("outcome", p.list("outcome", texts(ledger.Outcomes)...))
	if id, ok := p.id("tenant_id"); ok {
		f.and("tenant_id = ?", id)
	}
	if id, ok := p.id("user_id"); ok {
		f.and("user_id = ?", id)
	}
	if hash, ok := p.identityHash("run_identity_hash"); ok {
		f.and("run_identity_hash = ?", hash)
	}
	if id, ok := p.id("backup_schedule_id"); ok {
		f.ofSchedule(id)
	}
	if code, ok := p.text("failure_code"); ok {
		f.choices = append(f.choices, failureCode(code))
	}
	if stalled, ok := p.flag("stalled"); ok {
		f.and(map[bool]string{true: "stalled_at IS NOT NULL", false: "stalled_at IS NULL"}[stalled], nil)
	}
	f.between(p, "created", "coalesce(created_at, '-infinity')")
	f.between(p, "started", "started_at")
	f.between(p, "completed", "completed_at")
	f.between(p, "updated", "coalesce(updated_at, '-infinity')")
	return f
}

// ofSchedule keeps the history of a backup schedule.
func (f *filter) ofSchedule(id int64) {
	f.and("context ->> 'backup_schedule_id' = ?", strconv.FormatInt(id, 10))
	f.and("type IN ('backup_schedule_run', 'backup_schedule_retention', 'backup_schedule_purge')", nil)
}

// between keeps the rows whose instant is in the half-open range <name>_from to <name>_before.
func (f *filter) between(p *params, name, instant string) {
	from, hasFrom := p.time(name + "_from")
	before, hasBefore := p.time(name + "_before")
	if hasFrom && hasBefore && !from.Before(before) {
		p.fault(name+"_before", "It is not after %s_from, so that no run could be in the range.", name)
	}
	if hasFrom {
		f.and(instant+" >= ?", from)
	}
	if hasBefore {
		f.and(instant+" < ?", before)
	}
	if hasBefore && !hasFrom && strings.HasPrefix(instant, "coalesce") {
		f.and(instant+" > '-infinity'", nil) // a row without the instant is in no range
	}
}

// failureCode keeps the runs that have a failure with that code. Nearly all runs that failed have
// one failure, few have more than two: each of the three has an index of its own.
func failureCode(code string) []condition {
	return []condition{
		{"failure_summary -> 0 ->> 'code' = ?", code},
		{"failure_summary -> 1 ->> 'code' = ? AND failure_summary -> 0 ->> 'code' IS DISTINCT FROM ?", code},
		{"failure_summary -> 2 IS NOT NULL AND jsonb_path_exists(failure_summary, '$[2 to last] ? (@.code == $code)', " +
			"jsonb_build_object('code', ?::text)) AND failure_summary -> 1 ->> 'code' IS DISTINCT FROM ? " +
			"AND failure_summary -> 0 ->> 'code' IS DISTINCT FROM ?", code},
	}
}

// appendRun appends a run as the interface shows it.
func appendRun(b []byte, run *dbsqlc.OperationRun) []byte {
	b = append(b, '{')
	b = appendInt(b, "id", run.ID)
	b = appendInt(b, "workspace_id", run.WorkspaceID)
	b = appendOptionalInt(b, "tenant_id", run.TenantID)
	b = appendOptionalInt(b, "user_id", run.UserID)
	b = appendOptionalText(b, "initiator_name", run.InitiatorName)
	b = appendText(b, "type", run.Type)
	b = appendText(b, "status", run.Status)
	b = appendText(b, "outcome", run.Outcome)
	b = appendText(b, "run_identity_hash", run.RunIdentityHash)
	b = appendJSON(b, "summary_counts", run.SummaryCounts)
	b = appendJSON(b, "failure_summary", run.FailureSummary)
	b = appendJSON(b, "context", run.Context)
	b = appendTime(b, "started_at", run.StartedAt)
	b = appendTime(b, "completed_at", run.CompletedAt)
	b = appendTime(b, "created_at", run.CreatedAt)
	b = appendTime(b, "updated_at", run.UpdatedAt)
	b = appendTime(b, "heartbeat_at", run.HeartbeatAt)
	b = appendTime(b, "stalled_at", run.StalledAt)
	b = appendTime(b, "cancel_requested_at", run.CancelRequestedAt)
	b = appendOptionalInt(b, "retry_of_id", run.RetryOfID)
	b = appendInt(b, "attempt", run.Attempt)
	b = appendInt(b, "revision", run.Revision)
	return append(b, '}')
}

// runSummary is what a row that refers to a run shows of it.
type runSummary struct {
	id                     *int64
	runType                *string
	status                 *string
	outcome                *string
	startedAt, completedAt pgtype.Timestamptz
}

// appendRunSummary appends the summary of a run, null where there is no reference.
func appendRunSummary(b []byte, name string, run runSummary) []byte {
	b = appendKey(b, name)
	if run.id == nil || run.runType == nil {
		return append(b, "null"...)
	}
	b = append(b, '{')
	b = appendInt(b, "id", *run.id)
	b = appendText(b, "type", *run.runType)
	b = appendOptionalText(b, "status", run.status)
	b = appendOptionalText(b, "outcome", run.outcome)
	b = appendTime(b, "started_at", run.startedAt)
	b = appendTime(b, "completed_at", run.completedAt)
	return append(b, '}')
}
