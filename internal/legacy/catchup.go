package legacy

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// catchUp looks again, in batches, at all rows that the application had written when it began, and
// returns how many there were. What the application writes meanwhile is left for the next time, or
// an application in a hurry would never let it end.
func (r *Removal) catchUp(ctx context.Context) (int64, error) {
	const size = 500
	unassigned, err := r.unassigned(ctx)
	if err != nil {
		return 0, err
	}
	left, err := r.notes(ctx)
	if err != nil || len(left) == 0 { // and nothing to tell
		return 0, err
	}
	var total int64
	r.progress.begin("catch up", 0, int64(len(left)))
	defer r.progress.end()
	for len(left) > 0 {
		batch := left[:min(size, len(left))]
		var did caughtUp
		err := r.inTx(ctx, "catch up", func(tx pgx.Tx) error {
			taken, _, err := take(ctx, tx, "DELETE FROM runledger_removal.dirty WHERE ctid = ANY($1) RETURNING kind, id", placesOf(batch))
			if err != nil {
				return err
			}
			did, err = catchUpWith(ctx, tx, taken, size, unassigned)
			return err
		})
		if err != nil {
			return total, err
		}
		left = append(left[len(batch):], did.back...)
		total += did.rows
		r.progress.advance(int64(len(batch)))
	}
	return total, nil
}

// note says that the application has written a row: all that stands in the table of notes of that row,
// which it may have written often. A note's place is good for as long as the note is there; should the
// table be written anew, another note is taken in its place, and this one the next time.
type note struct {
	Kind   string
	ID     int64
	Places []pgtype.TID
}

// notes are all that there are now. Tenants come first, for what belongs to them is found by them.
func (r *Removal) notes(ctx context.Context) ([]note, error) {
	rows, err := r.conn.Query(ctx, "SELECT kind, id, array_agg(ctid) AS places FROM runledger_removal.dirty GROUP BY kind, id ORDER BY kind = 'tenant' DESC, kind, id")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[note])
}

func placesOf(notes []note) []pgtype.TID {
	var places []pgtype.TID
	for i := range notes {
		places = append(places, notes[i].Places...)
	}
	return places
}

// caughtUp says how many rows a batch filled, and which it noted again.
type caughtUp struct {
	rows int64
	back []note
}

// kinds are the notes' names for rows of tables.
var kinds = map[string]string{
	"backup_schedules": "schedule", "operation_runs": "run", "findings": "finding", "inventory_items": "item",
}

// putBack notes all but the first size ids again, for a transaction of their own: a tenant that moves
// takes all of its rows along, and nobody must wait for a row until all of those are done.
func (did *caughtUp) putBack(ctx context.Context, tx pgx.Tx, kind string, ids []int64, size int) ([]int64, error) {
	if len(ids) <= size {
		return ids, nil
	}
	rows, err := tx.Query(ctx, `INSERT INTO runledger_removal.dirty (kind, id) SELECT $1, unnest($2::bigint[])
		RETURNING kind, id, ARRAY[ctid] AS places`, kind, ids[size:])
	if err != nil {
		return nil, err
	}
	back, err := pgx.CollectRows(rows, pgx.RowToStructByName[note])
	did.back = append(did.back, back...)
	return ids[:size], err
}

// released is the kind of the items whose cleared reference led to a run that was deleted.
const released = "item_released"

// release forgets the references of those items, as the application's foreign key would have done
// if they had not been cleared before.
func release(ctx context.Context, tx pgx.Tx, items []int64) error {
	if len(items) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, `
		UPDATE public.inventory_items r SET runledger_reference = NULL
		WHERE r.id = ANY($1) AND r.runledger_reference > 0
		  AND NOT EXISTS (SELECT FROM public.operation_runs o WHERE o.id = r.runledger_reference) AND `+referenceIsKey, items)
	return err
}

// noted are the rows to look at again, by kind.
type noted map[string][]int64

// of are the rows of a kind in order, each once.
func (n noted) of(kind string) []int64 {
	slices.Sort(n[kind])
	return slices.Compact(n[kind])
}

