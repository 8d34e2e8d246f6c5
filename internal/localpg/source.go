package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// findEngine looks for a PostgreSQL that can run c: on PATH, in the places where packages put it,
// in the embedded distribution, and last in a container. Data that a container made stays with
// the container.
func findEngine(ctx context.Context, c *cluster) (engine, error) { //nolint:ireturn // one of two
	if _, err := os.Stat(c.path(containerMark)); err == nil {
		return findContainer(ctx, c)
	}
	var reasons []error
	for _, dir := range append(onPath(), installed()...) {
		found, err := inspect(ctx, dir, c)
		if err == nil {
			return found, nil
		}
		reasons = append(reasons, err)
	}
	fetched, err := fetchEmbedded(ctx, c)
	if err == nil {
		return fetched, nil
	}
	reasons = append(reasons, err)
	held, err := findContainer(ctx, c)
	if err == nil {
		return held, nil
	}
	reasons = append(reasons, err)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, fmt.Errorf("there is no PostgreSQL %d or later here; install one with: %s\n%w",
		OldestVersion, installCommand(), errors.Join(reasons...))
}

// onPath is the directory of the postgres on PATH, if there is one.
func onPath() []string {
	postgres, err := exec.LookPath(serverProgram)
	if err != nil {
		return nil
	}
	dir, err := filepath.Abs(filepath.Dir(postgres))
	if err != nil {
		return nil
	}
	return []string{dir}
}

// installCommand is the one command that installs PostgreSQL on this system.
func installCommand() string {
	if runtime.GOOS == "darwin" {
		return "brew install postgresql@17"
	}
	for _, c := range []struct{ tool, command string }{
		{"apt-get", "apt-get install postgresql"},
		{"dnf", "dnf install postgresql-server"},
		{"apk", "apk add postgresql"},
		{"pacman", "pacman -S postgresql"},
		{"zypper", "zypper install postgresql-server"},
		{"pkg", "pkg install postgresql17-server"},
	} {
		if _, err := exec.LookPath(c.tool); err == nil {
			return c.command
		}
	}
	return "see https://www.postgresql.org/download/"
}
