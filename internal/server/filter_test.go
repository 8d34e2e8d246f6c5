package server_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/runledger/runledger/internal/dbtest"
)

// filterWorld is what random runs refer to.
type filterWorld struct {
	workspace dbtest.Workspace
	tenants   []int64
	users     []int64
	schedules []int64
}

func newFilterWorld(t *testing.T, h *harness) *filterWorld {
	t.Helper()
	w := &filterWorld{workspace: dbtest.NewWorkspace(t, h.pool)}
	w.tenants = []int64{dbtest.NewTenant(t, h.pool, w.workspace.ID), dbtest.NewTenant(t, h.pool, w.workspace.ID)}
	w.users = []int64{w.workspace.Owner.ID, w.workspace.Operator.ID}
	for range 2 {
		var id int64
		if err := h.pool.QueryRow(t.Context(), `INSERT INTO backup_schedules (workspace_id, name, frequency, time_of_day)
			VALUES ($1, 'Nightly', 'daily', '02:30') RETURNING id`, w.workspace.ID).Scan(&id); err != nil {
			t.Fatal(err)
		}
		w.schedules = append(w.schedules, id)
	}
	return w
}

// The values that runs are made of and filters ask for: few, so that they meet.
var (
	filterTypes = []string{
		"inventory_sync", "drift_generate_findings", "backup_schedule_run", "backup_schedule_retention",
		"backup_schedule_purge", "a_type_nobody_listed",
	}
	filterOutcomes = []string{"succeeded", "partially_succeeded", "failed", "blocked", "cancelled"}
	filterHashes   = []string{strings.Repeat("0a", 32), strings.Repeat("0b", 32)}
	failureCodes   = []string{"timeout", "throttled", "a \"quoted\" code", "12", "null"}
)

var filterEpoch = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

// drawInstant draws from a grid about the bounds that matter: two hours apart, a microsecond
// beyond, and far away.
func drawInstant(t *rapid.T, name string) time.Time {
	hours := rapid.SampledFrom([]time.Duration{
		0, 0, 1, 2, 2, 3, 4, 24, -2, -24, 24 * 365, -24 * 365 * 60, -24 * 365 * 2020, 24 * 365 * 7000,
	}).Draw(t, name+"'s hour")
	micros := rapid.SampledFrom([]time.Duration{0, 0, 0, 1, -1}).Draw(t, name+"'s microsecond")
	return addHours(filterEpoch, int(hours)).Add(micros * time.Microsecond)
}

// addHours is t with hours added, further than a time.Duration reaches.
func addHours(t time.Time, hours int) time.Time {
	const day = 24
	return t.AddDate(0, 0, hours/day).Add(time.Duration(hours%day) * time.Hour)
}

func maybe[T any](t *rapid.T, name string, draw func() T) *T {
	if rapid.IntRange(0, 4).Draw(t, name+" given") == 0 {
		return nil
	}
	v := draw()
	return &v
}

func instantOrNull(t *rapid.T, name string) *time.Time {
	return maybe(t, name, func() time.Time { return drawInstant(t, name) })
}

// drawRun draws a run, as odd as the database lets one be.
func (w *filterWorld) drawRun(t *rapid.T, key int) modelRun {
	m := modelRun{
		Key:            key,
		TenantID:       maybe(t, "tenant", func() int64 { return rapid.SampledFrom(w.tenants).Draw(t, "tenant") }),
		UserID:         maybe(t, "user", func() int64 { return rapid.SampledFrom(w.users).Draw(t, "user") }),
		Type:           rapid.SampledFrom(filterTypes).Draw(t, "type"),
		Status:         rapid.SampledFrom([]string{"queued", "running", "completed", "completed"}).Draw(t, "status"),
		Outcome:        "pending",
		FailureSummary: maybe(t, "failure summary", func() string { return drawFailureSummary(t) }),
		Context:        maybe(t, "context", func() string { return w.drawContext(t) }),
		StartedAt:      instantOrNull(t, "started_at"),
		CreatedAt:      instantOrNull(t, "created_at"),
		UpdatedAt:      instantOrNull(t, "updated_at"),
		StalledAt:      instantOrNull(t, "stalled_at"),
	}
	if rapid.Bool().Draw(t, "timely") { // as nearly all runs are: their updates cross those of others
		const minutes = 120
		created := filterEpoch.Add(time.Duration(rapid.IntRange(0, minutes).Draw(t, "created at minute")) * time.Minute)
		updated := created.Add(time.Duration(rapid.IntRange(0, minutes).Draw(t, "minutes to the update")) * time.Minute)
		m.CreatedAt, m.UpdatedAt = &created, &updated
	}
	if m.Status != "completed" { // of active runs no two have the same identity
		m.Hash = fmt.Sprintf("%064x", key+1)
		return m
	}
	m.Outcome = rapid.SampledFrom(filterOutcomes).Draw(t, "outcome")
	m.Hash = rapid.SampledFrom(filterHashes).Draw(t, "hash")
	completed := drawInstant(t, "completed_at")
	if m.StartedAt != nil && completed.Before(*m.StartedAt) {
		completed, *m.StartedAt = *m.StartedAt, completed
	}
	m.CompletedAt = &completed
	return m
}

