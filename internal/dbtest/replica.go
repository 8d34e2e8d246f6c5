package dbtest

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/runledger/runledger/db"
	"github.com/runledger/runledger/internal/localpg"
)

// replicatedSettings make a primary and its replica small and quick.
func replicatedSettings() map[string]string {
	return map[string]string{
		"fsync": "off", "timezone": timezone, "max_connections": "60", "shared_buffers": "32MB", "min_wal_size": "32MB",
	}
}

// Cluster starts a PostgreSQL of the test's own on this machine, migrated, that replicas can follow.
// Its database is postgres.
func Cluster(tb testing.TB) *localpg.Server {
	tb.Helper()
	server := startOwn(tb, nil)
	if _, err := db.Up(tb.Context(), server.URL("postgres")); err != nil {
		tb.Fatalf("dbtest: %v", err)
	}
	return server
}

// Replica starts a streaming replica of a server that Cluster started. Both are stopped when the test
// ends. Without pg_basebackup there can be none, and the test is skipped.
func Replica(tb testing.TB, primary *localpg.Server) *localpg.Server {
	tb.Helper()
	return startOwn(tb, primary)
}

func startOwn(tb testing.TB, primary *localpg.Server) *localpg.Server {
	tb.Helper()
	dir, err := os.MkdirTemp("", "runledger-replica-") //nolint:usetesting // its parents may shut PostgreSQL's user out
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL's user must get in
		tb.Fatal(err)
	}
	server, err := localpg.Start(tb.Context(), localpg.Options{
		Dir: filepath.Join(dir, "pg"), Primary: primary, Settings: replicatedSettings(),
		Log: slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if errors.Is(err, localpg.ErrNoStandby) {
		tb.Skipf("dbtest: %v", err)
	}
	if err != nil {
		tb.Fatalf("dbtest: %v", err)
	}
	tb.Cleanup(func() { _ = server.Stop(context.Background()) })
	return server
}
