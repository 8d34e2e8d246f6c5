package server_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

// wire is the way to a database, which a test can cut and mend.
type wire struct {
	addr, target string
	delay        time.Duration // of each connection
	mu           sync.Mutex
	listener     net.Listener
	open         []net.Conn
	copying      sync.WaitGroup
}

// newWire leads to the database at databaseURL; url is the way through it.
func newWire(t *testing.T, databaseURL string) (w *wire, through string) {
	t.Helper()
	return newSlowWire(t, databaseURL, 0)
}

// newSlowWire is newWire with a delay before each connection.
func newSlowWire(t *testing.T, databaseURL string, delay time.Duration) (w *wire, through string) {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	w = &wire{addr: "127.0.0.1:0", target: u.Host, delay: delay}
	w.mend(t)
	t.Cleanup(func() { w.cut(); w.copying.Wait() })
	u.Host = w.addr
	return w, u.String()
}

func (w *wire) mend(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	w.listener, w.addr = listener, listener.Addr().String()
	w.copying.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			<-time.After(w.delay)
			database, err := net.Dial("tcp", w.target)
			if err != nil {
				_ = client.Close()
				return
			}
			w.mu.Lock()
			w.open = append(w.open, client, database)
			w.mu.Unlock()
			for from, to := range map[net.Conn]net.Conn{client: database, database: client} {
				w.copying.Go(func() { _, _ = io.Copy(to, from); _ = to.Close(); _ = from.Close() })
			}
		}
	})
}

func (w *wire) cut() {
	_ = w.listener.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, conn := range w.open {
		_ = conn.Close()
	}
	w.open = nil
}

// becomes asks until the answer has the status.
func (h *harness) becomes(t *testing.T, path, token string, status int) answer {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		got := h.do(t, http.MethodGet, path, token)
		if got.status == status {
			return got
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("GET %s stays %d", path, got.status)
		}
	}
}

func connectPool(t *testing.T, databaseURL string, connections int32) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = connections
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func TestReadinessFollowsTheDatabaseAndLivenessDoesNot(t *testing.T) {
	t.Parallel()
	line, through := newWire(t, dbtest.URL(t))
	h := newHarnessOn(t, connectPool(t, through, 4), server.Options{AcquireTimeout: 200 * time.Millisecond})
	w := dbtest.NewWorkspace(t, dbtest.Pool(t))
	token := h.token(t, w.Readonly.Subject)
	list := fmt.Sprintf("/workspaces/%d/operation-runs", w.ID)
	for range 2 { // down and up again, twice
		h.becomes(t, "/readyz", "", http.StatusOK)
		h.becomes(t, "/healthz", "", http.StatusOK)
		line.cut()
		got := h.becomes(t, "/readyz", "", http.StatusServiceUnavailable)
		if got.body != "not ready\n" || got.header.Get("Retry-After") == "" || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("not ready is %q with %v", got.body, got.header)
		}
		if got := h.do(t, http.MethodGet, "/readyz?verbose", ""); !strings.Contains(got.body, "[-] database failed\n[-] schema failed\n") {
			t.Errorf("?verbose says %q", got.body)
		}
		if got := h.do(t, http.MethodGet, "/livez", ""); got.status != http.StatusOK {
			t.Errorf("livez is %d while the database is away", got.status)
		}
		if got := h.do(t, http.MethodGet, list, token); got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") != "1" {
			t.Errorf("a list is %d with Retry-After %q while the database is away", got.status, got.header.Get("Retry-After"))
		}
		line.mend(t)
	}
	h.becomes(t, "/readyz", "", http.StatusOK)
	if got := h.do(t, http.MethodGet, list, token); got.status != http.StatusOK {
		t.Errorf("a list is %d when the database is back", got.status)
	}
}

func TestADatabaseThatIsSlowToConnectToBecomesReady(t *testing.T) {
	t.Parallel()
	_, through := newSlowWire(t, dbtest.URL(t), 1500*time.Millisecond) // longer than a check takes
	h := newHarnessOn(t, connectPool(t, through, 1), server.Options{})
	h.becomes(t, "/readyz", "", http.StatusServiceUnavailable)
	h.becomes(t, "/readyz", "", http.StatusOK)
}

func TestAnOlderSchemaIsNotReady(t *testing.T) {
	t.Parallel()
	h := newHarnessOn(t, dbtest.Pool(t), server.Options{SchemaVersion: 987_654})
	got := h.do(t, http.MethodGet, "/readyz?verbose", "")
	if got.status != http.StatusServiceUnavailable || got.body != "[+] serving ok\n[+] database ok\n[-] schema failed\n[+] writes ok\nnot ready\n" {
		t.Errorf("%d %q", got.status, got.body)
	}
}

