package server_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

func TestAValueThatCannotBeStoredIsTheFaultOfItsPartAlone(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	w.client.Transport = w.plainTransport(t)
	got := w.operations(t,
		`{"start":{"type":"inventory_sync"}}`,
		`{"start":{"type":"inventory_sync","context":{"log":["a","b\u0000"]}}}`,
		`{"start":{"type":"inventory_sync","context":{"a":1e999,"b":{"c":1,"c":2}}}}`,
		`{"start":{"type":"inventory_sync"}}`,
	)
	if want := []int{201, 422, 422, 201}; !slices.Equal(got.statuses(), want) {
		t.Fatalf("statuses %v, want %v", got.statuses(), want)
	}
	for i, want := range map[int][]string{
		1: {"/operations/1/start/context/log/1"}, 2: {"/operations/2/start/context/a", "/operations/2/start/context/b"},
	} {
		if at := got.Results[i].Problem.pointers(); !slices.Equal(at, want) {
			t.Errorf("operation %d: faults at %v, want %v", i, at, want)
		}
	}
	findings := decode[struct {
		Results []struct {
			Status  int          `json:"status"`
			Problem *problemBody `json:"problem"`
		} `json:"results"`
	}](t, w.below(t, http.StatusMultiStatus, http.MethodPost, "/findings/batch",
		`{"findings":[{"finding_type":"d","fingerprint":"a"},{"finding_type":"d","fingerprint":"\ud800"}]}`).body).Results
	if findings[0].Status != http.StatusCreated || findings[1].Status != http.StatusUnprocessableEntity ||
		!slices.Equal(findings[1].Problem.pointers(), []string{"/findings/1/fingerprint"}) {
		t.Errorf("the findings are answered %+v", findings)
	}
	// What belongs to no part is the fault of all.
	for body, pointer := range map[string]string{
		`{"operations":[{"start":{"type":"inventory_sync"}}],"more":"\u0000"}`: "/more",
		`{"operations":[],"operations":[{"start":{"type":"inventory_sync"}}]}`: "",
	} {
		if at := w.refused(t, http.StatusBadRequest, http.MethodPost, "/batch", body).pointers(); !slices.Equal(at, []string{pointer}) {
			t.Errorf("%s: faults at %q", body, at)
		}
	}
	if at := w.refused(t, http.StatusBadRequest, http.MethodPost, "", `{"type":"inventory_sync","context":{"a":"\u0000"}}`).pointers(); !slices.Equal(at, []string{"/context/a"}) {
		t.Errorf("a single start has faults at %q", at)
	}
}

func TestABatchTellsARepeatedStartFromSomebodyElses(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	keyed := `{"start":{"type":"inventory_sync","identity":"x","idempotency_key":"k"}}`
	first := w.operations(t, keyed).Results[0]
	again := w.operations(t, keyed, `{"start":{"type":"inventory_sync","identity":"x"}}`).Results
	if first.Replayed || !again[0].Replayed || again[1].Replayed || again[0].OperationRun.ID != first.OperationRun.ID || again[1].OperationRun.ID != first.OperationRun.ID {
		t.Errorf("first %+v, then %+v", first, again)
	}
}

// failing makes a statement fail before it is sent.
type failing struct{ prefix string }

// TraceQueryStart gives the statement no time.
func (f failing) TraceQueryStart(ctx context.Context, _ *pgx.Conn, query pgx.TraceQueryStartData) context.Context {
	if !strings.HasPrefix(query.SQL, f.prefix) {
		return ctx
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	return over
}

// TraceQueryEnd does nothing.
func (failing) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// A start that was made and is answered as a failure is made twice by who asks again.
func TestAStartThatWasMadeIsAnsweredSoWhereTheOthersCannotBeExplained(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarnessOn(t, newTracedPool(t, dbtest.URL(t), failing{"-- name: ListOperationTypes "}), server.Options{}))
	got := w.operations(t, `{"start":{"type":"inventory_sync"}}`, `{"start":{"type":"nonsense"}}`, `{"start":{"type":"inventory_sync"}}`)
	if s := got.statuses(); s[0] != http.StatusCreated || s[1] < http.StatusInternalServerError || s[2] != http.StatusCreated {
		t.Errorf("statuses %v", s)
	}
}
