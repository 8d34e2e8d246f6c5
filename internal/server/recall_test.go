package server_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/retention"
	"github.com/runledger/runledger/internal/server"
)

// recalledBody is what the tests read of a recalled run.
type recalledBody struct {
	ID               int64      `json:"id"`
	Recalled         bool       `json:"recalled"`
	RecalledAt       *time.Time `json:"recalled_at"`
	RecalledByUserID *int64     `json:"recalled_by_user_id"`
	RecallReason     *string    `json:"recall_reason"`
	Revision         int64      `json:"revision"`
}

// recall recalls a run as the workspace's manager.
func (w *worker) recall(t testing.TB, id int64, reason string) recalledBody {
	t.Helper()
	bearer := w.bearer
	defer func() { w.bearer = bearer }()
	w.bearer = w.token(t, w.Manager.Subject)
	got := w.must(t, http.StatusOK, http.MethodPost, fmt.Sprintf("/%d/recall", id), fmt.Sprintf(`{"reason":%q}`, reason))
	return decode[recalledBody](t, got.body)
}

// done starts a run and completes it.
func (w *worker) done(t testing.TB, start, outcome string) int64 {
	t.Helper()
	id := w.start(t, http.StatusCreated, start).ID
	w.report(t, id, `{"status":"completed","outcome":"`+outcome+`"}`)
	return id
}

// marked are the ids of a list's rows that carry the mark. Every row says whether it does.
func (w *worker) marked(t testing.TB, noun string) []int64 {
	t.Helper()
	var ids []int64
	for _, row := range w.list(t, w.Readonly.Subject, fmt.Sprintf("/workspaces/%d/%s", w.ID, noun)).Data {
		if row["recalled"].(bool) {
			ids = append(ids, int64(row["id"].(float64)))
		}
	}
	slices.Sort(ids)
	return ids
}

// wantMarked fails the test unless these and no others of the list carry the mark.
func (w *worker) wantMarked(t testing.TB, noun string, ids ...int64) {
	t.Helper()
	slices.Sort(ids)
	if got := w.marked(t, noun); !slices.Equal(got, ids) {
		t.Errorf("of the %s are marked %v, want %v", noun, got, ids)
	}
}

// whileRecalled recalls a run and does something while the recall waits for the run's row.
func (w *worker) whileRecalled(t *testing.T, id int64, do func()) {
	t.Helper()
	tx, err := w.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if _, err := tx.Exec(t.Context(), "SELECT FROM operation_runs WHERE id = $1 FOR NO KEY UPDATE", id); err != nil {
		t.Fatal(err)
	}
	bearer := w.token(t, w.Manager.Subject)
	recalled := make(chan answer)
	go func() {
		defer close(recalled)
		if got, err := w.send(http.MethodPost, w.path(fmt.Sprintf("/%d/recall", id)), bearer, `{"reason":"At the same moment."}`); err == nil {
			recalled <- got
		}
	}()
	dbtest.AwaitBlocked(t, w.pool, tx, 1)
	do()
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-recalled; got.status != http.StatusOK {
		t.Fatalf("status %d: %s", got.status, got.body)
	}
}

