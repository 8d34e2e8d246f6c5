package legacy

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/db"
	"github.com/runledger/runledger/internal/dbtest"
)

// describe is the schema public as the catalog has it.
func describe(t *testing.T, address string) map[string]*table {
	t.Helper()
	conn := connect(t, address)
	var tables map[string]*table
	err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
		var err error
		tables, err = readCatalog(t.Context(), tx, "public")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tables
}

// lines writes a canonical table's description line by line, without the application's extra
// columns and what stands on them, and without the keys that its own tables refer to.
func lines(have, canonical *table, kept string) []string {
	var all []string
	extra := func(columns []string) bool {
		return slices.ContainsFunc(columns, func(c string) bool { _, ok := canonical.columns[c]; return !ok })
	}
	for _, name := range sortedKeys(have.columns) {
		if c := have.columns[name]; !extra([]string{name}) {
			all = append(all, strings.Join([]string{"column", name, c.kind, c.fallback, map[bool]string{true: "NOT NULL"}[c.notNull]}, " "))
		}
	}
	for _, name := range sortedKeys(have.indexes) {
		if !extra(have.indexes[name].columns) && name != kept {
			all = append(all, "index "+name+" "+have.indexes[name].definition)
		}
	}
	for _, name := range sortedKeys(have.constraints) {
		if !extra(have.constraints[name].columns) && name != kept {
			all = append(all, "constraint "+name+" "+have.constraints[name].definition)
		}
	}
	return all
}

