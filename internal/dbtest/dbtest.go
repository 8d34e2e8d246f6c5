// Package dbtest gives tests real databases. One PostgreSQL serves a whole run of go test,
// however many test binaries it consists of, and goes away after the last of them.
//
// The server is that of RUNLEDGER_TEST_DATABASE_URL if it is set, else a container, else a
// PostgreSQL of this machine; RUNLEDGER_TEST_POSTGRES=container or =local forces one of the two.
//
// A package's tests need
//
//	func TestMain(m *testing.M) { dbtest.Main(m) }
//
// and then Pool for the one database that all tests share, each in a workspace of its own from
// NewWorkspace, or Fresh for a database of the test's own.
package dbtest

import (
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"
)

// setupTimeout is how long a test waits for its database: the first of a run may have to wait for
// the pull of an image.
const setupTimeout = 5 * time.Minute

// inMain tells that TestMain handed over to Main, without which a keeper cannot be started.
var inMain bool

// Main runs the tests of a package, fails them if a goroutine outlives them, and exits. It does
// not return. Further options say which goroutines are nobody's fault.
func Main(m goleak.TestingM, options ...goleak.Option) {
	if os.Getenv(keeperEnv) != "" {
		os.Exit(keep())
	}
	inMain = true
	goleak.VerifyTestMain(m, options...)
}

// URL is the address of the one migrated database that all tests share.
func URL(tb testing.TB) string {
	tb.Helper()
	databaseURL, err := sharedURL()
	if err != nil {
		tb.Fatalf("dbtest: %v", err)
	}
	return databaseURL
}

// Pool is connected to the one migrated database that all tests share. It is closed when the
// test ends.
func Pool(tb testing.TB) *pgxpool.Pool {
	tb.Helper()
	return Connect(tb, URL(tb))
}

// Connect is a pool on a database, closed when the test ends.
func Connect(tb testing.TB, databaseURL string) *pgxpool.Pool {
	tb.Helper()
	pool, err := pgxpool.New(tb.Context(), databaseURL)
	if err != nil {
		tb.Fatalf("dbtest: %v", err)
	}
	tb.Cleanup(func() { closePool(tb, pool) })
	return pool
}

// closePool waits until every connection is given back, but not for ever for those that a test which
// failed has kept: its failure is to be told.
func closePool(tb testing.TB, pool *pgxpool.Pool) {
	tb.Helper()
	const patience = time.Minute
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		pool.Close()
	}()
	select {
	case <-closed:
	case <-time.After(patience):
		tb.Errorf("dbtest: connections are in use after the test")
	}
}

// ApplicationPool is Pool with the rights that [db.Grant] gives to servers, and no others. A server
// under test takes it, so that a statement which wants more is found by the test of its route.
func ApplicationPool(tb testing.TB) *pgxpool.Pool {
	tb.Helper()
	config, err := pgxpool.ParseConfig(URL(tb))
	if err != nil {
		tb.Fatalf("dbtest: %v", err)
	}
	config.ConnConfig.RuntimeParams["role"] = applicationRole
	pool, err := pgxpool.NewWithConfig(tb.Context(), config)
	if err != nil {
		tb.Fatalf("dbtest: %v", err)
	}
	tb.Cleanup(pool.Close)
	return pool
}

// Fresh is the address of a migrated database of the test's own. It is dropped when the test
// ends, or kept for a look if the test failed.
func Fresh(tb testing.TB) string {
	tb.Helper()
	if err := ensureDatabases(); err != nil {
		tb.Fatalf("dbtest: %v", err)
	}
	return newDatabase(tb, templateName())
}

// Empty is Fresh without any schema.
func Empty(tb testing.TB) string {
	tb.Helper()
	return newDatabase(tb, "template0")
}
