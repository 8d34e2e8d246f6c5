package main

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbtest"
)

// retained runs a command line on a database and wants its exit code.
func retained(t *testing.T, databaseURL string, code int, line string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	got := run(t.Context(), strings.Fields(line), []string{"RUNLEDGER_DATABASE_URL=" + databaseURL}, &stdout, &stderr)
	if got != code {
		t.Fatalf("runledger %s exits with %d, not %d: %s%s", line, got, code, &stdout, &stderr)
	}
	return stdout.String() + stderr.String()
}

func TestAnOperatorSetsPoliciesLooksAtWhatWouldGoAndLetsItGo(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.Fresh(t)
	pool := dbtest.Connect(t, databaseURL)
	w := dbtest.NewWorkspace(t, pool)
	for _, days := range []int{1, 20, 40} {
		if _, err := pool.Exec(t.Context(), `INSERT INTO operation_runs (workspace_id, type, status, outcome, completed_at)
			VALUES ($1, 'inventory_sync', 'completed', 'succeeded', now() - make_interval(days => $2))`, w.ID, days); err != nil {
			t.Fatal(err)
		}
	}
	count := func() (n int) {
		t.Helper()
		if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM operation_runs").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	does := func(line string, wants ...string) {
		t.Helper()
		out := retained(t, databaseURL, exitOK, line)
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("runledger %s prints no %q: %s", line, want, out)
			}
		}
	}
	does("retention run", "The policies keep every run")
	does("types retain inventory_sync --keep-days 30", "Runs of inventory_sync are kept: 30 days.")
	does("types list", "30 days")
	does("retention preview", w.Slug, "inventory_sync  1 ")
	does("retention preview --list", "\tinventory_sync\trun\t")
	does("retention preview --type inventory_sync --keep-days 10 --workspace "+w.Slug, "inventory_sync  2 ")
	if n := count(); n != 3 {
		t.Errorf("the preview left %d runs", n)
	}
	does("retention run", "RUNS GONE", "inventory_sync  1 ")
	if n := count(); n != 2 {
		t.Errorf("%d runs are left", n)
	}
	does("types retain inventory_sync --keep-days 9 --keep-last 7", "9 days or last 7")
	does("types retain inventory_sync --keep-days 0 --keep-last 7", "0 days or last 7")
	does("types retain inventory_sync --keep-days 0 --keep-nothing", "0 days")
	does("types retain inventory_sync --forever", "for ever")
	does("retention run --type inventory_sync --keep-last 0", "RUNS GONE")
	if n := count(); n != 0 {
		t.Errorf("%d runs are left", n)
	}
}

func TestRetentionRefusesWhatCannotBeMeant(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.Fresh(t)
	for _, line := range []string{
		"retention run --keep-days 0", "retention preview --keep-last 3", "retention run --type inventory_sync --keep-days -1",
		"retention run --type inventory_sync --keep-days 36501", "types retain inventory_sync", "types retain inventory_sync --forever --keep-days 1",
		"types retain inventory_sync --keep-last -1", "types retain inventory_sync --keep-days 0 --keep-last 0", "types retain inventory_sync --keep-last 0",
		"types retain inventory_sync --keep-days 1 --keep-nothing", "types retain inventory_sync --forever --keep-nothing", "retention", "retention run now",
	} {
		retained(t, databaseURL, exitUsage, line)
	}
	for _, line := range []string{"retention run --type no_such_type", "types retain no_such_type --forever", "retention preview --workspace nowhere"} {
		retained(t, databaseURL, exitFailure, line)
	}
}

func TestAServerSweepsAndRetainsAsConfigured(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.Fresh(t)
	pool := dbtest.Connect(t, databaseURL)
	w := dbtest.NewWorkspace(t, pool)
	if _, err := pool.Exec(t.Context(), `
		INSERT INTO operation_runs (workspace_id, type, status, outcome, created_at, started_at, completed_at) VALUES
			($1, 'inventory_sync', 'running', 'pending', now() - interval '3 days', now() - interval '1 day', NULL),
			($1, 'inventory_sync', 'completed', 'failed', now() - interval '3 days', NULL, now() - interval '3 days')`, w.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), "UPDATE operation_types SET keep_days = 1"); err != nil {
		t.Fatal(err)
	}
	database, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	if work, err := backgroundWork(config{}, database, newRegistry(), log); err != nil || len(work) > 0 {
		t.Errorf("without intervals there are %d works, %v", len(work), err)
	}
	registry := newRegistry()
	work, err := backgroundWork(config{SweepInterval: 10 * time.Millisecond, RetentionInterval: 10 * time.Millisecond}, database, registry, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	for _, do := range work {
		go func() {
			do(ctx)
			done <- struct{}{}
		}()
	}
	dbtest.Await(t, pool, "count(*) = 1 AND coalesce(bool_and(stalled = 'no_heartbeat'), false) FROM operation_runs WHERE workspace_id = $1", w.ID)
	cancel()
	for range work {
		<-done
	}
	var actor string
	if err := pool.QueryRow(t.Context(), "SELECT actor FROM audit_events WHERE action = 'runs_let_go'").Scan(&actor); err != nil || actor != "runledger" {
		t.Errorf("the audit says that %q let runs go, %v", actor, err)
	}
	answer := httptest.NewRecorder()
	adminHandler(registry).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	for _, metric := range []string{`runledger_sweep_runs_total{finding="no_heartbeat"} 1`, "go_goroutines", "process_start_time_seconds"} {
		if !strings.Contains(answer.Body.String(), metric) {
			t.Errorf("no metric %s", metric)
		}
	}
}
