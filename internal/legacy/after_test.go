package legacy

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

// ids runs a query of ids.
func ids(t *testing.T, address, query string, args ...any) []int64 {
	t.Helper()
	rows, err := connect(t, address).Query(t.Context(), query, args...)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// one runs a query of one value, as text.
func one(t *testing.T, address, query string) string {
	t.Helper()
	var value *string
	if err := connect(t, address).QueryRow(t.Context(), query).Scan(&value); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return text(value)
}

func TestEveryRuleHolds(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	before := connect(t, address)
	var originals string // what must be found in the archive, byte for byte
	const exact = "SELECT string_agg(md5(id || type || coalesce(context::text, 'null') || coalesce(failure_summary::text, 'null') || run_identity_hash), '' ORDER BY id) FROM "
	if err := before.QueryRow(t.Context(), exact+"operation_runs").Scan(&originals); err != nil {
		t.Fatal(err)
	}
	throughContract(t, address)
	for query, want := range map[string]string{
		// Every run with its original values where there are some is what it was.
		exact + `(SELECT r.id, coalesce(o.type, r.type) AS type, CASE WHEN o.operation_run_id IS NULL THEN r.context ELSE o.context END AS context,
			CASE WHEN o.operation_run_id IS NULL THEN r.failure_summary::text ELSE o.failure_summary::text END AS failure_summary,
			coalesce(o.run_identity_hash, r.run_identity_hash) AS run_identity_hash
			FROM operation_runs r LEFT JOIN legacy_archive.operation_run_originals o ON o.operation_run_id = r.id) AS was`: originals,

		"SELECT type FROM operation_runs WHERE id = 101":                                                                            "inventory_sync",
		"SELECT type FROM operation_runs WHERE id = 103":                                                                            "something.unknown",
		"SELECT type FROM operation_runs WHERE id = 104":                                                                            "policy.sync\t",
		"SELECT created_at AT TIME ZONE 'UTC' || '' FROM operation_runs WHERE id = 100":                                             "2021-03-28 02:30:00",
		"SELECT completed_at AT TIME ZONE 'UTC' || '' FROM operation_runs WHERE id = 100":                                           "2021-10-31 02:30:00",
		"SELECT created_at::text FROM operation_runs WHERE id = 102":                                                                "infinity",
		"SELECT failure_summary -> 0 ->> 'message' FROM operation_runs WHERE id = 102":                                              "bad \uFFFD zero",
		"SELECT failure_summary -> 0 ->> 'm' FROM operation_runs WHERE id = 103":                                                    "half \uFFFD pair, whole \U0001F600, \\u0000 literal, \\\uFFFD both, low \uFFFD",
		"SELECT failure_summary #>> '{}' FROM operation_runs WHERE id = 105":                                                        `{"overflow": 1e999999}`,
		"SELECT days_of_week ->> 0 FROM backup_schedules WHERE id = 14":                                                             "\uFFFD",
		"SELECT w.slug FROM tenants t JOIN workspaces w ON w.id = t.workspace_id WHERE t.id = 30":                                   "unassigned",
		"SELECT count(*)::text FROM workspace_memberships m JOIN workspaces w ON w.id = m.workspace_id WHERE w.slug = 'unassigned'": "0",
		"SELECT status || ' ' || outcome FROM operation_runs WHERE id = 103":                                                        "weird odd",
		"SELECT summary_counts::text FROM operation_runs WHERE id = 101":                                                            "[]",
		"SELECT string_agg(id::text, ' ' ORDER BY id) FROM operation_runs WHERE run_identity_hash = 'same'":                         "301 303 304",
		"SELECT run_identity_hash FROM operation_runs WHERE id = 300":                                                               derivedHash("same", 300),
		"SELECT accepts_new_runs::text FROM operation_types WHERE name = 'policy_sync'":                                             "false",
		"SELECT accepts_new_runs::text FROM operation_types WHERE name = 'inventory_sync'":                                          "true",
		"SELECT count(*)::text FROM operation_runs":                                                                                 "36",
		"SELECT baseline_run_id || ' ' || current_run_id FROM legacy_archive.finding_run_refs WHERE finding_id = 1":                 "1 5",
		"SELECT count(*)::text FROM legacy_archive.finding_run_refs":                                                                "8",
		"SELECT count(*)::text FROM legacy_archive.inventory_item_run_refs":                                                         "11",
		"SELECT last_seen_operation_run_id::text FROM inventory_items WHERE id = 3":                                                 "102",
		"SELECT last_seen_operation_run_id::text FROM inventory_items WHERE id = 12":                                                "null",
		"SELECT last_seen_operation_run_id::text FROM legacy_archive.inventory_item_originals WHERE inventory_item_id = 12":         "101",
		// What depended on the tables goes on working, and what the application keeps is untouched.
		"SELECT runs_total::text FROM backup_schedule_health WHERE backup_schedule_id = 12":                                                 "22",
		"SELECT count(*)::text FROM open_findings_today":                                                                                    "8",
		"SELECT obj_description('open_findings'::regclass)":                                                                                 "It's ours",
		"SELECT has_table_privilege('public', 'open_findings', 'SELECT')::text":                                                             "true",
		"SELECT n::text FROM runs_by_type WHERE type = 'inventory_sync'":                                                                    "3",
		"SELECT count(*)::text FROM pg_constraint WHERE conname = 'audit_logs_tenant_id_foreign' AND convalidated":                          "1",
		"SELECT count(*)::text FROM pg_indexes WHERE indexname LIKE 'operation_runs_correlation%'":                                          "3",
		"SELECT convalidated::text FROM pg_constraint WHERE conname = 'operation_runs_correlated'":                                          "true",
		"SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = 'inventory_sync_runs_id_seq'":                                "legacy_archive",
		"SELECT count(*)::text FROM backup_retention_holds h JOIN legacy_archive.backup_schedule_runs r ON r.id = h.backup_schedule_run_id": "1",
		// The three columns and the removal's own are gone.
		`SELECT count(*)::text FROM information_schema.columns WHERE table_schema = 'public'
			AND (column_name LIKE 'runledger%' OR column_name IN ('baseline_run_id', 'current_run_id', 'last_seen_run_id'))`: "0",
		"SELECT count(*)::text FROM pg_trigger WHERE tgname LIKE 'runledger%'": "0",
	} {
		if got := one(t, address, query); got != want {
			t.Errorf("%s\n got %q\nwant %q", query, got, want)
		}
	}
}

func TestUndoLeavesTheDatabaseAsItWas(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	before := fingerprint(t, address)
	throughBackfill(t, address)
	prepared := open(t, address, Options{PrepareOnly: true})
	must(t, prepared.Contract)
	prepared.Close()
	r := open(t, address, Options{})
	if got := must(t, r.Undo); got.State != Uncontracted {
		t.Errorf("state after undo: %s", got.State)
	}
	if diff := cmp.Diff(before, fingerprint(t, address)); diff != "" {
		t.Errorf("before (-) and after undo (+):\n%s", diff)
	}
	r.Close()
	throughContract(t, address) // and it can be begun again
}

func TestASecondOneSaysWhoIsAtWork(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	first := open(t, address, Options{})
	must(t, first.Expand)
	second := open(t, address, Options{Patience: time.Millisecond})
	_, err := second.Backfill(t.Context())
	held, ok := errors.AsType[*HeldError](err)
	if !ok || !strings.Contains(held.Application, "runledger legacy") || held.PID == 0 {
		t.Errorf("the second one: %v", err)
	}
	first.Close()
	must(t, open(t, address, Options{}).Backfill)
}

func TestStepsOutOfOrderAreRefused(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	r := open(t, address, Options{})
	_, backfill := r.Backfill(t.Context())
	_, contract := r.Contract(t.Context())
	_, purge := r.Purge(t.Context(), t.TempDir(), nil)
	_, imported := r.ImportUnbridged(t.Context())
	for name, err := range map[string]error{"backfill": backfill, "contract": contract, "purge": purge, "import": imported} {
		if _, ok := errors.AsType[*BlockedError](err); !ok || !strings.Contains(err.Error(), "runledger legacy expand") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPurgeExportsBeforeItDeletes(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	throughContract(t, address)
	r := open(t, address, Options{})
	directory := filepath.Join(t.TempDir(), "export")
	name := one(t, address, "SELECT current_database()")
	confirm := func(database string) (string, error) { return database, nil }
	_, err := r.Purge(t.Context(), directory, confirm)
	for _, blocker := range []string{"view backup_schedule_health", "materialized view inventory_sync_daily_stats", "backup_retention_holds", "sync_alerts"} {
		if err == nil || !strings.Contains(err.Error(), blocker) {
			t.Errorf("purge does not name %s: %v", blocker, err)
		}
	}
	run(t, address, `DROP VIEW backup_schedule_health; DROP MATERIALIZED VIEW inventory_sync_daily_stats; DROP TABLE backup_retention_holds, sync_alerts`)
	if _, err := r.Purge(t.Context(), directory, func(string) (string, error) { return "another", nil }); !errors.Is(err, errNotConfirmed) {
		t.Errorf("purge without the name: %v", err)
	}
	if n := one(t, address, "SELECT count(*)::text FROM legacy_archive.inventory_sync_runs"); n != "9" {
		t.Errorf("%s rows left", n)
	}
	report, err := r.Purge(t.Context(), directory, confirm)
	if err != nil {
		t.Fatal(err)
	}
	if report.Deleted["inventory_sync_runs"] != 9 || report.Deleted["operation_run_originals"] == 0 {
		t.Errorf("deleted: %v", report.Deleted)
	}
	written, err := os.ReadFile(filepath.Join(directory, manifestName))
	if err != nil {
		t.Fatal(err)
	}
	var manifest Manifest
	if err := json.Unmarshal(written, &manifest); err != nil || manifest.Database != name || len(manifest.Tables) != 11 {
		t.Errorf("manifest: %v\n%s", err, written)
	}
	if state, err := Detect(t.Context(), r.conn); state != Canonical || err != nil {
		t.Errorf("state %s, %v", state, err)
	}
	// What one database has exported, the purge of another does not overwrite.
	another := legacyDatabase(t)
	throughContract(t, another)
	run(t, another, `DROP VIEW backup_schedule_health; DROP MATERIALIZED VIEW inventory_sync_daily_stats; DROP TABLE backup_retention_holds, sync_alerts;
		CREATE FUNCTION label(r legacy_archive.inventory_sync_runs) RETURNS text LANGUAGE sql AS 'SELECT r.status';
		CREATE TABLE more_runs () INHERITS (legacy_archive.entra_group_sync_runs);
		CREATE TABLE snapshots (id bigint, taken legacy_archive.inventory_sync_runs[])`)
	second := open(t, another, Options{})
	_, err = second.Purge(t.Context(), directory, confirm)
	for _, blocker := range []string{
		"function label(legacy_archive.inventory_sync_runs) is made of rows of legacy_archive.inventory_sync_runs",
		"more_runs inherits from legacy_archive.entra_group_sync_runs", "column taken of table snapshots is made of rows of",
	} {
		if err == nil || !strings.Contains(err.Error(), blocker) {
			t.Errorf("purge does not name %s: %v", blocker, err)
		}
	}
	run(t, another, "DROP FUNCTION label; DROP TABLE more_runs, snapshots")
	if _, err := second.Purge(t.Context(), directory, confirm); err == nil || !strings.Contains(err.Error(), "the export of another archive: of the database "+name) {
		t.Errorf("a second database into the same directory: %v", err)
	}
	if again, err := os.ReadFile(filepath.Join(directory, manifestName)); err != nil || !bytes.Equal(again, written) {
		t.Errorf("the first export's manifest is now %s, %v", again, err)
	}
	// A file that is damaged is noticed when it is read back.
	e := &exporter{directory: directory}
	if err := e.readBack(); err != nil {
		t.Errorf("read back: %v", err)
	}
	damaged := filepath.Join(directory, fileName("inventory_sync_runs"))
	content, err := os.ReadFile(damaged)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	if err := os.WriteFile(damaged, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := e.readBack(); err == nil {
		t.Error("a damaged export is read back without complaint")
	}
}

func TestImportMakesARunOfEachUnbridgedRowOnce(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	throughContract(t, address)
	var told strings.Builder
	r, err := Open(t.Context(), address, t.Name(), Options{}, NewProgress(&told, false))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	first := must(t, r.ImportUnbridged)
	if !strings.Contains(told.String(), "import inventory_sync_runs: 9 rows in ") {
		t.Errorf("it tells\n%s", told.String())
	}
	if diff := cmp.Diff(Counts{"inventory_sync_runs": 5, "entra_group_sync_runs": 1, "backup_schedule_runs": 3}, first.Imported); diff != "" {
		t.Error(diff)
	}
	again := must(t, r.ImportUnbridged)
	if diff := cmp.Diff(Counts{"inventory_sync_runs": 0, "entra_group_sync_runs": 0, "backup_schedule_runs": 0}, again.Imported); diff != "" {
		t.Error(diff)
	}
	for query, want := range map[string]string{
		"SELECT count(*)::text FROM operation_runs WHERE context -> 'legacy' ->> 'table' = 'inventory_sync_runs'":                                                          "5",
		"SELECT outcome FROM operation_runs WHERE context -> 'legacy' = '{\"table\": \"inventory_sync_runs\", \"id\": 3}'":                                                 "partially_succeeded",
		"SELECT failure_summary -> 0 ->> 'code' FROM operation_runs WHERE context -> 'legacy' = '{\"table\": \"inventory_sync_runs\", \"id\": 9}'":                         "legacy_unfinished",
		"SELECT string_agg(context ->> 'backup_schedule_id', ' ') FROM operation_runs WHERE context -> 'legacy' ->> 'table' = 'backup_schedule_runs' AND workspace_id = 1": "12 12",
		"SELECT count(*)::text FROM legacy_archive.imported_runs":                                                                                                          "9",
	} {
		if got := one(t, address, query); got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
}

func TestContractTellsWhatOldRowsBreak(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	throughBackfill(t, address)
	var told strings.Builder
	r, err := Open(t.Context(), address, t.Name(), Options{}, NewProgress(&told, false))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	must(t, r.Contract)
	for _, wanted := range []string{
		"operation_runs_status_check stays NOT VALID, since old rows break it: CHECK (",
		"is not present in table",
	} {
		if !strings.Contains(told.String(), wanted) {
			t.Errorf("no %q in\n%s", wanted, told.String())
		}
	}
	if strings.Contains(told.String(), "NOT VALID\n") || strings.Contains(told.String(), ": \n") {
		t.Errorf("it tells\n%s", told.String())
	}
}
