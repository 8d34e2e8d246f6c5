package server

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/workspace"
)

func (s *Server) listRuns(w http.ResponseWriter, r *http.Request, v *visitor) error {
	p := parseParams(r)
	f := runFilter(p)
	if p.values.Has("legacy_table") || p.values.Has("legacy_id") {
		v.alone = true
		if _, err := v.admit(r); err != nil { // whose run that is, is looked up by itself
			return err
		}
	}
	if err := s.bridgedFrom(r, p, &f); err != nil {
		return err
	}
	return s.answerRuns(w, r, v, p, f, func(*http.Request) error { return nil })
}

// answerRuns writes the runs that a request asks for, out of those that f keeps: a page of them, or
// all where it wants a form that is no page. missing is asked, where there is nothing to write,
// whether what the runs are of is missing.
func (s *Server) answerRuns(
	w http.ResponseWriter, r *http.Request, v *visitor, p *params, f filter, missing missing,
) error {
	format, err := acceptedFormat(r)
	if err != nil {
		return cmp.Or(missing(r), err)
	}
	list := runList{
		server: s, workspaceID: v.workspaceID(), filter: f, order: runOrders[p.ordering("-created_at", "created_at", "updated_at")],
		missing: missing,
	}
	show := p.fields(runMembers)
	p.position(r) // though an export is the primary's
	if format != nil {
		for _, name := range []string{"limit", "cursor"} {
			if _, given := p.text(name); given {
				p.fault(name, "An export has no pages: leave it out, or ask for application/json.")
			}
		}
		if err := p.done(); err != nil {
			return cmp.Or(missing(r), err)
		}
		if _, err := v.admit(r); err != nil {
			return err
		}
		return s.exportRuns(w, r, list, show, format)
	}
	pg, err := s.pageOf(r, v.workspaceID(), p, list.order.first())
	if err != nil {
		return cmp.Or(missing(r), err)
	}
	pg.instant, pg.missing, pg.vary = list.order.name+"_at", missing, []string{"Accept"}
	return s.answerRows(w, r, v, pg, show, list.narrowed(pg.after), func(ctx context.Context, db dbsqlc.DBTX) error {
		return list.query(ctx, db, pg.after, pg.rows())
	})
}

// runOrders are the orders that a list of runs can have.
var runOrders = map[string]runOrder{
	"-created_at": {name: "created", descending: true},
	"created_at":  {name: "created"},
	"updated_at":  {name: "updated"},
}

// countCeiling is how far a count goes: beyond it the answer is "at least".
const countCeiling = 10_000

