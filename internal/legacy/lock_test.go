package legacy

import (
	"context"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/dbtest"
)

// A report that reads for long must hold up neither the removal for good nor, through a removal that
// queues for its lock, anybody else.
func TestNobodyWaitsBehindTheRemoval(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]func(context.Context, *Removal) error{
		"expand":   func(ctx context.Context, r *Removal) error { _, err := r.Expand(ctx); return err },
		"contract": func(ctx context.Context, r *Removal) error { return r.swap(ctx, &ContractReport{}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := legacyDatabase(t)
			if name == "contract" {
				throughBackfill(t, address)
				prepared := open(t, address, Options{PrepareOnly: true})
				must(t, prepared.Contract)
				prepared.Close()
			}
			reading := connect(t, address)
			if _, err := reading.Exec(t.Context(), "BEGIN; SELECT FROM findings, operation_runs, inventory_items LIMIT 1"); err != nil {
				t.Fatal(err)
			}
			r := open(t, address, Options{LockTimeout: 20 * time.Millisecond})
			done := make(chan error, 1)
			go func() { done <- step(t.Context(), r) }()
			writing := connectSimply(t, address)
			if _, err := writing.Exec(t.Context(), "SET lock_timeout = '1s'"); err != nil {
				t.Fatal(err)
			}
			for n := range 200 {
				select {
				case err := <-done:
					t.Fatalf("%s did not wait for the reader: %v", name, err)
				default:
				}
				if _, err := writing.Exec(t.Context(), "insert into findings (tenant_id, finding_type, fingerprint) values (10, 'drift', 'l' || $1::text)", n); err != nil {
					t.Fatalf("statement %d: %v", n, err)
				}
			}
			if _, err := reading.Exec(t.Context(), "COMMIT"); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

// Only inventory_items refers to runs by a foreign key as long as the application works. A run that
// is deleted after a bridge to it was read, and before the key is checked, must not fail the backfill,
// and the application must not even wait for it.
func TestARunDeletedMeanwhileIsNoFault(t *testing.T) {
	t.Parallel()
	const insert = "insert into inventory_items (id, tenant_id, policy_type, external_id, last_seen_run_id) values (7000, 10, 'p', 'deleted meanwhile', 7000)"
	address := legacyDatabase(t)
	run(t, address, `
		insert into operation_runs (id, workspace_id, tenant_id, type, run_identity_hash) values (7000, 1, 10, 'inventory.sync', 'meanwhile');
		insert into inventory_sync_runs (id, tenant_id, selection_hash, status) values (7000, 10, 's', 'success')`)
	throughBackfill(t, address)
	run(t, address, "update inventory_sync_runs set operation_run_id = 7000 where id = 7000")
	pool := dbtest.Connect(t, address)
	deleting := underWay(t, pool, "delete from operation_runs where id = 7000")
	run(t, address, "SET lock_timeout = '5s'; "+insert)
	r := open(t, address, Options{LockTimeout: time.Minute})
	done := make(chan error, 1)
	go func() {
		_, err := r.Backfill(t.Context())
		done <- err
	}()
	dbtest.AwaitBlocked(t, pool, deleting, 1)
	if err := deleting.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r.Close()
	step(t, address, (*Removal).Backfill) // the note of the deletion
	holds(t, address)
	if got := reference(t, address, 7000); got != "null" {
		t.Errorf("the item refers to %s, want nothing", got)
	}
}
