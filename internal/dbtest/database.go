package dbtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/db"
)

// timezone is that of every test database: an odd one, so that a test which takes local times for
// UTC fails.
const timezone = "Asia/Kathmandu"

// schemaLock is the key of the advisory lock under which the template is made.
const schemaLock = 7_205_759_403_792_793_600

// sharedURL makes sure, once in a process, that the shared database exists.
func sharedURL() (string, error) {
	if err := ensureDatabases(); err != nil {
		return "", err
	}
	admin, err := server()
	if err != nil {
		return "", err
	}
	return withDatabase(admin, sharedName())
}

// The names hold a hash of the migrations, so that an edited one makes new databases.
func templateName() string { return "runledger_template_" + db.Hash()[:16] }
func sharedName() string   { return "runledger_shared_" + db.Hash()[:16] }

// ensureDatabases makes sure, once in a process, that the migrated template and the shared
// database exist.
var ensureDatabases = sync.OnceValue(func() error {
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	return onServer(ctx, func(conn *pgx.Conn) error {
		// The lock ends with the connection.
		if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", int64(schemaLock)); err != nil {
			return err
		}
		if err := ensureTemplate(ctx, conn); err != nil {
			return fmt.Errorf("template: %w", err)
		}
		exists, err := databaseExists(ctx, conn, sharedName())
		if err != nil || exists {
			return err
		}
		return createUnderName(ctx, conn, sharedName(), templateName(), func(_, _ string) error { return nil })
	})
})

// ensureTemplate makes the migrated database that others are copied from. Nobody may connect to
// it, since a database with connections cannot be copied.
func ensureTemplate(ctx context.Context, conn *pgx.Conn) error {
	exists, err := databaseExists(ctx, conn, templateName())
	if err != nil || exists {
		return err
	}
	return createUnderName(ctx, conn, templateName(), "template0", func(name, databaseURL string) error {
		if _, err := db.Up(ctx, databaseURL); err != nil {
			return err
		}
		if err := grantApplication(ctx, conn, databaseURL); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, "ALTER DATABASE "+name+" WITH ALLOW_CONNECTIONS false")
		return err
	})
}

// applicationRole is the role of a server that tests run with no more rights than it needs.
const applicationRole = "runledger_test_application"

// grantApplication makes the role, which belongs to the whole server, and lets it use a database.
func grantApplication(ctx context.Context, conn *pgx.Conn, databaseURL string) error {
	_, err := conn.Exec(ctx, `DO $$ BEGIN
		IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '`+applicationRole+`') THEN CREATE ROLE `+applicationRole+`; END IF;
	END $$`)
	if err != nil {
		return err
	}
	return db.Grant(ctx, databaseURL, applicationRole)
}

// createUnderName makes a database and gives it its name when it is complete, so that one whose
// making was killed midway is never used.
func createUnderName(ctx context.Context, conn *pgx.Conn, name, template string, fill func(name, databaseURL string) error) error {
	unfinished := name + "_new"
	if _, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+unfinished+" WITH (FORCE)"); err != nil {
		return err
	}
	databaseURL, err := createDatabase(ctx, conn, unfinished, template)
	if err != nil {
		return err
	}
	if err := fill(unfinished, databaseURL); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "ALTER DATABASE "+unfinished+" RENAME TO "+name)
	return err
}

// createDatabase copies template and returns the URL of the copy.
func createDatabase(ctx context.Context, conn *pgx.Conn, name, template string) (string, error) {
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+name+" TEMPLATE "+template+" ENCODING 'UTF8'"); err != nil {
		return "", err
	}
	// A copy does not inherit its template's settings.
	if _, err := conn.Exec(ctx, "ALTER DATABASE "+name+" SET timezone = '"+timezone+"'"); err != nil {
		return "", err
	}
	admin, err := server()
	if err != nil {
		return "", err
	}
	return withDatabase(admin, name)
}

func databaseExists(ctx context.Context, conn *pgx.Conn, name string) (bool, error) {
	var exists bool
	err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&exists)
	return exists, err
}

// onServer runs work on a connection to the server's database for administration.
func onServer(ctx context.Context, work func(*pgx.Conn) error) error {
	admin, err := server()
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return work(conn)
}

// withDatabase is the URL of another database of the same server.
func withDatabase(admin, name string) (string, error) {
	u, err := url.Parse(admin)
	if err != nil {
		return "", errors.New(urlEnv + " is not a URL") // the error would show the password
	}
	u.Path = "/" + name
	return u.String(), nil
}

// newDatabase makes a database for a test, a copy of template.
func newDatabase(tb testing.TB, template string) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), setupTimeout)
	defer cancel()
	name := "runledger_test_" + strings.ToLower(rand.Text()[:16])
	var databaseURL string
	err := onServer(ctx, func(conn *pgx.Conn) (err error) {
		databaseURL, err = createDatabase(ctx, conn, name, template)
		return err
	})
	if err != nil {
		tb.Fatalf("dbtest: %v", err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			keepDatabase(tb, databaseURL)
			return
		}
		drop(tb, name)
	})
	return databaseURL
}

// keepDatabase leaves a failed test's database for a look.
func keepDatabase(tb testing.TB, databaseURL string) {
	tb.Helper()
	tb.Logf("dbtest: the database is kept for %s: psql %q", lingerKept, databaseURL)
	if os.Getenv(urlEnv) != "" {
		return
	}
	dir, err := openServerDir()
	if err == nil {
		err = os.WriteFile(dir.path("kept"), nil, 0o600)
	}
	if err != nil {
		tb.Logf("dbtest: the database will not be kept: %v", err)
	}
}

func drop(tb testing.TB, name string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), time.Minute)
	defer cancel()
	err := onServer(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
		return err
	})
	if err != nil {
		tb.Errorf("dbtest: drop the test's database: %v", err)
	}
}