func TestWhatHappensDuringARecallIsMarkedAndUnmarked(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	bad := w.done(t, `{"type":"inventory_sync"}`, "succeeded")
	naming := func(identity string) string {
		return fmt.Sprintf(`{"type":"drift_generate_findings","identity":%q,"context":{"baseline_operation_run_id":%d}}`, identity, bad)
	}
	replaced, patched := w.done(t, naming("replaced"), "succeeded"), w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`).ID
	before := decode[runBody](t, w.must(t, http.StatusOK, http.MethodGet, fmt.Sprintf("/%d", replaced), "").body)
	var started int64
	w.whileRecalled(t, bad, func() {
		started = w.start(t, http.StatusCreated, naming("started")).ID
		w.report(t, patched, fmt.Sprintf(`{"context":{"operation_run_id":%d}}`, bad))
		w.done(t, `{"type":"drift_generate_findings","identity":"replaced"}`, "succeeded")
	})
	w.wantMarked(t, "operation-runs", bad, started, patched)
	w.wantEvents(t, started, "created", "recalled")
	w.wantEvents(t, replaced, "created", "completed", "recalled", "replaced")
	after := decode[runBody](t, w.must(t, http.StatusOK, http.MethodGet, fmt.Sprintf("/%d", replaced), "").body)
	if after.Revision != before.Revision+2 {
		t.Errorf("marked and unmarked, the run went from revision %d to %d", before.Revision, after.Revision)
	}
}

func TestARecallSaidAgainChangesNoMark(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	bad := w.done(t, `{"type":"inventory_sync"}`, "succeeded")
	naming := w.done(t, fmt.Sprintf(`{"type":"inventory_sync","context":{"operation_run_id":%d}}`, bad), "succeeded")
	w.recall(t, bad, "once")
	w.wantMarked(t, "operation-runs", bad, naming)
	w.exec(t, "UPDATE operation_runs SET recalled = false WHERE workspace_id = $1 AND recalled_at IS NULL", w.ID) // as a replacement does
	w.recall(t, bad, "again")
	w.wantMarked(t, "operation-runs", bad)
}

// rests records a finding of a fingerprint on two runs, and returns its id.
func (w *worker) rests(t testing.TB, status int, fingerprint string, baseline, current int64) int64 {
	t.Helper()
	return w.below207(t, "/findings/batch", fmt.Sprintf(`{"findings":[{"finding_type":"drift","fingerprint":%q,
		"baseline_operation_run_id":%d,"current_operation_run_id":%d}]}`, fingerprint, baseline, current), status)[0].Finding.ID
}

func TestWhatRestsOnARecalledRunIsMarkedUntilANewerRunReplacesIt(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	baseline := w.done(t, `{"type":"inventory_sync","identity":"sync"}`, "succeeded")
	bad := w.done(t, `{"type":"inventory_sync","identity":"sync"}`, "succeeded")
	drift := fmt.Sprintf(`{"type":"drift_generate_findings","identity":"drift","context":{"baseline_operation_run_id":%d,"current_operation_run_id":%d}}`, baseline, bad)
	naming := w.done(t, drift, "succeeded")
	retry := w.act(t, http.StatusCreated, bad, "retry").ID
	w.report(t, retry, `{"status":"completed","outcome":"failed"}`)
	unrelated := w.done(t, fmt.Sprintf(`{"type":"inventory_sync","context":{"operation_run_id":"x%d","note":%d}}`, bad, bad), "succeeded")
	item := w.see(t, http.StatusCreated, bad, 0, "seen").ID
	asCurrent := w.rests(t, http.StatusCreated, "current", baseline, bad)
	asBaseline := w.rests(t, http.StatusCreated, "baseline", bad, retry)
	other := w.rests(t, http.StatusCreated, "other", baseline, baseline)
	for _, noun := range []string{"operation-runs", "inventory-items", "findings"} {
		w.wantMarked(t, noun)
	}

	w.recall(t, bad, "The permissions were cut.")
	w.wantMarked(t, "operation-runs", bad, naming, retry)
	w.wantMarked(t, "inventory-items", item)
	w.wantMarked(t, "findings", asCurrent, asBaseline)
	w.wantEvents(t, bad, "created", "completed", "recalled")
	w.wantEvents(t, naming, "created", "completed", "recalled")
	w.wantEvents(t, unrelated, "created", "completed")

	// What names it afterwards rests on it from the start; it replaces nothing, and neither does a failure.
	again := w.done(t, drift, "succeeded")
	fresh := w.start(t, http.StatusCreated, `{"type":"inventory_sync","identity":"sync"}`).ID
	w.report(t, fresh, `{"status":"completed","outcome":"failed"}`)
	w.wantMarked(t, "operation-runs", bad, naming, retry, again)

	newer := w.done(t, `{"type":"inventory_sync","identity":"sync"}`, "succeeded")
	w.wantMarked(t, "operation-runs", bad, naming, again)
	w.wantEvents(t, retry, "created", "completed", "recalled", "replaced")
	w.see(t, http.StatusOK, newer, 0, "seen again")
	w.wantMarked(t, "inventory-items")
	w.rests(t, http.StatusOK, "current", baseline, newer)
	w.wantMarked(t, "findings", asBaseline)
	w.rests(t, http.StatusOK, "baseline", baseline, newer)
	w.wantMarked(t, "findings")
	w.done(t, fmt.Sprintf(`{"type":"drift_generate_findings","identity":"drift","context":{"current_operation_run_id":%d}}`, newer), "partially_succeeded")
	w.wantMarked(t, "operation-runs", bad)
	if other == asCurrent {
		t.Error("two findings are one")
	}
}

func TestARunThatIsReplacedAlreadyIsNotMarked(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	bad := w.done(t, `{"type":"inventory_sync"}`, "succeeded")
	drift := `{"type":"drift_generate_findings","identity":"drift","context":{"baseline_operation_run_id":%d}}`
	w.done(t, fmt.Sprintf(drift, bad), "succeeded")
	w.done(t, strings.Replace(fmt.Sprintf(drift, bad), "baseline", "some_other", 1), "succeeded")
	naming := w.done(t, fmt.Sprintf(drift, bad), "succeeded")
	w.recall(t, bad, "wrong")
	w.wantMarked(t, "operation-runs", bad, naming)
}

func TestARunThatAReportMakesNameARecalledRunIsMarkedFromThenOn(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	older := w.start(t, http.StatusCreated, `{"type":"drift_generate_findings","identity":"older"}`).ID
	bad := w.done(t, `{"type":"inventory_sync"}`, "succeeded")
	w.recall(t, bad, "wrong")
	want := []int64{bad}
	for _, naming := range []string{
		`{"baseline_operation_run_id":%d}`, `{"current_operation_run_id":"%d"}`, `{"operation_run_id":%d}`,
	} {
		id := w.start(t, http.StatusCreated, fmt.Sprintf(`{"type":"drift_generate_findings","identity":%q,"context":{"n":1}}`, naming)).ID
		w.report(t, id, fmt.Sprintf(`{"status":"running","context":{"operation_run_id":"x%[1]d","n":%[1]d,"deep":{"operation_run_id":%[1]d}}}`, bad))
		w.wantMarked(t, "operation-runs", want...)
		w.report(t, id, fmt.Sprintf(`{"context":`+naming+`}`, bad))
		want = append(want, id)
		w.wantMarked(t, "operation-runs", want...)
		w.report(t, id, `{"status":"completed","outcome":"succeeded","context":{"n":2}}`)
		w.wantMarked(t, "operation-runs", want...)
		w.wantEvents(t, id, "created", "started", "reported", "completed")
	}
	// Only later runs rest on it.
	w.report(t, older, fmt.Sprintf(`{"status":"completed","outcome":"succeeded","context":{"baseline_operation_run_id":%d}}`, bad))
	w.wantMarked(t, "operation-runs", want...)
}

func TestWhetherAReportNamesARecalledRunIsLookedUpInItsIndexAndOnlyIfItMay(t *testing.T) {
	t.Parallel()
	pool, seen := newRecordedPool(t, dbtest.Fresh(t))
	w := newWorker(t, newHarnessOn(t, pool, server.Options{}))
	fillForPlans(t, pool, w.ID)
	id := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`).ID
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for report, want := range map[string]float64{
		`{"status":"running","summary_counts":{"n":1}}`:         0,
		`{"status":"running","context":{"operation_run_id":1}}`: 1,
	} {
		w.report(t, id, report)
		sent := seen.last(t, "ReportRuns")
		for _, generic := range []bool{false, true} {
			plan, text := explain(t, conn.Conn(), sent, generic)
			looked := -1.0
			plan.visit(func(n planNode) {
				if n.Index == "operation_runs_recalled_id_idx" {
					looked = n.Loops
				}
			})
			if looked != want {
				t.Errorf("%s: the recalled runs are looked up %v times, want %v: %s", report, looked, want, text)
			}
		}
	}
}

