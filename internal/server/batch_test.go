package server_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// operationResults is the answer to a batch.
type operationResults struct {
	Results []struct {
		Status         int          `json:"status"`
		OperationRun   *runBody     `json:"operation_run"`
		OperationRunID int64        `json:"operation_run_id"`
		Replayed       bool         `json:"idempotency_replayed"`
		Problem        *problemBody `json:"problem"`
	} `json:"results"`
}

// operations sends operations, which must be answered one by one.
func (w *worker) operations(t testing.TB, operations ...string) operationResults {
	t.Helper()
	got := decode[operationResults](t, w.must(t, http.StatusMultiStatus, http.MethodPost, "/batch", `{"operations":[`+strings.Join(operations, ",")+`]}`).body)
	if len(got.Results) != len(operations) {
		t.Fatalf("%d results for %d operations", len(got.Results), len(operations))
	}
	return got
}

// statuses are the statuses in order.
func (b operationResults) statuses() []int {
	statuses := make([]int, 0, len(b.Results))
	for _, result := range b.Results {
		statuses = append(statuses, result.Status)
	}
	return statuses
}

func TestABatchIsAnsweredOneByOneInOrder(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	old := w.start(t, http.StatusCreated, `{"type":"inventory_sync","identity":"old"}`)
	start := func(identity string) string {
		return fmt.Sprintf(`{"start":{"type":"inventory_sync","identity":%q}}`, identity)
	}
	report := func(body string) string {
		return fmt.Sprintf(`{"report":{"id":%d,%s}}`, old.ID, body)
	}
	got := w.operations(t,
		start("a"), start("old"), start("a"), start("b"),
		report(`"status":"running"`), report(`"summary_counts":{"n":1}`), start("old"),
		report(`"status":"completed","outcome":"succeeded"`), start("old"), start("old"),
		report(`"status":"completed","outcome":"succeeded"`), report(`"status":"running"`), report(`"revision":1`),
	)
	want := []int{201, 200, 200, 201, 200, 200, 200, 200, 201, 200, 200, 409, 412}
	if !slices.Equal(got.statuses(), want) {
		t.Fatalf("statuses %v, want %v", got.statuses(), want)
	}
	r := got.Results
	if r[0].OperationRun.ID != r[2].OperationRun.ID || r[1].OperationRun.ID != old.ID || r[6].OperationRun.Status != "running" ||
		r[8].OperationRun.ID == old.ID || r[9].OperationRun.ID != r[8].OperationRun.ID || r[11].Problem.OperationRun.ID != old.ID {
		t.Errorf("the runs are not those of their place: %+v", r)
	}
	w.wantEvents(t, old.ID, "created", "started", "reported", "completed")
	w.wantEvents(t, r[8].OperationRun.ID, "created")
}

func TestAFaultInOneOperationIsItsOwn(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w, other := newWorker(t, h), newWorker(t, h)
	// The contract calls such a batch wrong, which is the point.
	h.client.Transport = w.plainTransport(t)
	foreign := other.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	mine := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	stalled := w.start(t, http.StatusCreated, `{"type":"inventory_sync","identity":"x"}`)
	w.report(t, stalled.ID, `{"status":"running"}`)
	w.giveUp(t, stalled.ID)
	w.start(t, http.StatusCreated, `{"type":"inventory_sync","identity":"x"}`)
	got := w.operations(t,
		`{"start":{"type":"inventory_sync"}}`,
		`{"start":{"type":"nonsense"}}`,
		`{"start":{"type":"inventory_sync","tenant_id":9223372036854775807}}`,
		`{"start":{"context":7},"more":1}`,
		`7`,
		`{}`,
		`{"start":{"type":"inventory_sync"},"report":{"id":1}}`,
		`{"start":{"type":"inventory_sync","idempotency_key":""}}`,
		`{"start":{"type":"inventory_sync"}}`,
		`{"report":{"status":"running"}}`,
		fmt.Sprintf(`{"report":{"id":%d,"status":"running"}}`, foreign.ID),
		fmt.Sprintf(`{"report":{"id":%d,"status":"running"}}`, stalled.ID), // the constraint refuses its statement
		fmt.Sprintf(`{"report":{"id":%d,"status":"running"}}`, mine.ID),
		`{"report":{"id":9223372036854775807,"status":"running"}}`,
		`{"start":{"type":"inventory_sync","idempotency_key":"é"}}`, // no header could have it
		`{"start":{"type":"inventory_sync","idempotency_key":" k"}}`,
	)
	want := []int{201, 422, 422, 422, 422, 422, 422, 422, 201, 422, 404, 409, 200, 404, 422, 422}
	if !slices.Equal(got.statuses(), want) {
		t.Fatalf("statuses %v, want %v", got.statuses(), want)
	}
	for i, places := range map[int][]string{
		1: {"/operations/1/start/type"}, 2: {"/operations/2/start/tenant_id"}, 3: {"/operations/3/more"}, 4: {"/operations/4"}, 5: {"/operations/5"}, 6: {"/operations/6"},
		7: {"/operations/7/start/idempotency_key"}, 9: {"/operations/9/report/id"},
		14: {"/operations/14/start/idempotency_key"}, 15: {"/operations/15/start/idempotency_key"},
	} {
		got := got.Results[i].Problem.pointers()
		if !slices.Equal(got, places) {
			t.Errorf("operation %d: faults at %v, want %v", i, got, places)
		}
	}
	if p := got.Results[10].Problem; p.Type != "urn:runledger:problem:not-found" || p.OperationRun != nil {
		t.Errorf("a foreign run is answered with %+v", p)
	}
	other.wantEvents(t, foreign.ID, "created")
	w.wantEvents(t, mine.ID, "created", "started")
}

