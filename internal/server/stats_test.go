package server_test

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

// statsBody is what the tests read of statistics.
type statsBody struct {
	Data   []statsEntry `json:"data"`
	Totals []statsEntry `json:"totals"`
}

type statsEntry struct {
	BucketAt     *time.Time `json:"bucket_at"`
	BucketBefore *time.Time `json:"bucket_before"`
	Type         string     `json:"type"`
	Count        int64      `json:"count"`
	SuccessRate  *float64   `json:"success_rate"`
	P50          *float64   `json:"p50_duration_seconds"`
	P95          *float64   `json:"p95_duration_seconds"`
	Outcomes     []struct {
		Outcome string   `json:"outcome"`
		Count   int64    `json:"count"`
		P50     *float64 `json:"p50_duration_seconds"`
		P95     *float64 `json:"p95_duration_seconds"`
	} `json:"outcomes"`
}

// String is everything that an entry says, with numbers to a millionth.
func (e *statsEntry) String() string {
	number := func(f *float64) string {
		if f == nil {
			return "-"
		}
		return fmt.Sprintf("%.6f", *f)
	}
	at := ""
	if e.BucketAt != nil {
		at = e.BucketAt.UTC().Format(time.RFC3339)
	}
	text := fmt.Sprintf("%s %s: %d, %s succeeded, %s %s;", at, e.Type, e.Count, number(e.SuccessRate), number(e.P50), number(e.P95))
	for _, o := range e.Outcomes {
		text += fmt.Sprintf(" %s %d %s %s", o.Outcome, o.Count, number(o.P50), number(o.P95))
	}
	return text
}

