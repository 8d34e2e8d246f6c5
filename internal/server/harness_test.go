package server_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runledger/runledger/db"
	"github.com/runledger/runledger/internal/apitest"
	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const (
	testIssuer   = "https://issuer.test"
	testAudience = "runledger"
	testSecret   = "a secret of the tests, 32 bytes or more"
)

// harness is a server on a real database, with every answer held against the contract.
type harness struct {
	pool   *pgxpool.Pool
	server *server.Server
	url    string
	client *http.Client
	signer *auth.Signer
}

// newHarness serves from the database that all tests share, with a server's rights in it.
func newHarness(t testing.TB) *harness {
	t.Helper()
	h := newHarnessOn(t, dbtest.ApplicationPool(t), server.Options{})
	h.pool = dbtest.Pool(t)
	return h
}

// newHarnessOn serves from pool, with what o sets.
func newHarnessOn(t testing.TB, pool *pgxpool.Pool, o server.Options) *harness {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	verifier, err := auth.NewVerifier(t.Context(), auth.Config{
		HS256Secret: []byte(testSecret), Issuer: testIssuer, Audience: testAudience,
	}, log)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := auth.NewSecretSigner([]byte(testSecret))
	if err != nil {
		t.Fatal(err)
	}
	if o.Log == nil {
		o.Log = log
	}
	o.Pool, o.Verify = pool, verifier.Verify
	if o.SchemaVersion == 0 {
		o.SchemaVersion = db.LatestVersion()
	}
	s := server.New(o)
	listening := httptest.NewServer(s)
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		listening.Close()
		s.Close()
	})
	return &harness{
		pool: pool, server: s, url: listening.URL, signer: signer,
		client: &http.Client{Transport: apitest.NewValidator(t).Transport(transport), Timeout: time.Minute},
	}
}

// token is a valid token for a subject.
func (h *harness) token(t testing.TB, subject string) string {
	t.Helper()
	token, err := h.signer.Sign(subject, testIssuer, testAudience, time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// answer is what came back for a request.
type answer struct {
	status int
	header http.Header
	body   string
}

// page is the body of a list.
type page struct {
	Data       []map[string]any `json:"data"`
	NextCursor *string          `json:"next_cursor"`
}

// do sends a request. header holds further headers as name, value, name, value.
func (h *harness) do(t testing.TB, method, path, token string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, h.url+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := h.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: string(body)}
}

// get is a GET by subject that must answer with status.
func (h *harness) get(t testing.TB, status int, subject, path string) answer {
	t.Helper()
	got := h.do(t, http.MethodGet, path, h.token(t, subject))
	if got.status != status {
		t.Fatalf("GET %s: status %d, want %d\n%s", path, got.status, status, got.body)
	}
	return got
}

// list is a GET of one page.
func (h *harness) list(t testing.TB, subject, path string) page {
	t.Helper()
	return decode[page](t, h.get(t, http.StatusOK, subject, path).body)
}

// ids are the ids of the rows of a page.
func (p page) ids() []int64 {
	ids := make([]int64, 0, len(p.Data))
	for _, row := range p.Data {
		ids = append(ids, int64(row["id"].(float64)))
	}
	return ids
}

// comparable is an answer without what may differ between two equal ones.
func (a answer) comparable() string {
	header := maps.Clone(a.header)
	header.Del("Date")
	header.Del("X-Request-Id")
	var lines strings.Builder
	_ = header.Write(&lines)
	return strconv.Itoa(a.status) + "\n" + lines.String() + "\n" + a.body
}

func decode[T any](t testing.TB, body string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return v
}

// newHarnessOnFresh serves from a database of the test's own.
func newHarnessOnFresh(t testing.TB) *harness {
	t.Helper()
	return newHarnessOn(t, dbtest.Connect(t, dbtest.Fresh(t)), server.Options{})
}

// signallingReader tells when it is read for the first time.
type signallingReader struct {
	io.Reader
	once sync.Once
	read chan struct{}
}

// Read reads.
func (r *signallingReader) Read(b []byte) (int, error) {
	r.once.Do(func() { close(r.read) })
	return r.Reader.Read(b)
}
