// Package db holds the schema of the database as migrations and applies them.
package db

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var embedded embed.FS

// VersionTable is where the database keeps which migrations it has.
const VersionTable = "goose_db_version"

// Migration is one step of the schema.
type Migration struct {
	Version int64  // the number its file starts with
	Name    string // its file
	Applied bool   // whether the database has it
}

// LatestVersion is the schema version that this binary knows.
func LatestVersion() int64 {
	all := known()
	return all[len(all)-1].Version
}

// known lists the migrations in this binary, in order.
func known() []Migration {
	names, err := fs.Glob(embedded, "migrations/*.sql") // sorted by name
	if err != nil {
		panic("db: " + err.Error()) // the pattern is a constant
	}
	all := make([]Migration, 0, len(names))
	for _, name := range names {
		version, err := goose.NumericComponent(name)
		if err != nil {
			panic("db: " + err.Error()) // the embedded folder is part of the binary
		}
		all = append(all, Migration{Version: version, Name: path.Base(name)})
	}
	return all
}

// Up brings the database at databaseURL to LatestVersion and returns what it applied, in order, with an
// error as well. Several processes may call it at once: one works, the others wait for it, five minutes at
// most, and find nothing left. A migration that cannot have its locks within two seconds steps back, since
// everybody else waits behind one that waits, and is tried again for ten minutes.
func Up(ctx context.Context, databaseURL string) ([]Migration, error) {
	migrations, err := fs.Sub(embedded, "migrations")
	if err != nil {
		return nil, fmt.Errorf("migrate: %w", err)
	}
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("migrate: %w", err)
	}
	config.RuntimeParams["lock_timeout"] = "2s" // longer than deadlock_timeout, after which autovacuum gives way
	sqlDB := stdlib.OpenDB(*config)
	defer func() { _ = sqlDB.Close() }()
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return nil, fmt.Errorf("migrate: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, sqlDB, migrations, goose.WithSessionLocker(locker))
	if err != nil {
		return nil, fmt.Errorf("migrate: %w", err)
	}
	const patience = 10 * time.Minute
	var applied []Migration
	for deadline := time.Now().Add(patience); ; {
		results, err := provider.Up(ctx)
		if partial, ok := errors.AsType[*goose.PartialError](err); ok {
			results = partial.Applied
		}
		for _, r := range results {
			applied = append(applied, Migration{Version: r.Source.Version, Name: r.Source.Path, Applied: true})
		}
		if err == nil {
			return applied, nil
		}
		if !isLockNotAvailable(err) || time.Now().After(deadline) {
			return applied, fmt.Errorf("migrate: %w", err)
		}
		select {
		case <-ctx.Done():
			return applied, fmt.Errorf("migrate: %w", errors.Join(err, context.Cause(ctx)))
		case <-time.After(time.Second): // in which those pass who waited behind it
		}
	}
}

// isLockNotAvailable tells whether a statement waited longer than it may for a lock.
func isLockNotAvailable(err error) bool {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	return ok && refused.Code == "55P03"
}

// Status tells of every migration that this binary knows whether the database has it.
// It changes nothing.
func Status(ctx context.Context, databaseURL string) ([]Migration, error) {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return nil, fmt.Errorf("migrate: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	current, err := Version(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("migrate: %w", err)
	}
	all := known()
	for i := range all {
		all[i].Applied = all[i].Version <= current
	}
	return all, nil
}

// Version is the schema version of the database behind conn, 0 for one that has no schema.
func Version(ctx context.Context, conn interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}) (int64, error) {
	var version int64
	err := conn.QueryRow(ctx, "SELECT coalesce(max(version_id), 0) FROM "+VersionTable+" WHERE is_applied").Scan(&version)
	const undefinedTable = "42P01"
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.Code == undefinedTable {
		return 0, nil
	}
	return version, err
}