func TestTheLateSuccessOfAnOlderRunReplacesNoNewerOne(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	bad := w.done(t, `{"type":"inventory_sync"}`, "succeeded")
	older := w.start(t, http.StatusCreated, `{"type":"drift_generate_findings","identity":"drift"}`).ID
	w.report(t, older, `{"status":"running"}`)
	w.giveUp(t, older)
	w.recall(t, bad, "wrong")
	naming := w.done(t, fmt.Sprintf(`{"type":"drift_generate_findings","identity":"drift","context":{"baseline_operation_run_id":%d}}`, bad), "succeeded")
	w.report(t, older, `{"status":"completed","outcome":"succeeded"}`)
	w.wantMarked(t, "operation-runs", bad, naming)
	w.wantEvents(t, naming, "created", "completed")
	w.done(t, `{"type":"drift_generate_findings","identity":"drift"}`, "succeeded")
	w.wantMarked(t, "operation-runs", bad)
	w.wantEvents(t, naming, "created", "completed", "replaced")
}

func TestOnlyManagersRecallAndOnlyWhatIsCompleted(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w := newWorker(t, h)
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`).ID
	path := fmt.Sprintf("/%d/recall", run)
	for _, user := range []dbtest.User{w.Readonly, w.Operator} {
		w.bearer = h.token(t, user.Subject)
		w.refused(t, http.StatusForbidden, http.MethodPost, path, `{"reason":"x"}`)
	}
	w.bearer = h.token(t, w.Manager.Subject)
	if got := w.refused(t, http.StatusConflict, http.MethodPost, path, `{"reason":"x"}`); got.OperationRun == nil || got.OperationRun.ID != run {
		t.Errorf("the conflict carries %+v", got.OperationRun)
	}
	w.report(t, run, `{"status":"completed","outcome":"succeeded"}`)
	for _, body := range []string{`{}`, `{"reason":""}`, `{"reason":null}`, `{"reason":1}`, `{"reason":"x","why":"y"}`, `{"reason":"` + strings.Repeat("x", 1001) + `"}`} {
		w.refused(t, http.StatusUnprocessableEntity, http.MethodPost, path, body)
	}
	first := w.recall(t, run, "Bearer abcdefghijklmnopqrstuvwxyz was logged")
	if !first.Recalled || first.RecalledAt == nil || *first.RecalledByUserID != w.Manager.ID || first.Revision != 3 ||
		strings.Contains(*first.RecallReason, "abcdef") {
		t.Errorf("recalled, it is %+v", first)
	}
	w.bearer = h.token(t, w.Owner.Subject)
	again := decode[recalledBody](t, w.must(t, http.StatusOK, http.MethodPost, path, `{"reason":"another"}`).body)
	if *again.RecallReason != *first.RecallReason || *again.RecalledByUserID != w.Manager.ID || again.Revision != 3 {
		t.Errorf("recalled again, it is %+v", again)
	}
	w.wantEvents(t, run, "created", "completed", "recalled")
}

// dependent is an entry of a run's dependents.
type dependent struct {
	Kind     string `json:"kind"`
	ID       int64  `json:"id"`
	Name     string `json:"name"`
	Relation string `json:"relation"`
}

func TestDependentsAreListedWholeInPagesOfAnySize(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w, stranger := newWorker(t, h), newWorker(t, h)
	earlier := w.done(t, `{"type":"inventory_sync"}`, "succeeded")
	run := w.done(t, `{"type":"inventory_sync"}`, "succeeded")
	w.report(t, w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`).ID, fmt.Sprintf(`{"context":{"operation_run_id":%d}}`, earlier))
	w.exec(t, "UPDATE operation_runs SET context = jsonb_build_object('operation_run_id', $3::bigint) WHERE workspace_id = $1 AND id = $2", w.ID, earlier, run)
	var want []dependent
	for i := range 3 {
		id := w.below207(t, inventoryBatch, fmt.Sprintf(`{"operation_run_id":%d,"items":[{"policy_type":"p","external_id":"x-%d"}]}`, run, i), http.StatusCreated)[0].Item.ID
		want = append(want, dependent{"inventory_item", id, fmt.Sprintf("x-%d", i), "last_seen"})
	}
	both := w.rests(t, http.StatusCreated, "both", run, run)
	current := w.rests(t, http.StatusCreated, "current", earlier, run)
	want = append(want, dependent{"finding", both, "both", "baseline"}, dependent{"finding", both, "both", "current"}, dependent{"finding", current, "current", "current"})
	retry := w.act(t, http.StatusCreated, run, "retry").ID
	want = append(want, dependent{"operation_run", retry, "inventory_sync", "retry"})
	for _, context := range []string{
		`{"baseline_operation_run_id":%[1]d,"current_operation_run_id":"%[1]d"}`, `{"operation_run_id":"%d"}`, `{"current_operation_run_id":%d}`,
	} {
		id := w.start(t, http.StatusCreated, fmt.Sprintf(`{"type":"drift_generate_findings","context":`+context+`}`, run)).ID
		want = append(want, dependent{"operation_run", id, "drift_generate_findings", "context"})
	}
	for limit := 1; limit <= len(want)+1; limit++ {
		var got []dependent
		path := w.path(fmt.Sprintf("/%d/dependents?limit=%d", run, limit))
		for path != "" {
			type dependentPage struct {
				Data       []dependent `json:"data"`
				NextCursor *string     `json:"next_cursor"`
			}
			page := decode[dependentPage](t, h.get(t, http.StatusOK, w.Readonly.Subject, path).body)
			if len(page.Data) > limit {
				t.Fatalf("%d on a page of %d", len(page.Data), limit)
			}
			got, path = append(got, page.Data...), ""
			if page.NextCursor != nil {
				path = w.path(fmt.Sprintf("/%d/dependents?limit=%d&cursor=%s", run, limit, *page.NextCursor))
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("in pages of %d:\n%v\nwant\n%v", limit, got, want)
		}
	}
	stranger.must(t, http.StatusNotFound, http.MethodGet, fmt.Sprintf("/%d/dependents", run), "")
}