func drawFailureSummary(t *rapid.T) string {
	if rapid.IntRange(0, 5).Draw(t, "junk") == 0 {
		return rapid.SampledFrom([]string{
			`null`, `{}`, `"timeout"`, `12`, `true`, `{"code": "timeout"}`, `{"0": {"code": "timeout"}}`, `[[{"code": "timeout"}]]`,
		}).Draw(t, "junk instead of failures")
	}
	entries := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) any {
		if rapid.IntRange(0, 5).Draw(t, "junk entry") == 0 {
			return rapid.SampledFrom([]any{
				nil, "timeout", 5, []any{}, []any{"timeout"}, map[string]any{}, map[string]any{"code": nil},
				map[string]any{"Code": "timeout"}, map[string]any{"inner": map[string]any{"code": "timeout"}},
				map[string]any{"code": []any{"timeout"}},
			}).Draw(t, "junk for a failure")
		}
		return map[string]any{"code": rapid.SampledFrom(failureCodes).Draw(t, "code"), "message": "x"}
	}), 0, 5).Draw(t, "failures")
	text, err := json.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (w *filterWorld) drawContext(t *rapid.T) string {
	id := strconv.FormatInt(rapid.SampledFrom(w.schedules).Draw(t, "schedule"), 10)
	form := rapid.SampledFrom([]string{
		`{"backup_schedule_id": %s}`, `{"backup_schedule_id": %s}`, `{"backup_schedule_id": "%s"}`, `{"backup_schedule_id": "%s"}`,
		`{"backup_schedule_id": %s.0}`, `{"backup_schedule_id": "00%s"}`, `{"backup_schedule_id": " %s"}`,
		`{"backup_schedule_id": "%s "}`, `{"backup_schedule_id": -%s}`, `{"backup_schedule_id": "0x%s"}`,
		`{"backup_schedule_id": [%s]}`, `{"backup_schedule_id": {"id": %s}}`, `{"other": %s}`, `[%s]`, `%s`, `"%s"`,
		`{"inner": {"backup_schedule_id": %s}}`, `[{"backup_schedule_id": %s}]`, `{"backup_schedule_id": %s000000000000000000000000}`,
	}).Draw(t, "context's form")
	if rapid.IntRange(0, 5).Draw(t, "no schedule") == 0 {
		return rapid.SampledFrom([]string{
			`null`, `{}`, `[]`, `true`, `12`, `"x"`, `{"backup_schedule_id": null}`, `{"backup_schedule_id": true}`, `{"backup_schedule_id": ""}`,
		}).Draw(t, "junk for a context")
	}
	return fmt.Sprintf(form, id)
}

// write puts the runs into the workspace instead of those that are there, and notes their ids.
func (w *filterWorld) write(t *rapid.T, h *harness, runs []modelRun) {
	ctx := t.Context()
	if _, err := h.pool.Exec(ctx, "DELETE FROM operation_runs WHERE workspace_id = $1", w.workspace.ID); err != nil {
		t.Fatal(err)
	}
	document, err := json.Marshal(runs)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := h.pool.Query(ctx, `
		INSERT INTO operation_runs (workspace_id, initiator_name, tenant_id, user_id, type, status, outcome, run_identity_hash,
			failure_summary, context, started_at, completed_at, created_at, updated_at, stalled_at)
		SELECT $1, key, tenant_id, user_id, type, status, outcome, run_identity_hash,
			failure_summary::jsonb, context::jsonb, started_at, completed_at, created_at, updated_at, stalled_at
		FROM jsonb_to_recordset($2) AS r (key text, tenant_id bigint, user_id bigint, type text, status text, outcome text,
			run_identity_hash text, failure_summary text, context text, started_at timestamptz, completed_at timestamptz,
			created_at timestamptz, updated_at timestamptz, stalled_at timestamptz)
		RETURNING id, initiator_name`, w.workspace.ID, document)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var key string
		if err := rows.Scan(&id, &key); err != nil {
			t.Fatal(err)
		}
		i, _ := strconv.Atoi(key)
		runs[i].id = id
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%v\n%s", err, document)
	}
}