func TestABatchHasBounds(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	many := func(n int) []string { return slices.Repeat([]string{`{"start":{"type":"inventory_sync"}}`}, n) }
	for _, body := range []string{
		`{}`, `{"operations":null}`, `{"operations":[]}`, `{"operations":{}}`, `{"operations":[` + strings.Join(many(501), ",") + `]}`,
	} {
		if got := w.refused(t, http.StatusUnprocessableEntity, http.MethodPost, "/batch", body); !slices.Equal(got.pointers(), []string{"/operations"}) {
			t.Errorf("%.40s: faults at %v", body, got.pointers())
		}
	}
	for i, result := range w.operations(t, many(500)...).Results {
		if result.Status != http.StatusCreated {
			t.Fatalf("start %d has status %d", i, result.Status)
		}
	}
	var runs, events int
	err := w.pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM operation_runs WHERE workspace_id = $1),
		(SELECT count(*) FROM operation_run_events WHERE workspace_id = $1)`, w.ID).Scan(&runs, &events)
	if err != nil || runs != 500 || events != 500 {
		t.Errorf("%d runs and %d events, %v", runs, events, err)
	}
}

func TestABatchTakesNoKeyThatItCouldNotKeep(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	got := w.refused(t, http.StatusBadRequest, http.MethodPost, "/batch?dry_run=1", `{"operations":[{"start":{"type":"inventory_sync"}}]}`, "Idempotency-Key", "k")
	if places := got.pointers(); !slices.Equal(places, []string{"Idempotency-Key", "dry_run"}) {
		t.Errorf("faults at %v", places)
	}
	if got := w.list(t, w.Owner.Subject, w.path("")); len(got.Data) > 0 {
		t.Errorf("there are %v", got.Data)
	}
}

func TestAKeyInABatchIsTheKeyOfASingleStart(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	const keyed, other = `{"start":{"type":"inventory_sync","idempotency_key":"k"}}`, `{"start":{"type":"entra_group_sync","idempotency_key":"k"}}`
	got := w.operations(t, `{"start":{"type":"inventory_sync"}}`, keyed, keyed, other, `{"start":{"type":"inventory_sync"}}`)
	if want := []int{201, 201, 200, 422, 201}; !slices.Equal(got.statuses(), want) {
		t.Fatalf("statuses %v, want %v", got.statuses(), want)
	}
	w.report(t, got.Results[1].OperationRun.ID, `{"status":"completed","outcome":"succeeded"}`)
	again := w.operations(t, keyed)
	if again.Results[0].Status != http.StatusOK || again.Results[0].OperationRun.ID != got.Results[1].OperationRun.ID {
		t.Errorf("after its end the key is answered with %+v", again.Results[0])
	}
}

func TestABatchIsAnsweredWithTheRunsThatThereIsRoomFor(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	const runs, size, room = 5, 900 << 10, 2 // rows of that size have room in an answer
	w.exec(t, `INSERT INTO operation_runs (workspace_id, type, run_identity_hash, context)
		SELECT $1, 'inventory_sync', n, jsonb_build_object('text', repeat('x', $3)) FROM generate_series(1, $2) AS n`, w.ID, runs, size)
	var reports []string
	for _, run := range w.list(t, w.Readonly.Subject, w.path("")).Data {
		reports = append(reports, fmt.Sprintf(`{"report":{"id":%v,"status":"running"}}`, run["id"]))
	}
	for i, result := range w.operations(t, reports...).Results {
		whole := result.OperationRun != nil && len(result.OperationRun.Context) > size && result.OperationRunID == 0
		named := result.OperationRun == nil && strings.Contains(reports[i], fmt.Sprintf(`"id":%d,`, result.OperationRunID))
		if result.Status != http.StatusOK || whole != (i < room) || named != (i >= room) {
			t.Errorf("result %d: status %d, the run %d, %v", i, result.Status, result.OperationRunID, result.Problem)
		}
	}
	for i, result := range w.operations(t, strings.Split(strings.ReplaceAll(strings.Join(reports, "\n"), "running", "queued"), "\n")...).Results {
		if result.Status != http.StatusConflict || result.Problem == nil || (result.Problem.OperationRun != nil) != (i < room) {
			t.Errorf("conflict %d: status %d, %+v", i, result.Status, result.Problem)
		}
	}
}

func TestTheFaultsOfABatchAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t).hurried(t))
	var unknown strings.Builder
	for i := range 100 {
		_, _ = fmt.Fprintf(&unknown, `,"a%d":0`, i)
	}
	operations := slices.Repeat([]string{`{"start":{"type":"inventory_sync"` + unknown.String() + `}}`}, 500)
	got := w.must(t, http.StatusMultiStatus, http.MethodPost, "/batch", `{"operations":[`+strings.Join(operations, ",")+`]}`)
	if most := 3 << 20; len(got.body) > most {
		t.Errorf("the answer has %d bytes", len(got.body))
	}
	results := decode[operationResults](t, got.body).Results
	if told := len(results[0].Problem.Errors); told != 100 {
		t.Errorf("of the first %d faults are told", told)
	}
	for i, result := range results {
		if result.Status != http.StatusUnprocessableEntity || len(result.Problem.Errors) == 0 {
			t.Fatalf("result %d: %+v", i, result)
		}
	}
	report := `{"failure_summary":[` + strings.Join(slices.Repeat([]string{"{" + unknown.String()[1:] + "}"}, 100), ",") + `]}`
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	if got := w.refused(t, http.StatusUnprocessableEntity, http.MethodPatch, fmt.Sprintf("/%d", run.ID), report); len(got.Errors) > 100 {
		t.Errorf("%d faults are told of one report", len(got.Errors))
	}
}

func TestAnObjectHasOnlySoManyMembers(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t).hurried(t))
	members := func(n int) string {
		var all strings.Builder
		for i := range n {
			_, _ = fmt.Fprintf(&all, `,"%d":0`, i)
		}
		return `{"type":"inventory_sync","context":{` + all.String()[1:] + `}}`
	}
	w.refused(t, http.StatusUnprocessableEntity, http.MethodPost, "", members(10_000)) // for its length
	if got := w.refused(t, http.StatusBadRequest, http.MethodPost, "", members(10_001)); !strings.Contains(got.Detail, "more than 10000 members") {
		t.Errorf("%+v", got)
	}
}

func TestManyReportsOnOneLargeRunAreNotAnsweredByAsManyOfIt(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	var failures []string
	for i := range 30 {
		failures = append(failures, fmt.Sprintf(`{"code":"c%d","message":%q}`, i, strings.Repeat("m", 4000)))
	}
	w.report(t, run.ID, `{"failure_summary":[`+strings.Join(failures, ",")+`]}`)
	got := w.must(t, http.StatusMultiStatus, http.MethodPost, "/batch",
		`{"operations":[`+strings.Join(slices.Repeat([]string{fmt.Sprintf(`{"report":{"id":%d}}`, run.ID)}, 500), ",")+`]}`)
	if most := 3 << 20; len(got.body) > most {
		t.Errorf("the answer has %d bytes", len(got.body))
	}
	for i, result := range decode[operationResults](t, got.body).Results {
		if result.Status != http.StatusOK || result.OperationRun == nil && result.OperationRunID != run.ID {
			t.Fatalf("result %d: %+v", i, result)
		}
	}
}