func TestWhyAServerIsNotReadyIsLoggedWhenItChanges(t *testing.T) {
	t.Parallel()
	w, through := newWire(t, dbtest.Fresh(t))
	var log lines
	h := newHarnessOn(t, connectPool(t, through, 2), server.Options{
		SchemaVersion: 987_654, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	for range 3 {
		h.becomes(t, "/readyz", "", http.StatusServiceUnavailable)
	}
	old := []string{"level=WARN", `msg="not ready"`, "check=schema", "wants version 987654: runledger migrate up"}
	if n := log.count(old...); n != 1 {
		t.Errorf("%d lines tell of the schema", n)
	}
	w.cut()
	down := []string{"level=WARN", `msg="not ready"`, "check=database"}
	awaitTrue(t, "a line about the database", func() bool {
		h.do(t, http.MethodGet, "/readyz", "")
		return log.count(down...) > 0
	})
	w.mend(t)
	awaitTrue(t, "a line about its return", func() bool {
		h.do(t, http.MethodGet, "/readyz", "")
		return log.count("level=INFO", `msg="ready again"`, "check=database") == 1
	})
	if log.count("check=schema", "unknown") > 0 {
		t.Error("what cannot be known is told as another fault")
	}
}

// awaitTrue asks until something holds.
func awaitTrue(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("waited in vain for " + what)
		}
	}
}

func TestADatabaseWithoutTheSchemaIs503AndSaysWhatIsToBeDone(t *testing.T) {
	t.Parallel()
	var log lines
	h := newHarnessOn(t, dbtest.Connect(t, dbtest.Empty(t)), server.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	for _, path := range []string{"/workspaces", "/workspaces/1", "/workspaces/1/operation-runs"} {
		got := h.do(t, http.MethodGet, path, h.token(t, "somebody"))
		if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if log.count("level=ERROR", "runledger migrate status") != 3 {
		t.Errorf("the log says %s", &log.text)
	}
}

func TestWhoHangsUpIsNoFaultOfTheServer(t *testing.T) {
	t.Parallel()
	pool := connectPool(t, dbtest.Fresh(t), 1)
	var log lines
	h := newHarnessOn(t, pool, server.Options{Log: slog.New(slog.NewTextHandler(&log, nil)), AcquireTimeout: time.Minute})
	held, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Release()
	ctx, hangUp := context.WithCancel(t.Context())
	came := make(chan struct{})
	h.server.InvalidateTokensWhen(func() bool { close(came); return false })
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url+"/workspaces", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+h.token(t, "somebody"))
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err == nil {
			_ = resp.Body.Close()
			t.Error("the request is answered")
		}
	}()
	<-came
	hangUp()
	<-gone
	awaitTrue(t, "the end of the request", func() bool { return log.count("msg=request", "status=499") == 1 })
	if log.count("level=ERROR") > 0 {
		t.Errorf("the log says %s", &log.text)
	}
}

func TestANewerSchemaIsReadyForTheReleaseBeforeIt(t *testing.T) {
	t.Parallel()
	h := newHarnessOn(t, dbtest.Pool(t), server.Options{SchemaVersion: 1})
	if got := h.do(t, http.MethodGet, "/readyz?verbose", ""); got.status != http.StatusOK {
		t.Errorf("%d %q", got.status, got.body)
	}
}

func TestDrainingIsNotReadyAndGoesOnServing(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w := dbtest.NewWorkspace(t, h.pool)
	h.becomes(t, "/readyz", "", http.StatusOK)
	h.server.Drain()
	if got := h.do(t, http.MethodGet, "/readyz?verbose", ""); got.status != http.StatusServiceUnavailable || !strings.HasPrefix(got.body, "[-] serving failed\n") {
		t.Errorf("%d %q", got.status, got.body)
	}
	// A client is told to open another connection for its next request, which goes to another server.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url+"/workspaces", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+h.token(t, w.Readonly.Subject))
	resp, err := h.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK || !resp.Close {
		t.Errorf("an answer of a draining server is %d; that it closes its connection is %t", resp.StatusCode, resp.Close)
	}
}

