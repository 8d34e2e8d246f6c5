package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/db"
	"github.com/runledger/runledger/internal/localpg"
	"github.com/runledger/runledger/internal/seed"
)

// The sizes of the databases; the one in the middle is an option.
const (
	small = 10_000
	huge  = 10_000_000
)

// bench is what the sections measure with: a PostgreSQL with seeded databases and a built server.
type bench struct {
	options

	pg      *localpg.Server
	running *url.URL // of the PostgreSQL that is used in its place, if there is one
	sizes   []int    // how many runs there are in each database
	binary  string
	source  source
	dir     string // for what is not kept
}

// defaultDataDir is a place that PostgreSQL's user can reach when root starts it, the user's own
// cache otherwise.
func defaultDataDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/runledger/bench"
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	return filepath.Join(cache, "runledger", "bench")
}

// newBench starts PostgreSQL, fills what is not filled yet, and builds the server.
func newBench(ctx context.Context, o options) (_ *bench, err error) {
	b := &bench{options: o, sizes: []int{small, o.middle}}
	if o.only == "writes" {
		b.sizes = b.sizes[:1] // the rest would be filled for nothing
	}
	if o.large {
		b.sizes = append(b.sizes, huge)
	}
	if o.database != "" {
		note("measuring the database that was named")
		return b, b.build(ctx)
	}
	autovacuum := "off" // nothing but what is measured takes CPU time
	if o.soakFor > 0 {
		autovacuum, b.sizes = "on", []int{o.middle} // as in life
	}
	if b.running, err = runningPostgres(o); err != nil {
		return nil, err
	}
	if b.running == nil {
		if b.pg, err = startPostgres(ctx, o, autovacuum); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	for _, size := range b.sizes {
		if err := b.fill(ctx, size); err != nil {
			return nil, fmt.Errorf("seed %d runs: %w", size, err)
		}
	}
	return b, b.build(ctx)
}

// build builds the server, and notes of what.
func (b *bench) build(ctx context.Context) (err error) {
	if b.source, err = findSource(ctx, b.document); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "runledger-bench-"); err != nil {
		return err
	}
	b.binary = filepath.Join(b.dir, "runledger")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.binary, "./cmd/runledger")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the server: %w\n%s", err, out)
	}
	return nil
}

// runningPostgres is the PostgreSQL that BENCH_POSTGRES names, nil for none. What is measured needs
// settings and processes of a private one, a soak does not.
func runningPostgres(o options) (*url.URL, error) {
	given := os.Getenv("BENCH_POSTGRES")
	if given == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	if o.soakFor == 0 {
		return nil, errors.New("BENCH_POSTGRES is for -soak alone")
	}
	at, err := url.Parse(given)
	if err != nil {
		return nil, errors.New("BENCH_POSTGRES is not an address") // and not said, it may hold a password
	}
	return at, nil
}

// startPostgres starts a private PostgreSQL.
func startPostgres(ctx context.Context, o options, autovacuum string) (*localpg.Server, error) {
	note("starting a private PostgreSQL in %s", o.dataDir)
	return localpg.Start(ctx, localpg.Options{Dir: o.dataDir, Fresh: o.fresh, Settings: map[string]string{
		"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "1h",
		"fsync":      "off", // the data can be made again, and no read waits for the disk
		"autovacuum": autovacuum,
		"jit":        "off", // as a plan's cost is below its threshold in life
	}})
}

func (b *bench) close() error {
	var removed error
	if b.dir != "" {
		removed = os.RemoveAll(b.dir)
	}
	if b.pg == nil { // not ours to stop
		return removed
	}
	return errors.Join(removed, b.pg.Stop(context.Background()))
}

func databaseName(size int) string { return fmt.Sprintf("runs_%d", size) }

// databaseURL is the address of a database on the PostgreSQL that is used.
func (b *bench) databaseURL(name string) string {
	if b.pg == nil {
		at := *b.running
		at.Path = "/" + name
		return at.String()
	}
	return b.pg.URL(name)
}

// url is the address of the database of a size, or of the one that was named.
func (b *bench) url(size int) string {
	if b.database != "" {
		return b.database
	}
	return b.databaseURL(databaseName(size))
}

// fill makes the database of a size, unless it is there, and brings its schema up to date. A
// database has its name only once it is whole.
func (b *bench) fill(ctx context.Context, size int) error {
	name, unfinished := databaseName(size), databaseName(size)+"_unfinished"
	admin, err := pgx.Connect(ctx, b.databaseURL("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = admin.Close(context.WithoutCancel(ctx)) }()
	var there bool
	if err := admin.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&there); err != nil {
		return err
	}
	if there {
		_, err := db.Up(ctx, b.databaseURL(name))
		return err
	}
	for _, statement := range []string{"DROP DATABASE IF EXISTS " + unfinished, "CREATE DATABASE " + unfinished} {
		if _, err := admin.Exec(ctx, statement); err != nil {
			return err
		}
	}
	if err := seedDatabase(ctx, b.databaseURL(unfinished), size); err != nil {
		return err
	}
	_, err = admin.Exec(ctx, "ALTER DATABASE "+unfinished+" RENAME TO "+name)
	return err
}

// seedDatabase fills an empty database with the same data each time.
func seedDatabase(ctx context.Context, databaseURL string, size int) error {
	if _, err := db.Up(ctx, databaseURL); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	last := time.Now()
	_, err = seed.Run(ctx, conn, seed.Options{
		Workspaces: 20, Runs: size, Seed: 1, Until: time.Date(2026, time.June, 1, 0, 0, 0, 0, time.UTC),
	}, func(done, total int) {
		if time.Since(last) > 10*time.Second {
			last = time.Now()
			note("seeding %d runs: %d %%", size, 100*done/total)
		}
	})
	return err
}

// place is what is asked for: the workspace with the most runs, by one of its members, and the
// schedule in it with the longest history.
type place struct {
	workspaceID int64
	scheduleID  int64
	subject     string
}

// runs is the address of the list of runs.
func (p place) runs() string { return fmt.Sprintf("/workspaces/%d/operation-runs", p.workspaceID) }

// history is the address of the schedule's history.
func (p place) history() string {
	return fmt.Sprintf("/workspaces/%d/backup-schedules/%d/runs", p.workspaceID, p.scheduleID)
}

func findPlace(ctx context.Context, databaseURL string) (place, error) {
	var p place
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return p, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	err = conn.QueryRow(ctx, `
		SELECT m.workspace_id, u.subject, (
			SELECT context ->> 'backup_schedule_id' FROM operation_runs AS r
			WHERE r.workspace_id = m.workspace_id AND r.context ->> 'backup_schedule_id' IS NOT NULL
			  AND r.type IN ('backup_schedule_run', 'backup_schedule_retention', 'backup_schedule_purge')
			GROUP BY 1 ORDER BY count(*) DESC LIMIT 1)::bigint
		FROM workspace_memberships AS m JOIN users AS u ON u.id = m.user_id
		WHERE u.subject IS NOT NULL AND m.workspace_id =
			(SELECT workspace_id FROM operation_runs GROUP BY workspace_id ORDER BY count(*) DESC LIMIT 1)
		ORDER BY u.id LIMIT 1`).Scan(&p.workspaceID, &p.subject, &p.scheduleID)
	return p, err
}

// postgresVersion is the version of the server, as it calls itself.
func (b *bench) postgresVersion(ctx context.Context) (string, error) {
	conn, err := pgx.Connect(ctx, b.url(small))
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var version string
	err = conn.QueryRow(ctx, "SHOW server_version").Scan(&version)
	version, _, _ = strings.Cut(version, " ")
	return version, err
}
