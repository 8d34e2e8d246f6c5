package server_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

// named are the queries of sql/queries that were sent since the last call, the latest of each name last.
func (r *recorder) named() []statement {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []statement
	for _, s := range r.statements {
		if strings.Contains(s.sql, "-- name: ") {
			all = append(all, s)
		}
	}
	r.statements = nil
	return all
}

// name is what the query is called in sql/queries.
func (s statement) name() string {
	_, rest, _ := strings.Cut(s.sql, "-- name: ")
	name, _, _ := strings.Cut(rest, " ")
	return name
}

// plannedSchedules is how many schedules each workspace of the test of plans has.
const plannedSchedules = 1000

// fillForPlans puts schedules with their versions and backups, findings and items into workspaces.
func fillForPlans(t testing.TB, pool *pgxpool.Pool, workspaces ...int64) {
	t.Helper()
	for _, id := range workspaces {
		for _, sql := range []string{
			"INSERT INTO tenants (workspace_id, name) SELECT $1, 'T' || n FROM generate_series(1, 200) AS n",
			`INSERT INTO backup_schedules (workspace_id, name, frequency, time_of_day, created_at, updated_at)
				SELECT $1, 'S' || n, 'daily', '02:30', now() - interval '300 days', now() - interval '300 days' FROM generate_series(1, 1000) AS n`,
			`INSERT INTO backup_schedule_versions (workspace_id, schedule_id, version, valid_from, timezone, frequency, time_of_day, is_enabled,
					is_deleted, compared_updated_at)
				SELECT workspace_id, id, 1, created_at, timezone, frequency, time_of_day, true, false, updated_at FROM backup_schedules WHERE workspace_id = $1`,
			`INSERT INTO operation_runs (workspace_id, tenant_id, type, status, outcome, created_at, started_at, completed_at, run_identity_hash, context)
				SELECT $1, CASE WHEN n % 4 = 0 THEN tenant + n / 4 % 200 END, CASE WHEN n % 4 = 0 THEN 'inventory_sync' ELSE 'backup_schedule_run' END, 'completed',
				       CASE WHEN n % 9 = 0 THEN 'failed' ELSE 'succeeded' END, at, at AS started, at + interval '1 minute',
				       encode(sha256(convert_to((n % 500)::text, 'UTF8')), 'hex'),
				       CASE WHEN n % 4 > 0 THEN jsonb_build_object('backup_schedule_id', first + n % 1000) ELSE '{}' END
				FROM generate_series(1, 40000) AS n, (SELECT min(id) AS first FROM backup_schedules WHERE workspace_id = $1) AS s,
				     (SELECT min(id) AS tenant FROM tenants WHERE workspace_id = $1) AS t,
				     LATERAL (SELECT now() - make_interval(mins => n * 10) AS at) AS moment`,
			`INSERT INTO inventory_items (workspace_id, policy_type, external_id, last_seen_at, last_seen_operation_run_id)
				SELECT $1, 'policy', 'x-' || n, now(), first + n % 2000
				FROM generate_series(1, 10000) AS n, (SELECT min(id) AS first FROM operation_runs WHERE workspace_id = $1) AS r`,
			`INSERT INTO findings (workspace_id, finding_type, fingerprint, baseline_operation_run_id, current_operation_run_id)
				SELECT $1, 'drift', 'f-' || n, first + n % 2000, first + n % 1999
				FROM generate_series(1, 10000) AS n, (SELECT min(id) AS first FROM operation_runs WHERE workspace_id = $1) AS r`,
		} {
			if _, err := pool.Exec(t.Context(), sql, id); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := pool.Exec(t.Context(), "VACUUM ANALYZE"); err != nil {
		t.Fatal(err)
	}
}

func TestHistoriesAreReadFromIndexesInAFewQueries(t *testing.T) {
	t.Parallel()
	pool, seen := newRecordedPool(t, dbtest.Fresh(t))
	w := newWorker(t, newHarnessOn(t, pool, server.Options{}))
	fillForPlans(t, pool, w.ID, dbtest.NewWorkspace(t, pool).ID, dbtest.NewWorkspace(t, pool).ID)
	var schedule, run, ofType, ofSchedule int64
	if err := pool.QueryRow(t.Context(), `SELECT (SELECT min(id) FROM backup_schedules WHERE workspace_id = $1),
			min(id), min(id) FILTER (WHERE type = 'inventory_sync'), min(id) FILTER (WHERE type = 'backup_schedule_run')
		FROM operation_runs WHERE workspace_id = $1`, w.ID).Scan(&schedule, &run, &ofType, &ofSchedule); err != nil {
		t.Fatal(err)
	}
	// A run like no other, whose like is the last good one of its type.
	var unlike int64
	if err := pool.QueryRow(t.Context(), `UPDATE operation_runs SET run_identity_hash = repeat('0', 64)
		WHERE workspace_id = $1 AND id = (SELECT min(id) FROM operation_runs WHERE workspace_id = $1 AND type = 'inventory_sync' AND id > $2)
		RETURNING id`, w.ID, ofType).Scan(&unlike); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	manager, month := w.token(t, w.Manager.Subject), url.QueryEscape(time.Now().AddDate(0, -1, 0).UTC().Format(time.RFC3339))
	w.do(t, http.MethodGet, w.path("?limit=1"), manager) // makes the key of cursors
	for _, c := range []struct {
		path    string
		queries int // at most, the gate's among them
		buffers int // at most, of one query
		accept  string
		post    string
	}{
		{path: fmt.Sprintf("backup-schedules/%d/slots", schedule), queries: 5, buffers: 300},
		{path: "backup-schedules/health", queries: 6, buffers: 20 * plannedSchedules},
		{path: fmt.Sprintf("operation-runs/%d/diff?against=last_good", ofSchedule), queries: 5, buffers: 300},
		{path: fmt.Sprintf("operation-runs/%d/diff?against=last_good", ofType), queries: 5, buffers: 600},
		{path: fmt.Sprintf("operation-runs/%d/diff?against=last_good", unlike), queries: 5, buffers: 600},
		{path: fmt.Sprintf("operation-runs/%d/dependents", run), queries: 3, buffers: 300},
		{path: "operation-runs/stats?bucket=day&from=" + month, queries: 4, buffers: 300},
		// The pages of an export have up to 2,000 runs.
		{path: fmt.Sprintf("operation-runs?backup_schedule_id=%d", schedule), queries: 3, buffers: 300, accept: "application/x-ndjson"},
		{path: "operation-runs?created_from=" + month, queries: 8, buffers: 1000, accept: "text/csv"},
		{path: fmt.Sprintf("operation-runs/%d/recall", run), queries: 5, buffers: 300, post: `{"reason":"a disk was full"}`},
	} {
		seen.named()
		method, header := http.MethodGet, []string(nil)
		if c.accept != "" {
			header = []string{"Accept", c.accept}
		}
		if c.post != "" {
			method = http.MethodPost
		}
		got, err := w.send(method, fmt.Sprintf("/workspaces/%d/%s", w.ID, c.path), manager, c.post, header...)
		if err != nil || got.status != http.StatusOK {
			t.Fatalf("%s: %d %.300s, %v", c.path, got.status, got.body, err)
		}
		sent := seen.named()
		if len(sent) == 0 || len(sent) > c.queries {
			t.Errorf("%s took %d queries, want 1 to %d", c.path, len(sent), c.queries)
		}
		for _, s := range last(sent) {
			wantIndexes(t, conn, c.path, s, c.buffers)
		}
	}
}

// last are the last statements of each name.
func last(sent []statement) map[string]statement {
	byName := map[string]statement{}
	for _, s := range sent {
		byName[s.name()] = s
	}
	return byName
}

// wantIndexes fails the test if a query reads a large table whole, or more than so many buffers, under a plan
// for its arguments or a generic one.
func wantIndexes(t *testing.T, conn *pgx.Conn, what string, s statement, buffers int) {
	t.Helper()
	modes := []bool{false, true}
	if s.forValues {
		modes = modes[:1]
	}
	for _, generic := range modes {
		plan, text := explain(t, conn, s, generic)
		plan.visit(func(n planNode) {
			if n.Type == "Seq Scan" && n.Relation != "workspaces" && n.Relation != "users" && n.Relation != "operation_types" && n.Relation != "tenants" &&
				n.Relation != "workspace_memberships" {
				t.Errorf("%s, %s, generic %t: reads %s whole:\n%s", what, s.name(), generic, n.Relation, text)
			}
		})
		if n := plan.Hit + plan.Read; n > buffers {
			t.Errorf("%s, %s, generic %t: %d buffers, want %d at most", what, s.name(), generic, n, buffers)
		}
		t.Logf("%s, %s, generic %t: %d buffers", what, s.name(), generic, plan.Hit+plan.Read)
	}
}