func TestADatabaseThatTakesNoWritesIsNotReadyAndIsRead(t *testing.T) {
	t.Parallel()
	config := dbtest.Pool(t).Config()
	config.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on"
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	h := newHarnessOn(t, pool, server.Options{})
	w := dbtest.NewWorkspace(t, dbtest.Pool(t))
	got := h.becomes(t, "/readyz?verbose", "", http.StatusServiceUnavailable)
	if got.body != "[+] serving ok\n[+] database ok\n[+] schema ok\n[-] writes failed\nnot ready\n" {
		t.Errorf("?verbose says %q", got.body)
	}
	list := fmt.Sprintf("/workspaces/%d/operation-runs", w.ID)
	newHarness(t).get(t, http.StatusOK, w.Readonly.Subject, list) // the first list of all makes the key of the cursors
	h.get(t, http.StatusOK, w.Readonly.Subject, list)
	start, err := h.send(http.MethodPost, list, h.token(t, w.Operator.Subject), `{"type":"inventory_sync"}`)
	if err != nil || start.status != http.StatusServiceUnavailable || start.header.Get("Retry-After") == "" {
		t.Errorf("a start is %d with Retry-After %q: %v", start.status, start.header.Get("Retry-After"), err)
	}
}

func TestAnExhaustedPoolIs503AndPasses(t *testing.T) {
	t.Parallel()
	pool := connectPool(t, dbtest.URL(t), 1)
	h := newHarnessOn(t, pool, server.Options{AcquireTimeout: 50 * time.Millisecond})
	w := dbtest.NewWorkspace(t, pool)
	path, token := fmt.Sprintf("/workspaces/%d/operation-runs", w.ID), h.token(t, w.Readonly.Subject)
	held, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := h.do(t, http.MethodGet, path, token)
	if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") != "1" {
		t.Errorf("%d with Retry-After %q", got.status, got.header.Get("Retry-After"))
	}
	if ready := h.do(t, http.MethodGet, "/readyz", ""); ready.status != http.StatusOK {
		t.Errorf("readyz is %d: a busy pool is no database that is down", ready.status)
	}
	held.Release()
	h.get(t, http.StatusOK, w.Readonly.Subject, path)
}

func TestClientsThatHangUpCostNoConnections(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.Fresh(t) // a table is locked
	admin := dbtest.Connect(t, databaseURL)
	const connections = 4
	pool := connectPool(t, databaseURL+"&application_name=hung-up", connections)
	h := newHarnessOn(t, pool, server.Options{}).hurried(t)
	w := dbtest.NewWorkspace(t, admin)
	path, token := fmt.Sprintf("/workspaces/%d/operation-runs", w.ID), h.token(t, w.Readonly.Subject)
	for range 3 {
		lock, err := admin.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := lock.Exec(t.Context(), "LOCK TABLE operation_runs IN ACCESS EXCLUSIVE MODE"); err != nil {
			t.Fatal(err)
		}
		ctx, hangUp := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		for n := range connections {
			clients.Go(func() { // who asks for the same page needs no connection of their own
				req, _ := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s%s?limit=%d", h.url, path, n+1), http.NoBody)
				req.Header.Set("Authorization", "Bearer "+token)
				if resp, err := h.client.Do(req); err == nil {
					_ = resp.Body.Close()
					t.Errorf("an answer %d out of a locked table", resp.StatusCode)
				}
			})
		}
		waiting := 0
		for waiting < connections {
			if err := admin.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hung-up' AND wait_event_type = 'Lock'").Scan(&waiting); err != nil {
				t.Fatal(err)
			}
		}
		hangUp()
		clients.Wait()
		if err := lock.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.get(t, http.StatusOK, w.Readonly.Subject, path)
	}
	if made := pool.Stat().NewConnsCount(); made > connections {
		t.Errorf("%d connections were made for a pool of %d", made, connections)
	}
}

