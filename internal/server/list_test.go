package server_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/internal/dbtest"
)

// hurried is the harness without the contract's validator, which takes longer than the server.
func (h *harness) hurried(t *testing.T) *harness {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	unjudged := *h
	unjudged.client = &http.Client{Transport: transport, Timeout: time.Minute}
	return &unjudged
}

// newRuns inserts n completed runs into a workspace, n/ties of them created in the same
// microsecond, and returns their ids.
func newRuns(t *testing.T, h *harness, workspaceID int64, n, ties int) map[int64]bool {
	t.Helper()
	rows, err := h.pool.Query(t.Context(), `
		INSERT INTO operation_runs (workspace_id, type, status, outcome, started_at, completed_at, created_at, updated_at)
		SELECT $1, 'inventory_sync', 'completed', 'succeeded', at, at + '1 minute', at, at + '1 minute'
		FROM (SELECT '2026-01-01T00:00:00Z'::timestamptz + (i % $3) * interval '1 second' AS at FROM generate_series(1, $2::bigint) AS i) AS instants
		RETURNING id`, workspaceID, n, ties)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	ids := make(map[int64]bool, n)
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids[id] = true
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return ids
}

// visit follows a list's Link headers from the first page to the last and shows each page.
func (h *harness) visit(t *testing.T, token, path string, show func(page)) {
	t.Helper()
	for path != "" {
		got := h.do(t, http.MethodGet, path, token)
		if got.status != http.StatusOK {
			t.Fatalf("GET %s: %d %s", path, got.status, got.body)
		}
		p := decode[page](t, got.body)
		show(p)
		next, ok := strings.CutSuffix(strings.TrimPrefix(got.header.Get("Link"), "<"), `>; rel="next"`)
		if ok != (p.NextCursor != nil) {
			t.Fatalf("GET %s: Link is %q beside next_cursor %v", path, got.header.Get("Link"), p.NextCursor)
		}
		if !ok {
			return
		}
		address, err := url.Parse(next)
		if err != nil || address.Query().Get("cursor") != *p.NextCursor {
			t.Fatalf("Link %q does not carry next_cursor %q", next, *p.NextCursor)
		}
		path = next
	}
}

func TestAPageOfLargeRowsEndsBeforeItsLimit(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w := dbtest.NewWorkspace(t, h.pool)
	const runs, each, most = 20, 1 << 20, 8 << 20
	if _, err := h.pool.Exec(t.Context(), `INSERT INTO operation_runs (workspace_id, type, run_identity_hash, context)
		SELECT $1, 'inventory_sync', n, jsonb_build_object('text', repeat('x', $3)) FROM generate_series(1, $2) AS n`, w.ID, runs, each); err != nil {
		t.Fatal(err)
	}
	seen := map[any]bool{}
	var pages []int
	for _, limit := range []int{runs, 5} {
		clear(seen)
		pages = nil
		h.visit(t, h.token(t, w.Readonly.Subject), fmt.Sprintf("/workspaces/%d/operation-runs?limit=%d", w.ID, limit), func(p page) {
			pages = append(pages, len(p.Data))
			for _, run := range p.Data {
				seen[run["id"]] = true
			}
		})
		if len(seen) != runs || slices.Max(pages) > min(most/each, limit) {
			t.Errorf("limit %d: %d runs in pages of %v", limit, len(seen), pages)
		}
	}
}

