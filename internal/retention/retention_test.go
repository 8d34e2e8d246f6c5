package retention

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// world is a database with one workspace and two tenants.
type world struct {
	conn      *pgx.Conn
	url       string
	workspace dbtest.Workspace
	tenants   [2]int64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	url := dbtest.Fresh(t)
	pool := dbtest.Connect(t, url)
	w := &world{url: url, workspace: dbtest.NewWorkspace(t, pool)}
	for i := range w.tenants {
		w.tenants[i] = dbtest.NewTenant(t, pool, w.workspace.ID)
	}
	w.conn = w.connect(t)
	return w
}

func (w *world) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), w.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func (w *world) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := w.conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
}

// runs inserts a completed run of a type for each of the days since its end, with an event and an
// idempotency key each, and returns their ids. Tenant 0 is none.
func (w *world) runs(t *testing.T, runType string, tenant int64, daysAgo ...int) []int64 {
	t.Helper()
	ids := make([]int64, 0, len(daysAgo))
	for _, days := range daysAgo {
		var id int64
		err := w.conn.QueryRow(t.Context(), `
			WITH run AS (
				INSERT INTO operation_runs (workspace_id, tenant_id, type, status, outcome, created_at, started_at, completed_at)
				VALUES ($1, nullif($2, 0), $3, 'completed', 'succeeded', now() - make_interval(days => $4, hours => 1),
				        now() - make_interval(days => $4, hours => 1), now() - make_interval(days => $4))
				RETURNING workspace_id, id
			), event AS (
				INSERT INTO operation_run_events (kind, workspace_id, run_id) SELECT 'created', workspace_id, id FROM run
			), key AS (
				INSERT INTO operation_run_idempotency_keys (workspace_id, run_id, key, request_hash)
				SELECT workspace_id, id, 'key ' || id, '' FROM run
			)
			SELECT id FROM run`, w.workspace.ID, tenant, runType, days).Scan(&id)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// left are the runs that are still there.
func (w *world) left(t *testing.T) []int64 {
	t.Helper()
	return w.ids(t, "SELECT id FROM operation_runs ORDER BY id")
}

func (w *world) ids(t *testing.T, sql string) []int64 {
	t.Helper()
	rows, err := w.conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// retain previews and runs, holds the two to each other, and returns what Run said.
func (w *world) retain(t *testing.T, o Options) []Group {
	t.Helper()
	before := w.left(t)
	var released []int64
	preview, err := Preview(t.Context(), w.conn, o, func(r Released) error {
		released = append(released, r.Runs...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, w.left(t)); diff != "" {
		t.Errorf("the preview changed something: %s", diff)
	}
	last := 0
	groups, err := Run(t.Context(), w.conn, o, func(done, total int) {
		if done <= last || done > total {
			t.Errorf("progress from %d to %d of %d", last, done, total)
		}
		last = done
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(preview, groups); diff != "" {
		t.Errorf("the preview and what was done: %s", diff)
	}
	want := slices.DeleteFunc(before, func(id int64) bool { return slices.Contains(released, id) })
	if diff := cmp.Diff(want, w.left(t)); diff != "" {
		t.Errorf("the preview's list and what is left: %s", diff)
	}
	if orphans := w.ids(t, `SELECT run_id FROM operation_run_events UNION SELECT run_id FROM operation_run_idempotency_keys
		EXCEPT SELECT id FROM operation_runs`); len(orphans) > 0 {
		t.Errorf("events or keys of runs that are gone: %v", orphans)
	}
	return groups
}

func (w *world) policy(t *testing.T, runType string, days, last *int64) {
	t.Helper()
	w.exec(t, "UPDATE operation_types SET keep_days = $2, keep_last = $3 WHERE name = $1", runType, days, last)
}

func TestARunGoesWhenNoPartOfThePolicyKeepsIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		days, last *int64
		left       []int // positions in the list of runs 1, 5, 10, 20 days old
	}{
		{"no policy", nil, nil, []int{0, 1, 2, 3}},
		{"days", new(int64(7)), nil, []int{0, 1}},
		{"last", nil, new(int64(3)), []int{0, 1, 2}},
		{"last wins over days", new(int64(2)), new(int64(3)), []int{0, 1, 2}},
		{"days win over last", new(int64(15)), new(int64(1)), []int{0, 1, 2}},
		{"no days", new(int64(0)), nil, nil},
		{"none", nil, new(int64(0)), nil},
		{"more than there are", nil, new(int64(4)), []int{0, 1, 2, 3}},
		{"a number beyond all others", nil, new(int64(1) << 62), []int{0, 1, 2, 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.policy(t, "inventory_sync", c.days, c.last)
			ids := w.runs(t, "inventory_sync", 0, 1, 5, 10, 20)
			want := []int64{}
			for _, i := range c.left {
				want = append(want, ids[i])
			}
			w.retain(t, Options{BatchSize: 2})
			if diff := cmp.Diff(want, w.left(t)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheLastRunsAreThoseOfEachTenantAndOneWithoutATenantIsApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy(t, "inventory_sync", nil, new(int64(1)))
	var want []int64
	for _, tenant := range []int64{0, w.tenants[0], w.tenants[1]} {
		want = append(want, w.runs(t, "inventory_sync", tenant, 3, 4, 5)[0])
	}
	want = append(want, w.runs(t, "drift_generate_findings", 0, 100, 200)...)
	groups := w.retain(t, Options{})
	if diff := cmp.Diff(want, w.left(t)); diff != "" {
		t.Error(diff)
	}
	wantGroups := []Group{{
		WorkspaceID: w.workspace.ID, Workspace: w.workspace.Slug, Type: "inventory_sync", Expired: 6, Released: 6,
	}}
	if diff := cmp.Diff(wantGroups, groups); diff != "" {
		t.Error(diff)
	}
}

func TestActiveRunsStayHoweverOld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec(t, `INSERT INTO operation_runs (workspace_id, type, status, created_at, started_at) VALUES
		($1, 'inventory_sync', 'queued', '2001-01-01', NULL), ($1, 'inventory_sync', 'running', '2001-01-01', '2001-01-01')`, w.workspace.ID)
	w.runs(t, "inventory_sync", 0, 1)
	w.retain(t, Options{Types: []string{"inventory_sync"}, Override: &Policy{KeepDays: new(int64(0)), KeepLast: new(int64(0))}})
	if left := w.left(t); len(left) != 2 {
		t.Errorf("left: %v", left)
	}
}

func TestReferredRunsStayUnlessTheirReferencesAreToBeCleared(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy(t, "inventory_sync", new(int64(7)), nil)
	ids := w.runs(t, "inventory_sync", 0, 10, 11, 12, 13, 1)
	w.exec(t, `INSERT INTO findings (workspace_id, finding_type, fingerprint, baseline_operation_run_id, current_operation_run_id)
		VALUES ($1, 'drift', 'a', $2, $3), ($1, 'drift', 'b', $4, $4)`, w.workspace.ID, ids[0], ids[1], ids[4])
	w.exec(t, `INSERT INTO inventory_items (workspace_id, policy_type, external_id, last_seen_operation_run_id)
		VALUES ($1, 'p', 'e', $2)`, w.workspace.ID, ids[2])
	groups := w.retain(t, Options{})
	if g := groups[0]; g.Expired != 4 || g.Released != 1 || g.Findings != 0 || g.Items != 0 {
		t.Errorf("%+v", g)
	}
	if diff := cmp.Diff([]int64{ids[0], ids[1], ids[2], ids[4]}, w.left(t)); diff != "" {
		t.Error(diff)
	}
	groups = w.retain(t, Options{IncludingReferenced: true})
	if g := groups[0]; g.Expired != 3 || g.Released != 3 || g.Findings != 1 || g.Items != 1 {
		t.Errorf("%+v", g)
	}
	if diff := cmp.Diff(ids[4:], w.left(t)); diff != "" {
		t.Error(diff)
	}
	refs := w.ids(t, `SELECT coalesce(baseline_operation_run_id, 0) FROM findings UNION ALL SELECT coalesce(current_operation_run_id, 0) FROM findings
		UNION ALL SELECT coalesce(last_seen_operation_run_id, 0) FROM inventory_items ORDER BY 1`)
	if diff := cmp.Diff([]int64{0, 0, 0, ids[4], ids[4]}, refs); diff != "" {
		t.Error(diff)
	}
}

func TestWhatAKeptRunIsARetryOfIsKeptAndAWholeChainGoesAtOnce(t *testing.T) {
	t.Parallel()
	for _, batch := range []int{1, 2, 100} {
		w := newWorld(t)
		w.policy(t, "inventory_sync", new(int64(7)), nil)
		chain := w.runs(t, "inventory_sync", 0, 30, 20, 10)
		kept := w.runs(t, "inventory_sync", 0, 29, 19, 1)
		for _, c := range [][]int64{chain, kept} {
			for i := 1; i < len(c); i++ {
				w.exec(t, "UPDATE operation_runs SET retry_of_id = $3 WHERE workspace_id = $1 AND id = $2", w.workspace.ID, c[i], c[i-1])
			}
		}
		w.retain(t, Options{BatchSize: batch, IncludingReferenced: true})
		if diff := cmp.Diff(kept, w.left(t)); diff != "" {
			t.Errorf("batches of %d: %s", batch, diff)
		}
	}
}

func TestOnlyTheWorkspaceAndTypesThatAreNamedAreTouched(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"inventory_sync", "entra_group_sync"} {
		w.policy(t, name, new(int64(0)), nil)
	}
	ours := w.runs(t, "inventory_sync", 0, 1)
	other := w.runs(t, "entra_group_sync", 0, 1)
	first := w.workspace
	w.exec(t, "INSERT INTO workspaces (name) VALUES ('Other')")
	w.workspace.ID = w.ids(t, "SELECT max(id) FROM workspaces")[0]
	foreign := w.runs(t, "inventory_sync", 0, 1)
	w.retain(t, Options{WorkspaceID: first.ID, Types: []string{"inventory_sync"}})
	if diff := cmp.Diff(slices.Concat(other, foreign), w.left(t)); diff != "" {
		t.Errorf("of %v: %s", ours, diff)
	}
}

func TestAnOverrideWantsTypesAndTypesMustBeThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.runs(t, "inventory_sync", 0, 1)
	for _, o := range []Options{
		{Override: &Policy{KeepDays: new(int64(0))}},
		{Types: []string{"no_such_type"}},
	} {
		if _, err := Run(t.Context(), w.conn, o, func(int, int) {}); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

func TestARunThatIsHeldOrReopenedMeanwhileIsLeft(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy(t, "inventory_sync", new(int64(0)), nil)
	ids := w.runs(t, "inventory_sync", 0, 1, 2, 3)
	tx, err := w.connect(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// A retry is being started: its foreign key holds the run.
	if _, err := tx.Exec(t.Context(), "INSERT INTO operation_runs (workspace_id, type, retry_of_id) VALUES ($1, 'inventory_sync', $2)", w.workspace.ID, ids[0]); err != nil {
		t.Fatal(err)
	}
	reopened := false
	s, err := newSelection(t.Context(), w.conn, Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = s.each(t.Context(), w.conn, func(p part, listed []int64) error {
		w.exec(t, "UPDATE operation_runs SET status = 'running', outcome = 'pending', completed_at = NULL WHERE id = $1", ids[1])
		reopened = true
		_, err := s.release(t.Context(), w.conn, p, listed)
		return err
	})
	if err != nil || !reopened {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ids[:2], w.left(t)[:2]); diff != "" {
		t.Error(diff)
	}
}

func TestATransactionThatWaitsForRetentionWhileItWaitsForThatFailsNeither(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy(t, "inventory_sync", new(int64(0)), nil)
	ids := w.runs(t, "inventory_sync", 0, 1, 2)
	w.exec(t, `INSERT INTO findings (workspace_id, tenant_id, finding_type, fingerprint, baseline_operation_run_id)
		VALUES ($1, $2, 'drift', 'f', $3)`, w.workspace.ID, w.tenants[0], ids[0])
	worker := w.connect(t)
	// Each looks once whether the two wait for each other, so long after it began to wait: retention finds it.
	w.exec(t, "SET deadlock_timeout = '5s'")
	if _, err := worker.Exec(t.Context(), "SET deadlock_timeout = '30s'"); err != nil {
		t.Fatal(err)
	}
	tx, err := worker.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT FROM findings FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	retained := make(chan error, 1)
	go func() {
		_, err := Run(t.Context(), w.conn, Options{IncludingReferenced: true}, func(int, int) {})
		retained <- err
	}()
	pool := dbtest.Connect(t, w.url)
	dbtest.Await(t, pool, "EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')")
	if _, err := tx.Exec(t.Context(), "UPDATE operation_runs SET heartbeat_at = now() WHERE id = ANY ($1)", ids); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-retained; err != nil {
		t.Errorf("retention: %v", err)
	}
}

// A table that Runledger does not know may refer to runs: those stay, and hinder no other.
func TestARunThatSomebodyElsesTableRefersToStaysAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy(t, "inventory_sync", new(int64(0)), nil)
	w.policy(t, "drift_generate_findings", new(int64(0)), nil)
	ids, others := w.runs(t, "inventory_sync", 0, 1, 2, 3, 4, 5), w.runs(t, "drift_generate_findings", w.tenants[0], 1)
	w.exec(t, "CREATE TABLE tasks (workspace_id bigint, run_id bigint, FOREIGN KEY (workspace_id, run_id) REFERENCES operation_runs (workspace_id, id))")
	w.exec(t, "INSERT INTO tasks VALUES ($1, $2)", w.workspace.ID, ids[3])
	groups, err := Run(t.Context(), w.conn, Options{}, func(int, int) {})
	want := []Group{
		{WorkspaceID: w.workspace.ID, Workspace: w.workspace.Slug, Type: "drift_generate_findings", Expired: 1, Released: 1},
		{WorkspaceID: w.workspace.ID, Workspace: w.workspace.Slug, Type: "inventory_sync", Expired: 5, Released: 4},
	}
	if diff := cmp.Diff(want, groups); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	if diff := cmp.Diff(ids[3:4], w.left(t)); diff != "" {
		t.Errorf("left of %v and %v: %s", ids, others, diff)
	}
}

func TestAPartThatFailsHindersNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy(t, "inventory_sync", new(int64(0)), nil)
	w.policy(t, "drift_generate_findings", new(int64(0)), nil)
	ids := w.runs(t, "inventory_sync", 0, 1)
	w.runs(t, "drift_generate_findings", 0, 1)
	w.exec(t, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$;
		CREATE TRIGGER refuse BEFORE DELETE ON operation_runs FOR EACH ROW WHEN (OLD.type = 'inventory_sync') EXECUTE FUNCTION refuse()`)
	groups, err := Run(t.Context(), w.conn, Options{}, func(int, int) {})
	if err == nil || !strings.Contains(err.Error(), "inventory_sync in workspace") || len(groups) != 1 || groups[0].Released != 1 {
		t.Errorf("%v, %+v", err, groups)
	}
	if diff := cmp.Diff(ids, w.left(t)); diff != "" {
		t.Error(diff)
	}
}

// killer ends the connection when the n-th statement that contains text is sent.
type killer struct {
	text string
	kill func()
}

func (k *killer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if strings.Contains(data.SQL, k.text) {
		k.kill()
	}
	return ctx
}

func (*killer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func TestARunIsWhollyThereOrWhollyGoneWhereverRetentionIsKilled(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"LockExpiredRuns", "ListReleasableRuns", "ClearBaselinesOfFindings", "DeleteEventsOfRuns", "DeleteIdempotencyKeysOfRuns", "DeleteCompletedRuns", "commit"} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.policy(t, "inventory_sync", new(int64(0)), nil)
			ids := w.runs(t, "inventory_sync", 0, 1, 2, 3, 4, 5)
			w.exec(t, "INSERT INTO findings (workspace_id, finding_type, fingerprint, baseline_operation_run_id) VALUES ($1, 'drift', 'a', $2)", w.workspace.ID, ids[2])
			config, err := pgx.ParseConfig(w.url)
			if err != nil {
				t.Fatal(err)
			}
			k := &killer{text: text, kill: func() {}}
			config.Tracer = k
			victim, err := pgx.ConnectConfig(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = victim.Close(t.Context()) }()
			killed := false
			k.kill = func() {
				// The second batch holds the run that the finding refers to.
				if len(w.left(t)) > 3 && text != "LockExpiredRuns" {
					return
				}
				killed = true
				w.exec(t, "SELECT pg_terminate_backend($1, 10000)", victim.PgConn().PID())
			}
			_, err = Run(t.Context(), victim, Options{BatchSize: 2, IncludingReferenced: true}, func(int, int) {})
			if err == nil || !killed {
				t.Fatalf("killed: %t, error: %v", killed, err)
			}
			left := w.left(t)
			if len(left) != 3 && len(left) != 5 {
				t.Errorf("batches of 2 left %v", left)
			}
			for _, table := range []string{"operation_run_events", "operation_run_idempotency_keys"} {
				if diff := cmp.Diff(left, w.ids(t, "SELECT run_id FROM "+table+" ORDER BY run_id")); diff != "" {
					t.Errorf("%s: %s", table, diff)
				}
			}
			if refs := w.ids(t, "SELECT baseline_operation_run_id FROM findings"); refs[0] != ids[2] {
				t.Error("the reference was cleared, and its run is there")
			}
			w.retain(t, Options{IncludingReferenced: true})
			if left := w.left(t); len(left) > 0 {
				t.Errorf("it did not go on: %v", left)
			}
		})
	}
}

func TestAnInterruptedRunSaysWhatItHasDone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy(t, "inventory_sync", new(int64(0)), nil)
	w.runs(t, "inventory_sync", 0, 1, 2, 3, 4)
	ctx, cancel := context.WithCancel(t.Context())
	groups, err := Run(ctx, w.connect(t), Options{BatchSize: 1}, func(int, int) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if len(groups) != 1 || groups[0].Released != 1 || len(w.left(t)) != 3 {
		t.Errorf("%+v, left %v", groups, w.left(t))
	}
}
