package legacy

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/internal/dbtest"
)

// wholeRoadEnv makes TestWholeRoadProcess a process of its own that takes a database all the way.
const wholeRoadEnv = "RUNLEDGER_LEGACY_TEST_DATABASE"

// TestWholeRoadProcess is not a test but what TestKilledAtAnyPoint kills.
func TestWholeRoadProcess(t *testing.T) {
	address := os.Getenv(wholeRoadEnv)
	if address == "" {
		t.Skip("it is started by another test")
	}
	if err := wholeRoad(t.Context(), address); err != nil {
		t.Fatal(err)
	}
}

// wholeRoad runs the steps one after another, in batches so small that there are many.
func wholeRoad(ctx context.Context, address string) error {
	opt := Options{BatchDuration: time.Millisecond, Patience: time.Minute}
	for _, step := range []func(*Removal) error{
		func(r *Removal) error { _, err := r.Expand(ctx); return err },
		func(r *Removal) error { _, err := r.Backfill(ctx); return err },
		func(r *Removal) error { _, err := r.Contract(ctx); return err },
	} {
		r, err := Open(ctx, address, "killed", opt, nil)
		if err != nil {
			return err
		}
		err = step(r)
		r.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// fingerprint is every row of every table, hashed by table, but for what tells the time.
func fingerprint(t *testing.T, address string) map[string]string {
	t.Helper()
	conn := connect(t, address)
	prints := map[string]string{}
	rows, err := conn.Query(t.Context(), `
		SELECT c.oid::regclass::text, string_agg(quote_ident(a.attname), ', ' ORDER BY a.attname)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND c.relkind = 'r'
		  AND a.attname NOT IN ('contracted_at', 'tstamp') AND (c.relname, a.attname) NOT IN (
		      ('operation_types', 'created_at'), ('operation_types', 'updated_at'), ('workspaces', 'created_at'), ('workspaces', 'updated_at'))
		GROUP BY c.oid ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	queries := map[string]string{}
	for rows.Next() {
		var name, columns string
		if err := rows.Scan(&name, &columns); err != nil {
			t.Fatal(err)
		}
		queries[name] = fmt.Sprintf("SELECT count(*) || ' ' || coalesce(md5(string_agg(r::text, '|' ORDER BY r::text)), '') FROM (SELECT %s FROM %s) AS r", columns, name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for name, query := range queries {
		var sum string
		if err := conn.QueryRow(t.Context(), query).Scan(&sum); err != nil {
			t.Fatal(err)
		}
		prints[name] = sum
	}
	for name, table := range describe(t, address) {
		prints["schema of "+name] = strings.Join(lines(table, table, ""), "\n")
	}
	return prints
}

// mediumDatabase has enough rows for many batches.
func mediumDatabase(t *testing.T, runs int) string {
	t.Helper()
	address := dbtest.Empty(t)
	run(t, address, legacySchema)
	run(t, address, fmt.Sprintf(large, runs))
	return address
}

func TestKilledAtAnyPoint(t *testing.T) {
	t.Parallel()
	kills, err := strconv.Atoi(cmp.Or(os.Getenv("RUNLEDGER_LEGACY_KILLS"), "4"))
	if err != nil {
		t.Fatal(err)
	}
	undisturbed := mediumDatabase(t, 3000)
	began := time.Now()
	if err := wholeRoad(t.Context(), undisturbed); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(began)
	want := fingerprint(t, undisturbed)
	const each = 4 // kills of one database before it is let through
	for landed := 0; landed < kills; {
		address := mediumDatabase(t, 3000)
		for range each {
			if killed(t, address, time.Duration(rand.Int64N(int64(whole)))) {
				landed++
			}
		}
		if err := wholeRoad(t.Context(), address); err != nil {
			t.Fatalf("after %d kills: %v", landed, err)
		}
		if diff := gocmp.Diff(want, fingerprint(t, address)); diff != "" {
			t.Fatalf("after %d kills, undisturbed (-) and killed (+):\n%s", landed, diff)
		}
	}
}

// killed starts the whole road in a process of its own, kills it after a while, and tells whether it
// was at work still.
func killed(t *testing.T, address string, after time.Duration) bool {
	t.Helper()
	process := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWholeRoadProcess$", "-test.count=1")
	process.Env = append(os.Environ(), wholeRoadEnv+"="+address)
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(after+100*time.Millisecond, func() { _ = process.Process.Kill() })
	defer timer.Stop()
	err := process.Wait()
	return err != nil && process.ProcessState.ExitCode() == -1
}

// The last indexes before contract's commit may refuse what the application writes.
func TestStatusTellsOfIndexesThatAKilledContractLeft(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	throughBackfill(t, address)
	r := open(t, address, Options{})
	if got := must(t, r.Status); len(got.Refusing) > 0 {
		t.Errorf("before contract: %q", got.Refusing)
	}
	if err := r.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.buildRefusing(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Close() // killed here
	r = open(t, address, Options{PrepareOnly: true})
	if got := must(t, r.Status); len(got.Refusing) == 0 || !strings.Contains(got.Next, "--prepare-only") {
		t.Errorf("after it was killed: %q, next %s", got.Refusing, got.Next)
	}
	held, err := connect(t, address).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := held.Exec(t.Context(), "LOCK TABLE operation_runs, findings IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	must(t, r.Status) // waits for nobody
	if err := held.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	must(t, r.Contract)
	if got := must(t, r.Status); len(got.Refusing) > 0 {
		t.Errorf("after the preparation: %q", got.Refusing)
	}
}

func TestAKilledAttemptDoesNotShowInTheWorkspaceID(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	r := open(t, address, Options{})
	// As a load of rows with their ids leaves it.
	run(t, address, "SELECT setval('workspaces_id_seq', 1, false)")
	var first, second int64
	for _, id := range []*int64{&first, &second} {
		tx, err := r.conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if *id, err = freeWorkspaceID(t.Context(), tx); err != nil {
			t.Fatal(err)
		}
		if err := tx.Rollback(t.Context()); err != nil { // as a kill would
			t.Fatal(err)
		}
	}
	if first != second || first != 3 {
		t.Errorf("the first attempt would have had %d, the second has %d", first, second)
	}
}
