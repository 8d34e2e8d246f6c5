package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/db"
)

const (
	// healthTimeout is how long the database may take to answer before the server is not ready.
	healthTimeout = time.Second
	// healthFresh is how long a check is answered from the one before: probes come from anybody,
	// and must not become load.
	healthFresh = 200 * time.Millisecond
)

// check is one of the things that readiness depends on.
type check struct {
	name string
	err  error
}

// health knows whether the server can do its work. It has a connection of its own, so that a busy
// pool does not look like a database that is down.
type health struct {
	config   *pgx.ConnConfig
	schema   int64
	draining atomic.Bool

	mu      sync.Mutex
	conn    *pgx.Conn
	checked time.Time
	last    []check
}

func newHealth(config *pgx.ConnConfig, schema int64) *health {
	return &health{config: config, schema: schema}
}

// checks tells how things are, at most healthFresh ago.
func (h *health) checks(ctx context.Context) []check {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.checked) >= healthFresh {
		// The result is for everybody who waits, so one client's hanging up does not end it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healthTimeout)
		defer cancel()
		version, err := h.version(ctx)
		h.last = []check{{"database", err}, {"schema", nil}}
		switch {
		case err != nil:
			h.last[1].err = errors.New("unknown while the database does not answer")
		case version < h.schema:
			// A newer schema is well: it serves the release before it too, while servers are replaced.
			h.last[1].err = fmt.Errorf("the database has version %d, this server wants version %d", version, h.schema)
		}
		h.checked = time.Now()
	}
	return append([]check{{"serving", h.drained()}}, h.last...)
}

// version asks the database for its schema's version, over a new connection where there is none.
func (h *health) version(ctx context.Context) (int64, error) {
	if h.conn == nil || h.conn.IsClosed() {
		conn, err := pgx.ConnectConfig(ctx, h.config)
		if err != nil {
			return 0, err
		}
		h.conn = conn
	}
	version, err := db.Version(ctx, h.conn)
	if err != nil {
		_ = h.conn.Close(ctx)
		h.conn = nil
	}
	return version, err
}

func (h *health) drained() error {
	if h.draining.Load() {
		return errors.New("shutting down")
	}
	return nil
}

func (h *health) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn != nil {
		_ = h.conn.Close(context.Background())
		h.conn = nil
	}
}

// livez tells that the process answers. It never asks the database.
func (s *Server) livez(w http.ResponseWriter, r *http.Request) error {
	return answerHealth(w, r, []check{{"process", nil}})
}

// readyz tells whether the server can do its work.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) error {
	return answerHealth(w, r, s.health.checks(r.Context()))
}

// answerHealth writes the checks: the status code for machines, one line a check for people who
// ask for ?verbose. Why a check failed is in the log alone.
func answerHealth(w http.ResponseWriter, r *http.Request, checks []check) error {
	status, text := http.StatusOK, "ok\n"
	lines := ""
	for _, c := range checks {
		mark := "[+] " + c.name + " ok\n"
		if c.err != nil {
			status, text = http.StatusServiceUnavailable, "not ready\n"
			mark = "[-] " + c.name + " failed\n"
		}
		lines += mark
	}
	if r.URL.Query().Has("verbose") {
		text = lines + text
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	if status != http.StatusOK {
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
	return nil
}
