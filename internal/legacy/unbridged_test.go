package legacy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestImportKnowsWhatWasBridged(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	run(t, address, `
		ALTER TABLE inventory_sync_runs DROP CONSTRAINT inventory_sync_runs_tenant_id_foreign;
		INSERT INTO inventory_sync_runs (id, tenant_id, selection_hash, status) VALUES (70, 999, 's', 'success')`)
	throughContract(t, address)
	// Retention deletes a run that a legacy row is bridged to, and another run comes by the id that a
	// row has named in vain.
	run(t, address, `
		DELETE FROM inventory_items; DELETE FROM findings; DELETE FROM operation_runs WHERE id = 102;
		INSERT INTO operation_runs (id, workspace_id, tenant_id, type) VALUES (99999, 1, 10, 'inventory_sync')`)
	r := open(t, address, Options{})
	got := must(t, r.ImportUnbridged)
	if diff := cmp.Diff(Counts{"inventory_sync_runs": 5, "entra_group_sync_runs": 1, "backup_schedule_runs": 3}, got.Imported); diff != "" {
		t.Error(diff)
	}
	if got.Skipped["inventory_sync_runs"] != 1 || !strings.Contains(got.Message, "1 ") {
		t.Errorf("skipped: %v; %s", got.Skipped, got.Message)
	}
	if n := one(t, address, `SELECT string_agg(context #>> '{legacy,id}', ' ' ORDER BY id) FROM operation_runs WHERE context #>> '{legacy,table}' = 'inventory_sync_runs'`); n != "2 3 4 8 9" {
		t.Errorf("runs were made of the rows %s", n)
	}
}
