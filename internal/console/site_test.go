package console_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runledger/runledger/db"
	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/console"
	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

const (
	testIssuer   = "https://issuer.test"
	testAudience = "runledger"
	testSecret   = "a secret of the tests, 32 bytes or more"
)

// throughHeader marks requests that come through to a site that hung up: those of workers.
const throughHeader = "X-Test-Through"

// site is a server on a real database, with a workspace of the test's own.
type site struct {
	url       string
	pool      *pgxpool.Pool // with all rights, for rows that the interface would not take
	workspace dbtest.Workspace

	provider    string // the origin that people sign in at, the one other that a page may go to; "" for none
	signer      *auth.Signer
	issuer      string // of the signer's tokens
	listening   *httptest.Server
	down        atomic.Bool
	holdStreams atomic.Bool            // streams of events wait to begin
	outage      atomic.Pointer[string] // the Retry-After of each answer, as without a database; streams of events go on
	without     atomic.Pointer[string] // the end of an address that is not answered
	slow        atomic.Int64           // nanoseconds that each answer of the interface waits
	expired     sync.Map               // tokens of which the server thinks that their time is over
}

// newSite serves from the database that all tests share, with a server's rights in it.
func newSite(t *testing.T) *site {
	t.Helper()
	s := newSiteOn(t, dbtest.ApplicationPool(t), dbtest.Pool(t))
	s.workspace = dbtest.NewWorkspace(t, s.pool)
	return s
}

// newSiteOn serves from serving; tests write with pool. It has no workspace yet.
func newSiteOn(t *testing.T, serving, pool *pgxpool.Pool) *site {
	t.Helper()
	signer, err := auth.NewSecretSigner([]byte(testSecret))
	if err != nil {
		t.Fatal(err)
	}
	return newSiteFor(t, serving, pool, signer, auth.Config{
		HS256Secret: []byte(testSecret), Issuer: testIssuer, Audience: testAudience,
	}, console.Settings{})
}

// newSiteFor serves those whose tokens are good by trust, as those of signer are, and who sign in to
// the console by settings.
func newSiteFor(
	t *testing.T, serving, pool *pgxpool.Pool, signer *auth.Signer, trust auth.Config, settings console.Settings,
) *site {
	t.Helper()
	needBrowser(t)
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	verifier, err := auth.NewVerifier(t.Context(), trust, log)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{pool: pool, signer: signer, issuer: trust.Issuer}
	behind := server.New(server.Options{
		Pool: serving, Log: log, SchemaVersion: db.LatestVersion(), Console: settings,
		Verify: func(ctx context.Context, token string) (auth.Subject, error) {
			if old, ok := s.expired.Load(token); ok {
				token = old.(string)
			}
			return verifier.Verify(ctx, token)
		},
	})
	s.listening = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.down.Load() && r.Header.Get(throughHeader) == "" {
			panic(http.ErrAbortHandler) // the connection ends, as if nobody were there
		}
		if end := s.without.Load(); end != nil && strings.HasSuffix(r.URL.Path, *end) {
			panic(http.ErrAbortHandler)
		}
		if after := s.outage.Load(); after != nil && r.Header.Get(throughHeader) == "" &&
			strings.HasPrefix(r.URL.Path, "/workspaces") && r.Header.Get("Accept") != "text/event-stream" {
			w.Header().Set("Content-Type", "application/problem+json")
			w.Header().Set("Retry-After", *after)
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"status":503,"title":"Service unavailable","detail":"The service cannot answer at the moment; try again."}`)
			return
		}
		for r.Header.Get("Accept") == "text/event-stream" && s.holdStreams.Load() && r.Context().Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
		if wait := time.Duration(s.slow.Load()); wait > 0 && strings.HasPrefix(r.URL.Path, "/workspaces") {
			select {
			case <-time.After(wait):
			case <-r.Context().Done():
			}
		}
		behind.ServeHTTP(w, r)
	}))
	s.url = s.listening.URL
	t.Cleanup(func() {
		s.listening.CloseClientConnections() // a stream of events would wait for its end
		s.listening.Close()
		behind.Close()
	})
	return s
}

// token is a valid token for a subject.
func (s *site) token(t testing.TB, subject string) string {
	t.Helper()
	token, err := s.signer.Sign(subject, s.issuer, testAudience, time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// expire makes a token one whose time is over, as the verifier says it of an old one.
func (s *site) expire(t testing.TB, token, subject string) {
	t.Helper()
	old, err := s.signer.Sign(subject, s.issuer, testAudience, time.Hour, time.Now().Add(-2*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	s.expired.Store(token, old)
}

// hangUp ends all connections of browsers and takes no new ones until takeUp.
func (s *site) hangUp() {
	s.down.Store(true)
	s.listening.CloseClientConnections()
}

func (s *site) takeUp() { s.down.Store(false) }

// path is an address below the workspace: path("/runs/%d", id).
func (s *site) path(rest string) string {
	return "/workspaces/" + strconv.FormatInt(s.workspace.ID, 10) + rest
}

// ask sends a request to the interface as one who may, and decodes the answer, which must be a 2xx.
// body is JSON, or "".
func (s *site) ask(t testing.TB, by dbtest.User, method, path, body string) map[string]any {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, bytes.NewBufferString(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token(t, by.Subject))
	req.Header.Set(throughHeader, "1")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := s.listening.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %d\n%s", method, path, resp.StatusCode, answer)
	}
	got := map[string]any{}
	if err := json.Unmarshal(answer, &got); err != nil {
		t.Fatalf("%s %s: %v in %s", method, path, err, answer)
	}
	return got
}

// start starts a run by the interface, as a worker does. body is the request's JSON.
func (s *site) start(t testing.TB, body string) int64 {
	t.Helper()
	run := s.ask(t, s.workspace.Operator, http.MethodPost, s.path("/operation-runs"), body)
	return int64(run["id"].(float64))
}

// report patches a run by the interface, as its worker does.
func (s *site) report(t testing.TB, id int64, body string) {
	t.Helper()
	s.ask(t, s.workspace.Operator, http.MethodPatch, s.path("/operation-runs/"+strconv.FormatInt(id, 10)), body)
}

// exec runs SQL, for rows that the interface would not take: long ago, or of an older store.
func (s *site) exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	if _, err := s.pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// many makes completed runs, one a minute into the past, without events.
func (s *site) many(t testing.TB, n int) {
	t.Helper()
	s.exec(t, `INSERT INTO operation_runs (workspace_id, type, status, outcome, initiator_name, started_at, completed_at, created_at, updated_at)
		SELECT $1, 'inventory_sync', 'completed', 'succeeded', 'Scheduler', at, at + '30 seconds', at, at + '30 seconds'
		FROM (SELECT now() - i * interval '1 minute' AS at FROM generate_series(1, $2::bigint) AS i) AS instants`, s.workspace.ID, n)
}
