package legacy

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// UndoReport is what Undo did.
type UndoReport struct {
	Step    string `json:"step"`
	State   State  `json:"state"`
	Message string `json:"message"`
	// Restored are the inventory items whose reference is again as the application had written it.
	Restored int64 `json:"references_restored"`
}

// Undo takes back all that Expand, Backfill and Contract's preparations have added, so that the
// database is again as the application left it. It refuses after Contract.
func (r *Removal) Undo(ctx context.Context) (*UndoReport, error) {
	report := &UndoReport{Step: "undo"}
	if err := r.lock(ctx); err != nil {
		return nil, err
	}
	state, err := Detect(ctx, r.conn)
	if err != nil {
		return nil, err
	}
	report.State = state
	switch state {
	case Foreign:
		return nil, errForeign
	case Contracted:
		return nil, &BlockedError{Step: "undo", Blockers: []string{"the database is contracted; the way back is the backup"}}
	case Empty, Canonical:
		report.Message = nothingToDo(state)
		return report, nil
	case Uncontracted:
		report.Message = "There is nothing to undo: the removal has not begun."
		return report, nil
	case Expanding, Expanded, Backfilled, Undoing:
	}
	for _, step := range r.undoSteps() {
		if err := step(ctx, report); err != nil {
			return nil, fmt.Errorf("undo: %w", err)
		}
	}
	report.State, err = Detect(ctx, r.conn)
	report.Message = "The database is again as the application left it."
	return report, err
}

// undoSteps are what Undo does, in order; what is done is not done again. What holds the application
// to canonical values goes before the triggers that give it those, and the triggers before the
// columns that they write. The last thing to go says that an undo has begun.
func (r *Removal) undoSteps() []func(context.Context, *UndoReport) error {
	return []func(context.Context, *UndoReport) error{
		r.beginUndo, r.undoProofs, r.undoIndexes, r.undoReferences, r.undoTriggers, r.undoColumns, r.undoWorkspace,
		func(ctx context.Context, _ *UndoReport) error { return r.clearAway(ctx, nil) },
	}
}

// beginUndo notes that nothing else can go on from here: what is filled will not stay so.
func (r *Removal) beginUndo(ctx context.Context, _ *UndoReport) error {
	return r.inTx(ctx, "begin to undo", func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "UPDATE runledger_removal.state SET phase = $1", string(Undoing)); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "DELETE FROM runledger_removal.progress")
		return err
	})
}