func (s *Server) countRuns(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	p := parseParams(r)
	f := runFilter(p)
	if err := s.bridgedFrom(r, p, &f); err != nil {
		return err
	}
	p.position(r)
	if err := p.done(); err != nil {
		return err
	}
	order := runOrders["-created_at"]
	f = order.bind(f, order.first())
	var count int64
	err := s.reading(r, page{}, func(db dbsqlc.DBTX) (err error) {
		count, err = s.queries.CountRuns(r.Context(), narrowed{DBTX: db, filter: f}, dbsqlc.CountRunsParams{
			WorkspaceID: ws.ID(), Ceiling: countCeiling + 1,
		})
		return err
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
	return answerRun(w, r, http.StatusOK, &run)
}

var activeStatuses = texts(slices.DeleteFunc(slices.Clone(ledger.Statuses), func(s ledger.Status) bool { return !s.Active() }))

// runFilter reads the filters of a list of runs. Each has an index in the list's order.
func runFilter(p *params) filter {
	var f filter
	f.anyOf("type", p.list("type"))
	statuses := p.list("status", texts(ledger.Statuses)...)
	outcomes := p.list("outcome", texts(ledger.Outcomes)...)
	tenantID, ofTenant := p.id("tenant_id")
	f.inState(statuses, outcomes, ofTenant)
	if ofTenant {
		f.andCarried("tenant_id", "(tenant_id + 0)", tenantID)
	}
	if id, ok := p.id("user_id"); ok {
		f.andCarried("user_id", "(user_id + 0)", id)
	}
	if hash, ok := p.identityHash("run_identity_hash"); ok {
		f.andCarried("run_identity_hash", `run_identity_hash COLLATE "C"`, hash)
		f.identified = true
	}
	if id, ok := p.id("backup_schedule_id"); ok {
		f.ofSchedule(id)
	}
	if code, ok := p.text("failure_code"); ok {
		f.choices = append(f.choices, failureCode(code))
	}
	if stalled, ok := p.flag("stalled"); ok {
		if stalled {
			f.selective = true
			f.and("stalled_at IS NOT NULL")
		} else {
			f.all = append(f.all, condition{sql: "stalled_at IS NULL", common: true})
		}
	}
	for _, names := range timeRanges {
		if r, ok := p.timeRange(names); ok {
			f.ranges = append(f.ranges, r)
		}
	}
	switch {
	case f.selective && f.identified:
		f.chooseByIdentity()
	case f.identified:
		f.readIdentity()
	}
	return f
}

// chooseByIdentity leaves PostgreSQL the choice between the few runs of an identity and those that another
// condition leaves. It takes what all runs of an identity have in common, their tenant most of all, for something
// that few of them have, and would read the whole identity, in which nothing need be found.
func (f *filter) chooseByIdentity() {
	for i, c := range f.all {
		if c.carried != "" && c.column != "run_identity_hash" {
			f.all[i].sql = c.carried + " = ?"
		}
	}
}

// readIdentity has the runs of an identity read out of its index, which holds what else is asked of them. To
// PostgreSQL, where it plans for all values, those of a user or tenant are as few; but a bound on both sides
// leaves the index of these without the list's order.
func (f *filter) readIdentity() {
	read := func(conditions []condition) {
		for i, c := range conditions {
			if c.column != "" && c.column != "run_identity_hash" {
				conditions[i].sql, conditions[i].args = c.column+" >= ? AND "+c.column+" <= ?", []any{c.args[0], c.args[0]}
			}
		}
	}
	read(f.all)
	for _, choice := range f.choices {
		read(choice)
	}
}

// inState keeps the runs that have one of statuses and one of outcomes; no values keep all. ofTenant says
// that the runs are those of one tenant.
func (f *filter) inState(statuses, outcomes []string, ofTenant bool) {
	const completed, pending = string(ledger.StatusCompleted), string(ledger.OutcomePending)
	switch {
	case ofTenant && len(statuses) == 0 && slices.Equal(outcomes, []string{pending}):
		// A run is pending as long as it is active, and the index of statuses holds tenants.
		f.anyOf("status", activeStatuses)
		return
	case len(outcomes) > 0 && !slices.Contains(outcomes, pending) && slices.Contains(statuses, completed):
		// Only completed runs have another outcome than pending, so that no index is needed for it.
		f.all = append(f.all, condition{sql: "(status = ANY (?)) IS TRUE", args: []any{statuses}, common: true})
	default:
		f.anyOf("status", statuses)
	}
	f.anyOf("outcome", outcomes)
}

// ofSchedule keeps the history of a backup schedule.
func (f *filter) ofSchedule(id int64) {
	f.selective = true
	f.and("context ->> 'backup_schedule_id' = ? AND type IN ('"+strings.Join(ledger.ScheduleTypes, "', '")+"')", strconv.FormatInt(id, 10))
}

// runMembers are a run as the interface shows it, as appendRun appends one.
var runMembers = slices.Concat(
	shown("id", "workspace_id", "tenant_id", "user_id", "initiator_name", "type", "status", "outcome", "run_identity_hash",
		"summary_counts", "failure_summary", "context", "started_at", "completed_at", "created_at", "updated_at",
		"heartbeat_at", "progressed_at"),
	members{stalledMember()},
	shown("stalled_at", "cancel_requested_at", "retry_of_id", "attempt", "revision",
		"recalled", "recalled_at", "recalled_by_user_id", "recall_reason"),
)

// stalledMember is in which way a run is stalled, as stalledText tells it.
func stalledMember() member {
	m := shownAs("stalled", "stalled")
	m.implied, m.since = string(ledger.StalledNoHeartbeat), "stalled_at"
	return m
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
	b = appendTime(b, "progressed_at", run.ProgressedAt)
	b = appendOptionalText(b, "stalled", stalledText(run))
	b = appendTime(b, "stalled_at", run.StalledAt)
	b = appendTime(b, "cancel_requested_at", run.CancelRequestedAt)
	b = appendOptionalInt(b, "retry_of_id", run.RetryOfID)
	b = appendInt(b, "attempt", run.Attempt)
	b = appendInt(b, "revision", run.Revision)
	b = appendBool(b, "recalled", run.Recalled)
	b = appendTime(b, "recalled_at", run.RecalledAt)
	b = appendOptionalInt(b, "recalled_by_user_id", run.RecalledByUserID)
	b = appendOptionalText(b, "recall_reason", run.RecallReason)
	return append(b, '}')
}

// stalledText is in which way a run is stalled; nil if it is not.
func stalledText(run *dbsqlc.OperationRun) *string {
	if run.StalledAt.Valid && run.Stalled == nil {
		silent := string(ledger.StalledNoHeartbeat)
		return &silent
	}
	return run.Stalled
}

// runSummary is the member that sums up the run which a row refers to, null where there is none. id
// is the column of the reference; the run's own columns have the prefix.
func runSummary(name, id, prefix string) members {
	summary := shownAs(name, prefix+"type")
	summary.object = members{shownAs("id", id)}
	for _, of := range []string{"type", "status", "outcome", "started_at", "completed_at"} {
		summary.object = append(summary.object, shownAs(of, prefix+of))
	}
	return members{summary}
}
