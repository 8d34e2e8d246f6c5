package seed_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/seed"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// tables are all that a seeding writes to.
var tables = []string{
	"workspaces", "users", "workspace_memberships", "tenants", "backup_schedules",
	"operation_runs", "operation_run_events", "findings", "inventory_items",
}

var until = time.Date(2026, time.November, 3, 17, 0, 0, 0, time.UTC)

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func run(t *testing.T, conn *pgx.Conn, o seed.Options) seed.Summary {
	t.Helper()
	summary, err := seed.Run(t.Context(), conn, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	return summary
}

// value is the one value that a query answers with.
func value[T any](t *testing.T, conn *pgx.Conn, query string, args ...any) T {
	t.Helper()
	rows, err := conn.Query(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	answer, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return answer
}

// indexes are the definitions of all indexes of operation_runs.
func indexes(t *testing.T, conn *pgx.Conn) []string {
	t.Helper()
	return value[[]string](t, conn, "SELECT array_agg(indexdef ORDER BY indexdef) FROM pg_indexes WHERE tablename = 'operation_runs'")
}

// checksums are one for each table over all of its rows and columns. The transaction that wrote an
// event is the only value that two databases cannot share.
func checksums(t *testing.T, conn *pgx.Conn) map[string]string {
	t.Helper()
	sums := make(map[string]string)
	for _, table := range tables {
		sums[table] = value[string](t, conn, fmt.Sprintf(
			"SELECT coalesce(md5(string_agg(r, '' ORDER BY r)), '') FROM (SELECT (to_jsonb(t) - 'transaction_id')::text AS r FROM %s AS t) AS rows",
			table))
	}
	return sums
}

func TestTheSameOptionsMakeTheSameRows(t *testing.T) {
	t.Parallel()
	o := seed.Options{Workspaces: 6, Runs: 3000, Seed: 42, Until: until}
	one, other, different := connect(t, dbtest.Fresh(t)), connect(t, dbtest.Fresh(t)), connect(t, dbtest.Fresh(t))
	run(t, one, o)
	run(t, other, o)
	o.Seed++
	run(t, different, o)
	want, got, unlike := checksums(t, one), checksums(t, other), checksums(t, different)
	for _, table := range tables {
		if want[table] != got[table] {
			t.Errorf("%s differs between two databases", table)
		}
		if want[table] == unlike[table] {
			t.Errorf("%s does not depend on the seed", table)
		}
	}
}

func TestASecondSeedingStandsBesideTheFirst(t *testing.T) {
	t.Parallel()
	conn := connect(t, dbtest.Fresh(t))
	o := seed.Options{Workspaces: 5, Runs: 5000, Seed: 1, Until: until}
	want := indexes(t, conn)
	first := run(t, conn, o)
	second := run(t, conn, o)
	if slices.ContainsFunc(second.WorkspaceIDs, func(id int64) bool { return slices.Contains(first.WorkspaceIDs, id) }) {
		t.Errorf("workspaces %v and %v overlap", first.WorkspaceIDs, second.WorkspaceIDs)
	}
	if n := value[int](t, conn, "SELECT count(DISTINCT id) FROM operation_runs"); n != 2*o.Runs {
		t.Errorf("%d ids for %d runs", n, 2*o.Runs)
	}
	if id, highest := value[int64](t, conn, "SELECT nextval('operation_runs_id_seq')"), value[int64](t, conn, "SELECT max(id) FROM operation_runs"); id <= highest {
		t.Errorf("the sequence is at %d, among the ids up to %d", id, highest)
	}
	if got := indexes(t, conn); !slices.Equal(got, want) {
		t.Errorf("indexes are\n%v\nbut were\n%v", got, want)
	}
}

func TestIDsThatWereLoadedAreNotGivenOutAgain(t *testing.T) {
	t.Parallel()
	conn := connect(t, dbtest.Fresh(t))
	o := seed.Options{Workspaces: 2, Runs: 500, Seed: 1, Until: until}
	run(t, conn, o)
	serial := slices.DeleteFunc(slices.Clone(tables), func(table string) bool { return table == "workspace_memberships" })
	for _, table := range serial { // as after a load of all rows with their ids
		value[int64](t, conn, fmt.Sprintf("SELECT setval(pg_get_serial_sequence('%s', 'id'), 1, false)", table))
	}
	run(t, conn, o)
	for _, table := range serial {
		ids := fmt.Sprintf("SELECT count(*) - count(DISTINCT id) FROM %s", table)
		next := fmt.Sprintf("SELECT nextval(pg_get_serial_sequence('%s', 'id')) - max(id) FROM %[1]s", table)
		if twice, beyond := value[int64](t, conn, ids), value[int64](t, conn, next); twice != 0 || beyond <= 0 {
			t.Errorf("%s: %d ids are there twice, the sequence is %d beyond the highest", table, twice, beyond)
		}
	}
}

func TestRunsShowSignsOfLife(t *testing.T) {
	t.Parallel()
	conn := connect(t, dbtest.Fresh(t))
	run(t, conn, seed.Options{Workspaces: 6, Runs: 20_000, Seed: 1, Until: until})
	for name, query := range map[string]string{
		"a run that began and was never heard of":       "(started_at IS NOT NULL OR status = 'completed') AND (heartbeat_at IS NULL OR progressed_at IS NULL)",
		"a queued run that was heard of":                "status = 'queued' AND coalesce(heartbeat_at, progressed_at) IS NOT NULL",
		"a sign before its run or after its end":        "least(heartbeat_at, progressed_at) < created_at OR greatest(heartbeat_at, progressed_at) > completed_at",
		"progress after the last heartbeat":             "progressed_at > heartbeat_at",
		"a stalled run that does not say how, or back":  "(stalled_at IS NULL) <> (stalled IS NULL)",
		"a running run that stands still and is not so": "status = 'running' AND stalled IS NULL AND progressed_at < (SELECT max(created_at) FROM operation_runs) - interval '15 minutes'",
	} {
		if n := value[int64](t, conn, "SELECT count(*) FROM operation_runs WHERE "+query); n > 0 {
			t.Errorf("%s: %d", name, n)
		}
	}
	if n := value[int64](t, conn, "SELECT count(DISTINCT stalled) + count(DISTINCT status) FROM operation_runs"); n != 4 {
		t.Errorf("there are %d kinds of runs, want 4: the above says little", n)
	}
}

func TestTheSummaryCountsTheRows(t *testing.T) {
	t.Parallel()
	conn := connect(t, dbtest.Fresh(t))
	last, of, calls := 0, 0, 0
	summary, err := seed.Run(t.Context(), conn, seed.Options{Workspaces: 3, Runs: 8000, Seed: 9, Until: until}, func(done, total int) {
		if calls++; done < last || done > total || of != 0 && total != of {
			t.Errorf("progress went from %d of %d to %d of %d", last, of, done, total)
		}
		last, of = done, total
	})
	if err != nil {
		t.Fatal(err)
	}
	if last != of || calls < 10 {
		t.Errorf("progress ended at %d of %d after %d calls", last, of, calls)
	}
	for table, want := range map[string]int{
		"workspaces": summary.Workspaces, "users": summary.Users, "workspace_memberships": summary.Users, "tenants": summary.Tenants,
		"backup_schedules": summary.Schedules, "operation_runs": summary.Runs, "operation_run_events": summary.Events,
		"findings": summary.Findings, "inventory_items": summary.InventoryItems,
	} {
		if got := value[int](t, conn, "SELECT count(*) FROM "+table); got != want || got == 0 {
			t.Errorf("%d rows in %s, the summary says %d", got, table, want)
		}
	}
}

func TestACancelledSeedingLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	url := dbtest.Fresh(t)
	want := indexes(t, connect(t, url))
	// While runs, while events, and while indexes are written.
	for _, share := range []float64{0.2, 0.6, 0.97} {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := seed.Run(ctx, connect(t, url), seed.Options{Workspaces: 5, Runs: 6000, Until: until}, func(done, total int) {
			if float64(done) > share*float64(total) {
				cancel()
			}
		})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled at %.2f: %v, want %v", share, err, context.Canceled)
		}
		conn := connect(t, url)
		for _, table := range tables {
			if n := value[int](t, conn, "SELECT count(*) FROM "+table); n != 0 {
				t.Errorf("cancelled at %.2f: %d rows are left in %s", share, n, table)
			}
		}
		if got := indexes(t, conn); !slices.Equal(got, want) {
			t.Errorf("cancelled at %.2f: indexes are\n%v\nbut were\n%v", share, got, want)
		}
	}
}