func TestBothRoadsLeadToOneSchema(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	throughContract(t, address)
	contracted, canonical := describe(t, address), describe(t, dbtest.Fresh(t))
	for _, name := range tableNames(canonical) {
		if contracted[name] == nil {
			t.Errorf("no table %s", name)
			continue
		}
		// The application's own tables refer to these by the id alone.
		kept := map[string]string{"tenants": "tenants_id_key", "backup_schedules": "backup_schedules_id_key"}[name]
		if diff := cmp.Diff(lines(canonical[name], canonical[name], ""), lines(contracted[name], canonical[name], kept)); diff != "" {
			t.Errorf("%s, empty (-) and contracted (+):\n%s", name, diff)
		}
	}
	if diff := cmp.Diff(functionsAndViews(t, dbtest.Fresh(t)), functionsAndViews(t, address)); diff != "" {
		t.Errorf("functions and views, empty (-) and contracted (+):\n%s", diff)
	}
	status, err := db.Status(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range status {
		if !m.Applied {
			t.Errorf("migration %s is not applied", m.Name)
		}
	}
	if again, err := db.Up(t.Context(), address); err != nil || len(again) > 0 {
		t.Errorf("migrate up on a contracted database: %v, %v", again, err)
	}
	for _, schema := range []string{removalSchema, canonicalSchema} {
		var left bool
		if err := connect(t, address).QueryRow(t.Context(), "SELECT to_regnamespace($1) IS NOT NULL", schema).Scan(&left); err != nil || left {
			t.Errorf("schema %s is left: %v %v", schema, left, err)
		}
	}
}

// functionsAndViews are the definitions of those that the service uses.
func functionsAndViews(t *testing.T, address string) []string {
	t.Helper()
	rows, err := connect(t, address).Query(t.Context(), `
		SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname LIKE 'runledger%'
		UNION ALL SELECT relname || pg_get_viewdef(oid) FROM pg_class
		WHERE relnamespace = 'public'::regnamespace AND relname = 'workspace_members' ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	definitions, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(definitions) < 2 {
		t.Fatalf("%v, %d functions and views", err, len(definitions))
	}
	return definitions
}

func TestContractRewritesNoLargeTable(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	run(t, address, `CREATE TABLE tasks (run_id bigint REFERENCES operation_runs (id)); CREATE INDEX findings_kept ON findings (deleted_at, created_at)`)
	throughBackfill(t, address)
	prepared := open(t, address, Options{PrepareOnly: true})
	must(t, prepared.Contract)
	if err := prepared.buildRefusing(t.Context()); err != nil {
		t.Fatal(err)
	}
	prepared.Close()
	conn := connect(t, address)
	// An index may become another object, with the same file.
	files := func(afterwards bool) map[uint32]string {
		rows, err := conn.Query(t.Context(), `SELECT relfilenode, relname::text FROM pg_class
			WHERE oid IN (SELECT unnest($1::text[])::regclass UNION SELECT indexrelid FROM pg_index WHERE indrelid = ANY($1::text[]::regclass[])
			AND indexrelid::regclass::text <> 'operation_runs_active_identity_idx'
			AND indexrelid::regclass::text NOT LIKE 'operation_runs_correlation%' AND indexrelid NOT IN (SELECT to_regclass('findings_kept') WHERE $2))`,
			largeTables, afterwards)
		if err != nil {
			t.Fatal(err)
		}
		found := map[uint32]string{}
		var file uint32
		var name string
		if _, err := pgx.ForEachRow(rows, []any{&file, &name}, func() error { found[file] = name; return nil }); err != nil {
			t.Fatal(err)
		}
		return found
	}
	before := files(false)
	r := open(t, address, Options{})
	report := newContractReport()
	if err := r.swap(t.Context(), report); err != nil {
		t.Fatal(err)
	}
	for file, name := range files(false) {
		if _, ok := before[file]; !ok {
			t.Errorf("%s was rewritten", name)
		}
	}
	if err := r.finish(t.Context(), report); err != nil {
		t.Fatal(err)
	}
	for file, name := range files(true) { // what was made anew without the locks is not among them
		if _, ok := before[file]; !ok {
			t.Errorf("%s was rewritten afterwards", name)
		}
	}
	if n := one(t, address, "SELECT count(*)::text FROM pg_indexes WHERE indexname IN ('findings_kept', 'operation_runs_id_key')"); n != "2" {
		t.Errorf("%s of the application's indexes are left", n)
	}
}

func TestEveryStepSaysThatThereIsNothingToDo(t *testing.T) {
	t.Parallel()
	for state, address := range map[State]string{Empty: dbtest.Empty(t), Canonical: dbtest.Fresh(t)} {
		r := open(t, address, Options{})
		want := nothingToDo(state)
		for step, got := range map[string]string{
			"plan": must(t, r.Plan).Message, "expand": must(t, r.Expand).Message, "backfill": must(t, r.Backfill).Message,
			"verify": must(t, r.Verify).Message, "contract": must(t, r.Contract).Message,
		} {
			if got != want {
				t.Errorf("%s of a database that is %s: %q", step, state, got)
			}
		}
		if err := Refuse(t.Context(), r.conn); err != nil {
			t.Errorf("a database that is %s is refused: %v", state, err)
		}
	}
}

func TestForeignDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	address := dbtest.Empty(t)
	run(t, address, "CREATE TABLE public.songs (id bigint); CREATE TABLE public.inventory_sync_runs (id bigint)")
	r := open(t, address, Options{})
	if _, err := r.Plan(t.Context()); err != errForeign { //nolint:errorlint // it is returned as it is
		t.Errorf("plan: %v", err)
	}
	if _, err := r.Expand(t.Context()); err != errForeign { //nolint:errorlint // it is returned as it is
		t.Errorf("expand: %v", err)
	}
}

func TestStepsCanBeRunTwice(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	for _, want := range []string{"The database is expanded.", "The database was already expanded; nothing was missing."} {
		r := open(t, address, Options{})
		if got := must(t, r.Expand); got.Message != want {
			t.Errorf("expand: %q, want %q", got.Message, want)
		}
		r.Close()
	}
	for _, want := range []string{"Every row has its canonical values.", "The backfill was already done."} {
		r := open(t, address, Options{})
		if got := must(t, r.Backfill); got.Message != want {
			t.Errorf("backfill: %q, want %q", got.Message, want)
		}
		if err := Refuse(t.Context(), r.conn); err == nil || !strings.Contains(err.Error(), "runledger legacy contract") {
			t.Errorf("serving is refused with %v", err)
		}
		r.Close()
	}
	for range 2 {
		r := open(t, address, Options{})
		if got := must(t, r.Contract); got.State != Contracted {
			t.Errorf("contract: %q", got.Message)
		}
		if err := Refuse(t.Context(), r.conn); err != nil {
			t.Errorf("serving is refused with %v", err)
		}
		r.Close()
	}
}

func TestSummariesAddUp(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	plan := must(t, open(t, address, Options{}).Plan)
	report := throughBackfill(t, address)
	for _, task := range report.Tasks {
		if want := one(t, address, "SELECT count(*)::text FROM "+task.Table); strconv.FormatInt(task.Rows, 10) != want {
			t.Errorf("%s: %d rows read, want %s", task.Table, task.Rows, want)
		}
		for group, counts := range task.Results {
			var sum int64
			for _, n := range counts {
				sum += n
			}
			if sum != task.Rows {
				t.Errorf("%s.%s: %v add up to %d of %d", task.Table, group, counts, sum, task.Rows)
			}
			// What was planned is what became of the references.
			if planned := plan.Counts[task.Table+"."+group]; strings.HasSuffix(group, "run_id") && !maps.Equal(planned, counts) {
				t.Errorf("%s.%s: planned %v, done %v", task.Table, group, planned, counts)
			}
		}
	}
}