// answerOf is what a server answers to a request, and what it logs.
func answerOf(t *testing.T, verify func(context.Context, string) (auth.Subject, error), r *http.Request) (*httptest.ResponseRecorder, string) {
	t.Helper()
	var log bytes.Buffer
	s := server.New(server.Options{
		Pool: dbtest.Pool(t), Verify: verify, Log: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	defer s.Close()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w, log.String()
}

func TestALogLineTellsWhoAskedForWhatAndNoSecret(t *testing.T) {
	t.Parallel()
	ws := dbtest.NewWorkspace(t, dbtest.Pool(t))
	r := httptest.NewRequest(http.MethodGet, fmt.Sprintf("/workspaces/%d/operation-runs?failure_code=hunter2", ws.ID), http.NoBody)
	r.Header.Set("Authorization", "Bearer a-secret-token")
	r.Header.Set("X-Request-Id", "request-1")
	w, log := answerOf(t, func(context.Context, string) (auth.Subject, error) { return auth.Subject(ws.Operator.Subject), nil }, r)
	var line map[string]any
	if err := json.Unmarshal([]byte(log), &line); err != nil {
		t.Fatalf("%v in %s", err, log)
	}
	for name, want := range map[string]any{
		"msg": "request", "level": "INFO", "method": "GET", "route": "/workspaces/{workspace_id}/operation-runs", "status": 200.0,
		"bytes": float64(w.Body.Len()), "request_id": "request-1", "user_id": float64(ws.Operator.ID), "workspace_id": float64(ws.ID),
	} {
		if line[name] != want {
			t.Errorf("%s is %v, want %v", name, line[name], want)
		}
	}
	if _, ok := line["duration_ms"].(float64); !ok {
		t.Errorf("duration_ms is %v", line["duration_ms"])
	}
	if strings.Contains(log, "secret") || strings.Contains(log, "hunter2") {
		t.Errorf("the log tells %s", log)
	}
}

func TestAPanicIsA500WithoutItsCause(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodGet, "/workspaces?cursor=hunter2", http.NoBody)
	r.Header.Set("Authorization", "Bearer a-secret-token")
	w, log := answerOf(t, func(context.Context, string) (auth.Subject, error) { panic("the cause") }, r)
	if w.Code != http.StatusInternalServerError || w.Header().Get("Content-Type") != "application/problem+json" || strings.Contains(w.Body.String(), "cause") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if !strings.Contains(log, "the cause") || strings.Contains(log, "a-secret-token") || strings.Contains(log, "hunter2") {
		t.Errorf("the log tells %s", log)
	}
}

func TestAPanicInTheMiddleOfAnAnswerBreaksItOff(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := server.New(server.Options{Pool: dbtest.Pool(t), Log: slog.New(slog.NewJSONHandler(&log, nil))})
	defer s.Close()
	const begun = `{"data":[`
	listening := httptest.NewServer(s.Observed(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(begun))
		_ = http.NewResponseController(w).Flush()
		panic("the cause")
	})))
	resp, err := listening.Client().Get(listening.URL)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err == nil || string(body) != begun {
		t.Errorf("a client reads %q, %v", body, err)
	}
	listening.Close() // when all is logged
	if !strings.Contains(log.String(), "panic after the answer had begun") || !strings.Contains(log.String(), "the cause") {
		t.Errorf("the log tells %s", log.String())
	}
}

func TestAServerWithoutKeysIsNotReady(t *testing.T) {
	t.Parallel()
	var loaded atomic.Bool
	h := newHarnessOn(t, dbtest.Pool(t), server.Options{HaveKeys: func() error {
		if loaded.Load() {
			return nil
		}
		return auth.ErrKeysUnavailable
	}})
	got := h.do(t, http.MethodGet, "/readyz?verbose", "")
	if got.status != http.StatusServiceUnavailable || got.body != "[+] serving ok\n[+] database ok\n[+] schema ok\n[+] writes ok\n[-] keys failed\nnot ready\n" {
		t.Errorf("%d %q", got.status, got.body)
	}
	loaded.Store(true)
	h.becomes(t, "/readyz", "", http.StatusOK)
}

func TestAServerWhoseRoleLacksPrivilegesIsNotReadyAndSaysWhichAreToBeGranted(t *testing.T) {
	t.Parallel()
	pool := connectPool(t, dbtest.Fresh(t), 2)
	role := "r" + strings.ToLower(rand.Text())
	if _, err := pool.Exec(t.Context(), "CREATE ROLE "+role); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := pool.Exec(context.WithoutCancel(t.Context()), "DROP OWNED BY "+role+"; DROP ROLE "+role); err != nil {
			t.Error(err)
		}
	})
	config := pool.Config()
	config.ConnConfig.RuntimeParams["role"] = role
	lesser, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lesser.Close)
	var log lines
	h := newHarnessOn(t, lesser, server.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	h.becomes(t, "/readyz", "", http.StatusServiceUnavailable)
	if log.count("check=schema", "SELECT on goose_db_version", "runledger migrate grant") != 1 {
		t.Error("no line tells of the privileges")
	}
	if _, err := pool.Exec(t.Context(), "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "+role+"; REVOKE DELETE ON operation_runs FROM "+role); err != nil {
		t.Fatal(err)
	}
	awaitTrue(t, "a line about the one that is left", func() bool {
		h.do(t, http.MethodGet, "/readyz", "")
		return log.count("lacks DELETE on operation_runs: runledger migrate grant") == 1
	})
	if _, err := pool.Exec(t.Context(), "GRANT DELETE ON operation_runs TO "+role); err != nil {
		t.Fatal(err)
	}
	h.becomes(t, "/readyz", "", http.StatusOK)
}
