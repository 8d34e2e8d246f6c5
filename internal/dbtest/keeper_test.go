//go:build unix

package dbtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofrs/flock"
)

// helperEnv makes one of the tests below a process that others watch.
const helperEnv = "DBTEST_HELPER"

// TestHelper is what a package's tests do, in a process of their own: it uses the server, says
// which one, and stays until its input ends.
func TestHelper(t *testing.T) { //nolint:paralleltest // the whole program of a helper process
	switch os.Getenv(helperEnv) {
	case "":
		t.Skip("for the other tests")
	case "fail":
		defer t.Fail()
	default:
	}
	fresh := Fresh(t)
	var started string
	err := Pool(t).QueryRow(t.Context(), "SELECT pg_postmaster_start_time()::text").Scan(&started)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = fmt.Printf("server|%s|%s|%s\n", started, URL(t), fresh)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// helper is a running TestHelper.
type helper struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
}

// newHome is a directory for temporary files, in which helpers find a server that is not ours.
func newHome(t *testing.T) string {
	t.Helper()
	home, err := os.MkdirTemp("", "dbtest-") //nolint:usetesting // its parents may shut the server's user out
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(home, 0o755); err != nil { //nolint:gosec // see above
		t.Fatal(err)
	}
	t.Cleanup(func() {
		awaitKeeper(t, home)
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	return home
}

func homeServer(home string) serverDir {
	return serverDir(filepath.Join(home, fmt.Sprintf("runledger-test-%d", os.Getuid()), kindLocal))
}

// awaitKeeper waits for the keeper of a home to end.
func awaitKeeper(t *testing.T, home string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	lock := flock.New(homeServer(home).path("keeper"))
	if err := lockFile(ctx, lock.TryLockContext); err != nil {
		t.Error(err)
	}
	if err := lock.Unlock(); err != nil {
		t.Error(err)
	}
}

func startHelper(t *testing.T, home, mode string) *helper {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHelper$", "-test.v")
	cmd.Env = append(os.Environ(), helperEnv+"="+mode, kindEnv+"="+kindLocal, "TMPDIR="+home, lingerEnv+"=1ms", urlEnv+"=")
	cmd.Stderr = t.Output()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &helper{cmd: cmd, stdin: stdin, stdout: bufio.NewReader(stdout)}
}

// server waits for the helper to say which server it uses: when that was started, and the URLs of
// the shared database and of one of the helper's own.
func (h *helper) server(t *testing.T) (started, shared, fresh string) {
	t.Helper()
	for {
		line, err := h.stdout.ReadString('\n')
		if err != nil {
			t.Fatalf("the helper said nothing: %v", err)
		}
		if _, said, ok := strings.Cut(line, "server|"); ok {
			parts := strings.Split(strings.TrimSpace(said), "|")
			return parts[0], parts[1], parts[2]
		}
		t.Log(strings.TrimSpace(line))
	}
}

// end lets the helper finish and returns the rest of its output.
func (h *helper) end(t *testing.T) string {
	t.Helper()
	if err := h.stdin.Close(); err != nil {
		t.Error(err)
	}
	rest, err := io.ReadAll(h.stdout)
	if err != nil {
		t.Error(err)
	}
	_ = h.cmd.Wait() // one that is to fail does
	return string(rest)
}

func (h *helper) kill(t *testing.T) {
	t.Helper()
	if err := h.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = h.cmd.Wait() // killed
}

// mustBeGone fails if anything still listens where a server was.
func mustBeGone(t *testing.T, home, databaseURL string) {
	t.Helper()
	if _, err := os.Stat(homeServer(home).path("postgresql/data/postmaster.pid")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the server was not shut down: %v", err)
	}
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	var dialer net.Dialer
	if conn, err := dialer.DialContext(t.Context(), "tcp", u.Host); err == nil {
		_ = conn.Close()
		t.Error("the server still listens")
	}
}

func TestProcessesShareOneServerThatGoesWithTheLast(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	a, b := startHelper(t, home, "pass"), startHelper(t, home, "pass") // neither is the first
	startedA, sharedA, freshA := a.server(t)
	startedB, sharedB, freshB := b.server(t)
	if startedA != startedB || sharedA != sharedB {
		t.Errorf("two servers: %s and %s", startedA, startedB)
	}
	if freshA == freshB {
		t.Error("two helpers have one fresh database")
	}
	a.end(t)
	c := startHelper(t, home, "pass") // b holds the server for it
	if started, _, _ := c.server(t); started != startedA {
		t.Errorf("a second server was started at %s, the first at %s", started, startedA)
	}
	b.kill(t) // a process that is killed holds nothing
	c.end(t)
	awaitKeeper(t, home)
	mustBeGone(t, home, sharedA)
}

func TestAKilledKeeperIsReplaced(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	first := startHelper(t, home, "pass")
	startedFirst, _, _ := first.server(t)
	s, err := homeServer(home).readState()
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(s.Keeper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitKeeper(t, home)
	second := startHelper(t, home, "pass")
	startedSecond, shared, _ := second.server(t)
	if startedSecond == startedFirst {
		t.Error("the server has no keeper")
	}
	first.end(t)
	second.end(t)
	awaitKeeper(t, home)
	mustBeGone(t, home, shared)
}

func TestAFailedTestKeepsItsDatabaseAndOthersDropTheirs(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	pass, fail := startHelper(t, home, "pass"), startHelper(t, home, "fail")
	_, _, dropped := pass.server(t)
	_, _, kept := fail.server(t)
	if output := fail.end(t); !strings.Contains(output, fmt.Sprintf("psql %q", kept)) {
		t.Errorf("no psql line in %s", output)
	}
	pass.end(t)
	// No helper is left, and the server outlives them for the sake of the kept database.
	if err := ping(t.Context(), kept); err != nil {
		t.Errorf("the failed test's database: %v", err)
	}
	if err := ping(t.Context(), dropped); err == nil {
		t.Error("the passed test's database is still there")
	}
	if err := os.Remove(homeServer(home).path("kept")); err != nil {
		t.Error(err) // and the keeper would stay
	}
	awaitKeeper(t, home)
	mustBeGone(t, home, kept)
}

func TestAProcessThatUsesTheServerHoldsItsLock(t *testing.T) {
	t.Parallel()
	if os.Getenv(urlEnv) != "" {
		t.Skip("the server is not ours")
	}
	URL(t)
	runtime.GC() // a lock that is reachable from nowhere would be lost
	runtime.GC()
	dir, err := openServerDir()
	if err != nil {
		t.Fatal(err)
	}
	lock := flock.New(dir.path("users"))
	free, err := lock.TryLock()
	if err != nil {
		t.Fatal(err)
	}
	if free {
		t.Error("nobody holds the lock of the users")
	}
	if err := lock.Unlock(); err != nil {
		t.Error(err)
	}
}
