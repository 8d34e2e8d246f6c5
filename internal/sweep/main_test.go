package sweep

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/internal/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// world is a database with one workspace, whose runs nobody else touches.
type world struct {
	pool      *pgxpool.Pool
	config    *pgx.ConnConfig
	workspace int64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	url := dbtest.Fresh(t)
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	pool := dbtest.Connect(t, url)
	return &world{pool: pool, config: config, workspace: dbtest.NewWorkspace(t, pool).ID}
}

// sweeper makes a sweeper with a registry of its own.
func (w *world) sweeper(t *testing.T) (*Sweeper, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	s, err := New(Options{
		Config: w.config, Interval: 20 * time.Millisecond, Registry: registry,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, registry
}

// sweep sweeps once.
func (w *world) sweep(t *testing.T) swept {
	t.Helper()
	s, _ := w.sweeper(t)
	found, err := s.sweep(t.Context(), w.pool)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// run inserts a run; columns are its columns beside the workspace, as SQL.
func (w *world) run(t *testing.T, columns, values string) int64 {
	t.Helper()
	var id int64
	err := w.pool.QueryRow(t.Context(), "INSERT INTO operation_runs (workspace_id, "+columns+") VALUES ($1, "+values+") RETURNING id", w.workspace).Scan(&id)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// silentRuns inserts n running runs that have been silent for an hour, and returns their ids. Marked
// ones have been found silent half an hour ago.
func (w *world) silentRuns(t *testing.T, n int, marked bool) []int64 {
	t.Helper()
	rows, err := w.pool.Query(t.Context(), `
		INSERT INTO operation_runs (workspace_id, type, status, created_at, started_at, heartbeat_at, stalled, stalled_at)
		SELECT $1, 'inventory_sync', 'running', now() - '2 hours'::interval, now() - '2 hours'::interval, now() - '1 hour'::interval,
		       CASE WHEN $3 THEN 'no_heartbeat' END, CASE WHEN $3 THEN now() - '30 minutes'::interval END
		FROM generate_series(1, $2) RETURNING id`, w.workspace, n, marked)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// exec runs a statement.
func (w *world) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := w.pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
}

// one reads one value.
func one[T any](t *testing.T, w *world, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := w.pool.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
	return v
}

// age moves a mark, and the heartbeat before it, into the past.
func (w *world) age(t *testing.T, by string) {
	t.Helper()
	w.exec(t, `UPDATE operation_runs SET stalled_at = stalled_at - $2::interval, heartbeat_at = heartbeat_at - $2::interval
		WHERE workspace_id = $1`, w.workspace, by)
}

// until waits for a condition that the database tells.
func (w *world) until(t *testing.T, condition string) {
	t.Helper()
	dbtest.Await(t, w.pool, condition)
}

// start has sweepers run until the test ends.
func (w *world) start(t *testing.T, s *Sweeper) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}
