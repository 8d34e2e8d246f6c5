package legacy

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runledger/runledger/internal/dbtest"
)

// smallRows are the fewest rows that have every kind of reference: one that the bridge gives, none,
// and one of the application's own that leads to another workspace.
const smallRows = `
	INSERT INTO workspaces (id, name, slug) VALUES (1, 'One', 'one'), (2, 'Two', 'two');
	INSERT INTO tenants (id, name, external_id, workspace_id) VALUES (10, 'T10', 'ext-10', 1), (20, 'T20', 'ext-20', 2);
	INSERT INTO operation_runs (id, workspace_id, tenant_id, type, status, outcome, run_identity_hash) VALUES
		(100, 1, 10, 'inventory.sync', 'completed', 'succeeded', 'h100'), (101, 2, 20, 'inventory.sync', 'completed', 'succeeded', 'h101'),
		(102, 1, 10, 'inventory.sync', 'completed', 'succeeded', 'h102');
	INSERT INTO inventory_sync_runs (id, tenant_id, selection_hash, status, operation_run_id) VALUES
		(1, 10, 's', 'success', 100), (2, 10, 's', 'success', NULL), (3, 10, 's', 'success', 102);
	INSERT INTO inventory_items (id, tenant_id, policy_type, external_id, last_seen_run_id, last_seen_operation_run_id) VALUES
		(1, 10, 'p', 'i1', 1, NULL), (2, 10, 'p', 'i2', 2, NULL), (3, 10, 'p', 'i3', 1, 101);
	INSERT INTO findings (id, tenant_id, finding_type, baseline_run_id, fingerprint) VALUES (1, 10, 'drift', 1, 'f1');
	SELECT setval(pg_get_serial_sequence(t, 'id'), 1000) FROM unnest(ARRAY['workspaces', 'users', 'tenants', 'operation_runs', 'findings',
		'inventory_items', 'inventory_sync_runs', 'backup_schedules', 'backup_schedule_runs']) AS t;`

// smallDatabase has those rows, and what else a test wants before the removal begins.
func smallDatabase(t *testing.T, more ...string) string {
	t.Helper()
	address := dbtest.Empty(t)
	for _, script := range append([]string{legacySchema, smallRows}, more...) {
		run(t, address, script)
	}
	return address
}

// step runs one step of the removal in a session of its own.
func step[T any](t *testing.T, address string, do func(*Removal, context.Context) (T, error)) T {
	t.Helper()
	r := open(t, address, Options{})
	defer r.Close()
	return must(t, func(ctx context.Context) (T, error) { return do(r, ctx) })
}

// reference is what an item refers to.
func reference(t *testing.T, address string, item int) string {
	t.Helper()
	return one(t, address, "SELECT last_seen_operation_run_id::text FROM inventory_items WHERE id = "+strconv.Itoa(item))
}

// wantReferences holds items to what they are to refer to.
func wantReferences(t *testing.T, address, when string, want map[int]string) {
	t.Helper()
	for item, to := range want {
		if got := reference(t, address, item); got != to {
			t.Errorf("%s item %d refers to %s, want %s", when, item, got, to)
		}
	}
}

// underWay is a transaction that has done a statement and has not ended.
func underWay(t *testing.T, pool *pgxpool.Pool, sql string) pgx.Tx {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
	if _, err := tx.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
	return tx
}

// holds fails unless the removal finds every row to be what it must be.
func holds(t *testing.T, address string) {
	t.Helper()
	verified := step(t, address, (*Removal).Verify)
	for _, d := range verified.Differences {
		t.Error(d)
	}
	if len(verified.Pending) > 0 {
		t.Errorf("to be looked at again: %v", verified.Pending)
	}
}