// drawQuery draws a combination of filters.
func (w *filterWorld) drawQuery(t *rapid.T) url.Values {
	query := url.Values{}
	maybeSet := func(name string, draw func() string) {
		if rapid.IntRange(0, 3).Draw(t, name+" asked for") == 0 {
			query.Set(name, draw())
		}
	}
	one := func(name string, values ...string) {
		maybeSet(name, func() string { return rapid.SampledFrom(values).Draw(t, name) })
	}
	several := func(name string, values ...string) {
		maybeSet(name, func() string {
			return strings.Join(rapid.SliceOfNDistinct(rapid.SampledFrom(values), 1, len(values), rapid.ID).Draw(t, name), ",")
		})
	}
	ids := func(ids []int64) []string {
		texts := []string{"9223372036854775807"}
		for _, id := range ids {
			texts = append(texts, strconv.FormatInt(id, 10))
		}
		return texts
	}
	several("type", filterTypes...)
	several("status", "queued", "running", "completed")
	several("outcome", append([]string{"pending"}, filterOutcomes...)...)
	one("tenant_id", ids(w.tenants)...)
	one("user_id", ids(w.users)...)
	one("run_identity_hash", append(filterHashes, fmt.Sprintf("%064x", 1), strings.ToUpper(filterHashes[0]))...)
	one("backup_schedule_id", ids(w.schedules)...)
	one("failure_code", failureCodes...)
	one("stalled", "true", "false")
	for _, name := range []string{"created", "started", "completed", "updated"} {
		maybeSet(name+"_from", func() string { return drawBound(t, name+"_from").Format(time.RFC3339Nano) })
		maybeSet(name+"_before", func() string { return drawBound(t, name+"_before").Format(time.RFC3339Nano) })
		from, hasFrom := query[name+"_from"]
		before, hasBefore := query[name+"_before"]
		if hasFrom && hasBefore && !boundAt(from[0]).Before(boundAt(before[0])) {
			query.Del(name + "_before") // an empty range is refused
		}
	}
	query.Set("order", rapid.SampledFrom([]string{"-created_at", "created_at", "updated_at"}).Draw(t, "order"))
	query.Set("limit", rapid.SampledFrom([]string{"1", "2", "3", "7", "200"}).Draw(t, "limit"))
	return query
}

// drawBound draws an end of a range; finer than the database counts, now and then.
func drawBound(t *rapid.T, name string) time.Time {
	finer := rapid.SampledFrom([]time.Duration{0, 0, 0, 1, -1, 400, 999}).Draw(t, name+"'s nanosecond")
	return drawInstant(t, name).Add(finer)
}

// boundAt is an end of a range as the database counts, in microseconds.
func boundAt(text string) time.Time {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return at.Add(time.Microsecond - 1).Truncate(time.Microsecond)
}

// walkList follows next_cursor from the first page to the last. It returns the ids seen.
func (h *harness) walkList(t *testing.T, rt *rapid.T, token, path string, query url.Values) []int64 {
	t.Helper()
	ids := []int64{}
	next := path + "?" + query.Encode()
	for pages := 0; ; pages++ {
		got := h.do(t, http.MethodGet, next, token)
		if got.status != http.StatusOK {
			rt.Fatalf("GET %s: %d %s", next, got.status, got.body)
		}
		p := decode[page](t, got.body)
		ids = append(ids, p.ids()...)
		if p.NextCursor == nil {
			return ids
		}
		if pages > 1000 {
			rt.Fatalf("GET %s: no end after %d pages", next, pages)
		}
		following := url.Values{}
		maps.Copy(following, query)
		following.Set("cursor", *p.NextCursor)
		next = path + "?" + following.Encode()
	}
}