func TestRetentionKeepsARecalledRunForAsLongAsSomethingRefersToIt(t *testing.T) {
	t.Parallel()
	h := newHarnessOnFresh(t)
	w := newWorker(t, h)
	recalled := w.done(t, `{"type":"inventory_sync"}`, "succeeded")
	trusted := w.done(t, `{"type":"inventory_sync"}`, "succeeded")
	alone := w.done(t, `{"type":"inventory_sync"}`, "succeeded")
	w.rests(t, http.StatusCreated, "recalled", recalled, recalled)
	w.rests(t, http.StatusCreated, "trusted", trusted, trusted)
	w.recall(t, recalled, "wrong")
	w.recall(t, alone, "wrong")
	w.exec(t, "UPDATE operation_runs SET completed_at = completed_at + interval '1 hour' - interval '10 days', created_at = created_at - interval '20 days', started_at = NULL WHERE workspace_id = $1", w.ID)
	conn, err := w.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	days := int64(1)
	_, err = retention.Run(t.Context(), conn.Conn(), retention.Options{
		Types: []string{"inventory_sync"}, Override: &retention.Policy{KeepDays: &days}, IncludingReferenced: true,
	}, func(int, int) {})
	if err != nil {
		t.Fatal(err)
	}
	if left := w.list(t, w.Readonly.Subject, w.path("")).ids(); !slices.Equal(left, []int64{recalled}) {
		t.Errorf("left are %v, want %d alone: %d had no references, those of %d were to be cleared", left, recalled, alone, trusted)
	}
}