// The ORM writes items with upserts, in which what a trigger makes of the proposed row is what the
// row gets that is there already.
func TestAnItemKeepsWhatTheApplicationWrote(t *testing.T) {
	t.Parallel()
	upsert := func(item int, sync, own string) string {
		return strings.NewReplacer("{item}", strconv.Itoa(item), "{sync}", sync, "{own}", own).Replace(`
			insert into "inventory_items" ("tenant_id", "policy_type", "external_id", "last_seen_run_id", "last_seen_operation_run_id")
			values (10, 'p', 'i{item}', {sync}, {own}) on conflict ("tenant_id", "policy_type", "external_id")
			do update set "last_seen_run_id" = "excluded"."last_seen_run_id", "last_seen_operation_run_id" = "excluded"."last_seen_operation_run_id"`)
	}
	writes := []struct {
		name           string
		item           int
		write          string
		became, undone string
		archived       string
	}{
		{"an invalid reference beside a bridge", 11, upsert(11, "3", "101"), "null", "101", "101"},
		{"an invalid reference and no bridge", 12, upsert(12, "2", "101"), "null", "101", "101"},
		{"no reference", 13, upsert(13, "1", "null"), "100", "null", "null"},
		{"no reference, and the bridge moves afterwards", 14, upsert(14, "4", "null") + "; update inventory_sync_runs set operation_run_id = 102 where id = 4", "102", "null", "null"},
		{"what the bridge had given", 15, "update inventory_items set last_seen_operation_run_id = 100 where id = 15", "100", "100", "null"},
		{"a reference that the bridge contradicts", 16, upsert(16, "3", "100"), "100", "100", "100"},
		{"a new item", 1001, upsert(17, "1", "null"), "100", "null", "null"},
		{"a new item with a reference", 1002, upsert(18, "1", "101"), "null", "101", "101"},
		{"its row whole, as it was read", 3, "update inventory_items set last_seen_run_id = 1, last_seen_operation_run_id = 101, tenant_id = 10 where id = 3", "null", "101", "101"},
		{"something else", 1, "update inventory_items set last_seen_at = now(), last_seen_run_id = 1 where id = 1", "100", "null", "null"},
	}
	written := func(t *testing.T) string {
		address := smallDatabase(t, `
			INSERT INTO inventory_sync_runs (id, tenant_id, selection_hash, status, operation_run_id) VALUES (4, 10, 's', 'success', 100);
			INSERT INTO inventory_items (id, tenant_id, policy_type, external_id, last_seen_run_id)
			SELECT i, 10, 'p', 'i' || i, CASE WHEN i IN (13, 14) THEN 2 ELSE 1 END FROM generate_series(11, 16) AS i;
			ALTER SEQUENCE inventory_items_id_seq INCREMENT BY 1 RESTART WITH 1001`)
		throughBackfill(t, address)
		for _, w := range writes {
			// An upsert takes a number of the sequence even if it updates.
			run(t, address, "ALTER SEQUENCE inventory_items_id_seq RESTART WITH "+strconv.Itoa(max(w.item, 1001))+";"+w.write)
		}
		return address
	}
	t.Run("backfill and undo", func(t *testing.T) {
		t.Parallel()
		address := written(t)
		step(t, address, (*Removal).Backfill)
		holds(t, address)
		for _, w := range writes {
			if got := reference(t, address, w.item); got != w.became {
				t.Errorf("%s: the item refers to %s, want %s", w.name, got, w.became)
			}
		}
		step(t, address, (*Removal).Undo)
		for _, w := range writes {
			if got := reference(t, address, w.item); got != w.undone {
				t.Errorf("%s: after undo the item refers to %s, want %s", w.name, got, w.undone)
			}
		}
	})
	t.Run("contract", func(t *testing.T) {
		t.Parallel()
		address := written(t)
		step(t, address, (*Removal).Contract)
		holds(t, address)
		for _, w := range writes {
			if got := reference(t, address, w.item); got != w.became {
				t.Errorf("%s: the item refers to %s, want %s", w.name, got, w.became)
			}
			original := one(t, address, "SELECT max(last_seen_operation_run_id)::text FROM legacy_archive.inventory_item_originals WHERE inventory_item_id = "+strconv.Itoa(w.item))
			if original != w.archived {
				t.Errorf("%s: the archive has %s, want %s", w.name, original, w.archived)
			}
		}
	})
}

// A reference that leads to another workspace does so only until its tenant or its run moves.
func TestAClearedReferenceIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	for name, move := range map[string]string{
		"the tenant moves": "UPDATE tenants SET workspace_id = 1 WHERE id = 30",
		"the run moves":    "UPDATE operation_runs SET workspace_id = (SELECT max(id) FROM workspaces) WHERE id = 100",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := smallDatabase(t, `INSERT INTO tenants (id, name, external_id) VALUES (30, 'T30', 'ext-30');
				INSERT INTO inventory_items (id, tenant_id, policy_type, external_id, last_seen_operation_run_id) VALUES (30, 30, 'p', 'i30', 100)`)
			throughBackfill(t, address)
			if got := reference(t, address, 30); got != "null" {
				t.Fatalf("the item refers to %s, and is of no workspace", got)
			}
			run(t, address, move)
			step(t, address, (*Removal).Backfill)
			if got := reference(t, address, 30); got != "100" {
				t.Errorf("the item refers to %s, want 100", got)
			}
			holds(t, address)
			step(t, address, (*Removal).Contract)
			holds(t, address)
		})
	}
}

