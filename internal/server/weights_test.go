package server_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

// dial opens a connection to the server and sends text.
func (h *harness) dial(t *testing.T, text string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// largeRuns makes runs of 60 kB each.
func (w *worker) largeRuns(t *testing.T, n int) {
	t.Helper()
	w.exec(t, "INSERT INTO operation_runs (workspace_id, type, context) "+
		"SELECT $1, 'inventory_sync', jsonb_build_object('text', repeat('x', 60000)) FROM generate_series(1, $2)", w.ID, n)
}

// holdsNothing waits until no bytes of large bodies are held.
func (h *harness) holdsNothing(t *testing.T) {
	t.Helper()
	awaitTrue(t, "all bytes to be given back", func() bool {
		bytes, held := h.server.HeldBytes()
		return bytes == 0 && !held
	})
}

func TestWhoDoesNotReadWhatAnybodyMayReadIsInNobodysWay(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	h := newHarnessOn(t, dbtest.Pool(t), server.Options{Registry: registry, Limits: server.Limits{MaxRequests: 2}})
	w := dbtest.NewWorkspace(t, h.pool)
	for _, path := range []string{"/openapi.json", "/openapi.yaml"} {
		const readers, requests = 4, 300  // more than there are places, and more bytes than buffers
		h.do(t, http.MethodGet, path, "") // made ready
		for range readers {
			h.dial(t, strings.Repeat("GET "+path+" HTTP/1.1\r\nHost: test\r\n\r\n", requests))
		}
		awaitTrue(t, "all to wait for their readers", func() bool {
			return strings.Contains(told(t, registry), fmt.Sprintf("runledger_http_requests_in_flight{method=\"GET\",route=%q} %d\n", path, readers))
		})
	}
	h.get(t, http.StatusOK, w.Owner.Subject, fmt.Sprintf("/workspaces/%d/operation-runs", w.ID))
}

func TestTheBytesOfLargeBodiesAreBounded(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	h := newHarnessOn(t, dbtest.Pool(t), server.Options{Registry: registry})
	const ofSubject, most = 400_000, 600_000
	h.server.SetMostBytes(most, ofSubject)
	w := newWorker(t, h)
	token := h.token(t, w.Owner.Subject)
	start := func(token string, size int, header ...string) answer {
		const begin, end = `{"type":"inventory_sync","context":{"text":"`, `"}}`
		text := strings.Repeat("x", min(size-len(begin)-len(end), 40_000))
		body := begin + text + end + strings.Repeat(" ", size-len(begin)-len(end)-len(text))
		got, err := h.send(http.MethodPost, w.path(""), token, body, header...)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := start(token, 100_000); got.status != http.StatusCreated {
		t.Fatalf("%d %s", got.status, got.body)
	}
	// A body of which nothing has come has the bytes that it is said to have.
	var held []net.Conn
	hold := func(subject string) {
		held = append(held, h.dial(t, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 300000\r\n\r\n",
			w.path(""), h.token(t, subject))))
	}
	var refused answer
	awaitTrue(t, "the share to be used up", func() bool {
		hold(w.Owner.Subject) // which is refused if there is one, or another body has not yet ended
		refused = start(token, 100_001)
		return refused.status == http.StatusTooManyRequests
	})
	if refused.header.Get("RateLimit-Policy") != `"bodies";q=400000;qu="content-bytes"` || refused.header.Get("RateLimit") != `"bodies";r=0;t=1` ||
		refused.header.Get("Retry-After") != "1" || !strings.Contains(refused.body, "One subject may have 400000 bytes of large bodies at once") {
		t.Errorf("%v\n%s", refused.header, refused.body)
	}
	for range 5 { // what has ended weighs nothing any more
		if got := start(token, 90_000); got.status/100 != 2 {
			t.Errorf("what fits is answered with %d", got.status)
		}
	}

	operator := h.token(t, w.Operator.Subject)
	awaitTrue(t, "all bytes to be used up", func() bool {
		hold(w.Manager.Subject)
		refused = start(operator, 20_000)
		return refused.status == http.StatusServiceUnavailable
	})
	if refused.header.Get("Retry-After") != "1" || !strings.Contains(refused.body, ":overloaded") {
		t.Errorf("%v\n%s", refused.header, refused.body)
	}
	if got := start(operator, 16_000); got.status != http.StatusCreated {
		t.Errorf("a small body is answered with %d", got.status)
	}
	list := w.path("?fields=context")
	if got := h.do(t, http.MethodGet, list, operator); got.status != http.StatusServiceUnavailable {
		t.Errorf("a large page is answered with %d", got.status)
	}
	for _, conn := range held {
		_ = conn.Close()
	}
	held = nil
	page := h.becomes(t, list, operator, http.StatusOK)
	awaitTrue(t, "all bytes to be used up again", func() bool {
		hold(w.Owner.Subject)
		hold(w.Manager.Subject)
		return h.do(t, http.MethodGet, list, operator).status == http.StatusServiceUnavailable
	})
	if got := h.do(t, http.MethodGet, list, operator, "If-None-Match", page.header.Get("ETag")); got.status != http.StatusNotModified {
		t.Errorf("a page that has not changed is answered with %d", got.status)
	}
	batch, err := h.send(http.MethodPost, w.path("/batch"), operator, `{"operations":[{"start":{"type":"inventory_sync"}}]}`)
	if result := decode[operationResults](t, batch.body).Results[0]; err != nil || result.Status != http.StatusCreated || result.OperationRunID == 0 {
		t.Errorf("a batch is answered with %+v, %v", result, err)
	}
	for _, conn := range held {
		_ = conn.Close()
	}
	h.holdsNothing(t)
	text := told(t, registry)
	for _, reason := range []string{"subject_share", "memory"} {
		if strings.Contains(text, fmt.Sprintf("runledger_http_refused_total{reason=%q} 0\n", reason)) {
			t.Errorf("%s: no refusal is counted", reason)
		}
	}
}

func TestALargeBodyInChunksHasTheBytesThatItMayHave(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.server.SetMostBytes(1<<20, 1<<20)
	w := newWorker(t, h)
	post := func(size int) int {
		body := io.MultiReader(strings.NewReader(`{"type":"inventory_sync"}`+strings.Repeat(" ", size)), strings.NewReader(" ")) // of no length that the client knows
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+w.path(""), body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+w.bearer)
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	if status := post(100_000); status != http.StatusCreated {
		t.Errorf("%d", status)
	}
	h.server.SetMostBytes(1<<20, 1<<20-1)
	if status := post(100_000); status != http.StatusTooManyRequests {
		t.Errorf("where there is not so much: %d", status)
	}
	if status := post(10_000); status != http.StatusCreated {
		t.Errorf("a small one: %d", status)
	}
	h.server.SetMostBytes(1<<20, 1<<20)
	if status := post(1 << 20); status != http.StatusRequestEntityTooLarge {
		t.Errorf("one that is too large: %d", status)
	}
}

func TestLargePagesWeighWhatTheyHave(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w := newWorker(t, h)
	w.largeRuns(t, 50)
	h.server.SetMostBytes(7<<20, 4<<20)
	h.get(t, http.StatusOK, w.Owner.Subject, w.path("")) // of 3 MB: too much for one subject twice, and for all three times
	h.holdsNothing(t)
	goOn := make(chan struct{})
	var readers sync.WaitGroup
	readSlowly := func(subject string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, w.path(""), http.NoBody)
		r.Header.Set("Authorization", "Bearer "+h.token(t, subject))
		slow := &slowReader{ResponseWriter: httptest.NewRecorder(), begun: make(chan struct{}), goOn: goOn}
		readers.Go(func() { h.server.ServeHTTP(slow, r) })
		<-slow.begun
	}
	path := w.path("?order=created_at")
	readSlowly(w.Owner.Subject)
	if got := h.do(t, http.MethodGet, path, h.token(t, w.Owner.Subject)); got.status != http.StatusTooManyRequests {
		t.Errorf("a second page of the same subject: %d", got.status)
	}
	h.get(t, http.StatusOK, w.Readonly.Subject, path)
	readSlowly(w.Manager.Subject)
	awaitTrue(t, "what others had to be given back", func() bool {
		const pages = 6_500_000 // bytes, more than two of them
		bytes, _ := h.server.HeldBytes()
		return bytes < pages
	})
	if got := h.do(t, http.MethodGet, path, h.token(t, w.Readonly.Subject)); got.status != http.StatusServiceUnavailable {
		t.Errorf("a page of another reader, for which there is too little in all: %d", got.status)
	}
	close(goOn)
	readers.Wait()
	h.get(t, http.StatusOK, w.Owner.Subject, path)
	h.holdsNothing(t)
}

