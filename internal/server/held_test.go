package server_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

// heldWorker is a worker with a run of the identity "held", whose row a transaction holds.
type heldWorker struct {
	*worker
	statementCounter

	held runBody
	log  lines
}

// newHeldWorker makes one. A statement waits for the row no longer than it takes to see that it does.
func newHeldWorker(t *testing.T) *heldWorker {
	t.Helper()
	w := &heldWorker{}
	config, err := pgxpool.ParseConfig(dbtest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.Tracer = &w.statementCounter
	config.ConnConfig.RuntimeParams["lock_timeout"] = "100ms"
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	w.worker = newWorker(t, newHarnessOn(t, pool, server.Options{Log: slog.New(slog.NewTextHandler(&w.log, nil))}))
	w.held = w.start(t, http.StatusCreated, `{"type":"inventory_sync","identity":"held"}`)
	w.hold(t)
	return w
}

// hold has a transaction hold all runs that there are and are not held yet.
func (w *heldWorker) hold(t *testing.T) {
	t.Helper()
	tx, err := dbtest.Pool(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(t.Context()) })
	tag, err := tx.Exec(t.Context(), "SELECT FROM operation_runs WHERE workspace_id = $1 FOR UPDATE SKIP LOCKED", w.ID)
	if err != nil || tag.RowsAffected() == 0 {
		t.Fatalf("%v rows are held, %v", tag.RowsAffected(), err)
	}
}

// together sends starts at the same time and returns how often each status came.
func (w *worker) together(t *testing.T, bodies ...string) map[int]int {
	t.Helper()
	var mu sync.Mutex
	statuses := map[int]int{}
	var all sync.WaitGroup
	for _, body := range bodies {
		all.Go(func() {
			got, err := w.send(http.MethodPost, w.path(""), w.bearer, body)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			statuses[got.status]++
		})
	}
	all.Wait()
	return statuses
}

func TestThoseWhoWantTheSameWaitForAHeldRowTogether(t *testing.T) {
	t.Parallel()
	w := newHeldWorker(t)
	const n = 40
	bodies := make([]string, n)
	for i := range bodies {
		bodies[i] = `{"type":"inventory_sync","identity":"held"}`
	}
	before := w.starts.Load()
	if got := w.together(t, bodies...); got[http.StatusServiceUnavailable] != n {
		t.Errorf("answers by status: %v", got)
	}
	if took := w.starts.Load() - before; took > n/2 {
		t.Errorf("%d statements for %d starts of the same", took, n)
	}
}

func TestAHeldRowKeepsNoOtherStartOfTheMemberWaiting(t *testing.T) {
	t.Parallel()
	w := newHeldWorker(t)
	const n = 40
	bodies := make([]string, n)
	for i := range bodies {
		bodies[i] = fmt.Sprintf(`{"type":"inventory_sync","identity":%d}`, i)
	}
	bodies[n/2] = `{"type":"inventory_sync","identity":"held"}`
	if got := w.together(t, bodies...); got[http.StatusCreated] != n-1 || got[http.StatusServiceUnavailable] != 1 {
		t.Errorf("answers by status: %v", got)
	}
}

func TestABatchWaitsForAHeldRowOnceAndTheLogSaysWhy(t *testing.T) {
	t.Parallel()
	w := newHeldWorker(t)
	const n = 20
	operations := make([]string, n)
	for i := range operations {
		operations[i] = fmt.Sprintf(`{"report":{"id":%d,"summary_counts":{"n":%d}}}`, w.held.ID, i)
	}
	got := w.must(t, http.StatusMultiStatus, http.MethodPost, "/batch", `{"operations":[`+strings.Join(operations, ",")+`]}`)
	if busy := strings.Count(got.body, `{"status":503,`); busy != n || w.reports.Load() != 1 {
		t.Errorf("%d parts of %d are 503, after %d statements", busy, n, w.reports.Load())
	}
	id := got.header.Get("X-Request-Id")
	if w.log.count("request_id="+id, "lock timeout") == 0 {
		t.Error("the log does not say why")
	}
}