// TestAListShowsEveryRunOnceWhileOthersInsert walks 100,000 runs both ways while 20 writers add
// more before, behind and between them.
func TestAListShowsEveryRunOnceWhileOthersInsert(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("100,000 runs take seconds")
	}
	h := newHarness(t)
	w := dbtest.NewWorkspace(t, h.pool)
	there := newRuns(t, h, w.ID, 100_000, 1_000)
	token := h.token(t, w.Readonly.Subject)

	h = h.hurried(t)
	turns := make(chan int) // which of the writers' runs is next; each page of the walk brings some
	var writers sync.WaitGroup
	var written atomic.Int64
	defer writers.Wait()
	defer close(turns)
	for range 20 {
		writers.Go(func() {
			for turn := range turns {
				_, err := h.pool.Exec(context.WithoutCancel(t.Context()), `INSERT INTO operation_runs (workspace_id, type, created_at, updated_at)
					SELECT $1, 'entra_group_sync', at, at FROM (SELECT '2026-01-01T00:00:00Z'::timestamptz + $2 * interval '1 second' AS at) AS i`,
					w.ID, turn*37%1_200-100)
				if err != nil {
					t.Errorf("turn %d: %v", turn, err)
				}
				written.Add(1)
			}
		})
	}
	turn := 0
	for _, order := range []string{"-created_at", "created_at"} {
		before := written.Load()
		seen := make(map[int64]int, len(there))
		h.visit(t, token, fmt.Sprintf("/workspaces/%d/operation-runs?limit=200&order=%s", w.ID, order), func(p page) {
			for _, id := range p.ids() {
				seen[id]++
			}
			for range 5 {
				turns <- turn
				turn++
			}
		})
		missed, doubled := 0, 0
		for id := range there {
			if seen[id] == 0 {
				missed++
			}
		}
		for _, times := range seen {
			if times > 1 {
				doubled++
			}
		}
		if missed > 0 || doubled > 0 {
			t.Errorf("order=%s: %d runs missed and %d doubled of %d", order, missed, doubled, len(there))
		}
		if written.Load() == before {
			t.Errorf("order=%s: nothing was written meanwhile", order)
		}
	}
}

func TestTiesNeitherSkipNorDouble(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w := dbtest.NewWorkspace(t, h.pool)
	there := newRuns(t, h, w.ID, 403, 3)
	token := h.token(t, w.Readonly.Subject)
	for _, order := range []string{"-created_at", "created_at", "updated_at"} {
		for _, limit := range []int{1, 7, 200} {
			var seen []int64
			h.visit(t, token, fmt.Sprintf("/workspaces/%d/operation-runs?limit=%d&order=%s", w.ID, limit, order), func(p page) {
				if len(p.Data) > limit || p.NextCursor != nil && len(p.Data) != limit {
					t.Errorf("order=%s limit=%d: a page of %d", order, limit, len(p.Data))
				}
				seen = append(seen, p.ids()...)
			})
			slices.Sort(seen)
			if len(seen) != len(there) || len(slices.Compact(seen)) != len(there) {
				t.Errorf("order=%s limit=%d: %d rows seen of %d", order, limit, len(seen), len(there))
			}
		}
	}
}

func TestThePageAfterExactlyTheLastRowIsNotOffered(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w := dbtest.NewWorkspace(t, h.pool)
	newRuns(t, h, w.ID, 7, 7)
	if p := h.list(t, w.Readonly.Subject, fmt.Sprintf("/workspaces/%d/operation-runs?limit=7", w.ID)); p.NextCursor != nil || len(p.Data) != 7 {
		t.Errorf("%d rows and next_cursor %v", len(p.Data), p.NextCursor)
	}
}

func TestTheSizeOfAPage(t *testing.T) {
	t.Parallel()
	h := newHarness(t).hurried(t) // the validator knows no integers beyond 64 bits
	w := dbtest.NewWorkspace(t, h.pool)
	newRuns(t, h, w.ID, 203, 203)
	path := fmt.Sprintf("/workspaces/%d/operation-runs", w.ID)
	if p := h.list(t, w.Readonly.Subject, path); len(p.Data) != 50 {
		t.Errorf("a page of %d by default", len(p.Data))
	}
	for limit, want := range map[string]int{
		"1": 1, "50": 50, "007": 7, "199": 199, "200": 200, "201": 200, "1000000": 200,
		"9223372036854775807": 200, "9223372036854775808": 200, "1" + strings.Repeat("0", 30): 200,
	} {
		if p := h.list(t, w.Readonly.Subject, path+"?limit="+limit); len(p.Data) != want {
			t.Errorf("limit=%s: a page of %d, want %d", limit, len(p.Data), want)
		}
	}
	for _, limit := range []string{"0", "00", "-1", "1.5", "%2B1", "1e2", "0x10", "ten", "", "%20", "1%20", "١", "1,2", "null"} {
		got := h.get(t, http.StatusBadRequest, w.Readonly.Subject, path+"?limit="+limit)
		if names := faulty(t, got); !slices.Equal(names, []string{"limit"}) {
			t.Errorf("limit=%s: %v are faulty", limit, names)
		}
	}
}

