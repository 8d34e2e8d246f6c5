package legacy

import (
	"context"
	"testing"
	"time"

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
	holds := func(item int, want string) {
		t.Helper()
		if got := reference(t, address, item); got != want {
			t.Errorf("item %d refers to %s, want %s", item, got, want)
		}
	}
	step(t, address, (*Removal).Undo)
	for _, item := range []int{1, 2, 3} {
		holds(item, "null")
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
	for item, want := range map[int]string{1: "null", 2: "99999", 3: "101"} {
		if got := reference(t, address, item); got != want {
			t.Errorf("after undo item %d refers to %s, want %s", item, got, want)
		}
	}
}

func TestARunDeletedWhileUndoRestoresIsNoFault(t *testing.T) {
	t.Parallel()
	address := smallDatabase(t)
	throughBackfill(t, address)
	pool := dbtest.Connect(t, address)
	deleting, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = deleting.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := deleting.Exec(t.Context(), "DELETE FROM operation_runs WHERE id = 101"); err != nil {
		t.Fatal(err)
	}
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
