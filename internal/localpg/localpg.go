// Package localpg runs a private PostgreSQL: a server of its own in a directory of its own, on
// 127.0.0.1 only, gone when the process that started it is gone. It is there for trying things
// out and for tests; it is no way to run PostgreSQL in production.
package localpg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/jackc/pgx/v5"
)

// OldestVersion is the first major version of PostgreSQL that has what the schema needs.
const OldestVersion = 15

// ErrNoStandby says that the PostgreSQL that was found can be run and cannot be made a standby.
var ErrNoStandby = errors.New("no standby can be made")

// superuser is the one role of a private server.
const superuser = "postgres"

// serverProgram is the name of the server's executable.
const serverProgram = "postgres"

const (
	// readyTimeout is how long a server may take to answer, crash recovery included.
	readyTimeout = 2 * time.Minute
	// fastGrace is how long a fast shutdown may take before an immediate one follows.
	fastGrace = 15 * time.Second
	// immediateGrace is how long an immediate shutdown may take before the process is killed.
	immediateGrace = 5 * time.Second
)

// Options say where a private PostgreSQL keeps its data and how it runs.
type Options struct {
	// Dir is a directory of the server's own, new or empty at the first Start. It keeps data and
	// password, which nobody else may read, from one Start to the next.
	Dir string
	// Port is where the server listens on 127.0.0.1. 0 takes a free one.
	Port int
	// Settings are configuration parameters of PostgreSQL, on top of the defaults.
	Settings map[string]string
	// Fresh throws away the data that an earlier Start left in Dir.
	Fresh bool
	// Primary is a running server of which this one is to be a standby, a copy that follows it by
	// streaming replication and answers queries that only read. Data that an earlier Start left in
	// Dir is taken as it is.
	Primary *Server
	// Log receives what happens while the server starts and stops. Nil is silent.
	Log *slog.Logger
}

// Server is a running private PostgreSQL. Its methods may be called from any goroutine.
type Server struct {
	cluster cluster
	engine  engine
	lock    *flock.Flock

	mu   sync.Mutex // guards proc, and that one of Stop, Kill and Restart runs at a time
	proc *process   // nil when stopped for good
}

// Start starts a PostgreSQL on o.Dir and returns when it answers. An orphan that an earlier,
// killed process left there is stopped first. Start fails if another living Start holds the
// directory, if the port is taken, or if there is no PostgreSQL of OldestVersion or later on this
// machine and none to be had; the error says what to do.
func Start(ctx context.Context, o Options) (*Server, error) {
	s, err := newServer(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("start private PostgreSQL: %w", err)
	}
	return s, nil
}

// newServer is Start without the words around its errors.
func newServer(ctx context.Context, o Options) (_ *Server, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	owner, err := serverAccount()
	if err != nil {
		return nil, err
	}
	if err := prepareDir(dir, owner); err != nil {
		return nil, err
	}
	lock, err := acquire(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = lock.Unlock()
		}
	}()
	s := &Server{lock: lock, cluster: cluster{
		dir: dir, port: o.Port, settings: o.Settings, owner: owner, log: o.Log,
	}}
	if o.Primary != nil {
		s.cluster.primary = &o.Primary.cluster
	}
	if err := stopOrphan(ctx, &s.cluster); err != nil {
		return nil, err
	}
	if o.Fresh {
		if err := s.cluster.discard(); err != nil {
			return nil, err
		}
	}
	if s.engine, err = findEngine(ctx, &s.cluster); err != nil {
		return nil, err
	}
	if err := s.engine.prepare(ctx, &s.cluster); err != nil {
		return nil, err
	}
	if err := s.launch(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// URL is the address of a database of the server, password included: not for logs.
func (s *Server) URL(database string) string {
	return s.cluster.url(database)
}

// Port is where the server listens on 127.0.0.1.
func (s *Server) Port() int {
	return s.cluster.port
}

// PID is the id of the server's main process, 0 when it was stopped. For a container it is the
// client that holds it.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return 0
	}
	return s.proc.cmd.Process.Pid
}

// Done is closed when the server's main process ends, whatever ends it.
func (s *Server) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		ended := make(chan struct{})
		close(ended)
		return ended
	}
	return s.proc.done
}

// Stop shuts the server down, fast at first and harder when that takes too long or ctx ends, and
// leaves its directory to the next Start. When it returns, nothing of the server is running.
// Stopping a stopped server does nothing.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return nil
	}
	s.proc.stop(ctx)
	s.proc = nil
	if err := s.lock.Unlock(); err != nil {
		return fmt.Errorf("stop private PostgreSQL: %w", err)
	}
	return nil
}

// Kill ends the server at once, as a crash does: what was not committed is lost, and the next
// start recovers. The directory stays this Server's; Restart brings it back.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		s.proc.stopNow()
	}
}

// Restart starts the server again on the same port, after a fast shutdown if it is running.
// It fails on a server that Stop has ended.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return errors.New("restart private PostgreSQL: it was stopped for good")
	}
	s.proc.stop(ctx)
	if err := s.launch(ctx); err != nil {
		return fmt.Errorf("restart private PostgreSQL: %w", err)
	}
	return nil
}

// launch runs the server's process and waits until it answers.
func (s *Server) launch(ctx context.Context) error {
	const attempts = 10
	anyPort := s.cluster.port == 0
	for attempt := 1; ; attempt++ {
		if anyPort {
			s.cluster.port = 0
		}
		if err := s.cluster.choosePort(ctx); err != nil {
			return err
		}
		s.cluster.log.Info("starting PostgreSQL", "source", s.engine.String(), "dir", s.cluster.dir, "port", s.cluster.port)
		proc, err := runProcess(ctx, &s.cluster, s.engine.command(&s.cluster))
		if err == nil {
			s.proc = proc
			return nil
		}
		// Somebody may have taken the port since it was chosen, and a server that was killed may
		// need a moment to let go of its shared memory. Both pass; nothing else is worth a retry.
		passes := anyPort && portTaken(ctx, s.cluster.port) || errors.Is(err, errSharedMemoryInUse)
		if !passes || attempt == attempts || ctx.Err() != nil {
			return err
		}
		s.cluster.log.Warn("PostgreSQL did not start, trying again", "error", err)
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(300 * time.Millisecond):
		}
	}
}

func (c *cluster) url(database string) string {
	return (&url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(superuser, c.password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}).String()
}

// answers reports whether the server takes a query, on the database that has the superuser's name.
func (c *cluster) answers(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, c.url(superuser))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return conn.Ping(ctx)
}

// choosePort finds a free port, or makes sure that the given one is free.
func (c *cluster) choosePort(ctx context.Context) error {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port)))
	if err != nil {
		return fmt.Errorf("port %d on 127.0.0.1 is not free: %w", c.port, err)
	}
	if addr, ok := l.Addr().(*net.TCPAddr); ok && c.port == 0 { // else others may be reading it
		c.port = addr.Port
	}
	return l.Close()
}

func portTaken(ctx context.Context, port int) bool {
	return (&cluster{port: port}).choosePort(ctx) != nil
}

// acquire takes the directory for this process. The lock ends with the process, however it ends.
func acquire(dir string) (*flock.Flock, error) {
	path := filepath.Join(dir, lockName)
	lock := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))
	held, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if !held {
		holder, _ := os.ReadFile(path)
		return nil, fmt.Errorf("%s is in use by process %s", dir, cmp.Or(string(holder), "(unknown)"))
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), lock.Unlock())
	}
	return lock, nil
}
