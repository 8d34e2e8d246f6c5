package faults

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// figures tells whether the tests are to hold the server to its figures as well: within how long it
// notices an outage and gets over it. They are only a fair question on a machine that has nothing
// else to do.
func figures() bool { return os.Getenv("RUNLEDGER_TEST_FIGURES") == "1" }

const (
	noticed   = time.Second     // the longest until /readyz is 503
	recovered = 3 * time.Second // the longest from the database's return until a good answer
)

// outage is a way in which the database fails a server.
type outage struct {
	name   string
	begin  func(t *testing.T, s *system)
	during func(t *testing.T, s *system) // is done every 200 ms; nil for nothing
	end    func(t *testing.T, s *system)
	// landed is how often the fault is known to have hit something.
	landed func() int64
	// unready says that the server can do nothing meanwhile, and that /readyz is to tell.
	unready bool
	// refuses says that writes are answered by 503 meanwhile.
	refuses bool
}

// outages are all of them. What they count and hold belongs to one test.
func outages(t *testing.T, s *system) []outage {
	t.Helper()
	return []outage{
		backendsTerminated(), databaseStopped(),
		{
			name: "network cut", unready: true, refuses: true,
			begin: func(*testing.T, *system) { s.back.hold() }, end: func(*testing.T, *system) { s.back.resume() },
			landed: s.back.stopped.Load,
		},
		{
			name:  "network slow",
			begin: func(*testing.T, *system) { s.back.lag.Store(int64(20 * time.Millisecond)) },
			end:   func(*testing.T, *system) { s.back.lag.Store(0) }, landed: s.back.lagged.Load,
		},
		{
			name:  "network lossy",
			begin: func(*testing.T, *system) { s.back.oneIn.Store(20) },
			end:   func(*testing.T, *system) { s.back.oneIn.Store(0) }, landed: s.back.dropped.Load,
		},
		slotsUsedUp(), diskFull(), readOnly(s),
	}
}

func backendsTerminated() outage {
	var landed atomic.Int64
	return outage{
		name: "backends terminated", begin: func(*testing.T, *system) {}, end: func(*testing.T, *system) {}, landed: landed.Load,
		during: func(t *testing.T, s *system) {
			t.Helper()
			var n int64
			if err := s.onDatabase(t, func(ctx context.Context, conn *pgx.Conn) error {
				return conn.QueryRow(ctx, `SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
					WHERE application_name LIKE 'runledger%'`).Scan(&n)
			}); err != nil {
				t.Error(err)
			}
			landed.Add(n)
		},
	}
}

func databaseStopped() outage {
	var landed atomic.Int64
	return outage{
		name: "database stopped at once", unready: true, refuses: true, landed: landed.Load,
		begin: func(_ *testing.T, s *system) {
			s.postgres.Kill()
			landed.Add(1)
		},
		end: func(t *testing.T, s *system) {
			t.Helper()
			if err := s.postgres.Restart(context.Background()); err != nil {
				t.Fatal(err)
			}
		},
	}
}

