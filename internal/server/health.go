package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/db"
)

const (
	// healthTimeout is how long the database may take to answer before the server is not ready.
	// With what healthFresh may add, an outage that nobody is told of shows within a second.
	healthTimeout = 750 * time.Millisecond
	// connectTimeout is how long a connection for the checks may take: longer than a check, since on
	// a machine that is so busy no check would ever get one otherwise.
	connectTimeout = 5 * time.Second
	// healthFresh is how long a check is answered from the one before: probes come from anybody,
	// and must not become load.
	healthFresh = 200 * time.Millisecond
)

// check is one of the things that readiness depends on.
type check struct {
	name string
	err  error
	note string // for something that readiness does not depend on: how it is
}

// health knows whether the server can do its work. It has a connection of its own, so that a busy
// pool does not look like a database that is down.
type health struct {
	config   *pgx.ConnConfig
	schema   int64
	keys     func() error // nil if there is always a key
	log      *slog.Logger
	draining atomic.Bool

	mu         sync.Mutex
	conn       *pgx.Conn
	connecting chan connected // has one value when the attempt is over; nil if there is none
	stop       context.CancelFunc
	checked    time.Time
	last       []check
}

// connected is how an attempt to connect ended.
type connected struct {
	conn *pgx.Conn
	err  error
}

func newHealth(config *pgx.ConnConfig, schema int64, keys func() error, log *slog.Logger) *health {
	return &health{config: config, schema: schema, keys: keys, log: log}
}

// checks tells how things are, at most healthFresh ago.
func (h *health) checks(ctx context.Context) []check {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.checked) >= healthFresh {
		// The result is for everybody who waits, so one client's hanging up does not end it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healthTimeout)
		defer cancel()
		version, readOnly, lacking, err := h.look(ctx)
		now := []check{{name: "database", err: err}, {name: "schema"}, {name: "writes"}}
		switch {
		case err != nil:
			now[1].err, now[2].err = errUnknown, errUnknown
		case version < h.schema:
			// A newer schema is well: it serves the release before it too, while servers are replaced.
			now[1].err = fmt.Errorf("the database has version %d, this server wants version %d: runledger migrate up", version, h.schema)
		case len(lacking) > 0:
			now[1].err = fmt.Errorf("the role of this server lacks %s: runledger migrate grant", strings.Join(lacking, ", "))
		}
		if readOnly {
			now[2].err = errReadOnly
		}
		if h.keys != nil {
			now = append(now, check{name: "keys", err: h.keys()})
		}
		h.tell(ctx, now)
		h.last, h.checked = now, time.Now()
	}
	return append([]check{{name: "serving", err: h.drained()}}, h.last...)
}

// tell logs what is not as it was at the last checks: there are many, and most find the same.
func (h *health) tell(ctx context.Context, now []check) {
	for i, c := range now {
		var before error
		if h.last != nil {
			before = h.last[i].err
		}
		switch {
		case errors.Is(c.err, errUnknown) || errors.Is(before, errUnknown) && c.err == nil:
			// It is for the database's sake, of which another line tells.
		case c.err == nil && before != nil:
			h.log.InfoContext(ctx, "ready again", slog.String("check", c.name))
		case c.err != nil && (before == nil || before.Error() != c.err.Error()):
			h.log.WarnContext(ctx, "not ready", slog.String("check", c.name), slog.Any("error", c.err))
		}
	}
}

// errUnknown is the result of a check that needs an answer of the database, and has none.
var errUnknown = errors.New("unknown while the database does not answer")

// errReadOnly says that the database takes no writes: it is, or is about to be, a standby.
var errReadOnly = errors.New("the database is read-only")

// look asks the database for its schema's version, whether it is read-only and what the server's role
// lacks, over a new connection where there is none.
func (h *health) look(ctx context.Context) (version int64, readOnly bool, lacking []string, err error) {
	if err := h.connect(ctx); err != nil {
		return 0, false, nil, err
	}
	// First, since a role without any privilege may not read the version either.
	lacking, err = db.Lacking(ctx, h.conn)
	if err == nil && !slices.Contains(lacking, "SELECT on "+db.VersionTable) {
		version, err = db.Version(ctx, h.conn)
	} else {
		version = h.schema
	}
	if err == nil {
		err = h.conn.QueryRow(ctx, "SELECT current_setting('transaction_read_only')::boolean").Scan(&readOnly)
	}
	// The address of the database may name several servers; another of them may take writes.
	if err != nil || readOnly && h.config.ValidateConnect != nil {
		_ = h.conn.Close(ctx)
		h.conn = nil
	}
	return version, readOnly, lacking, err
}

// connect makes sure that there is a connection. An attempt that outlasts the check goes on for the
// next one.
func (h *health) connect(ctx context.Context) error {
	if h.conn != nil && !h.conn.IsClosed() {
		return nil
	}
	if h.connecting == nil {
		trying, stop := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
		done := make(chan connected, 1)
		h.connecting, h.stop = done, stop
		go func() {
			conn, err := pgx.ConnectConfig(trying, h.config)
			done <- connected{conn, err}
		}()
	}
	select {
	case c := <-h.connecting:
		h.stop()
		h.connecting, h.conn = nil, c.conn
		return c.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
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
	if h.connecting != nil {
		h.stop()
		h.conn = (<-h.connecting).conn
		h.connecting = nil
	}
	if h.conn != nil {
		_ = h.conn.Close(context.Background())
		h.conn = nil
	}
}

// livez tells that the process answers. It never asks the database.
func (s *Server) livez(w http.ResponseWriter, r *http.Request) error {
	return answerHealth(w, r, []check{{name: "process"}})
}

// readyz tells whether the server can do its work.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) error {
	checks := s.health.checks(r.Context())
	if s.replica != nil {
		checks = append(checks, check{name: "replica", note: s.replica.note()})
	}
	return answerHealth(w, r, checks)
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
		if c.note != "" {
			mark = "[i] " + c.name + " " + c.note + "\n"
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