// undoProofs drops the CHECKs that hold for the application's rows, too.
func (r *Removal) undoProofs(ctx context.Context, _ *UndoReport) error {
	application, err := r.application(ctx)
	if err != nil {
		return err
	}
	for _, name := range tableNames(application) {
		for _, key := range sortedKeys(application[name].constraints) {
			if !isShadow(key) {
				continue
			}
			if err := r.dropConstraint(ctx, name, key); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropConstraint drops a constraint of ours from one of the application's tables, if it is there.
func (r *Removal) dropConstraint(ctx context.Context, table, name string) error {
	return r.alter(ctx, fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT IF EXISTS %s", public(table), quoted(name)))
}

func (r *Removal) undoTriggers(ctx context.Context, _ *UndoReport) error {
	for _, t := range triggers(0) {
		if err := r.alter(ctx, fmt.Sprintf("DROP TRIGGER IF EXISTS %s ON %s", quoted(ours+t.name), public(t.table))); err != nil {
			return err
		}
	}
	return nil
}

// undoReferences gives inventory items back what the application had written, in batches, while the
// triggers still see to it that nothing is given back to an item that the application writes. A
// reference to a run that was deleted meanwhile stays null if there is a foreign key to forbid it:
// that would have taken it away.
func (r *Removal) undoReferences(ctx context.Context, report *UndoReport) error {
	application, err := r.application(ctx)
	if err != nil {
		return err
	}
	if _, ok := application["inventory_items"].columns[referenceColumn]; !ok {
		return nil
	}
	const size, first = 2000, -1 << 63
	for last := int64(first); ; {
		var upper *int64
		var restored int64
		err := r.inTx(ctx, "give items their references back", func(tx pgx.Tx) error {
			err := tx.QueryRow(ctx, "SELECT max(id) FROM (SELECT id FROM public.inventory_items WHERE id > $1 ORDER BY id LIMIT $2) AS batch", last, size).
				Scan(&upper)
			if err != nil || upper == nil {
				return err
			}
			tag, err := tx.Exec(ctx, `
				UPDATE public.inventory_items r SET runledger_reference = NULL, last_seen_operation_run_id = CASE
					WHEN `+referenceIsKey+`
					THEN (SELECT o.id FROM public.operation_runs o WHERE o.id = r.runledger_reference FOR KEY SHARE)
					ELSE nullif(r.runledger_reference, 0) END
				WHERE r.id > $1 AND r.id <= $2 AND r.runledger_reference IS NOT NULL`, last, *upper)
			restored = tag.RowsAffected()
			return err
		})
		if err != nil || upper == nil {
			return err
		}
		report.Restored += restored
		last = *upper
	}
}

// application reads the application's tables.
func (r *Removal) application(ctx context.Context) (map[string]*table, error) {
	var tables map[string]*table
	err := pgx.BeginTxFunc(ctx, r.conn, readOnly, func(tx pgx.Tx) error {
		var err error
		tables, err = readCatalog(ctx, tx, "public")
		return err
	})
	return tables, err
}

func (r *Removal) undoIndexes(ctx context.Context, _ *UndoReport) error {
	application, err := r.application(ctx)
	if err != nil {
		return err
	}
	for _, name := range tableNames(application) {
		for _, key := range sortedKeys(application[name].indexes) {
			if strings.HasPrefix(key, ours) {
				if err := r.alter(ctx, "DROP INDEX CONCURRENTLY IF EXISTS public."+quoted(key)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// undoColumns drops the columns that the application's own migrations did not make and that are
// canonical or only for the removal.
func (r *Removal) undoColumns(ctx context.Context, _ *UndoReport) error {
	application, canonical, err := r.catalogs(ctx)
	if err != nil {
		return err
	}
	removable, err := r.removable(ctx)
	if err != nil {
		return err
	}
	for _, name := range tableNames(canonical) {
		have := application[name]
		if have == nil {
			continue
		}
		for _, c := range have.order {
			if removable(name, c) {
				if err := r.alter(ctx, fmt.Sprintf("ALTER TABLE %s DROP COLUMN IF EXISTS %s", public(name), quoted(c))); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// removable tells which columns are the removal's: those that Expand has noted. Where an earlier release
// has noted none, they are told by their names.
func (r *Removal) removable(ctx context.Context) (func(table, column string) bool, error) {
	var added map[[2]string]bool
	known := false
	err := pgx.BeginTxFunc(ctx, r.conn, readOnly, func(tx pgx.Tx) error {
		var err error
		added, known, err = addedColumns(ctx, tx)
		return err
	})
	return func(table, column string) bool {
		if known {
			return added[[2]string{table, column}]
		}
		return isShadow(column) || !isExpected(table, column) && !onlyOwn(table, []string{column})
	}, err
}

// undoWorkspace deletes the workspace that was made for the tenants without one.
func (r *Removal) undoWorkspace(ctx context.Context, _ *UndoReport) error {
	return r.inTx(ctx, "delete the workspace unassigned", func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			DELETE FROM public.workspaces w WHERE w.id = (SELECT unassigned_workspace_id FROM runledger_removal.state)
			AND NOT EXISTS (SELECT FROM public.tenants t WHERE t.workspace_id = w.id)
			AND NOT EXISTS (SELECT FROM public.operation_runs o WHERE o.workspace_id = w.id)
			AND NOT EXISTS (SELECT FROM public.workspace_memberships m WHERE m.workspace_id = w.id)`)
		return err
	})
}
