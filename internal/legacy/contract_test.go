package legacy

import (
	"path/filepath"
	"strings"
	"testing"
)

// The application does not know what the workspace is for: nobody is in it.
func TestTheWorkspaceOfTenantsWithoutOneIsMadeAgain(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]bool{"contract makes it": false, "expand makes it": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := legacyDatabase(t)
			throughBackfill(t, address)
			run(t, address, "DELETE FROM workspaces WHERE slug = 'unassigned'; INSERT INTO workspaces (name, slug) VALUES ('Other', 'unassigned')")
			if again {
				expanding := open(t, address, Options{})
				must(t, expanding.Expand)
				expanding.Close()
				if got := one(t, address, "SELECT count(*)::text FROM workspaces WHERE slug = 'unassigned-2'"); got != "1" {
					t.Errorf("expand has made %s workspaces", got)
				}
			}
			must(t, open(t, address, Options{}).Contract)
			if got := one(t, address, "SELECT w.slug FROM tenants t JOIN workspaces w ON w.id = t.workspace_id WHERE t.id = 30"); got != "unassigned-2" {
				t.Errorf("the tenant without a workspace is in %s", got)
			}
		})
	}
}

// Two types that become one, and a view that divides by the number of runs of a type that is gone.
func TestWhatCannotBeDoneAfterwardsIsTold(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	run(t, address, `
		UPDATE operation_runs SET correlation = '00000000-0000-0000-0000-000000000001' WHERE id IN (100, 102);
		CREATE UNIQUE INDEX operation_runs_once_per_type ON operation_runs (correlation, type);
		CREATE MATERIALIZED VIEW share AS SELECT 1 / count(*) AS share FROM operation_runs WHERE type = 'inventory.sync'`)
	got := throughContract(t, address)
	if len(got.NotDone) != 2 || !strings.Contains(got.NotDone[0], "CREATE UNIQUE INDEX CONCURRENTLY operation_runs_once_per_type") ||
		!strings.Contains(got.NotDone[1], "REFRESH MATERIALIZED VIEW share") || !strings.Contains(got.NotDone[1], "division by zero") {
		t.Errorf("not done: %q", got.NotDone)
	}
	// An invalid index would go on refusing rows.
	if n := one(t, address, "SELECT count(*)::text FROM pg_index WHERE NOT indisvalid"); n != "0" {
		t.Errorf("%s invalid indexes are left", n)
	}
	r := open(t, address, Options{})
	if pending, err := r.aftermathPending(t.Context()); pending || err != nil {
		t.Errorf("contract has not finished: %v", err)
	}
	if again := must(t, r.Contract); again.Message != nothingToDo(Contracted) {
		t.Errorf("again: %s", again.Message)
	}
}

func TestPurgeExportsATableWithAGeneratedColumn(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	run(t, address, "ALTER TABLE inventory_sync_runs ADD COLUMN twice bigint GENERATED ALWAYS AS (errors_count * 2) STORED")
	throughContract(t, address)
	run(t, address, `DROP VIEW backup_schedule_health; DROP MATERIALIZED VIEW inventory_sync_daily_stats; DROP TABLE backup_retention_holds, sync_alerts`)
	r := open(t, address, Options{})
	got, err := r.Purge(t.Context(), filepath.Join(t.TempDir(), "export"), func(database string) (string, error) { return database, nil })
	if err != nil {
		t.Fatal(err)
	}
	if got.Deleted["inventory_sync_runs"] != 9 {
		t.Errorf("deleted: %v", got.Deleted)
	}
}
