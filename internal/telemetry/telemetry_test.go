package telemetry_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/telemetry"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// gathered are the samples of a collector as they are exposed.
func gathered(t *testing.T, c prometheus.Collector) string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&text, family); err != nil {
			t.Fatal(err)
		}
	}
	return text.String()
}

func TestAStatementHasTheNameThatSqlcGaveIt(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"-- name: GetRun :one\nSELECT 1": "GetRun", "SELECT 1": "other", "": "other", "-- name: ": "other", "-- name: GetRun": "other",
	} {
		if got := telemetry.QueryName(sql); got != want {
			t.Errorf("%q has the name %q, want %q", sql, got, want)
		}
	}
}

func TestStatementsAreMeasuredByTheirNames(t *testing.T) {
	t.Parallel()
	queries := telemetry.NewQueries()
	config, err := pgxpool.ParseConfig(dbtest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.Tracer = queries
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	for range 3 {
		if _, err := dbsqlc.New().ListOperationTypes(t.Context(), pool); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pool.Exec(t.Context(), "SELECT 1/0"); err == nil {
		t.Fatal("1/0 is something")
	}
	if err := pool.QueryRow(t.Context(), "SELECT 1 WHERE false").Scan(new(int)); err == nil {
		t.Fatal("a row out of none")
	}
	text := gathered(t, queries)
	for _, line := range []string{
		`runledger_query_duration_seconds_count{query="ListOperationTypes"} 3`, `runledger_query_errors_total{query="ListOperationTypes"} 0`,
		`runledger_query_duration_seconds_count{query="other"} 2`, `runledger_query_errors_total{query="other"} 1`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("there is no %s in\n%s", line, text)
		}
	}
	if text := gathered(t, telemetry.NewPool(pool)); !strings.Contains(text, "\nrunledger_pool_connections 1\n") {
		t.Errorf("the pool tells %s", text)
	}
}

func TestTheSurveyTellsOfEachType(t *testing.T) {
	t.Parallel()
	url := dbtest.Fresh(t) // it looks at all workspaces
	pool := dbtest.Connect(t, url)
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	one, two, archived := dbtest.NewWorkspace(t, pool), dbtest.NewWorkspace(t, pool), dbtest.NewWorkspace(t, pool)
	for _, sql := range []string{
		"INSERT INTO operation_runs (workspace_id, type, created_at) VALUES ($1, 'inventory_sync', now() - interval '2 hours')",
		"INSERT INTO operation_runs (workspace_id, type, created_at) VALUES ($2, 'inventory_sync', now() - interval '3 hours')",
		"INSERT INTO operation_runs (workspace_id, type, created_at) VALUES ($3, 'inventory_sync', now() - interval '9 hours')",
		"INSERT INTO operation_runs (workspace_id, type, created_at) VALUES ($1, 'backup_schedule_run', '-infinity')",
		`INSERT INTO operation_runs (workspace_id, type, status, outcome, created_at, completed_at)
			VALUES ($1, 'entra_group_sync', 'completed', 'succeeded', '2026-01-01Z', '2026-01-02Z'), ($2, 'entra_group_sync', 'completed', 'succeeded', '2026-01-01Z', '2026-01-01Z'),
			($1, 'entra_group_sync', 'completed', 'failed', '2026-02-01', '2026-02-02')`,
		"UPDATE workspaces SET archived_at = now() WHERE id = $3",
	} {
		args := []any{one.ID, two.ID, archived.ID}
		if _, err := pool.Exec(t.Context(), `WITH ids AS (SELECT $1::bigint, $2::bigint, $3::bigint) `+sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	for _, byWorkspace := range []bool{false, true} {
		survey := telemetry.NewSurvey(telemetry.SurveyOptions{
			Config: config, Interval: time.Hour, ByWorkspace: byWorkspace, Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
		})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			survey.Run(ctx)
		}()
		text := ""
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop() //nolint:revive // there are two
		for !strings.Contains(text, "runledger_survey_last_timestamp_seconds") {
			text = gathered(t, survey)
			if strings.Contains(text, "runledger_survey_errors_total 1") {
				t.Fatal("the survey failed")
			}
			<-tick.C
		}
		stop()
		<-done
		want := []string{
			`runledger_type_active_runs{type="inventory_sync"} 2`, `runledger_type_active_runs{type="drift_generate_findings"} 0`,
			`runledger_type_oldest_active_run_age_seconds{type="inventory_sync"} 108`, `runledger_type_oldest_active_run_age_seconds{type="backup_schedule_run"} 0`,
			`runledger_type_last_success_timestamp_seconds{type="entra_group_sync"} 1.767312e+09`, `runledger_survey_errors_total 0`,
		}
		if byWorkspace {
			want = []string{`runledger_type_active_runs{type="inventory_sync",workspace_id="1"} 1`, `runledger_type_active_runs{type="inventory_sync",workspace_id="2"} 1`}
		}
		for _, line := range want {
			if !strings.Contains(text, "\n"+line) {
				t.Errorf("there is no %s in\n%s", line, text)
			}
		}
		if strings.Contains(text, `last_success_timestamp_seconds{type="inventory_sync"`) || strings.Contains(text, `workspace_id="3"`) {
			t.Errorf("too much is told:\n%s", text)
		}
	}
}
