package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// count is how many lines hold all of parts.
func (l *lines) count(parts ...string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for line := range strings.Lines(l.text.String()) {
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
			n++
		}
	}
	return n
}

// requests are the log's lines of requests.
func (l *lines) requests(t *testing.T) []map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []map[string]any
	for line := range strings.Lines(l.text.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		if entry["msg"] == "request" {
			found = append(found, entry)
		}
	}
	return found
}

func TestARequestIsASpanBelowThatOfItsCallerAndTheLogNamesItsTrace(t *testing.T) {
	t.Parallel()
	log, recorder := &lines{}, tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	h := newHarnessOn(t, dbtest.Pool(t), server.Options{Tracer: provider, Log: slog.New(slog.NewJSONHandler(log, nil))})
	w := dbtest.NewWorkspace(t, h.pool)
	path := fmt.Sprintf("/workspaces/%d/operation-runs?type=secret_of_the_query", w.ID)
	const traceID, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	got := h.do(t, http.MethodGet, path, h.token(t, w.Owner.Subject), "Traceparent", "00-"+traceID+"-"+parent+"-01", "X-Request-Id", "mine")

	spans := recorder.Ended()
	if len(spans) != 1 {
		t.Fatalf("%d spans", len(spans))
	}
	span := spans[0]
	if span.SpanContext().TraceID().String() != traceID || span.Parent().SpanID().String() != parent || !span.Parent().IsRemote() {
		t.Errorf("the span %s is below %s", span.SpanContext().TraceID(), span.Parent().SpanID())
	}
	if name := span.Name(); name != "GET /workspaces/{workspace_id}/operation-runs" {
		t.Errorf("its name is %s", name)
	}
	told := fmt.Sprint(span.Attributes())
	for _, want := range []string{
		`{"http.request.method":"GET"}`, fmt.Sprintf(`{"http.response.status_code":%d}`, got.status), `{"runledger.request_id":"mine"}`,
		fmt.Sprintf(`{"runledger.workspace_id":%d}`, w.ID), `{"http.route":"/workspaces/{workspace_id}/operation-runs"}`,
	} {
		if !strings.Contains(told, want) {
			t.Errorf("it does not tell %s: %s", want, told)
		}
	}
	if strings.Contains(told, "secret_of_the_query") {
		t.Errorf("it tells the query: %s", told)
	}
	requests := log.requests(t)
	if len(requests) != 1 || requests[0]["trace_id"] != traceID || requests[0]["request_id"] != "mine" {
		t.Errorf("the log: %v", requests)
	}
}

func TestWhereNothingIsTracedTheLogNamesNoTrace(t *testing.T) {
	t.Parallel()
	log := &lines{}
	h := newHarnessOn(t, dbtest.Pool(t), server.Options{Log: slog.New(slog.NewJSONHandler(log, nil))})
	h.do(t, http.MethodGet, "/openapi.json", "", "Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	requests := log.requests(t)
	if len(requests) != 1 {
		t.Fatalf("the log: %v", requests)
	}
	if _, named := requests[0]["trace_id"]; named {
		t.Errorf("the log: %v", requests)
	}
}

func TestProbesAreNotTracedAndWhatIsNoMethodHasOneName(t *testing.T) {
	t.Parallel()
	recorder := tracetest.NewSpanRecorder()
	h := newHarnessOn(t, dbtest.Pool(t), server.Options{Tracer: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))})
	for method, path := range map[string]string{http.MethodGet: "/livez", http.MethodHead: "/readyz", "MADE-UP": "/livez", "AS-WELL": "/workspaces"} {
		h.server.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody))
	}
	if n := len(recorder.Ended()); n != 2 {
		t.Errorf("there are %d spans", n)
	}
	for _, span := range recorder.Ended() {
		if told := fmt.Sprint(span.Attributes()); !strings.HasPrefix(span.Name(), "HTTP") || !strings.Contains(told, `{"http.request.method":"_OTHER"}`) {
			t.Errorf("there is the span %s: %s", span.Name(), told)
		}
	}
}
