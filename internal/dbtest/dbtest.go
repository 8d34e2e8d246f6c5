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
	"context"
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
func Main(m *testing.M, options ...goleak.Option) {
	if os.Getenv(keeperEnv) != "" {
		os.Exit(keep(os.Getenv(keeperEnv)))
	}
	inMain = true
	goleak.VerifyTestMain(m, options...)
}

// URL is the address of the one migrated database that all tests share.
func URL(t testing.TB) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), setupTimeout)
	defer cancel()
	url, err := sharedURL(ctx)
	if err != nil {
		t.Fatalf("dbtest: %v", err)
	}
	return url
}

// Pool is connected to the one migrated database that all tests share. It is closed when the
// test ends.
func Pool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return Connect(t, URL(t))
}

// Connect is a pool on a database, closed when the test ends.
func Connect(t testing.TB, databaseURL string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), databaseURL)
	if err != nil {
		t.Fatalf("dbtest: %v", err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// Fresh is the address of a migrated database of the test's own. It is dropped when the test
// ends, or kept for a look if the test failed.
func Fresh(t testing.TB) string {
	t.Helper()
	return newDatabase(t, true)
}

// Empty is Fresh without any schema.
func Empty(t testing.TB) string {
	t.Helper()
	return newDatabase(t, false)
}
