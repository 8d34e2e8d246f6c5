package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/runledger/runledger/internal/dbsqlc"
)

// list is one of the lists that are measured: its address, its statement, and what of the
// statement's columns a row is made of.
type list struct {
	name    string
	path    string
	members []member
	ask     func(ctx context.Context, db dbsqlc.DBTX, limit int32) error
	// narrow is the filter that stands for AND true; its ? is narrowBy.
	narrow   string
	narrowBy string
}

// member is a member of a row's object. One with an object of its own is null where its column
// or the object's second is.
type member struct {
	name, column string
	object       []member
}

// columns are members that are named as their columns.
func columns(names string) []member {
	var members []member
	for name := range strings.FieldsSeq(names) {
		members = append(members, member{name: name, column: name})
	}
	return members
}

// runOf is the summary of a run that a row refers to.
func runOf(name, reference, prefix string) member {
	m := member{name: name, column: reference, object: []member{{name: "id", column: reference}}}
	for _, of := range columns("type status outcome started_at completed_at") {
		m.object = append(m.object, member{name: of.name, column: prefix + of.column})
	}
	return m
}

// lists are the lists of a place that the bars hold for.
func lists(p place) []list {
	newest := pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}
	runs := func(ctx context.Context, db dbsqlc.DBTX, limit int32) error {
		_, err := dbsqlc.New().ListRuns(ctx, db, dbsqlc.ListRunsParams{
			WorkspaceID: p.workspaceID, Position: newest, PositionID: math.MaxInt64, PageSize: limit,
		})
		return err
	}
	run := columns(`id workspace_id tenant_id user_id initiator_name type status outcome run_identity_hash summary_counts
		failure_summary context started_at completed_at created_at updated_at heartbeat_at progressed_at stalled stalled_at
		cancel_requested_at retry_of_id attempt revision recalled recalled_at recalled_by_user_id recall_reason`)
	workspace := fmt.Sprintf("/workspaces/%d/", p.workspaceID)
	finding := columns(`id workspace_id tenant_id finding_type scope_key fingerprint subject_type subject_external_id severity
		status acknowledged_at acknowledged_by_user_id evidence baseline_operation_run_id`)
	finding = append(finding, runOf("baseline_operation_run", "baseline_operation_run_id", "baseline_"))
	finding = append(finding, columns("current_operation_run_id")...)
	finding = append(finding, runOf("current_operation_run", "current_operation_run_id", "current_"))
	finding = append(finding, columns("created_at updated_at revision recalled")...)
	item := columns(`id workspace_id tenant_id policy_type external_id display_name category platform meta last_seen_at
		last_seen_operation_run_id`)
	item = append(item, runOf("last_seen_operation_run", "last_seen_operation_run_id", "run_"))
	item = append(item, columns("created_at updated_at recalled")...)
	return []list{
		{name: "runs", path: p.runs(), members: run, ask: runs},
		{
			name: "history", path: p.history(), members: run, ask: runs,
			narrow: "AND context ->> 'backup_schedule_id' = ? AND type IN ('backup_schedule_run', 'backup_schedule_retention', " +
				"'backup_schedule_purge')", narrowBy: strconv.FormatInt(p.scheduleID, 10),
		},
		{
			name: "findings", path: workspace + "findings", members: finding,
			ask: func(ctx context.Context, db dbsqlc.DBTX, limit int32) error {
				_, err := dbsqlc.New().ListFindings(ctx, db, dbsqlc.ListFindingsParams{
					WorkspaceID: p.workspaceID, PositionID: math.MaxInt64, PageSize: limit,
				})
				return err
			},
		},
		{
			name: "inventory", path: workspace + "inventory-items", members: item,
			ask: func(ctx context.Context, db dbsqlc.DBTX, limit int32) error {
				_, err := dbsqlc.New().ListInventoryItems(ctx, db, dbsqlc.ListInventoryItemsParams{
					WorkspaceID: p.workspaceID, PositionID: math.MaxInt64, PageSize: limit,
				})
				return err
			},
		},
	}
}

// query is a statement with its arguments.
type query struct {
	sql  string
	args []any
}

// errCaptured ends a call of the generated code once its statement is known.
var errCaptured = errors.New("the statement is not to be run")

// capture is a database that takes statements and runs none.
type capture struct{ query *query }

func (c capture) Exec(context.Context, string, ...any) (pgconn.CommandTag, error) {
	return pgconn.CommandTag{}, errCaptured
}

func (c capture) Query(_ context.Context, sql string, args ...any) (pgx.Rows, error) {
	*c.query = query{sql, args}
	return nil, errCaptured
}

func (c capture) QueryRow(context.Context, string, ...any) pgx.Row { return nil }

// query is the statement of the list's first page, as the generated code has it.
func (l list) query(ctx context.Context, limit int) (query, error) {
	var q query
	if err := l.ask(ctx, capture{&q}, int32(limit)); !errors.Is(err, errCaptured) {
		return q, fmt.Errorf("the statement of %s was not asked for: %w", l.name, err)
	}
	if l.narrow != "" {
		q.args = append(q.args, l.narrowBy)
		q.sql = strings.Replace(q.sql, "AND true", strings.Replace(l.narrow, "?", "$"+strconv.Itoa(len(q.args)), 1), 1)
	}
	return q, nil
}

// literal is an argument as text, for pgbench.
func literal(v any) string {
	switch v := v.(type) {
	case int64:
		return strconv.FormatInt(v, 10)
	case int32:
		return strconv.FormatInt(int64(v), 10)
	case string:
		return v
	case pgtype.Timestamptz:
		if v.InfinityModifier == pgtype.Infinity {
			return "infinity"
		}
		return v.Time.UTC().Format(time.RFC3339Nano)
	default:
		panic(fmt.Sprintf("bench: no literal for %T", v))
	}
}