// catchUpWith fills the rows that notes concern, up to size of each kind.
func catchUpWith(ctx context.Context, tx pgx.Tx, taken noted, size int, unassigned int64) (did caughtUp, err error) {
	if err := spread(ctx, tx, taken); err != nil {
		return did, fmt.Errorf("find what depends on rows written meanwhile: %w", err)
	}
	gone, err := did.putBack(ctx, tx, released, taken.of(released), size)
	if err != nil {
		return did, err
	}
	if err := release(ctx, tx, gone); err != nil {
		return did, fmt.Errorf("forget references to deleted runs: %w", err)
	}
	for _, t := range tasks() {
		which, err := did.putBack(ctx, tx, kinds[t.table], taken.of(kinds[t.table]), size)
		if err != nil {
			return did, err
		}
		if len(which) == 0 {
			continue
		}
		_, n, err := t.fill(ctx, tx, unassigned, "r.id = ANY($1)", which)
		if err != nil {
			return did, fmt.Errorf("fill rows of %s: %w", t.table, err)
		}
		did.rows += n
		if err := rearchive(ctx, tx, t.table, which); err != nil {
			return did, err
		}
	}
	return did, nil
}

// take takes notes out of the table of those by a statement that returns them, and tells how many.
func take(ctx context.Context, tx pgx.Tx, sql string, args ...any) (noted, int64, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, 0, err
	}
	taken := noted{}
	var kind string
	var id, total int64
	_, err = pgx.ForEachRow(rows, []any{&kind, &id}, func() error {
		taken[kind] = append(taken[kind], id)
		total++
		return nil
	})
	return taken, total, err
}

// spread adds to the noted rows those whose values depend on them.
func spread(ctx context.Context, tx pgx.Tx, taken noted) error {
	// What the application wrote into an item's new reference alone has a kind of its own, for Verify.
	taken["item"] = slices.Concat(taken["item"], taken["item_own"], taken[released])
	for _, rule := range []struct{ from, to, query string }{
		// A tenant's workspace is that of all that belongs to it.
		{"tenant", "schedule", "SELECT id FROM public.backup_schedules WHERE tenant_id = ANY($1)"},
		{"tenant", "finding", "SELECT id FROM public.findings WHERE tenant_id = ANY($1)"},
		{"tenant", "item", "SELECT id FROM public.inventory_items WHERE tenant_id = ANY($1)"},
		// A schedule's workspace decides whether its runs' context names it.
		{"schedule", "run", "SELECT operation_run_id FROM public.backup_schedule_runs WHERE backup_schedule_id = ANY($1) AND operation_run_id IS NOT NULL"},
		// A run that came, went or moved makes and breaks bridges.
		{"run_place", "sync", "SELECT id FROM public.inventory_sync_runs WHERE operation_run_id = ANY($1)"},
		{"run_place", "item", "SELECT id FROM public.inventory_items WHERE last_seen_operation_run_id = ANY($1)"},
		{"run_place", "item", "SELECT id FROM public.inventory_items WHERE runledger_reference = ANY($1) AND runledger_reference > 0"},
		{"run_place", released, `SELECT i.id FROM public.inventory_items i WHERE i.runledger_reference = ANY($1) AND i.runledger_reference > 0
			AND NOT EXISTS (SELECT FROM public.operation_runs o WHERE o.id = i.runledger_reference)`},
		{"sync", "finding", "SELECT id FROM public.findings WHERE baseline_run_id = ANY($1) OR current_run_id = ANY($1)"},
		{"sync", "item", "SELECT id FROM public.inventory_items WHERE last_seen_run_id = ANY($1)"},
	} {
		if len(taken[rule.from]) == 0 {
			continue
		}
		rows, err := tx.Query(ctx, rule.query, taken[rule.from])
		if err != nil {
			return err
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			return err
		}
		taken[rule.to] = append(taken[rule.to], ids...)
	}
	return nil
}

// pendingRows lists, without taking the notes, the rows by table that are to be looked at again. The
// application's own references are among them only if asked for: they are its word, not a
// consequence of what it wrote elsewhere.
func pendingRows(ctx context.Context, tx pgx.Tx, ownReferences bool) (map[string]map[int64]bool, error) {
	var noting bool
	if err := tx.QueryRow(ctx, "SELECT to_regclass('runledger_removal.dirty') IS NOT NULL").Scan(&noting); err != nil || !noting {
		return nil, err
	}
	rows, err := tx.Query(ctx, "SELECT DISTINCT kind, id FROM runledger_removal.dirty WHERE $1 OR kind <> 'item_own'", ownReferences)
	if err != nil {
		return nil, err
	}
	taken := noted{}
	var kind string
	var id int64
	if _, err := pgx.ForEachRow(rows, []any{&kind, &id}, func() error { taken[kind] = append(taken[kind], id); return nil }); err != nil {
		return nil, err
	}
	if err := spread(ctx, tx, taken); err != nil {
		return nil, err
	}
	pending := map[string]map[int64]bool{}
	for table, kind := range kinds {
		pending[table] = make(map[int64]bool, len(taken[kind]))
		for _, id := range taken[kind] {
			pending[table][id] = true
		}
	}
	return pending, nil
}
