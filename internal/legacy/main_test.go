package legacy

import (
	"context"
	_ "embed"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbtest"
)

//go:embed testdata/schema.sql
var legacySchema string

//go:embed testdata/dirt.sql
var dirt string

func TestMain(m *testing.M) { dbtest.Main(m) }

// legacyDatabase is a database as the application left it, with rows of every kind of dirt.
func legacyDatabase(t *testing.T) string {
	t.Helper()
	address := dbtest.Empty(t)
	for _, script := range []string{legacySchema, dirt} {
		run(t, address, script)
	}
	return address
}

// connect is a connection of the test's own, in the time zone of the application.
func connect(t *testing.T, address string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// run runs a script in a session of its own.
func run(t *testing.T, address, script string) {
	t.Helper()
	conn := connect(t, address)
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), script); err != nil {
		t.Fatalf("%s: %v", summarise(script), err)
	}
}

// open is a removal on the database.
func open(t *testing.T, address string, opt Options) *Removal {
	t.Helper()
	r, err := Open(t.Context(), address, t.Name(), opt, NewProgress(t.Output(), false))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// throughBackfill takes a database up to the eve of Contract.
func throughBackfill(t *testing.T, address string) *BackfillReport {
	t.Helper()
	expanding := open(t, address, Options{})
	must(t, expanding.Expand)
	expanding.Close()
	filling := open(t, address, Options{})
	defer filling.Close()
	return must(t, filling.Backfill)
}

// must runs a step and ends the test if it fails.
func must[T any](t *testing.T, step func(context.Context) (T, error)) T {
	t.Helper()
	report, err := step(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// throughContract takes a database all the way.
func throughContract(t *testing.T, address string) *ContractReport {
	t.Helper()
	throughBackfill(t, address)
	r := open(t, address, Options{})
	defer r.Close()
	return must(t, r.Contract)
}
