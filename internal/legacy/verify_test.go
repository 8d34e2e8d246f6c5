package legacy

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/dbtest"
)

// faults are planted, each in a database that is right but for it, in the state between backfill and
// contract, and each has to be found.
var faultsBetween = map[string]struct{ statement, found string }{
	"reference missing":            {"UPDATE findings SET baseline_operation_run_id = NULL WHERE id = 1", "findings 1: baseline_operation_run_id is null, must be 100"},
	"reference to another run":     {"UPDATE findings SET current_operation_run_id = 107 WHERE id = 1", "findings 1: current_operation_run_id is 107, must be 100"},
	"bridge of another workspace":  {"UPDATE findings SET baseline_operation_run_id = 101 WHERE id = 3", "findings 3: baseline_operation_run_id is 101, must be null (bridge_other_workspace)"},
	"bridge to nothing":            {"UPDATE findings SET current_operation_run_id = 100 WHERE id = 2", "must be null (bridge_dangling)"},
	"no bridge":                    {"UPDATE findings SET baseline_operation_run_id = 100 WHERE id = 2", "must be null (bridge_null)"},
	"no legacy row":                {"UPDATE findings SET baseline_operation_run_id = 100 WHERE id = 9", "must be null (legacy_row_missing)"},
	"no reference":                 {"UPDATE findings SET baseline_operation_run_id = 100 WHERE id = 7", "must be null (no_reference)"},
	"soft-deleted forgotten":       {"UPDATE findings SET baseline_operation_run_id = NULL WHERE id = 5", "findings 5"},
	"finding's workspace":          {"UPDATE findings SET workspace_id = 2 WHERE id = 1", "findings 1: workspace_id is 2, must be 1"},
	"unassigned workspace":         {"UPDATE findings SET workspace_id = 1 WHERE id = 6", "findings 6: workspace_id"},
	"item's reference missing":     {"UPDATE inventory_items SET last_seen_operation_run_id = NULL WHERE id = 1", "inventory_items 1: last_seen_operation_run_id is null, must be 100"},
	"own reference overwritten":    {"SET runledger.own = 'on'; UPDATE inventory_items SET runledger_reference = 102 WHERE id = 2", "must be 102 (own_reference_kept)"},
	"own bad reference kept":       {"SET runledger.own = 'on'; UPDATE inventory_items SET last_seen_operation_run_id = 101, runledger_reference = NULL WHERE id = 4", "must be null (own_reference_cleared)"},
	"item's workspace":             {"UPDATE inventory_items SET workspace_id = 2 WHERE id = 1", "inventory_items 1: workspace_id"},
	"schedule's workspace":         {"UPDATE backup_schedules SET workspace_id = 1 WHERE id = 14", "backup_schedules 14"},
	"type not standardised":        {"UPDATE operation_runs SET runledger_type = 'inventory.sync' WHERE id = 100", "type is inventory.sync, must be inventory_sync"},
	"unknown type changed":         {"UPDATE operation_runs SET runledger_type = 'something_unknown' WHERE id = 103", "(not_in_map)"},
	"schedule not added":           {"UPDATE operation_runs SET runledger_context = context WHERE id = 203", "(schedule_added)"},
	"schedule as a string":         {`UPDATE operation_runs SET runledger_context = '{"backup_schedule_id": "12"}' WHERE id = 204`, "(schedule_added)"},
	"context lost a key":           {`UPDATE operation_runs SET runledger_context = '{"backup_schedule_id": 13}' WHERE id = 203`, "(schedule_added)"},
	"other schedule overwritten":   {`UPDATE operation_runs SET runledger_context = '{"backup_schedule_id": 12}' WHERE id = 222`, "(context_names_a_schedule)"},
	"garbage overwritten":          {`UPDATE operation_runs SET runledger_context = '{"backup_schedule_id": 12}' WHERE id = 210`, "(context_names_a_schedule)"},
	"several schedules":            {`UPDATE operation_runs SET runledger_context = '{"backup_schedule_id": 12}' WHERE id = 217`, "(several_schedules)"},
	"schedule of elsewhere":        {`UPDATE operation_runs SET runledger_context = '{"backup_schedule_id": 12}' WHERE id = 216`, "(schedule_other_workspace)"},
	"type of no schedule":          {`UPDATE operation_runs SET runledger_context = '{"backup_schedule_id": 12}' WHERE id = 215`, "(type_not_of_a_schedule)"},
	"array overwritten":            {`UPDATE operation_runs SET runledger_context = '{"backup_schedule_id": 12}' WHERE id = 212`, "(context_not_an_object)"},
	"unbridged run's context":      {`UPDATE operation_runs SET runledger_context = '{"backup_schedule_id": 12}' WHERE id = 221`, "(not_bridged)"},
	"failure lost":                 {"UPDATE operation_runs SET runledger_failure_summary = '[]' WHERE id = 102", "operation_runs 102: failure_summary"},
	"pair taken for halves":        {`UPDATE operation_runs SET runledger_failure_summary = replace(runledger_failure_summary::text, '😀', '��')::jsonb WHERE id = 103`, "operation_runs 103: failure_summary"},
	"number changed":               {"UPDATE operation_runs SET runledger_failure_summary = jsonb_set(runledger_failure_summary, '{big}', '1.51') WHERE id = 104", "operation_runs 104: failure_summary"},
	"null counts as empty":         {"UPDATE operation_runs SET runledger_failure_summary = '[]' WHERE id = 101", "operation_runs 101: failure_summary"},
	"hash changed":                 {"UPDATE operation_runs SET runledger_run_identity_hash = 'x' WHERE id = 100", "operation_runs 100: run_identity_hash"},
	"status repaired":              {"UPDATE operation_runs SET runledger_status = 'completed' WHERE id = 103", "operation_runs 103: status"},
	"outcome repaired":             {"UPDATE operation_runs SET runledger_outcome = 'succeeded' WHERE id = 101", "operation_runs 101: status, outcome"},
	"instant in the session's day": {"UPDATE operation_runs SET runledger_created_at = created_at::timestamptz WHERE id = 100", "operation_runs 100: created_at"},
	"updated_at touched":           {"UPDATE operation_runs SET runledger_updated_at = now() WHERE id = 100", "operation_runs 100: updated_at"},
	"infinity lost":                {"UPDATE operation_runs SET runledger_updated_at = NULL WHERE id = 102", "operation_runs 102: updated_at"},
	"microsecond lost":             {"UPDATE operation_runs SET runledger_started_at = date_trunc('second', runledger_started_at) WHERE id = 100", "operation_runs 100: started_at"},
}