// The application may have lost the foreign key to its tenants, and rows with them.
func TestAnItemWithoutATenantIsLeftAlone(t *testing.T) {
	t.Parallel()
	address := smallDatabase(t, `ALTER TABLE inventory_items DROP CONSTRAINT inventory_items_tenant_id_foreign;
		INSERT INTO inventory_items (id, tenant_id, policy_type, external_id, last_seen_run_id, last_seen_operation_run_id) VALUES
			(9, 999, 'p', 'i9', NULL, 100), (8, 999, 'p', 'i8', 1, 101), (7, 999, 'p', 'i7', 1, NULL)`)
	plan := step(t, address, (*Removal).Plan)
	report := throughBackfill(t, address)
	wantReferences(t, address, "after the backfill", map[int]string{9: "100", 8: "101", 7: "null"})
	holds(t, address)
	for _, task := range report.Tasks {
		if task.Table != "inventory_items" {
			continue
		}
		for reason, n := range task.Results["last_seen_run_id"] {
			if planned := plan.Counts["inventory_items.last_seen_run_id"][reason]; planned != n {
				t.Errorf("%s: planned %d, done %d", reason, planned, n)
			}
		}
	}
	run(t, address, "UPDATE inventory_items SET tenant_id = 10 WHERE id = 9")
	run(t, address, "UPDATE inventory_items SET tenant_id = 999 WHERE id = 1") // which had been filled
	step(t, address, (*Removal).Backfill)
	if got := reference(t, address, 8); got != "101" {
		t.Errorf("before its tenant comes item 8 refers to %s, want 101", got)
	}
	run(t, address, "INSERT INTO tenants (id, name, external_id, workspace_id) VALUES (999, 'T999', 'ext-999', 1)")
	step(t, address, (*Removal).Backfill)
	holds(t, address)
	wantReferences(t, address, "with its tenant", map[int]string{8: "null", 7: "100", 1: "100"})
	step(t, address, (*Removal).Undo)
	wantReferences(t, address, "after undo", map[int]string{9: "100", 8: "101", 7: "null", 1: "null", 3: "101"})
}