// slotsUsedUp is somebody else who takes every connection that the database has.
func slotsUsedUp() outage {
	var landed atomic.Int64
	var taken []*pgx.Conn
	return outage{
		name: "connection slots used up", unready: true, refuses: true, landed: landed.Load,
		begin: func(t *testing.T, s *system) {
			t.Helper()
			// The server's connections are closed meanwhile and it opens others, so that the slots
			// are not used up until there are none for it.
			keeper := s.connect(t)
			taken = append(taken, keeper)
			for full := false; !full; {
				conn, err := pgx.Connect(t.Context(), s.postgres.URL("postgres"))
				if err == nil {
					taken = append(taken, conn)
					continue
				}
				if code := sqlState(err); code != "53300" {
					t.Fatalf("what is to use the slots up is refused as %q: %v", code, err)
				}
				landed.Add(1)
				var closed int
				if err := keeper.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
					WHERE application_name LIKE 'runledger%'`).Scan(&closed); err != nil {
					t.Fatal(err)
				}
				full = closed == 0
			}
		},
		end: func(t *testing.T, _ *system) {
			t.Helper()
			for _, conn := range taken {
				if err := conn.Close(context.Background()); err != nil {
					t.Error(err)
				}
			}
			taken = nil
		},
	}
}

// diskFull moves the runs to a small file system and fills the rest of it.
func diskFull() outage {
	var landed atomic.Int64
	const move = `ALTER TABLE operation_runs SET TABLESPACE `
	return outage{
		name: "disk full", refuses: true, landed: landed.Load,
		begin: func(t *testing.T, s *system) {
			t.Helper()
			dir := smallFileSystem(t, s)
			err := s.onDatabase(t, func(ctx context.Context, conn *pgx.Conn) error {
				for _, statement := range []string{
					"CREATE TABLESPACE small LOCATION '" + dir + "'", move + "small",
					"CREATE TABLE filler (t text) TABLESPACE small", "ALTER TABLE filler ALTER COLUMN t SET STORAGE PLAIN",
				} {
					if _, err := conn.Exec(ctx, statement); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			s.fill(t, &landed)
		},
		during: func(t *testing.T, s *system) { s.fill(t, &landed) },
		end: func(t *testing.T, s *system) {
			t.Helper()
			if err := s.onDatabase(t, func(ctx context.Context, conn *pgx.Conn) error {
				for _, statement := range []string{"DROP TABLE filler", move + "pg_default", "DROP TABLESPACE small"} {
					if _, err := conn.Exec(ctx, statement); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		},
	}
}

// fill writes until the disk is full, and a last page into what is left of the runs' own.
func (s *system) fill(t *testing.T, landed *atomic.Int64) {
	t.Helper()
	err := s.onDatabase(t, func(ctx context.Context, conn *pgx.Conn) error {
		for {
			if _, err := conn.Exec(ctx, "INSERT INTO filler SELECT repeat('x', 7000) FROM generate_series(1, 16)"); err != nil {
				if _, err := conn.Exec(ctx, "INSERT INTO filler SELECT repeat('x', 7000)"); err != nil {
					return err
				}
			}
		}
	})
	if code := sqlState(err); code != "53100" {
		t.Fatalf("a full disk is %q: %v", code, err)
	}
	landed.Add(1)
}

// smallFileSystem is a directory of PostgreSQL's user on a file system of a few megabytes. The test
// is skipped where there is no right to make one.
func smallFileSystem(t *testing.T, s *system) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "runledger-full-") //nolint:usetesting // its parents may shut PostgreSQL's user out
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := mountSmall(dir); err != nil {
		t.Skipf("a full disk wants a small file system, which this user may not mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unmount(dir); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	space := filepath.Join(dir, "space")
	if err := os.Mkdir(space, 0o700); err != nil {
		t.Fatal(err)
	}
	var data string
	if err := s.onDatabase(t, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SHOW data_directory").Scan(&data)
	}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(data)
	if err != nil {
		t.Skipf("PostgreSQL's files are not on this machine: %v", err)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		for _, path := range []string{dir, space} {
			if err := os.Chown(path, int(owner.Uid), int(owner.Gid)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return space
}

// readOnly is a primary that takes no writes any more, as one does before it is demoted.
func readOnly(s *system) outage {
	set := func(t *testing.T, value string) {
		t.Helper()
		if err := s.onDatabase(t, func(ctx context.Context, conn *pgx.Conn) error {
			for _, statement := range []string{"ALTER SYSTEM SET default_transaction_read_only = " + value, "SELECT pg_reload_conf()"} {
				if _, err := conn.Exec(ctx, statement); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	var landed atomic.Int64
	return outage{
		name: "primary read-only", unready: true, refuses: true, landed: landed.Load,
		begin: func(t *testing.T, _ *system) {
			t.Helper()
			set(t, "on")
			await(t, "the database to be read-only", func() bool {
				err := s.onDatabase(t, func(ctx context.Context, conn *pgx.Conn) error {
					_, err := conn.Exec(ctx, "CREATE TABLE never ()")
					return err
				})
				return sqlState(err) == "25006"
			})
			landed.Add(1)
		},
		end: func(t *testing.T, _ *system) {
			t.Helper()
			set(t, "off")
		},
	}
}

// sqlState is the SQLSTATE of an error, empty if it is not PostgreSQL's.
func sqlState(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code
	}
	return ""
}

// connect is a connection to the database around the wires.
func (s *system) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), s.postgres.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// onDatabase does something on a connection of its own, so that no fault is in its way.
func (s *system) onDatabase(t *testing.T, do func(context.Context, *pgx.Conn) error) error {
	t.Helper()
	conn := s.connect(t)
	defer func() { _ = conn.Close(context.Background()) }()
	return do(context.Background(), conn)
}

func TestAnOutageOfTheDatabaseIsAnsweredBy503AndPassesByItself(t *testing.T) { //nolint:tparallel // the outages share a server, one after another
	t.Parallel()
	s := newSystem(t, map[string]string{"max_connections": "30"})
	warm := newLoad(t, s, s.front.addr())
	await(t, "good answers", func() bool { return warm.goodSince(time.Time{}) > 300 })
	warm.end()
	before := s.holdings(t)
	for _, o := range outages(t, s) {
		t.Run(o.name, func(t *testing.T) { o.try(t, s, before) }) //nolint:paralleltest // they share a server, one after another
	}
}

// try lets an outage happen under load.
func (o outage) try(t *testing.T, s *system, before holdings) {
	others := newOthers(t, s, s.front.addr())
	l, w := newLoad(t, s, s.front.addr()), newWatch(t, s)
	others.join(t, l)
	await(t, "good answers", func() bool { return l.goodSince(time.Time{}) > 30 && others.servedSince(time.Time{}) })

	refusedBefore, began := l.refused(), time.Now()
	o.begin(t, s)
	holds := time.Now()
	o.last(t, s, holds)
	if o.unready {
		await(t, "/readyz to be 503", func() bool { _, told := w.turned(false, began); return told })
	}
	if o.refuses {
		await(t, "writes to be refused", func() bool { return l.refused() > refusedBefore })
	}
	o.end(t, s)
	back := time.Now()
	await(t, "a good answer", func() bool { _, came := l.firstGood(back); return came })
	await(t, "/readyz to be 200", func() bool { _, told := w.turned(true, back); return told })
	enough := time.Now()
	await(t, "good answers to everything", func() bool { return l.goodSince(enough) > 30 && others.servedSince(enough) })
	l.end()
	others.wantServed(t)
	w.end()

	landed, refused := o.landed(), l.refused()-refusedBefore
	unready, told := w.turned(false, holds)
	good, _ := l.firstGood(back)
	ready, _ := w.turned(true, back)
	t.Logf("%d faults landed, %d requests refused, %d good answers meanwhile; back after %s (a good answer) and %s (/readyz)",
		landed, refused, l.goodSince(holds)-l.goodSince(back), good.Sub(back), ready.Sub(back))
	if told {
		t.Logf("/readyz is 503 after %s", unready.Sub(holds))
	}
	if landed == 0 {
		t.Error("no fault has landed")
	}
	if n := l.cut.Load(); n > 0 {
		t.Errorf("%d requests have no answer, though nothing was wrong between the server and its clients", n)
	}
	if figures() && o.unready && unready.Sub(holds) > noticed {
		t.Errorf("/readyz is 503 after %s only", unready.Sub(holds))
	}
	if figures() && good.Sub(back) > recovered {
		t.Errorf("the first good answer comes %s after the database's return", good.Sub(back))
	}
	w.wantAlive(t)
	pool := s.pool(t)
	l.wantKept(t, pool, s.workspace.ID)
	wantEventsOfAllRuns(t, pool)
	s.awaitHoldings(t, before)
}

// last lets the outage last for as long as the tests' size says.
func (o outage) last(t *testing.T, s *system, since time.Time) {
	t.Helper()
	const always = 1500 // milliseconds
	long := time.Duration(scale(t, "RUNLEDGER_TEST_OUTAGE_MS", always)) * time.Millisecond
	if o.during != nil && figures() {
		long *= 6 // a minute, where an outage lasts ten seconds
	}
	const every = 200 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	for time.Since(since) < long {
		if o.during != nil {
			o.during(t, s)
		}
		<-tick.C
	}
}