// statsByPostgreSQL is the same as PostgreSQL's own functions have it.
func (w *worker) statsByPostgreSQL(t testing.TB, unit, zone, where string, from, before time.Time, totals bool) []string {
	t.Helper()
	bucket := "date_trunc('" + unit + "', created_at, '" + zone + "')"
	if totals {
		bucket = "NULL::timestamptz"
	}
	const seconds = "extract(epoch FROM completed_at - started_at)::float8"
	const percentiles = "percentile_cont(0.5) WITHIN GROUP (ORDER BY " + seconds + "), percentile_cont(0.95) WITHIN GROUP (ORDER BY " + seconds + ")"
	rows, err := w.pool.Query(t.Context(), `SELECT `+bucket+`, type, outcome, count(*),
			count(*) FILTER (WHERE outcome = 'succeeded')::float8 / nullif(count(*) FILTER (WHERE outcome <> 'pending'), 0), `+percentiles+`
		FROM operation_runs WHERE workspace_id = $1 AND created_at >= $2 AND created_at < $3 AND `+where+`
		GROUP BY GROUPING SETS ((1, type), (1, type, outcome)) ORDER BY 1, 2, outcome NULLS FIRST`, w.ID, from, before)
	if err != nil {
		t.Fatal(err)
	}
	var entries []*statsEntry
	var at *time.Time
	var runType string
	var outcome *string
	var count int64
	var rate, p50, p95 *float64
	_, err = pgx.ForEachRow(rows, []any{&at, &runType, &outcome, &count, &rate, &p50, &p95}, func() error {
		if outcome == nil {
			entries = append(entries, &statsEntry{BucketAt: at, Type: runType, Count: count, SuccessRate: rate, P50: p50, P95: p95})
			return nil
		}
		e := entries[len(entries)-1]
		e.Outcomes = append(e.Outcomes, struct {
			Outcome string   `json:"outcome"`
			Count   int64    `json:"count"`
			P50     *float64 `json:"p50_duration_seconds"`
			P95     *float64 `json:"p95_duration_seconds"`
		}{*outcome, count, p50, p95})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	lines := make([]string, 0, len(entries))
	for _, e := range entries {
		lines = append(lines, e.String())
	}
	return lines
}

func TestStatsAreWhatPostgreSQLCountsAndAreReadFromAnIndexAlone(t *testing.T) {
	t.Parallel()
	pool, seen := newRecordedPool(t, dbtest.Fresh(t))
	w := newWorker(t, newHarnessOn(t, pool, server.Options{}))
	tenant := dbtest.NewTenant(t, pool, w.ID)
	// A year with both changes of the clock; durations repeat and are absent. A store that was not always ours may
	// have outcomes that nothing writes any more.
	w.exec(t, "ALTER TABLE operation_runs DROP CONSTRAINT operation_runs_outcome_check")
	w.exec(t, `INSERT INTO operation_runs (workspace_id, tenant_id, type, status, outcome, created_at, started_at, completed_at, context)
		SELECT $1, CASE WHEN n % 3 = 0 THEN $2::bigint END, (ARRAY['inventory_sync', 'backup_schedule_run', 'odd'])[n % 3 + 1],
		       CASE WHEN n % 7 = 0 THEN 'running' ELSE 'completed' END,
		       CASE WHEN n % 7 = 0 THEN 'pending' WHEN n % 41 = 0 THEN '' ELSE (ARRAY['succeeded', 'succeeded', 'failed', 'cancelled'])[n % 4 + 1] END,
		       at, CASE WHEN n % 5 > 0 THEN at END, CASE WHEN n % 7 > 0 THEN at + make_interval(secs => (n * 7919 % 1000) / 8.0) END, '{}'
		FROM (SELECT n, timestamptz '2025-09-01 00:00:00Z' + n * interval '2 hours 13 minutes' AS at FROM generate_series(1, 2500) AS n) AS drawn`, w.ID, tenant)
	w.exec(t, "INSERT INTO operation_runs (workspace_id, type, created_at) VALUES ($1, 'odd', NULL), ($1, 'odd', 'infinity'), ($1, 'odd', '-infinity')", w.ID)
	w.exec(t, "VACUUM ANALYZE operation_runs")
	conn, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	for _, c := range []struct{ unit, zone, from, before, query, where string }{
		{"day", "UTC", "2025-09-10T00:00:00Z", "2026-03-01T00:00:00Z", "", "true"},
		{"day", "Europe/Berlin", "2025-09-10T13:00:00Z", "2026-04-20T01:02:03Z", "", "true"},
		{"hour", "Europe/Berlin", "2025-10-20T00:00:00Z", "2025-11-19T00:00:00Z", "", "true"},
		{"hour", "Asia/Kathmandu", "2025-10-20T00:00:00Z", "2025-11-19T00:00:00Z", "&type=odd", "type = 'odd'"},
		{"week", "America/New_York", "2025-01-01T00:00:00Z", "2029-01-01T00:00:00Z", "", "true"},
		{"week", "Australia/Lord_Howe", "2025-01-01T00:00:00Z", "2026-05-01T00:00:00Z", "&type=odd,inventory_sync", "type IN ('odd', 'inventory_sync')"},
		{"day", "America/Santiago", "2025-09-01T00:00:00Z", "2026-05-01T00:00:00Z", fmt.Sprintf("&tenant_id=%d&type=inventory_sync", tenant), "tenant_id IS NOT NULL AND type = 'inventory_sync'"},
	} {
		path := w.path(fmt.Sprintf("/stats?bucket=%s&timezone=%s&from=%s&before=%s%s", c.unit, url.QueryEscape(c.zone), c.from, c.before, c.query))
		got := decode[statsBody](t, w.get(t, http.StatusOK, w.Readonly.Subject, path).body)
		from, before := instant(t, c.from), instant(t, c.before)
		for name, both := range map[string][2][]string{
			"buckets": {statsLines(got.Data), w.statsByPostgreSQL(t, c.unit, c.zone, c.where, from, before, false)},
			"totals":  {statsLines(got.Totals), w.statsByPostgreSQL(t, c.unit, c.zone, c.where, from, before, true)},
		} {
			if len(both[1]) == 0 || !slices.Equal(both[0], both[1]) {
				t.Errorf("%s: the %s are\n%s\nwant\n%s", path, name, strings.Join(both[0], "\n"), strings.Join(both[1], "\n"))
			}
		}
		for i := 1; i < len(got.Data); i++ {
			a, b := got.Data[i-1], got.Data[i]
			if !a.BucketAt.Before(*a.BucketBefore) || !a.BucketAt.Equal(*b.BucketAt) && b.BucketAt.Before(*a.BucketBefore) {
				t.Errorf("%s: the buckets from %s to %s and from %s meet", path, a.BucketAt, a.BucketBefore, b.BucketAt)
			}
		}
		sent := seen.last(t, "ListRunStats")
		for _, generic := range []bool{false, true} {
			plan, text := explain(t, conn, sent, generic)
			index := false
			plan.visit(func(n planNode) {
				index = index || n.Type == "Index Only Scan" && n.Index == "operation_runs_stats_idx"
			})
			if !index {
				t.Errorf("%s, generic %t: not from the index alone:\n%s", path, generic, text)
			}
		}
	}
}

func statsLines(entries []statsEntry) []string {
	lines := make([]string, 0, len(entries))
	for i := range entries {
		lines = append(lines, entries[i].String())
	}
	return lines
}

func instant(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestStatsRefuseWhatTheyCannotCount(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	w.exec(t, "INSERT INTO operation_runs (workspace_id, type, status, outcome, started_at, completed_at) VALUES ($1, 'odd', 'completed', 'failed', '-infinity', 'infinity')", w.ID)
	w.done(t, `{"type":"inventory_sync"}`, "succeeded")
	for _, unit := range []string{"", "?bucket=hour", "?bucket=week&timezone=Pacific/Apia"} {
		got := decode[statsBody](t, w.get(t, http.StatusOK, w.Readonly.Subject, w.path("/stats"+unit)).body)
		if len(got.Totals) != 2 || got.Totals[1].Count != 1 || got.Totals[1].P50 != nil {
			t.Errorf("%s counts %+v", unit, got.Totals)
		}
	}
	for _, query := range []string{ // the clocks go back in both
		"?timezone=Europe/Berlin&bucket=hour&from=2026-10-01T00:00:00%2B02:00&before=2026-11-01T00:00:00%2B01:00",
		"?timezone=Europe/Berlin&bucket=day&from=2025-10-01T00:00:00%2B02:00&before=2026-11-05T00:00:00%2B01:00",
	} {
		w.get(t, http.StatusOK, w.Readonly.Subject, w.path("/stats"+query))
	}
	for query, want := range map[string][]string{
		"?bucket=month&timezone=Nowhere/Here&limit=3&from=x": {"bucket", "from", "limit", "timezone"},
		"?timezone=Local": {"timezone"}, "?timezone=../etc/passwd": {"timezone"}, "?timezone=": {"timezone"},
		"?from=2026-01-02T00:00:00Z&before=2026-01-02T00:00:00Z":               {"before"},
		"?from=2026-01-01T00:00:00Z&before=2026-02-02T00:00:00Z&bucket=hour":   {"before"},
		"?from=2025-01-01T00:00:00Z&before=2026-02-06T00:00:00Z&bucket=day":    {"before"},
		"?from=2020-01-01T00:00:00Z&before=2025-02-06T00:00:00Z&bucket=week":   {"before"},
		"?from=2026-10-01T00:00:00Z&before=2026-11-01T01:00:00.1Z&bucket=hour": {"before"},
		"?from=2020-01-01T00:00:00Z&before=bad":                                {"before"}, "?from=2999-01-01T00:00:00Z&before=bad": {"before"},
		"?from=bad&before=0001-01-01T00:00:00Z": {"from"}, "?from=2024-01-01T00:00:00Z&before=2026-01-01T00:00:00Z&bucket=weak": {"bucket"},
		"?from=0000-01-01T00:00:00Z": {"from"}, "?from=2999-01-01T00:00:00Z": {"from"}, "?tenant_id=0&type=,": {"tenant_id", "type"},
	} {
		got := decode[problemBody](t, w.get(t, http.StatusBadRequest, w.Readonly.Subject, w.path("/stats"+query)).body)
		if !slices.Equal(got.pointers(), want) {
			t.Errorf("%s: faults at %v, want %v", query, got.pointers(), want)
		}
	}
}

// TestStatsOfALargeWorkspaceAnswerInTime wants RUNLEDGER_TEST_LARGE_DATABASE_URL, a database that
// "runledger seed --runs 1000000" filled.
func TestStatsOfALargeWorkspaceAnswerInTime(t *testing.T) {
	t.Parallel()
	databaseURL := os.Getenv("RUNLEDGER_TEST_LARGE_DATABASE_URL")
	if databaseURL == "" {
		t.Skip("RUNLEDGER_TEST_LARGE_DATABASE_URL names no large database")
	}
	h := newHarnessOn(t, dbtest.Connect(t, databaseURL), server.Options{QueryTimeout: 5 * time.Second}).hurried(t)
	var workspaceID int64
	var subject, from, before string
	err := h.pool.QueryRow(t.Context(), `SELECT m.workspace_id, u.subject, to_char(now() - interval '5 years', 'YYYY-MM-DD"T00:00:00Z"'), to_char(now(), 'YYYY-MM-DD"T00:00:00Z"')
		FROM workspace_memberships AS m JOIN users AS u ON u.id = m.user_id
		WHERE m.workspace_id = (SELECT workspace_id FROM operation_runs GROUP BY 1 ORDER BY count(*) DESC LIMIT 1) AND u.subject IS NOT NULL LIMIT 1`).
		Scan(&workspaceID, &subject, &from, &before)
	if err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf("/workspaces/%d/operation-runs/stats?bucket=week&timezone=Europe/Berlin&from=%s&before=%s", workspaceID, from, before)
	start := time.Now()
	got := decode[statsBody](t, h.get(t, http.StatusOK, subject, path).body)
	took, counted := time.Since(start), int64(0)
	for _, total := range got.Totals {
		counted += total.Count
	}
	t.Logf("%d runs in %d entries took %s", counted, len(got.Data), took.Round(time.Millisecond))
	if cmp.Compare(counted, 100_000) < 0 {
		t.Errorf("%d runs are no large workspace", counted)
	}
}