// faultsAfter are planted after contract.
var faultsAfter = map[string]struct{ statement, found string }{
	"reference missing":        {"UPDATE findings SET baseline_operation_run_id = NULL WHERE id = 1", "findings 1: baseline_operation_run_id is null, must be 100"},
	"reference invented":       {"UPDATE findings SET current_operation_run_id = 100 WHERE id = 7", "must be null (no_reference)"},
	"item's reference missing": {"UPDATE inventory_items SET last_seen_operation_run_id = NULL WHERE id = 1", "inventory_items 1"},
	"conflict overwritten":     {"UPDATE inventory_items SET last_seen_operation_run_id = 100 WHERE id = 3", "must be 102 (own_reference_kept)"},
	"bad reference back":       {"UPDATE inventory_items SET last_seen_operation_run_id = 100 WHERE id = 4", "must be null (own_reference_cleared)"},
	"type back":                {"UPDATE operation_runs SET type = 'inventory.sync' WHERE id = 100", "type is inventory.sync, must be inventory_sync"},
	"context lost":             {"UPDATE operation_runs SET context = '{}' WHERE id = 203", "(schedule_added)"},
	"failure lost":             {"UPDATE operation_runs SET failure_summary = NULL WHERE id = 107", "operation_runs 107: failure_summary"},
	"hash of no duplicate":     {"UPDATE operation_runs SET run_identity_hash = 'x' WHERE id = 300", "operation_runs 300: run_identity_hash"},
}

func TestVerifyFindsEveryPlantedFault(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	r := open(t, address, Options{})
	if got := must(t, r.Verify); got.Total == 0 {
		t.Error("a database that is not expanded is said to be right")
	}
	throughBackfill(t, address)
	plant(t, address, faultsBetween)
	conn := open(t, address, Options{})
	must(t, conn.Contract)
	// The checks are of no interest here, and in the way of planting faults.
	run(t, address, `ALTER TABLE operation_runs DROP CONSTRAINT operation_runs_completed_at_check, DROP CONSTRAINT operation_runs_tenant_id_fkey,
		DROP CONSTRAINT operation_runs_outcome_check, DROP CONSTRAINT operation_runs_completed_outcome_check,
		DROP CONSTRAINT operation_runs_status_check, DROP CONSTRAINT operation_runs_started_before_completed_check`)
	plant(t, address, faultsAfter)
}

