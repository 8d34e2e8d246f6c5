package legacy

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/internal/dbtest"
)

// prepare runs contract's preparations, with the application at work.
func prepare(t *testing.T, address string) {
	t.Helper()
	r := open(t, address, Options{PrepareOnly: true})
	defer r.Close()
	must(t, r.Contract)
}

// Without the removal the foreign key would have taken the reference away with its run.
func TestADeletedRunIsNotReferredToAgain(t *testing.T) {
	t.Parallel()
	address := smallDatabase(t)
	throughBackfill(t, address)
	run(t, address, "DELETE FROM operation_runs WHERE id = 101")
	step(t, address, (*Removal).Undo)
	for item := 1; item <= 3; item++ {
		if got := reference(t, address, item); got != "null" {
			t.Errorf("item %d refers to %s, want nothing", item, got)
		}
	}
}

func TestTheBridgeCountsWhenTheRunOfAClearedReferenceIsDeleted(t *testing.T) {
	t.Parallel()
	address := smallDatabase(t)
	throughBackfill(t, address)
	prepare(t, address)
	run(t, address, "DELETE FROM operation_runs WHERE id = 101")
	step(t, address, (*Removal).Backfill)
	holds(t, address)
	if got := reference(t, address, 3); got != "100" {
		t.Errorf("the item refers to %s, want the bridge's 100", got)
	}
	step(t, address, (*Removal).Contract)
	holds(t, address)
	if n := one(t, address, "SELECT count(*)::text FROM legacy_archive.inventory_item_originals"); n != "0" {
		t.Errorf("%s references of deleted runs are archived", n)
	}
}

// Of what no foreign key watches over, the removal has no opinion.
func TestUndoRestoresAReferenceToNothing(t *testing.T) {
	t.Parallel()
	address := smallDatabase(t, `ALTER TABLE inventory_items DROP CONSTRAINT inventory_items_last_seen_operation_run_id_foreign;
		UPDATE inventory_items SET last_seen_operation_run_id = 99999 WHERE id = 2`)
	throughBackfill(t, address)
	run(t, address, "DELETE FROM operation_runs WHERE id = 101")
	step(t, address, (*Removal).Backfill)
	holds(t, address)
	step(t, address, (*Removal).Undo)
	wantReferences(t, address, "after undo", map[int]string{1: "null", 2: "99999", 3: "101"})
}

func TestARunDeletedWhileUndoRestoresIsNoFault(t *testing.T) {
	t.Parallel()
	address := smallDatabase(t)
	throughBackfill(t, address)
	pool := dbtest.Connect(t, address)
	deleting := underWay(t, pool, "DELETE FROM operation_runs WHERE id = 101")
	r := open(t, address, Options{LockTimeout: time.Minute})
	restored := make(chan error, 1)
	go func() { restored <- r.undoReferences(t.Context(), &UndoReport{}) }()
	dbtest.AwaitBlocked(t, pool, deleting, 1)
	if err := deleting.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-restored; err != nil {
		t.Fatal(err)
	}
	if got := reference(t, address, 3); got != "null" {
		t.Errorf("the item refers to %s, want nothing", got)
	}
}