// connectionCounts are how many connections ask at once.
func connectionCounts() []int { return []int{1, 8, 32} }

// listBar is how many times the limit's CPU a list may take.
const listBar = 1.25

// measureLists compares each list with the bare handler and with pgbench.
func measureLists(ctx context.Context, b *bench) (*table, error) {
	p, err := findPlace(ctx, b.url(b.middle))
	if err != nil {
		return nil, err
	}
	bare, err := startBare(ctx, b.url(b.middle), bareEnvironment(p, b.pageSize)...)
	if err != nil {
		return nil, err
	}
	defer bare.stop()
	full, err := b.startServe(ctx, b.url(b.middle), p.subject)
	if err != nil {
		return nil, err
	}
	defer full.stop()
	t := &table{
		caption: fmt.Sprintf("Pages of %d rows at %d runs: CPU seconds per 1,000 requests (server + PostgreSQL), medians of %d rounds of %d requests. "+
			"A ratio is the median of the rounds' own.", b.pageSize, b.middle, b.rounds, b.requests),
		keys: 2,
		head: []string{
			"list", "connections", "limit", "Runledger", "ratio", "bar", "Runledger, one page for all", "ratio of that",
			"pgbench: PostgreSQL alone", "requests/s: limit", "Runledger", "one page for all", "pgbench",
		},
	}
	for _, l := range lists(p) {
		bare.path, full.path = "/"+l.name, l.path+"?limit="+strconv.Itoa(b.pageSize)
		size, err := sameData(ctx, full, bare)
		if err != nil {
			return nil, err
		}
		t.notes = append(t.notes, fmt.Sprintf("A page of %s is %d bytes.", l.name, size))
		for _, connections := range connectionCounts() {
			note("%s at %d connections", l.name, connections)
			c, err := b.compareList(ctx, l, connections, full, bare)
			if err != nil {
				return nil, err
			}
			c.addTo(t, l.name, strconv.Itoa(connections))
		}
	}
	return t, nil
}

// comparedList is a list that was measured by turns with others.
type comparedList struct {
	runledger rounds
	limit     rounds
	crowd     rounds // where all connections ask for the same page
	pgbench   rounds
}

// leastStatements is how many statements each connection of pgbench runs at least where they read:
// with fewer, how the connections begin and end is much of the time.
const leastStatements = 200

// compareList measures a list, its limit, the list where all connections ask for the same page, and
// pgbench by turns.
func (b *bench) compareList(ctx context.Context, l list, connections int, full, bare *contender) (comparedList, error) {
	q, err := l.query(ctx, b.pageSize+1)
	if err != nil {
		return comparedList{}, err
	}
	script, err := b.pgbenchScript(l.name, q)
	if err != nil {
		return comparedList{}, err
	}
	requests := b.requestsAt(connections)
	crowd := *full
	crowd.together = true
	turns, err := loadTurns(ctx, connections, requests, full, bare, &crowd)
	if err != nil {
		return comparedList{}, err
	}
	turns = append(turns, func(ctx context.Context) (sample, error) {
		return b.pgbench(ctx, script, b.url(b.middle), connections, max(requests/connections, leastStatements))
	})
	all, err := byTurns(ctx, b.rounds, turns...)
	if err != nil {
		return comparedList{}, err
	}
	return comparedList{runledger: all[0], limit: all[1], crowd: all[2], pgbench: all[3]}, nil
}

func (c comparedList) addTo(t *table, name, connections string) {
	r := c.runledger.costRatio(c.limit)
	full, limit, crowd, plain := c.runledger.median(), c.limit.median(), c.crowd.median(), c.pgbench.median()
	t.add(
		name, connections, limit.String(), full.String(), fmt.Sprintf("%.2f", r), holds(r, listBar),
		crowd.String(), fmt.Sprintf("%.2f", c.crowd.costRatio(c.limit)), fmt.Sprintf("%.3f", plain.database.Seconds()),
		perSecond(limit.rate), perSecond(full.rate), perSecond(crowd.rate), perSecond(plain.rate),
	)
}

// requestsAt is how many requests a round has: fewer where one connection asks alone, which takes
// longer by the clock and no more CPU.
func (b *bench) requestsAt(connections int) int {
	if connections == 1 {
		return b.requests * 2 / 3
	}
	return b.requests
}

// sameData makes sure that both contenders send the same rows, encoded alike, and returns how
// many bytes a page has.
func sameData(ctx context.Context, a, b *contender) (int, error) {
	var bodies [2]bytes.Buffer
	for i, c := range []*contender{a, b} {
		if err := c.get(ctx, c.path, &bodies[i]); err != nil {
			return 0, err
		}
	}
	rowsOf := func(body []byte) []byte {
		rows, _, _ := bytes.Cut(body, []byte(`],"next_cursor":`))
		return rows
	}
	// What stalled a run was not always noted; the lists say what it must have been.
	got := rowsOf(bodies[0].Bytes())
	want := rowsOf(bodies[1].Bytes())
	if !bytes.Equal(got, want) && !bytes.Equal(bytes.ReplaceAll(got, []byte(`"no_heartbeat"`), []byte("null")), want) {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		return 0, fmt.Errorf("%s and %s answer differently at byte %d:\n%.300s\n%.300s", a.name, b.name, at, got[max(0, at-100):], want[max(0, at-100):])
	}
	return bodies[0].Len(), nil
}
