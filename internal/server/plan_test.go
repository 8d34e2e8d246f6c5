package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/seed"
	"github.com/runledger/runledger/internal/server"
)

// statement is what a request sent to the database.
type statement struct {
	sql       string
	args      []any
	forValues bool // whether it is planned anew each time
}

// recorder notes the statements that pass.
type recorder struct {
	mu         sync.Mutex
	statements []statement
}

func (r *recorder) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	args := data.Args
	if len(args) > 0 && args[0] == pgx.QueryExecModeCacheDescribe {
		args = args[1:]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.statements = append(r.statements, statement{data.SQL, args, server.PlannedForValues(ctx)})
	return ctx
}

func (r *recorder) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// newRecordedPool is a pool as a server has it, with a record of what is sent over it.
func newRecordedPool(t *testing.T, databaseURL string) (*pgxpool.Pool, *recorder) {
	t.Helper()
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	seen := &recorder{}
	config.ConnConfig.Tracer = seen
	maps.Copy(config.ConnConfig.RuntimeParams, server.SessionSettings())
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool, seen
}

// last is the last statement that has the name.
func (r *recorder) last(t *testing.T, name string) statement {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range slices.Backward(r.statements) {
		if strings.HasPrefix(s.sql, "-- name: "+name+" ") { // by which metrics and traces know it
			return s
		}
	}
	t.Fatalf("no statement %s was sent", name)
	return statement{}
}

// planNode is a node of EXPLAIN's JSON.
type planNode struct {
	Type       string     `json:"Node Type"`
	Relation   string     `json:"Relation Name"`
	Index      string     `json:"Index Name"`
	Rows       float64    `json:"Actual Rows"`
	Loops      float64    `json:"Actual Loops"`
	Hit        int        `json:"Shared Hit Blocks"`
	Read       int        `json:"Shared Read Blocks"`
	Plans      []planNode `json:"Plans"`
	FilteredBy float64    `json:"Rows Removed by Filter"`
	JoinedBy   float64    `json:"Rows Removed by Join Filter"`
}

func (n planNode) visit(f func(planNode)) {
	f(n)
	for _, child := range n.Plans {
		child.visit(f)
	}
}

// sorted is how many rows a Sort was given.
func (n planNode) sorted() float64 {
	rows := 0.0
	for _, child := range n.Plans {
		rows += child.Rows
	}
	return rows
}

// explain runs the statement and returns its plan, the generic one or one for its arguments.
func explain(t *testing.T, conn *pgx.Conn, s statement, generic bool) (planNode, string) {
	t.Helper()
	ctx := t.Context()
	mode := "force_custom_plan"
	if generic {
		mode = "force_generic_plan"
	}
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql, append([]any{pgx.QueryExecModeSimpleProtocol}, args...)...); err != nil {
			t.Fatalf("%v\n%s", err, sql)
		}
	}
	exec("SET plan_cache_mode = " + mode)
	exec("PREPARE explained AS " + s.sql)
	defer exec("DEALLOCATE explained")
	marks := make([]string, 0, len(s.args))
	for i := range s.args {
		marks = append(marks, fmt.Sprintf("$%d", i+1))
	}
	var plans []struct{ Plan planNode }
	var text string
	err := conn.QueryRow(ctx, "EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, FORMAT JSON) EXECUTE explained("+strings.Join(marks, ", ")+")",
		append([]any{pgx.QueryExecModeSimpleProtocol}, s.args...)...).Scan(&text)
	if err != nil {
		t.Fatalf("%v\n%s %v", err, s.sql, s.args)
	}
	if err := json.Unmarshal([]byte(text), &plans); err != nil {
		t.Fatal(err)
	}
	return plans[0].Plan, text
}