// Undo is as patient as everything else, so that the application writes in all its states.
func TestTheApplicationWritesWhileUndoWaits(t *testing.T) {
	t.Parallel()
	address := smallDatabase(t)
	throughBackfill(t, address)
	prepare(t, address)
	pool := dbtest.Connect(t, address)
	reading, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reading.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := reading.Exec(t.Context(), "SELECT FROM backup_schedule_runs"); err != nil { // which has the last trigger
		t.Fatal(err)
	}
	r := open(t, address, Options{LockTimeout: 20 * time.Millisecond})
	undone := make(chan error, 1)
	go func() {
		_, err := r.Undo(t.Context())
		undone <- err
	}()
	dbtest.Await(t, pool, "NOT EXISTS (SELECT FROM pg_trigger WHERE tgname = 'runledger_schedule_values')")
	for _, statement := range []string{
		"insert into findings (tenant_id, finding_type, fingerprint, baseline_run_id) values (10, 'drift', 'new', 1)",
		"insert into inventory_items (tenant_id, policy_type, external_id, last_seen_run_id) values (10, 'p', 'new', 1)",
		"insert into operation_runs (workspace_id, tenant_id, type, status, run_identity_hash) values (1, 10, 'inventory.sync', 'completed', 'new')",
		"insert into backup_schedules (tenant_id, name, frequency, time_of_day, policy_types) values (10, 'new', 'daily', '01:00', '[]')",
		"update inventory_items set last_seen_operation_run_id = 102 where id = 1",
	} {
		if _, err := pool.Exec(t.Context(), statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
	if err := reading.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-undone; err != nil {
		t.Fatal(err)
	}
	wantReferences(t, address, "after undo", map[int]string{1: "102", 2: "null", 3: "101"})
}

func TestUndoWaitsForTheWorkspace(t *testing.T) {
	t.Parallel()
	address := smallDatabase(t)
	before := fingerprint(t, address)
	throughBackfill(t, address)
	pool := dbtest.Connect(t, address)
	holding := underWay(t, pool, "SELECT FROM workspaces FOR UPDATE")
	r := open(t, address, Options{Patience: 50 * time.Millisecond, LockTimeout: 20 * time.Millisecond})
	if _, err := r.Undo(t.Context()); err == nil || !strings.Contains(err.Error(), "gave up after") {
		t.Fatalf("undo, while somebody holds the workspace: %v", err)
	}
	r.Close()
	onlyUndo(t, address)
	if err := holding.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := step(t, address, (*Removal).Undo); got.State != Uncontracted {
		t.Errorf("state after undo: %s", got.State)
	}
	if diff := cmp.Diff(before, fingerprint(t, address)); diff != "" {
		t.Errorf("before (-) and after undo (+):\n%s", diff)
	}
	throughContract(t, address)
}

// onlyUndo fails unless every step that would go on refuses, since an undo has begun.
func onlyUndo(t *testing.T, address string) {
	t.Helper()
	r := open(t, address, Options{})
	defer r.Close()
	_, expand := r.Expand(t.Context())
	_, backfill := r.Backfill(t.Context())
	_, contract := r.Contract(t.Context())
	for name, err := range map[string]error{"expand": expand, "backfill": backfill, "contract": contract, "serve": Refuse(t.Context(), r.conn)} {
		if err == nil || !strings.Contains(err.Error(), "runledger legacy undo") {
			t.Errorf("%s after an undo that was interrupted: %v", name, err)
		}
		if _, blocked := errors.AsType[*BlockedError](err); !blocked && name != "serve" {
			t.Errorf("%s fails with %T", name, err)
		}
	}
	if status := must(t, r.Status); status.State != Undoing || status.Next != "runledger legacy undo" {
		t.Errorf("status: %s, next %q", status.State, status.Next)
	}
	must(t, r.Plan)
	must(t, r.Verify)
}

func TestUndoGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	before := fingerprint(t, address)
	throughBackfill(t, address)
	prepare(t, address)
	run(t, address, "update findings set current_run_id = 1 where id = 7; update findings set current_run_id = null where id = 7") // leaves notes
	r := open(t, address, Options{})
	all := r.undoSteps()
	for n := range all {
		for _, step := range all[:n+1] {
			if err := step(t.Context(), &UndoReport{}); err != nil {
				t.Fatalf("interrupted after %d steps: %v", n, err)
			}
		}
		if n+1 < len(all) {
			onlyUndo(t, address)
		}
	}
	if state, err := Detect(t.Context(), r.conn); state != Uncontracted || err != nil {
		t.Errorf("state %s, %v", state, err)
	}
	if diff := cmp.Diff(before, fingerprint(t, address)); diff != "" {
		t.Errorf("before (-) and after undo (+):\n%s", diff)
	}
}
