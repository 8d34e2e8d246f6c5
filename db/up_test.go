package db_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/runledger/runledger/db"
	"github.com/runledger/runledger/internal/dbtest"
)

func TestAMigrationThatWaitsForALongTransactionKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.Fresh(t)
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	older := stdlib.OpenDB(*config)
	t.Cleanup(func() { _ = older.Close() })
	provider, err := goose.NewProvider(goose.DialectPostgres, older, os.DirFS("migrations"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.DownTo(t.Context(), 10); err != nil { // the next drops indexes
		t.Fatal(err)
	}
	pool := dbtest.Connect(t, databaseURL)
	long, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = long.Rollback(context.WithoutCancel(t.Context())) })
	if _, err := long.Exec(t.Context(), "SELECT FROM operation_runs"); err != nil {
		t.Fatal(err)
	}
	type outcome struct {
		applied []db.Migration
		err     error
	}
	migrated := make(chan outcome, 1)
	go func() {
		applied, err := db.Up(t.Context(), databaseURL)
		migrated <- outcome{applied, err}
	}()
	dbtest.Await(t, pool, "EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%DROP INDEX%')")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := pool.Exec(ctx, "SELECT FROM operation_runs"); err != nil {
		t.Errorf("a reader behind the migration: %v", err)
	}
	if err := long.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := <-migrated
	if got.err != nil || len(got.applied) != int(db.LatestVersion()-10) {
		t.Errorf("applied %+v, error %v", got.applied, got.err)
	}
}