// slowReader is a client who waits before reading the body of an answer.
type slowReader struct {
	http.ResponseWriter

	begun, goOn chan struct{}
}

// Write waits until the reader goes on.
func (r *slowReader) Write(body []byte) (int, error) {
	close(r.begun) // a body is written at once
	<-r.goOn
	return r.ResponseWriter.Write(body)
}

func TestWhatAPageThatManyAskForWeighsIsGivenBack(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w := newWorker(t, h)
	w.largeRuns(t, 50)
	h.server.SetMostBytes(64<<20, 32<<20)
	var crowd sync.WaitGroup
	for range 40 { // some alone, some together, some who hang up
		crowd.Go(func() {
			resp, err := h.plainly(w.path(""), w.bearer)
			if err == nil {
				_, _ = resp.Body.Read(make([]byte, 1))
				_ = resp.Body.Close()
			}
		})
	}
	crowd.Wait()
	h.holdsNothing(t)
}

func TestAConflictIsToldWithoutItsRunWhereThatIsTooMuch(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w := newWorker(t, h)
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync","context":{"text":"`+strings.Repeat("x", 60_000)+`"}}`)
	w.report(t, run.ID, `{"status":"completed","outcome":"succeeded"}`)
	beat := func() problemBody {
		return decode[problemBody](t, w.must(t, http.StatusConflict, http.MethodPost, fmt.Sprintf("/%d/heartbeat", run.ID), "").body)
	}
	if got := beat(); got.OperationRun == nil {
		t.Errorf("%+v", got)
	}
	h.server.SetMostBytes(1<<20, 50_000)
	if got := beat(); got.OperationRun != nil || got.Detail == "" {
		t.Errorf("%+v", got)
	}
	h.holdsNothing(t)
}
