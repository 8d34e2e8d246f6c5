//go:build unix

package localpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// stopOrphan ends a server that a killed process left on the cluster's data. The caller holds the
// directory's lock, so nobody alive needs that server.
func stopOrphan(ctx context.Context, c *cluster) error {
	file := c.path("data/postmaster.pid")
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 1 || !runsOn(ctx, pid, c.path("data")) {
		// The process is gone, or its id has become somebody else's, which PostgreSQL would
		// take for a server that still runs.
		return os.Remove(file)
	}
	c.log.Warn("stopping a PostgreSQL that a killed process left running", "pid", pid)
	for _, step := range []struct {
		signal syscall.Signal
		grace  time.Duration
	}{{syscall.SIGINT, fastGrace}, {syscall.SIGQUIT, immediateGrace}, {syscall.SIGKILL, immediateGrace}} {
		if err := syscall.Kill(pid, step.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop the orphaned PostgreSQL %d: %w", pid, err)
		}
		if awaitEnd(ctx, pid, step.grace) {
			return nil
		}
	}
	return fmt.Errorf("the orphaned PostgreSQL %d does not end", pid)
}

// runsOn reports whether process pid is a server on the data directory.
func runsOn(ctx context.Context, pid int, data string) bool {
	if !alive(pid) {
		return false
	}
	// A server's working directory is its data directory.
	if cwd, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "cwd")); err == nil {
		resolved, err := filepath.EvalSymlinks(data)
		return err == nil && cwd == resolved
	}
	out, err := exec.CommandContext(ctx, "ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output() //nolint:gosec // a number
	return err == nil && bytes.Contains(out, []byte("-D "+data))
}

// alive reports whether there is a process pid.
func alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// awaitEnd waits for the end of a process that is no child of ours.
func awaitEnd(ctx context.Context, pid int, grace time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for alive(pid) {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}
