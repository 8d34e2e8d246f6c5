package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// occupied is an address that somebody listens on until the test ends.
func occupied(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

func TestDevSaysWhichFlagToChange(t *testing.T) {
	t.Parallel()
	taken := occupied(t)
	for _, c := range []struct {
		line        string
		environ     []string
		code        int
		says, never string
	}{
		{"dev --addr " + taken, nil, exitFailure, "--addr to another address", "RUNLEDGER_"},
		{"dev --addr " + taken, nil, exitFailure, "Is another one running?", "--admin-addr"},
		{"dev --addr 127.0.0.1:0 --admin-addr " + taken, nil, exitFailure, "--admin-addr to another address", "Is another one running?"},
		{"dev --addr 127.0.0.1:0", []string{"RUNLEDGER_ADMIN_ADDR=" + taken}, exitFailure, "--admin-addr to another address", "Is another one running?"},
		{"dev --admin-addr 127.0.0.1:0", []string{"RUNLEDGER_ADDR=" + taken}, exitFailure, "--addr to another address", "--admin-addr"},
		{"dev --addr nonsense", nil, exitUsage, `--addr wants host:port`, "RUNLEDGER_"},
		{"dev --addr :99999 --admin-addr nonsense", nil, exitUsage, `--admin-addr wants host:port`, "cannot listen"},
	} {
		code, _, stderr := command(t, c.environ, append(strings.Fields(c.line), "--data-dir", t.TempDir())...)
		if code != c.code || !strings.Contains(stderr, c.says) || strings.Contains(stderr, c.never) {
			t.Errorf("runledger %s exits with %d: %s", c.line, code, stderr)
		}
	}
}

func TestDevTakesAFreePortWhereTheUsualOneForMetricsIsTaken(t *testing.T) {
	t.Parallel()
	d := devAddresses{public: "127.0.0.1:0", admin: occupied(t)}
	public, admin, err := d.listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if admin.Addr().String() == d.admin {
		t.Errorf("metrics are served on %s, which is taken", admin.Addr())
	}
	_, _ = public.Close(), admin.Close()
}

func TestDevEndsWhereItsPostgreSQLDoes(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "runledger-dev-test-") //nolint:usetesting // its parents may shut out the user that PostgreSQL runs as
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // that user must get in
		t.Fatal(err)
	}
	data := filepath.Join(dir, "pg")
	told, stderr := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- run(t.Context(), []string{"dev", "--addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--data-dir", data}, nil, io.Discard, stderr)
		_ = stderr.Close()
	}()
	var last string
	for lines := bufio.NewScanner(told); lines.Scan(); last += lines.Text() + "\n" {
		if !strings.Contains(lines.Text(), "bringing the schema up to date") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(data, "data", "postmaster.pid"))
		first, _, _ := strings.Cut(string(text), "\n")
		pid, notOne := strconv.Atoi(first)
		if err := errors.Join(err, notOne); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	if code := <-ended; code != exitFailure || !strings.Contains(last, "the private PostgreSQL has ended by itself") {
		t.Errorf("dev exits with %d: %s", code, last)
	}
}

func TestTheHelpOfDevNamesBothPorts(t *testing.T) {
	t.Parallel()
	help := does(t, nil, "dev", "--help")
	for _, wanted := range []string{"--addr", "--admin-addr", "127.0.0.1:8080", "127.0.0.1:9090"} {
		if !strings.Contains(help, wanted) {
			t.Errorf("no %s in %s", wanted, help)
		}
	}
	if c, err := readConfig(nil); err != nil || c.AdminAddr != usualAdminAddr || c.Addr != usualAddr {
		t.Errorf("a server listens on %s and %s, dev takes it for %s and %s: %v", c.Addr, c.AdminAddr, usualAddr, usualAdminAddr, err)
	}
}