// TestEachCombinationOfFiltersKeepsWhatAModelKeeps holds the statements that filters make, with
// their branches and what each leaves out, against a plain reading of the contract.
func TestEachCombinationOfFiltersKeepsWhatAModelKeeps(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w := newFilterWorld(t, h)
	h = h.hurried(t)
	token := h.token(t, w.workspace.Readonly.Subject)
	list := fmt.Sprintf("/workspaces/%d/operation-runs", w.workspace.ID)
	rapid.Check(t, func(rt *rapid.T) {
		runs := make([]modelRun, rapid.IntRange(0, 40).Draw(rt, "runs"))
		for i := range runs {
			runs[i] = w.drawRun(rt, i)
		}
		w.write(rt, h, runs)
		for range 8 {
			query := w.drawQuery(rt)
			want, got := modelList(runs, query), h.walkList(t, rt, token, list, query)
			if diff := cmp.Diff(want, got); diff != "" {
				rt.Fatalf("%s\nkeeps (-want +got)\n%s\nof %s", query.Encode(), diff, describeRuns(runs, want, got))
			}
			h.checkCount(t, rt, token, list, query, len(want))
			h.checkHistory(t, rt, token, w, query, runs)
		}
	})
}

// checkCount holds the count for a query against the list.
func (h *harness) checkCount(t *testing.T, rt *rapid.T, token, list string, query url.Values, want int) {
	t.Helper()
	counted := url.Values{}
	for name, values := range query {
		if name != "order" && name != "limit" {
			counted[name] = values
		}
	}
	got := h.do(t, http.MethodGet, list+"/count?"+counted.Encode(), token)
	if body := fmt.Sprintf(`{"count":%d,"relation":"eq"}`, want); got.body != body {
		rt.Fatalf("count?%s: %s, want %s", counted.Encode(), got.body, body)
	}
}

// checkHistory holds the history of a schedule against the list of runs that name it.
func (h *harness) checkHistory(t *testing.T, rt *rapid.T, token string, w *filterWorld, query url.Values, runs []modelRun) {
	t.Helper()
	id := query.Get("backup_schedule_id")
	if known, _ := strconv.ParseInt(id, 10, 64); !slices.Contains(w.schedules, known) {
		return
	}
	history := url.Values{}
	for name, values := range query {
		if name != "backup_schedule_id" {
			history[name] = values
		}
	}
	path := fmt.Sprintf("/workspaces/%d/backup-schedules/%s/runs", w.workspace.ID, id)
	want, got := modelList(runs, query), h.walkList(t, rt, token, path, history)
	if diff := cmp.Diff(want, got); diff != "" {
		rt.Fatalf("the history of %s with %s (-want +got)\n%s\nof %s", id, history.Encode(), diff, describeRuns(runs, want, got))
	}
}

// describeRuns is the runs that are in one of two lists only.
func describeRuns(runs []modelRun, want, got []int64) string {
	var lines strings.Builder
	for _, m := range runs {
		if slices.Contains(want, m.id) != slices.Contains(got, m.id) {
			text, _ := json.Marshal(m)
			fmt.Fprintf(&lines, "%d: %s\n", m.id, text)
		}
	}
	return lines.String()
}

// TestSeveralValuesKeepTheRowsOfEach holds the other nouns' lists, whose filters make branches of
// a statement too.
func TestSeveralValuesKeepTheRowsOfEach(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w := dbtest.NewWorkspace(t, h.pool)
	for i := range 9 {
		for _, sql := range []string{
			`INSERT INTO findings (workspace_id, finding_type, severity, fingerprint, status) VALUES ($1, 'drift', (ARRAY['low', 'medium', 'high'])[1 + $2::int % 3], $2::text, 'new')`,
			`INSERT INTO inventory_items (workspace_id, policy_type, category, platform, external_id)
				VALUES ($1, 'compliance', (ARRAY['low', 'medium', 'high'])[1 + $2::int % 3], 'windows', $2::text)`,
		} {
			if _, err := h.pool.Exec(t.Context(), sql, pgx.QueryExecModeExec, w.ID, i); err != nil {
				t.Fatal(err)
			}
		}
	}
	for query, want := range map[string]int{
		"findings?limit=2&severity=low,high": 6, "findings?limit=2&severity=low,high&status=acknowledged,new&finding_type=drift,other": 6,
		"inventory-items?limit=2&category=low,high": 6, "inventory-items?limit=2&category=low,high,none&platform=linux,windows&policy_type=compliance": 6,
	} {
		var seen []int64
		h.visit(t, h.token(t, w.Readonly.Subject), fmt.Sprintf("/workspaces/%d/%s", w.ID, query), func(p page) { seen = append(seen, p.ids()...) })
		if len(seen) != want || !slices.IsSortedFunc(seen, func(a, b int64) int { return int(b - a) }) || len(slices.Compact(seen)) != want {
			t.Errorf("%s shows %v", query, seen)
		}
	}
}