// plant plants one fault after another, each in a transaction that is undone.
func plant(t *testing.T, address string, faults map[string]struct{ statement, found string }) {
	t.Helper()
	r := open(t, address, Options{})
	if got := must(t, r.Verify); got.Total != 0 {
		t.Fatalf("differences before a fault was planted: %v", got.Differences)
	}
	state, err := Detect(t.Context(), r.conn)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range sortedKeys(faults) {
		fault := faults[name]
		tx, err := r.conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// The session is not the removal's here: its triggers fire, as for the application.
		if _, err := tx.Exec(t.Context(), "SET LOCAL timezone = 'America/Denver'; SET LOCAL runledger.own = 'off'; "+
			strings.ReplaceAll(fault.statement, "SET runledger.own", "SET LOCAL runledger.own")); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := &VerifyReport{Rows: Counts{}, Skipped: Counts{}, Pending: Counts{}, ByReason: Counts{}, UnknownType: Counts{}}
		v := &verifier{tx: tx, report: got, after: state == Contracted}
		if v.pending, err = pendingRows(t.Context(), tx, false); err != nil {
			t.Fatal(err)
		}
		if err := v.run(t.Context(), nil); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		found := false
		for _, d := range got.Differences {
			found = found || strings.Contains(d.String(), fault.found)
		}
		if !found || got.Total != 1 {
			t.Errorf("%s: want one difference %q, got %v", name, fault.found, got.Differences)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestContractRefusesWhatVerifyFinds(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	throughBackfill(t, address)
	run(t, address, "UPDATE findings SET current_operation_run_id = 107 WHERE id = 1")
	r := open(t, address, Options{})
	_, err := r.Contract(t.Context())
	if err == nil || !strings.Contains(err.Error(), "findings 1: current_operation_run_id is 107, must be 100") {
		t.Errorf("contract: %v", err)
	}
	if state, err := Detect(t.Context(), r.conn); state != Backfilled || err != nil {
		t.Errorf("state %s, %v", state, err)
	}
}

// A TRUNCATE tells of no row, and takes away what the backfill went by.
func TestWhatTheApplicationTruncatesIsBackfilledAnew(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	throughBackfill(t, address)
	run(t, address, "TRUNCATE backup_schedule_runs, backup_retention_holds; TRUNCATE inventory_sync_runs, sync_alerts CASCADE")
	r := open(t, address, Options{})
	if _, err := r.Contract(t.Context()); err == nil || !strings.Contains(err.Error(), "runledger legacy backfill") {
		t.Errorf("contract: %v", err)
	}
	must(t, r.Backfill)
	must(t, r.Contract)
	holds(t, address)
}

// So is what is truncated while the backfill goes on.
func TestABackfillLooksAgainAtWhatWasTruncatedMeanwhile(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	step(t, address, (*Removal).Expand)
	// As the trigger does, when the last task ends.
	run(t, address, `CREATE TABLE once (); INSERT INTO once DEFAULT VALUES;
		CREATE FUNCTION take_back() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			DELETE FROM once;
			IF FOUND THEN DELETE FROM runledger_removal.progress; END IF;
			RETURN NULL;
		END $$;
		CREATE TRIGGER take_back AFTER INSERT OR UPDATE ON runledger_removal.progress FOR EACH ROW WHEN (NEW.task = 'inventory_items' AND NEW.done) EXECUTE FUNCTION take_back()`)
	step(t, address, (*Removal).Backfill)
	if got := one(t, address, "SELECT string_agg(task, ' ' ORDER BY task) FROM runledger_removal.progress WHERE done"); !strings.Contains(got, "backup_schedules") || !strings.Contains(got, "operation_runs") {
		t.Errorf("done: %s", got)
	}
	run(t, address, "DROP TRIGGER take_back ON runledger_removal.progress; DROP FUNCTION take_back; DROP TABLE once")
	step(t, address, (*Removal).Contract)
	holds(t, address)
}

func TestContractRefusesAViewOfADroppedColumn(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	run(t, address, "CREATE VIEW drifting AS SELECT id, baseline_run_id FROM findings")
	throughBackfill(t, address)
	before := describe(t, address)
	r := open(t, address, Options{})
	plan := must(t, r.Plan)
	if !strings.Contains(strings.Join(plan.Blockers, "\n"), "view drifting reads findings.baseline_run_id") {
		t.Errorf("plan's blockers: %q", plan.Blockers)
	}
	_, err := r.Contract(t.Context())
	if err == nil || !strings.Contains(err.Error(), "view drifting reads findings.baseline_run_id") {
		t.Errorf("contract: %v", err)
	}
	for name, had := range before {
		if got, want := lines(describe(t, address)[name], had, ""), lines(had, had, ""); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s changed", name)
		}
	}
	run(t, address, "DROP VIEW drifting")
	must(t, r.Contract)
}

func TestPlanWritesNothing(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	before := fingerprint(t, address)
	r := open(t, address, Options{})
	plan := must(t, r.Plan)
	if len(plan.Blockers)+len(plan.Differences) > 0 {
		t.Errorf("plan: %q %q", plan.Blockers, plan.Differences)
	}
	for group, want := range map[string]string{
		"findings.current_run_id": "bridge_dangling", "operation_runs.context": "several_schedules", "tenants.workspace_id": "unassigned",
		"operation_runs.run_identity_hash": "hash_derived", "inventory_items.last_seen_run_id": "own_reference_cleared",
		"operation_runs.failure_summary": "escape_replaced",
	} {
		var listed int64
		if err := r.List(t.Context(), group+"."+want, func(Listed) error { listed++; return nil }); err != nil {
			t.Error(err)
		}
		if n := plan.Counts[group][want]; n == 0 || n != listed {
			t.Errorf("%s: counted %d, listed %d of %s", group, n, listed, want)
		}
	}
	after := fingerprint(t, address)
	for name, sum := range before {
		if after[name] != sum {
			t.Errorf("plan changed %s", name)
		}
	}
}

func TestPlanSaysWhereTheSchemaDiffers(t *testing.T) {
	t.Parallel()
	address := dbtest.Empty(t)
	run(t, address, legacySchema)
	run(t, address, `ALTER TABLE findings DROP COLUMN severity; ALTER TABLE operation_runs ALTER COLUMN status TYPE text;
		ALTER TABLE tenants DROP COLUMN metadata; ALTER TABLE users ADD COLUMN shoe_size integer`)
	r := open(t, address, Options{})
	plan := must(t, r.Plan)
	want := "column findings.severity: missing, expected character varying(255)\n" +
		"column operation_runs.status: has the type text, expected character varying(255)"
	if got := strings.Join(plan.Differences, "\n"); got != want {
		t.Errorf("differences:\n%s\nwant:\n%s", got, want)
	}
	if _, err := r.Expand(t.Context()); err == nil || !strings.Contains(err.Error(), "findings.severity") {
		t.Errorf("expand: %v", err)
	}
}

// A CHECK that is NOT VALID holds for every row that is written, whatever of it is written: what old
// rows break must not stand in the application's way.
func TestARefusalLeavesNoCheckBehind(t *testing.T) {
	t.Parallel()
	const lost = "SET LOCAL runledger.own = 'on'; UPDATE findings SET workspace_id = NULL WHERE id = 1"
	for name, refused := range map[string]func(t *testing.T, address string) error{
		"before": func(t *testing.T, address string) error {
			run(t, address, "BEGIN; "+lost+"; COMMIT")
			r := open(t, address, Options{})
			defer r.Close()
			_, err := r.Contract(t.Context())
			return err
		},
		"meanwhile": func(t *testing.T, address string) error {
			pool := dbtest.Connect(t, address)
			writing, err := pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = writing.Rollback(context.WithoutCancel(t.Context())) }()
			for statement := range strings.SplitSeq(lost, ";") {
				if _, err := writing.Exec(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
			r := open(t, address, Options{LockTimeout: time.Minute})
			defer r.Close()
			done := make(chan error, 1)
			go func() {
				_, err := r.Contract(t.Context())
				done <- err
			}()
			dbtest.AwaitBlocked(t, pool, writing, 1)
			if err := writing.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			return <-done
		},
		"an attempt was killed": func(t *testing.T, address string) error {
			run(t, address, "BEGIN; "+lost+"; COMMIT; ALTER TABLE findings ADD CONSTRAINT "+
				notNullProof("findings", "workspace_id")+" CHECK (workspace_id IS NOT NULL) NOT VALID")
			r := open(t, address, Options{})
			defer r.Close()
			_, err := r.Contract(t.Context())
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := smallDatabase(t)
			throughBackfill(t, address)
			err := refused(t, address)
			if _, ok := errors.AsType[*BlockedError](err); !ok || !strings.Contains(err.Error(), "findings") {
				t.Errorf("contract: %v", err)
			}
			run(t, address, "UPDATE findings SET status = 'acknowledged' WHERE id = 1")
			run(t, address, "UPDATE findings SET tenant_id = 10 WHERE id = 1")
			step(t, address, (*Removal).Contract)
		})
	}
}