// faulty is the parameters that a problem names, in its order.
func faulty(t *testing.T, a answer) []string {
	t.Helper()
	var names []string
	for _, fault := range decode[struct {
		Errors []struct{ Parameter string }
	}](t, a.body).Errors {
		names = append(names, fault.Parameter)
	}
	return names
}

func TestTheFaultsOfAQueryAreNotMoreThanAnybodyReads(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	var query strings.Builder
	for n := range 5000 {
		fmt.Fprintf(&query, "&%x", n)
	}
	got := decode[problemBody](t, h.get(t, http.StatusBadRequest, f.Owner.Subject, "/workspaces?"+query.String()[1:]).body)
	if n := len(got.pointers()); n != 100 {
		t.Errorf("%d faults are told", n)
	}
}

func TestAnInstantMayHaveSmallLetters(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	h.list(t, f.Owner.Subject, fmt.Sprintf("/workspaces/%d/operation-runs?created_from=2026-01-31t12:00:00z", f.ID))
}

func TestEveryFaultOfAQueryIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	path := fmt.Sprintf("/workspaces/%d/operation-runs", f.ID)
	for query, want := range map[string][]string{
		"nonsense=1":                                {"nonsense"},
		"Type=inventory_sync":                       {"Type"},
		"status=queued&status=queued":               {"status"},
		"status=":                                   {"status"},
		"status=queued,":                            {"status"},
		"status=lost":                               {"status"},
		"outcome=succeeded,won,lost":                {"outcome"},
		"type=%00":                                  {"type"},
		"type=a%0Ab":                                {"type"},
		"type=%FF":                                  {"type"},
		"type=" + strings.Repeat("a", 1025):         {"type"},
		"tenant_id=0":                               {"tenant_id"},
		"tenant_id=01":                              {"tenant_id"},
		"tenant_id=9223372036854775808":             {"tenant_id"},
		"user_id=me":                                {"user_id"},
		"run_identity_hash=abc":                     {"run_identity_hash"},
		"backup_schedule_id=12.0":                   {"backup_schedule_id"},
		"stalled=yes":                               {"stalled"},
		"order=id":                                  {"order"},
		"cursor=":                                   {"cursor"},
		"created_from=yesterday":                    {"created_from"},
		"created_from=2026-01-31T12:00:00":          {"created_from"},
		"created_from=2026-01-31T12:00:00+01:00":    {"created_from"},
		"created_from=2026-02-30T12:00:00Z":         {"created_from"},
		"created_from=2026-01-31T12:00:00%2C5Z":     {"created_from"},
		"created_from=2026-01-31T1:00:00Z":          {"created_from"},
		"created_from=2026-01-31T12:00:00%2B24:00":  {"created_from"},
		"created_from=12026-01-31T12:00:00Z":        {"created_from"},
		"a=1&limit=0&b=2&stalled=1&type=,&order=up": {"type", "stalled", "order", "limit", "a", "b"},
		"started_from=2026-01-02T00:00:00Z&started_before=2026-01-01T00:00:00Z": {"started_before"},
		"updated_from=2026-01-01T00:00:00Z&updated_before=2026-01-01T00:00:00Z": {"updated_before"},
		"%zz=1":            {""},
		"limit=%":          {""},
		"a;b":              {""},
		"%FF=1":            {"\uFFFD"},
		"%00=1":            {"\x00"},
		"limit[]=1":        {"limit[]"},
		"__proto__=1&%20=": {" ", "__proto__"},
	} {
		got := h.get(t, http.StatusBadRequest, f.Readonly.Subject, path+"?"+query)
		if names := faulty(t, got); !slices.Equal(names, want) {
			t.Errorf("%s: %q are faulty, want %q\n%s", query, names, want, got.body)
		}
		if strings.HasPrefix(query, "a=1&limit") {
			continue
		}
		counted := h.do(t, http.MethodGet, path+"/count?"+query, h.token(t, f.Readonly.Subject))
		if counted.status != http.StatusBadRequest {
			t.Errorf("count?%s: %d %s", query, counted.status, counted.body)
		}
	}
}