// Without the removal a session that writes an item waits for nobody who holds a run.
func TestWritingAnItemWaitsForNoRun(t *testing.T) {
	t.Parallel()
	address := smallDatabase(t)
	throughBackfill(t, address)
	pool := dbtest.Connect(t, address)
	deleting := underWay(t, pool, "SELECT FROM operation_runs WHERE id IN (100, 101, 102) FOR UPDATE")
	writing := connectSimply(t, address)
	for _, statement := range []string{
		"SET lock_timeout = '5s'",
		"update inventory_items set last_seen_run_id = 1, last_seen_at = now() where id = 1",
		"update inventory_items set last_seen_run_id = 3 where id = 2",
		"update inventory_items set last_seen_run_id = 3 where id = 3",
		"insert into inventory_items (tenant_id, policy_type, external_id, last_seen_run_id) values (10, 'p', 'new', 1)",
		"insert into findings (tenant_id, finding_type, fingerprint, baseline_run_id, current_run_id) values (10, 'drift', 'new', 1, 3)",
		"update inventory_sync_runs set operation_run_id = 102 where id = 1",
	} {
		if _, err := writing.Exec(t.Context(), statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
	// Nor does it stand in the way of the deletion.
	if _, err := deleting.Exec(t.Context(), "SET LOCAL lock_timeout = '5s'; DELETE FROM operation_runs WHERE id = 100"); err != nil {
		t.Error(err)
	}
	if err := deleting.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	step(t, address, (*Removal).Backfill)
	holds(t, address)
	step(t, address, (*Removal).Contract)
	holds(t, address)
}

// An application whose transactions see a snapshot must neither fail nor lose what it writes because
// a trigger sees no more than that.
func TestTheApplicationMayWorkOnASnapshot(t *testing.T) {
	t.Parallel()
	address := smallDatabase(t)
	throughBackfill(t, address)
	pool := dbtest.Connect(t, address)
	tx, err := pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := tx.Exec(t.Context(), "SELECT FROM operation_runs"); err != nil {
		t.Fatal(err)
	}
	run(t, address, `DELETE FROM operation_runs WHERE id = 102;
		INSERT INTO operation_runs (id, workspace_id, tenant_id, type, status, run_identity_hash) VALUES (500, 1, 10, 'inventory.sync', 'completed', 'h500');
		UPDATE inventory_sync_runs SET operation_run_id = 500 WHERE id = 3`)
	for _, statement := range []string{
		"update inventory_items set last_seen_run_id = 3 where id = 2",
		"insert into findings (id, tenant_id, finding_type, fingerprint, baseline_run_id, current_run_id) values (2, 10, 'drift', 'new', 1, 3)",
	} {
		if _, err := tx.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	// A run that the snapshot does not have cannot be referred to, as ever; to clear the reference in
	// silence would be worse.
	err = pgx.BeginFunc(t.Context(), tx, func(nested pgx.Tx) error {
		_, err := nested.Exec(t.Context(), "update inventory_items set last_seen_operation_run_id = 500 where id = 3")
		return err
	})
	if sqlState(err) != "23503" {
		t.Errorf("a reference to a run that the snapshot does not have: %v", err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	step(t, address, (*Removal).Backfill)
	wantReferences(t, address, "after the backfill", map[int]string{1: "100", 2: "500", 3: "null"})
	holds(t, address)
	step(t, address, (*Removal).Contract)
	holds(t, address)
}

// What is committed while a batch waits for it, the batch must see whole: the run together with the
// reference to it.
func TestABatchSeesTheRunOfAReferenceItWaitedFor(t *testing.T) {
	t.Parallel()
	address := smallDatabase(t)
	step(t, address, (*Removal).Expand)
	pool := dbtest.Connect(t, address)
	tx := underWay(t, pool, `
		INSERT INTO operation_runs (id, workspace_id, tenant_id, type, status, run_identity_hash) VALUES (500, 1, 10, 'inventory.sync', 'completed', 'h500');
		UPDATE inventory_items SET last_seen_operation_run_id = 500 WHERE id = 1`)
	r := open(t, address, Options{LockTimeout: time.Minute})
	unassigned, err := r.unassigned(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	filled := make(chan error, 1)
	go func() {
		_, err := r.fill(t.Context(), tasks()[3], unassigned)
		filled <- err
	}()
	dbtest.AwaitBlocked(t, pool, tx, 1)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-filled; err != nil {
		t.Fatal(err)
	}
	if got := reference(t, address, 1); got != "500" {
		t.Errorf("the item refers to %s, want 500", got)
	}
}

// The foreign key takes a reference away when its run is deleted; then the bridge counts, and until
// somebody looks again that is no difference.
func TestTheBridgeCountsWhenTheOwnRunIsDeleted(t *testing.T) {
	t.Parallel()
	address := smallDatabase(t, "UPDATE inventory_items SET last_seen_operation_run_id = 102 WHERE id = 1")
	throughBackfill(t, address)
	if got := reference(t, address, 1); got != "102" {
		t.Fatalf("the item refers to %s, want its own 102", got)
	}
	run(t, address, "DELETE FROM operation_runs WHERE id = 102")
	verified := step(t, address, (*Removal).Verify)
	for _, d := range verified.Differences {
		t.Error(d)
	}
	if verified.Pending["inventory_items"] != 1 {
		t.Errorf("to be looked at again: %v, want one item", verified.Pending)
	}
	step(t, address, (*Removal).Backfill)
	if got := reference(t, address, 1); got != "100" {
		t.Errorf("the item refers to %s, want the bridge's 100", got)
	}
	holds(t, address)
}

// One note under contract's locks may concern more rows than fit in their time.
func TestContractCatchesUpLittleUnderItsLocks(t *testing.T) {
	t.Parallel()
	address := smallDatabase(t, "INSERT INTO inventory_items (tenant_id, policy_type, external_id, last_seen_run_id) SELECT 10, 'p', 'many' || i, 1 FROM generate_series(1, 20001) AS i")
	throughBackfill(t, address)
	step(t, address, func(r *Removal, ctx context.Context) (*ContractReport, error) {
		r.opt.PrepareOnly = true
		return r.Contract(ctx)
	})
	run(t, address, "UPDATE tenants SET workspace_id = 2 WHERE id = 10")
	report := step(t, address, func(r *Removal, ctx context.Context) (*ContractReport, error) {
		report := &ContractReport{}
		if err := r.swap(ctx, report); err != nil {
			return nil, err
		}
		return report, r.finish(ctx, report)
	})
	if report.CaughtUp > 0 {
		t.Errorf("%d rows were caught up under the locks", report.CaughtUp)
	}
	// The one that had referred to that workspace all along may do so now.
	if found := one(t, address, "SELECT string_agg(id || ' ' || last_seen_operation_run_id, ', ') FROM inventory_items WHERE last_seen_operation_run_id IS NOT NULL"); found != "3 101" {
		t.Errorf("after the tenant's move to another workspace its items refer to %s, want 3 101 alone", found)
	}
	holds(t, address)
}
