package faults

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runledger/runledger/db"
	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/localpg"
	_ "github.com/runledger/runledger/internal/server" // what is built and run here, so that no result of a former one is kept
)

const (
	issuer   = "https://issuer.test"
	audience = "runledger"
	secret   = "a secret of the tests, 32 bytes or more"
)

// system is the built server on a PostgreSQL of its own, with a breakable wire on either side:
// clients, front, server, back, PostgreSQL.
type system struct {
	postgres    *localpg.Server
	front, back *wire
	addr, admin string // where the server itself listens
	workspace   dbtest.Workspace
	token       string
	environ     []string
	logFile     *os.File

	mu      sync.Mutex // guards process
	process *exec.Cmd
}

// newSystem builds and starts everything. settings are PostgreSQL's.
func newSystem(t *testing.T, settings map[string]string) *system {
	t.Helper()
	postgres := newPostgres(t, settings)
	if _, err := db.Up(t.Context(), postgres.URL("postgres")); err != nil {
		t.Fatal(err)
	}
	back := newWire(t, hostOf(postgres))
	s := newSystemOn(t, postgres, strings.Replace(postgres.URL("postgres"), hostOf(postgres), back.addr(), 1))
	s.back = back
	return s
}

// hostOf is where a PostgreSQL listens.
func hostOf(s *localpg.Server) string { return fmt.Sprintf("127.0.0.1:%d", s.Port()) }

// newSystemOn builds the server and starts it on a database that is there. databaseURL is what the
// server is told.
func newSystemOn(t *testing.T, postgres *localpg.Server, databaseURL string) *system {
	t.Helper()
	s := &system{postgres: postgres}
	pool := s.pool(t)
	s.workspace = dbtest.NewWorkspace(t, pool)
	if _, err := pool.Exec(t.Context(), "CHECKPOINT"); err != nil { // what follows may be lost, this may not
		t.Fatal(err)
	}
	signer, err := auth.NewSecretSigner([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	if s.token, err = signer.Sign(s.workspace.Operator.Subject, issuer, audience, time.Hour, time.Now()); err != nil {
		t.Fatal(err)
	}
	s.openLog(t)
	if err := build(); err != nil {
		t.Fatal(err)
	}
	s.addr, s.admin = "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t)
	s.environ = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(),
		"RUNLEDGER_DATABASE_URL=" + databaseURL,
		"RUNLEDGER_ADDR=" + s.addr, "RUNLEDGER_ADMIN_ADDR=" + s.admin, "RUNLEDGER_LOG_LEVEL=error",
		"RUNLEDGER_JWT_HS256_SECRET=" + secret, "RUNLEDGER_JWT_ISSUER=" + issuer, "RUNLEDGER_JWT_AUDIENCE=" + audience,
	}
	s.launch(t)
	t.Cleanup(s.kill)
	s.front = newWire(t, s.addr)
	s.awaitReady(t)
	return s
}

// newPostgres starts a PostgreSQL of the test's own. What is written stays when its processes are
// killed; this machine is not switched off, so that nothing has to wait for the disk.
func newPostgres(t *testing.T, settings map[string]string) *localpg.Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "runledger-faults-") //nolint:usetesting // its parents may shut PostgreSQL's user out
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL's user must get in
		t.Fatal(err)
	}
	all := map[string]string{"fsync": "off", "max_connections": "60", "timezone": "Asia/Kathmandu"}
	maps.Copy(all, settings)
	postgres, err := localpg.Start(t.Context(), localpg.Options{
		Dir: filepath.Join(dir, "pg"), Settings: all, Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = postgres.Stop(context.Background()) })
	return postgres
}

// pool is a way to the database around the wires.
func (s *system) pool(t *testing.T) *pgxpool.Pool {
	t.Helper()
	return dbtest.Connect(t, s.postgres.URL("postgres"))
}

// binary is where the command is built.
var binary = filepath.Join(os.TempDir(), fmt.Sprintf("runledger-faults-%d", os.Getpid()))

// build builds the command as users do, once.
var build = sync.OnceValue(func() error {
	cmd := exec.CommandContext(context.Background(), "go", "build", "-o", binary, "../../cmd/runledger")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
})

// openLog keeps what the server says, and shows the end of it if the test fails.
func (s *system) openLog(t *testing.T) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	s.logFile = file
	t.Cleanup(func() {
		_ = file.Close()
		if text, err := os.ReadFile(file.Name()); err == nil && t.Failed() {
			t.Logf("the end of the server's log:\n%s", text[max(0, len(text)-4000):])
		}
	})
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// launch starts the server's process. It may be called from any goroutine.
func (s *system) launch(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process = exec.CommandContext(context.Background(), binary, "serve")
	s.process.Env, s.process.Stdout, s.process.Stderr = s.environ, s.logFile, s.logFile
	if err := s.process.Start(); err != nil {
		t.Errorf("start the server: %v", err)
	}
}

// kill ends the server's process as kill -9 does.
func (s *system) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
}

// awaitReady returns when the server answers through the front, and tells whether it did.
func (s *system) awaitReady(t testing.TB) bool {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("the server was not ready for a minute"))
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.front.addr()+"/readyz", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := client.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return true
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Error(context.Cause(ctx))
			return false
		}
	}
}