func TestImpossibleOptionsAreAllNamed(t *testing.T) {
	t.Parallel()
	_, err := seed.Run(t.Context(), nil, seed.Options{Workspaces: 0, Runs: -1}, nil)
	if err == nil || err.Error() != "seed: 0 workspaces: there must be at least one\n-1 runs: there cannot be fewer than none" {
		t.Errorf("got %v", err)
	}
}

func TestTheDemonstrationIsWrittenOnce(t *testing.T) {
	t.Parallel()
	url := dbtest.Fresh(t)
	var found [4]seed.DemoData
	var together sync.WaitGroup
	for i := range 3 {
		conn := connect(t, url)
		together.Go(func() {
			var err error
			if found[i], err = seed.Demo(t.Context(), conn); err != nil {
				t.Error(err)
			}
		})
	}
	together.Wait()
	conn := connect(t, url)
	var err error
	if found[3], err = seed.Demo(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	demo := found[0]
	if demo.WorkspaceID == 0 || demo.ScheduleID == 0 || demo.Stranger == "" {
		t.Fatalf("the demonstration is %+v", demo)
	}
	for _, other := range found[1:] {
		if other != demo {
			t.Errorf("the demonstration is %+v and %+v", demo, other)
		}
	}
	if n := value[int](t, conn, "SELECT count(*) FROM operation_runs"); n < 1950 || n > 2000 {
		t.Errorf("%d runs, want 2000 less those that were lost", n)
	}
	const memberships = "SELECT coalesce(string_agg(role, ','), 'none') FROM users LEFT JOIN workspace_memberships ON user_id = users.id WHERE subject = $1"
	for subject, role := range map[string]string{
		demo.Owner: "owner", demo.Operator: "operator", demo.Readonly: "readonly", demo.Stranger: "none",
	} {
		if got := value[string](t, conn, memberships, subject); got != role {
			t.Errorf("%s is %s, want %s", subject, got, role)
		}
	}
	if n := value[int](t, conn, `
		SELECT count(*) FROM operation_runs
		WHERE workspace_id = $1 AND context ->> 'backup_schedule_id' = $2::bigint::text`, demo.WorkspaceID, demo.ScheduleID); n < 100 {
		t.Errorf("the schedule's history has %d runs", n)
	}
}