func TestABatchWaitsForManyHeldRowsNoLongerThanForOne(t *testing.T) {
	t.Parallel()
	w := newHeldWorker(t)
	const n = 64
	operations := make([]string, n)
	for i := range operations {
		operations[i] = fmt.Sprintf(`{"report":{"id":%d,"summary_counts":{"n":1}}}`, w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`).ID)
	}
	w.hold(t)
	before := w.reports.Load()
	got := w.must(t, http.StatusMultiStatus, http.MethodPost, "/batch", `{"operations":[`+strings.Join(operations, ",")+`]}`)
	if busy := strings.Count(got.body, `{"status":503,`); busy != n {
		t.Errorf("%d parts of %d are 503", busy, n)
	}
	const mostWaits = 9 // enough to find one of 64
	if took := w.reports.Load() - before; took > mostWaits {
		t.Errorf("%d statements have waited", took)
	}
	if lines := w.log.count("request failed"); lines != 1 {
		t.Errorf("the log says why %d times", lines)
	}
}

// Starts with keys of their own come in waves where they want the same.
func TestAHeldRowKeepsNoLaterWaveOfOthersFromBeingDone(t *testing.T) {
	t.Parallel()
	w := newHeldWorker(t)
	operations := []string{`{"start":{"type":"inventory_sync","identity":"held","idempotency_key":"h"}}`}
	for i := range 30 {
		operations = append(operations, fmt.Sprintf(`{"start":{"type":"inventory_sync","identity":%d,"idempotency_key":"k%d"}}`, i%10, i))
	}
	operations = append(operations, `{"start":{"type":"inventory_sync","identity":"held"}}`)
	statuses := w.operations(t, operations...).statuses()
	if first, last := statuses[0], statuses[len(statuses)-1]; first != http.StatusServiceUnavailable || last != first {
		t.Errorf("the held ones are answered %d and %d", first, last)
	}
	for i, status := range statuses[1 : len(statuses)-1] {
		if status >= http.StatusBadRequest {
			t.Errorf("start %d is answered %d", i, status)
		}
	}
}

// A page of events that hold a report of a mebibyte each ends early, and the next one goes on behind it.
func TestPagesOfLargeEventsAreSmallAndLeaveNothingOut(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarnessOnFresh(t))
	w.client.Transport = w.plainTransport(t) // the contract has been read often enough
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	const events, largest, small = 60, 24 << 20, 100
	w.exec(t, `INSERT INTO operation_run_events (workspace_id, run_id, kind, actor, data)
		SELECT $1, $2, 'reported', 'somebody', jsonb_build_object('n', n, 'failure_summary', repeat('long ', 200000)) FROM generate_series(1, $3::integer) AS n`,
		w.ID, run.ID, events)
	w.exec(t, `INSERT INTO operation_run_events (workspace_id, run_id, kind, actor, data)
		SELECT $1, $2, 'reported', 'somebody', jsonb_build_object('n', n) FROM generate_series($3::integer, $4::integer) AS n`,
		w.ID, run.ID, events+1, events+small)
	wantAll := func(how string, told []runEvent, pages int) {
		t.Helper()
		if len(told) != 1+events+small || pages < 3 {
			t.Errorf("%s: %d events in %d pages", how, len(told), pages)
		}
		for n, event := range told[1:] {
			long, _ := event.Data["failure_summary"].(string)
			if event.Data["n"] != float64(n+1) || n < events && len(long) != 1_000_000 {
				t.Fatalf("%s: event %d has n %v and %d bytes", how, n, event.Data["n"], len(long))
			}
		}
	}

	var told []runEvent
	pages := 0
	for next := address("/workspaces/{workspace_id}/operation-runs/{id}/events?limit=200", w.ID, run.ID); next != ""; pages++ {
		got := w.get(t, http.StatusOK, w.Operator.Subject, next)
		if len(got.body) > largest {
			t.Errorf("a page of the timeline has %d bytes", len(got.body))
		}
		page := decode[struct {
			Data       []runEvent `json:"data"`
			NextCursor *string    `json:"next_cursor"`
		}](t, got.body)
		told = append(told, page.Data...)
		if next = ""; page.NextCursor != nil {
			next = address("/workspaces/{workspace_id}/operation-runs/{id}/events?limit=200&cursor=", w.ID, run.ID) + *page.NextCursor
		}
	}
	wantAll("the timeline", told, pages)

	told, pages = nil, 0
	for after := ""; ; pages++ {
		page := w.changes(t, w.Operator.Subject, w.ID, after)
		told, after = append(told, page.Data...), page.NextAfter
		if !page.HasMore {
			break
		}
	}
	wantAll("the changes", told, pages)
}