func TestEndpointsWithoutParametersRefuseThem(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	walk(t, h, func(method, pattern string) {
		if method != http.MethodGet {
			return
		}
		path := address(pattern, f.ID, f.row(pattern)) + "?no_such_parameter=1"
		got := h.do(t, method, path, h.token(t, f.Readonly.Subject))
		if got.status != http.StatusBadRequest || !slices.Equal(faulty(t, got), []string{"no_such_parameter"}) {
			t.Errorf("%s %s: %d %s", method, path, got.status, got.body)
		}
	})
}

func TestACountStopsAtTenThousand(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w := dbtest.NewWorkspace(t, h.pool)
	path := fmt.Sprintf("/workspaces/%d/operation-runs/count", w.ID)
	counts := func(query, want string) {
		t.Helper()
		if got := h.get(t, http.StatusOK, w.Readonly.Subject, path+query); got.body != want {
			t.Errorf("count%s: %s, want %s", query, got.body, want)
		}
	}
	counts("", `{"count":0,"relation":"eq"}`)
	newRuns(t, h, w.ID, 10_000, 10)
	counts("", `{"count":10000,"relation":"eq"}`)
	counts("?outcome=failed,succeeded", `{"count":10000,"relation":"eq"}`)
	newRuns(t, h, w.ID, 1, 1)
	counts("", `{"count":10000,"relation":"gte"}`)
	counts("?outcome=failed,succeeded", `{"count":10000,"relation":"gte"}`)
	counts("?outcome=failed", `{"count":0,"relation":"eq"}`)
}

// TestPageInTheOrderOfUpdatesHoldsRunsThatWereCreatedLaterAndUpdatedEarlier takes the runs of a page
// among those that were created until the last of its updates, and not only the first to be created.
func TestPageInTheOrderOfUpdatesHoldsRunsThatWereCreatedLaterAndUpdatedEarlier(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w := newWorker(t, h)
	type run struct {
		id               int64
		created, updated int // minutes
	}
	runs := make([]run, 60) // several of which share each minute
	dice := rand.New(rand.NewPCG(1, 1))
	for i := range runs {
		r := &runs[i]
		r.created = dice.IntN(len(runs) / 3)
		r.updated = r.created + dice.IntN(len(runs))
		if err := h.pool.QueryRow(t.Context(), `INSERT INTO operation_runs (workspace_id, type, created_at, updated_at)
			VALUES ($1, 'inventory_sync', '2026-03-01'::timestamptz + $2 * interval '1 minute', '2026-03-01'::timestamptz + $3 * interval '1 minute')
			RETURNING id`, w.ID, r.created, r.updated).Scan(&r.id); err != nil {
			t.Fatal(err)
		}
	}
	slices.SortStableFunc(runs, func(a, b run) int { return a.updated - b.updated })
	var ids []int64
	for _, r := range runs {
		ids = append(ids, r.id)
	}
	for _, limit := range []int{1, 2, 3, 5, 8, 13, len(runs) - 1, len(runs), len(runs) + 1} {
		var seen []int64
		h.visit(t, h.token(t, w.Readonly.Subject), w.path(fmt.Sprintf("?order=updated_at&type=inventory_sync&limit=%d", limit)), func(p page) {
			seen = append(seen, p.ids()...)
		})
		if diff := cmp.Diff(ids, seen); diff != "" {
			t.Errorf("pages of %d (-want +got)\n%s", limit, diff)
		}
	}
}
