package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/dbtest"
)

// runBody is what the tests read of a run.
type runBody struct {
	ID                int64            `json:"id"`
	TenantID          *int64           `json:"tenant_id"`
	UserID            *int64           `json:"user_id"`
	InitiatorName     string           `json:"initiator_name"`
	Type              string           `json:"type"`
	Status            string           `json:"status"`
	Outcome           string           `json:"outcome"`
	RunIdentityHash   string           `json:"run_identity_hash"`
	SummaryCounts     map[string]int64 `json:"summary_counts"`
	FailureSummary    json.RawMessage  `json:"failure_summary"`
	Context           json.RawMessage  `json:"context"`
	StartedAt         *time.Time       `json:"started_at"`
	CompletedAt       *time.Time       `json:"completed_at"`
	CreatedAt         time.Time        `json:"created_at"`
	UpdatedAt         time.Time        `json:"updated_at"`
	HeartbeatAt       *time.Time       `json:"heartbeat_at"`
	StalledAt         *time.Time       `json:"stalled_at"`
	Stalled           *string          `json:"stalled"`
	CancelRequestedAt *time.Time       `json:"cancel_requested_at"`
	RetryOfID         *int64           `json:"retry_of_id"`
	Attempt           int64            `json:"attempt"`
	Revision          int64            `json:"revision"`
}