// largeDatabase has a million runs. RUNLEDGER_TEST_LARGE_DATABASE_URL names one that is there
// already, made by runledger seed --runs 1000000.
func largeDatabase(t *testing.T) string {
	t.Helper()
	if given := os.Getenv("RUNLEDGER_TEST_LARGE_DATABASE_URL"); given != "" {
		return given
	}
	databaseURL := dbtest.Fresh(t)
	conn, err := pgx.Connect(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	until := time.Date(2026, time.June, 1, 0, 0, 0, 0, time.UTC)
	if _, err := seed.Run(t.Context(), conn, seed.Options{Workspaces: 20, Runs: 1_000_000, Seed: 1, Until: until}, func(int, int) {}); err != nil {
		t.Fatal(err)
	}
	return databaseURL
}

// mostBuffers is how many buffers a page may take. A code of failures or an identity that many runs
// have is looked through in its index. The stalled runs, few as they are, are all looked at. In the order
// of updates half as many runs again are read as a page has, and those of a schedule are all looked at.
func mostBuffers(order, query string) int {
	most := 300
	if strings.Contains(query, "failure_code") || strings.Contains(query, "run_identity_hash") || strings.Contains(query, "stalled=true") {
		most = 1_000
	}
	switch {
	case order != "updated_at":
	case strings.Contains(query, "backup_schedule_id"):
		most = 1_000
	default:
		most += most / 2
	}
	return most
}

// hard tells whether the value of a filter is one that tempts a planner into reading much.
func hard(f seed.Filter) bool { return f.Kind != "common" && f.Kind != "middling" && f.Kind != "open" }

func TestEveryFilterAnswersFromAnIndexAtAMillionRuns(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("filling a database with a million runs takes minutes")
	}
	databaseURL := largeDatabase(t)
	pool, seen := newRecordedPool(t, databaseURL)
	h := newHarnessOn(t, pool, server.Options{})
	conn, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var workspaceID int64
	var subject string
	if err := conn.QueryRow(t.Context(), `SELECT m.workspace_id, u.subject FROM workspace_memberships AS m JOIN users AS u ON u.id = m.user_id
		WHERE m.workspace_id = (SELECT workspace_id FROM operation_runs GROUP BY 1 ORDER BY count(*) DESC LIMIT 1)
		AND u.subject IS NOT NULL LIMIT 1`).Scan(&workspaceID, &subject); err != nil {
		t.Fatal(err)
	}
	filters, err := seed.Filters(t.Context(), conn, workspaceID)
	if err != nil {
		t.Fatal(err)
	}
	token := h.token(t, subject)
	worst := 0
	check := func(order, query string, what string) {
		t.Helper()
		path := fmt.Sprintf("/workspaces/%d/operation-runs?order=%s&%s", workspaceID, order, query)
		if got := h.do(t, http.MethodGet, path, token); got.status != http.StatusOK {
			t.Errorf("%s: %d %s", path, got.status, got.body)
			return
		}
		name := map[string]string{"-created_at": "ListRuns", "created_at": "ListRunsOldestFirst", "updated_at": "ListRunsByUpdate"}[order]
		sent := seen.last(t, name)
		modes := []bool{false, true}
		if sent.forValues {
			modes = modes[:1]
		}
		for _, generic := range modes {
			plan, _ := explain(t, conn, sent, generic)
			buffers := plan.Hit + plan.Read
			worst = max(worst, buffers)
			complaint := ""
			plan.visit(func(n planNode) {
				if n.Type == "Seq Scan" {
					complaint += " " + n.Type
				}
				// What is merged of several branches is sorted; a workspace's runs never are.
				if n.Type == "Sort" && n.sorted() > 24*51 {
					complaint += fmt.Sprintf(" Sort of %.0f rows", n.sorted())
				}
			})
			if complaint != "" || buffers >= mostBuffers(order, query) {
				t.Errorf("%-60s order=%-11s generic=%-5t buffers=%d%s", what, order, generic, buffers, complaint)
			}
		}
	}
	for _, order := range []string{"-created_at", "created_at", "updated_at"} {
		check(order, "", "no filter")
		for i, a := range filters {
			check(order, a.Query, a.Name+" "+a.Kind)
			for _, b := range filters[i+1:] {
				if a.Name != b.Name && hard(a) && hard(b) {
					check(order, a.Query+"&"+b.Query, a.Name+" "+a.Kind+", "+b.Name+" "+b.Kind)
				}
				// All runs of an identity are of one tenant, which PostgreSQL does not know.
				if names := a.Name + " " + b.Name; names == "tenant_id run_identity_hash" || names == "run_identity_hash tenant_id" {
					check(order, a.Query+"&"+b.Query+"&stalled=true", "stalled, "+a.Name+" "+a.Kind+", "+b.Name+" "+b.Kind)
				}
			}
		}
	}
	t.Logf("the dearest page took %d buffers", worst)
}
