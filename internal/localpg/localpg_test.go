//go:build unix

package localpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

// helperEnv makes the test binary a process that starts a server in the directory it names, says
// so, and waits to be killed.
const helperEnv = "LOCALPG_TEST_HELPER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperEnv); dir != "" {
		s, err := Start(context.Background(), Options{Dir: dir, Settings: quick()})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(s.PID(), s.Port())
		<-s.Done()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// quick are settings for servers that live for a test.
func quick() map[string]string {
	return map[string]string{"fsync": "off", "shared_buffers": "16MB", "max_connections": "20"}
}

// newDir is a directory that the server's user can get to.
func newDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "localpg-test-") //nolint:usetesting // its parents may shut that user out
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // the server's user must get in
		t.Fatal(err)
	}
	return filepath.Join(dir, "pg")
}

func mustStart(t *testing.T, o Options) *Server {
	t.Helper()
	if o.Settings == nil {
		o.Settings = quick()
	}
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mustStop(t, s) })
	return s
}

func mustStop(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Stop(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

// query runs SQL that returns one text.
func query(t *testing.T, s *Server, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	var text string
	if err := conn.QueryRow(t.Context(), sql).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}

func execute(t *testing.T, s *Server, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// startFails expects an error of Start that has every one of the texts in it.
func startFails(t *testing.T, o Options, texts ...string) {
	t.Helper()
	s, err := Start(t.Context(), o)
	if err == nil {
		mustStop(t, s)
		t.Fatal("Start did not fail")
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error does not say %q: %v", text, err)
		}
	}
}

func TestDataAndPasswordSurviveAStop(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	first := mustStart(t, Options{Dir: dir})
	execute(t, first, "CREATE TABLE kept AS SELECT 'here'::text AS word")
	firstURL, pid := first.cluster.password, first.PID()
	mustStop(t, first)
	if alive(pid) {
		t.Errorf("process %d lives after Stop", pid)
	}
	if first.PID() != 0 {
		t.Error("a stopped server has a PID")
	}
	<-first.Done()

	second := mustStart(t, Options{Dir: dir})
	if second.cluster.password != firstURL {
		t.Error("the password changed")
	}
	if got := query(t, second, "SELECT word FROM kept"); got != "here" {
		t.Errorf("read %q", got)
	}
}

func TestFreshThrowsTheDataAway(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	first := mustStart(t, Options{Dir: dir})
	execute(t, first, "CREATE TABLE gone ()")
	mustStop(t, first)
	second := mustStart(t, Options{Dir: dir, Fresh: true})
	if got := query(t, second, "SELECT coalesce(to_regclass('gone')::text, 'no')"); got != "no" {
		t.Errorf("the table is %s", got)
	}
}

func TestADirectoryInUseIsRefusedWithThePIDOfItsHolder(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	s := mustStart(t, Options{Dir: dir})
	startFails(t, Options{Dir: dir}, "in use by process "+strconv.Itoa(os.Getpid()))
	startFails(t, Options{Dir: dir, Fresh: true}, "in use by process "+strconv.Itoa(os.Getpid()))
	query(t, s, "SELECT 'still there'")
}

func TestADirectoryOfSomethingElseIsRefused(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // the server's user must get in
		t.Fatal(err)
	}
	file := filepath.Join(dir, "thesis.txt")
	if err := os.WriteFile(file, []byte("dear to somebody"), 0o600); err != nil {
		t.Fatal(err)
	}
	startFails(t, Options{Dir: dir, Fresh: true}, dir, "not empty")
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

func TestATakenPortIsRefused(t *testing.T) {
	t.Parallel()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	startFails(t, Options{Dir: newDir(t), Port: number, Settings: quick()}, "port "+port, "not free")
}

func TestAnErrorOfPostgreSQLIsInTheError(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	settings := quick()
	settings["no_such_setting"] = "1"
	startFails(t, Options{Dir: dir, Settings: settings}, `unrecognized configuration parameter "no_such_setting"`, "postgresql.log")
	mustStart(t, Options{Dir: dir}) // the failure let go of the directory
}

func TestAnUnfinishedInitdbIsDoneAgain(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	if err := os.MkdirAll(filepath.Join(dir, "data.new", "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"lock": "1", "password": "", "data.new/PG_VERSION": "15\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	query(t, mustStart(t, Options{Dir: dir}), "SELECT 'works'")
}

func TestACancelledStartLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	mustStop(t, mustStart(t, Options{Dir: dir}))
	// The context ends when everything is ready for the server's process.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log := slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
		if bytes.Contains(p, []byte("starting PostgreSQL")) {
			cancel()
		}
		return len(p), nil
	}), nil))
	s, err := Start(ctx, Options{Dir: dir, Settings: quick(), Log: log})
	if err == nil {
		mustStop(t, s)
		t.Fatal("Start did not fail")
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range commands {
		text, _ := os.ReadFile(file)
		if bytes.Contains(text, []byte(dir)) {
			t.Errorf("%s still runs: %q", file, text)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestAKilledServerComesBackWithWhatWasCommitted(t *testing.T) {
	t.Parallel()
	s := mustStart(t, Options{Dir: newDir(t)})
	execute(t, s, "CREATE TABLE kept AS SELECT 'here'::text AS word")
	port := s.Port()
	for name, kill := range map[string]func(){
		"immediate shutdown": s.Kill,
		"kill -9": func() {
			if err := syscall.Kill(s.PID(), syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		},
	} {
		done := s.Done()
		kill()
		<-done
		if err := s.Restart(t.Context()); err != nil {
			t.Fatalf("after %s: %v", name, err)
		}
		if got := query(t, s, "SELECT word FROM kept"); got != "here" || s.Port() != port {
			t.Errorf("after %s: read %q on port %d, was %d", name, got, s.Port(), port)
		}
	}
	mustStop(t, s)
	if err := s.Restart(t.Context()); err == nil {
		t.Error("a server that was stopped for good was restarted")
	}
}

func TestAServerEndsWithAKilledParentAndTheNextStartRecovers(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid, port int
	_, scanErr := fmt.Fscan(out, &pid, &port)
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // killed
	if scanErr != nil {
		t.Fatal(scanErr)
	}
	if canDieWithParent && !awaitEnd(t.Context(), pid, time.Minute) {
		t.Errorf("the server %d outlived its parent", pid)
	}
	s := mustStart(t, Options{Dir: dir, Port: port})
	query(t, s, "SELECT 'works'")
}

func TestAnOrphanIsStoppedAndStartedAgain(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	s := mustStart(t, Options{Dir: dir})
	mustStop(t, s)
	// A server on the directory whose lock nobody holds: its parent has been killed.
	orphan := s.engine.command(&s.cluster)
	orphan.Dir = dir
	if err := orphan.Start(); err != nil {
		t.Fatal(err)
	}
	for s.cluster.answers(t.Context()) != nil {
		if !alive(orphan.Process.Pid) {
			t.Fatal("the orphan did not start")
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- orphan.Wait() }() // or it would stay as a zombie, which looks alive
	next := mustStart(t, Options{Dir: dir, Port: s.Port()})
	if err := <-ended; err != nil {
		t.Errorf("the orphan was not shut down in order: %v", err)
	}
	if next.PID() == orphan.Process.Pid {
		t.Error("the orphan runs on")
	}
}

func TestAPIDFileThatNamesAnotherProcessIsIgnoredAndTheProcessLeftAlone(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	s := mustStart(t, Options{Dir: dir})
	mustStop(t, s)
	// The process has the user of the server, from whom PostgreSQL would take it for a server.
	other := exec.CommandContext(t.Context(), "sleep", "3600")
	other.SysProcAttr = s.cluster.owner.attributes()
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := other.Process.Kill(); err != nil {
			t.Errorf("the process was not left alone: %v", err)
		}
		_ = other.Wait() // killed
	}()
	pidFile := filepath.Join(dir, "data/postmaster.pid")
	if err := os.WriteFile(pidFile, []byte(strconv.Itoa(other.Process.Pid)+"\n"+dir+"/data\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.cluster.owner.give(pidFile); err != nil {
		t.Fatal(err)
	}
	query(t, mustStart(t, Options{Dir: dir}), "SELECT 'works'")
}