// problemBody is what the tests read of a problem.
type problemBody struct {
	Type   string `json:"type"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Errors []struct {
		Pointer   string `json:"pointer"`
		Parameter string `json:"parameter"`
		Header    string `json:"header"`
		Detail    string `json:"detail"`
	} `json:"errors"`
	OperationRun *runBody `json:"operation_run"`
}

// pointers are the places of the faults, sorted.
func (p problemBody) pointers() []string {
	var places []string
	for _, e := range p.Errors {
		places = append(places, e.Pointer+e.Parameter+e.Header)
	}
	slices.Sort(places)
	return places
}

// worker is a member of a workspace that records runs.
type worker struct {
	*harness
	dbtest.Workspace
	bearer string
}

// newWorker is an operator in a workspace of the test's own.
func newWorker(t testing.TB, h *harness) *worker {
	t.Helper()
	w := dbtest.NewWorkspace(t, h.pool)
	return &worker{harness: h, Workspace: w, bearer: h.token(t, w.Operator.Subject)}
}

// path is an address below the workspace's runs.
func (w *worker) path(rest string) string {
	return fmt.Sprintf("/workspaces/%d/operation-runs%s", w.ID, rest)
}

// send sends a body as JSON. It may be called from any goroutine.
func (h *harness) send(method, path, token, body string, header ...string) (answer, error) {
	req, err := http.NewRequestWithContext(context.Background(), method, h.url+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, header: resp.Header, body: string(got)}, err
}

// must is send as the worker, with the status that must come.
func (w *worker) must(t testing.TB, status int, method, rest, body string, header ...string) answer {
	t.Helper()
	got, err := w.send(method, w.path(rest), w.bearer, body, header...)
	if err != nil {
		t.Fatal(err)
	}
	if got.status != status {
		t.Fatalf("%s %s %.300s: status %d, want %d\n%s", method, rest, body, got.status, status, got.body)
	}
	return got
}

// start starts a run, which must answer with status.
func (w *worker) start(t testing.TB, status int, body string, header ...string) runBody {
	t.Helper()
	return decode[runBody](t, w.must(t, status, http.MethodPost, "", body, header...).body)
}

// report reports on a run, which must be taken.
func (w *worker) report(t testing.TB, id int64, body string, header ...string) runBody {
	t.Helper()
	return decode[runBody](t, w.must(t, http.StatusOK, http.MethodPatch, fmt.Sprintf("/%d", id), body, header...).body)
}

// refused is the problem that a write answers with.
func (w *worker) refused(t testing.TB, status int, method, rest, body string, header ...string) problemBody {
	t.Helper()
	return decode[problemBody](t, w.must(t, status, method, rest, body, header...).body)
}

// act is a write without a body on one run.
func (w *worker) act(t testing.TB, status int, id int64, action string, header ...string) runBody {
	t.Helper()
	return decode[runBody](t, w.must(t, status, http.MethodPost, fmt.Sprintf("/%d/%s", id, action), "", header...).body)
}

// events are the kinds of a run's events in order.
func (w *worker) events(t testing.TB, id int64) []string {
	t.Helper()
	rows, err := w.pool.Query(t.Context(),
		"SELECT kind FROM operation_run_events WHERE workspace_id = $1 AND run_id = $2 ORDER BY id", w.ID, id)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	kinds := []string{}
	for rows.Next() {
		var kind string
		if err := rows.Scan(&kind); err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, kind)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return kinds
}

// wantEvents fails the test if the run's events are not these.
func (w *worker) wantEvents(t testing.TB, id int64, kinds ...string) {
	t.Helper()
	if got := w.events(t, id); !slices.Equal(got, kinds) {
		t.Errorf("the events are %v, want %v", got, kinds)
	}
}

// plainTransport is a way to the server that no answer is held up on to be held against the
// contract: for crowds.
func (w *worker) plainTransport(t testing.TB) http.RoundTripper {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// exec changes the database behind the service's back.
func (w *worker) exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	if _, err := w.pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// giveUp passes the sweeper's verdict on a running run.
func (w *worker) giveUp(t testing.TB, id int64) {
	t.Helper()
	w.exec(t, `WITH run AS (
			UPDATE operation_runs SET status = 'completed', outcome = 'failed', completed_at = now(), stalled = 'no_heartbeat',
				stalled_at = now(), revision = revision + 1, failure_summary = '[{"code":"run_stalled","message":"Silent."}]'
			WHERE workspace_id = $1 AND id = $2 AND status = 'running' RETURNING workspace_id, id)
		INSERT INTO operation_run_events (workspace_id, run_id, kind, actor) SELECT workspace_id, id, 'completed', 'runledger' FROM run`,
		w.ID, id)
}

func TestOnlyThoseWhoMayRecordWriteAndOnlyWhereWritesAreTaken(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w, other := newWorker(t, h), newWorker(t, h)
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	writes := []struct{ method, rest, body string }{
		{http.MethodPost, "", `{"type":"inventory_sync"}`},
		{http.MethodPost, "/batch", `{"operations":[{"start":{"type":"inventory_sync"}}]}`},
		{http.MethodPatch, fmt.Sprintf("/%d", run.ID), `{"status":"running"}`},
		{http.MethodPost, fmt.Sprintf("/%d/heartbeat", run.ID), ""},
		{http.MethodPost, fmt.Sprintf("/%d/cancel", run.ID), ""},
		{http.MethodPost, fmt.Sprintf("/%d/retry", run.ID), ""},
	}
	for _, write := range writes {
		w.bearer = h.token(t, w.Readonly.Subject)
		if got := w.refused(t, http.StatusForbidden, write.method, write.rest, write.body); got.Type != "urn:runledger:problem:forbidden" {
			t.Errorf("%s %s as readonly: %s", write.method, write.rest, got.Type)
		}
		w.bearer = h.token(t, other.Operator.Subject)
		w.must(t, http.StatusNotFound, write.method, write.rest, write.body)
		// A run of this workspace is none of the other's.
		if strings.Contains(write.rest, fmt.Sprint(run.ID)) {
			other.must(t, http.StatusNotFound, write.method, write.rest, write.body)
			other.must(t, http.StatusNotFound, write.method, strings.Replace(write.rest, fmt.Sprint(run.ID), "9223372036854775807", 1), write.body)
			other.must(t, http.StatusNotFound, write.method, strings.Replace(write.rest, fmt.Sprint(run.ID), "x", 1), write.body)
		}
	}
	for _, user := range []dbtest.User{w.Owner, w.Manager, w.Operator} {
		w.bearer = h.token(t, user.Subject)
		w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	}
	w.wantEvents(t, run.ID, "created")
	w.exec(t, "UPDATE workspaces SET archived_at = now() WHERE id = $1", w.ID)
	for _, write := range writes {
		if got := w.refused(t, http.StatusForbidden, write.method, write.rest, write.body); got.Type != "urn:runledger:problem:workspace-archived" {
			t.Errorf("%s %s when archived: %s", write.method, write.rest, got.Type)
		}
	}
	w.wantEvents(t, run.ID, "created")
	if got := w.list(t, w.Readonly.Subject, w.path("")); len(got.Data) != 4 {
		t.Errorf("%d runs after all, want 4", len(got.Data))
	}
}

func TestABodyThatSaysItIsTooLargeIsNotAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	status := w.raw(t, "POST "+w.path("")+" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+w.bearer+
		"\r\nContent-Type: application/json\r\nContent-Length: 10000000000\r\nExpect: 100-continue\r\n\r\n")
	if status != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d", status)
	}
}

// raw sends a request as it is written, and returns the status of the answer.
func (w *worker) raw(t *testing.T, request string) (status int) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func TestABodyThatCannotBeReadIsRefusedAsWhatItIs(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	for _, write := range []struct{ method, rest string }{
		{http.MethodPost, ""}, {http.MethodPost, "/batch"}, {http.MethodPatch, fmt.Sprintf("/%d", run.ID)},
	} {
		for _, mediaType := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/json;;", "json", "application/xml"} {
			w.must(t, http.StatusUnsupportedMediaType, write.method, write.rest, `{}`, "Content-Type", mediaType)
		}
		compressed := w.must(t, http.StatusUnsupportedMediaType, write.method, write.rest, `{}`, "Content-Encoding", "gzip")
		if got := compressed.header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("%s: Accept-Encoding %q", write.method, got)
		}
		patch := w.must(t, http.StatusUnsupportedMediaType, write.method, write.rest, `{}`, "Content-Type", "application/json-patch+json").header.Get("Accept-Patch")
		if (patch == "application/json") != (write.method == http.MethodPatch) {
			t.Errorf("%s: Accept-Patch %q", write.method, patch)
		}
		w.must(t, http.StatusRequestEntityTooLarge, write.method, write.rest, `{"a":"`+strings.Repeat("x", 1<<20)+`"}`)
		for _, body := range []string{
			" ", "{", "{}{}", "nil", "[]", `"text"`, "1", "null", "\xff", `{"a":"` + "\xed\xa0\x80" + `"}`, "\ufeff{}", `{"a":01}`,
			`{"a":"\u0000"}`, `{"a":"\ud800"}`, `{"a":"\ud800x\udc00"}`, `{"a":"\udc00\ud800"}`, `{"a":1e999}`,
			`{"a":` + strings.Repeat("1", 1001) + `}`, `{"a":` + strings.Repeat("[", 65) + strings.Repeat("]", 65) + `}`,
			strings.Repeat("[", 500_000), strings.Repeat(`{"a":`, 100_000),
		} {
			if got := w.refused(t, http.StatusBadRequest, write.method, write.rest, body); got.Type != "urn:runledger:problem:invalid-body" {
				t.Errorf("%.40s: %s", body, got.Type)
			}
		}
		w.must(t, http.StatusBadRequest, write.method, write.rest+"?dry_run=1", `{}`)
	}
	w.must(t, http.StatusCreated, http.MethodPost, "", `{"type":"inventory_sync"}`, "Content-Type", "application/json; charset=utf-8", "Content-Encoding", "identity")
	w.wantEvents(t, run.ID, "created")
}
