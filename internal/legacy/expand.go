package legacy

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// ExpandReport is what Expand did.
type ExpandReport struct {
	Step    string `json:"step"`
	State   State  `json:"state"`
	Message string `json:"message"`
	// Columns and Indexes are the ones added by this run.
	Columns []string `json:"columns_added"`
	Indexes []string `json:"indexes_added"`
	// UnassignedWorkspaceID is the workspace of the tenants without one.
	UnassignedWorkspaceID int64 `json:"unassigned_workspace_id"`
}

// Expand adds what the canonical schema needs beside what the application has: nullable columns,
// the indexes that Backfill needs, and triggers that keep the columns right for rows that the
// application writes meanwhile. It blocks nobody for longer than Options.LockTimeout.
func (r *Removal) Expand(ctx context.Context) (*ExpandReport, error) {
	report := &ExpandReport{Step: "expand", Columns: []string{}, Indexes: []string{}}
	if err := r.lock(ctx); err != nil {
		return nil, err
	}
	state, err := Detect(ctx, r.conn)
	if err != nil {
		return nil, err
	}
	switch state {
	case Foreign:
		return nil, errForeign
	case Empty, Canonical, Contracted:
		report.State, report.Message = state, nothingToDo(state)
		return report, nil
	case Undoing:
		return nil, refuseUndoing("expand")
	case Uncontracted, Expanding, Expanded, Backfilled:
	}
	if state == Uncontracted || state == Expanding {
		if err := r.refuseUnexpected(ctx); err != nil {
			return nil, err
		}
	}
	r.progress.Note("expand: adds columns, triggers and the canonical tables' pattern; the application works on meanwhile")
	if err := r.expand(ctx, report); err != nil {
		return nil, fmt.Errorf("expand: %w", err)
	}
	if report.State, err = Detect(ctx, r.conn); err != nil {
		return nil, err
	}
	report.Message = "The database is expanded."
	if state != Uncontracted && len(report.Columns)+len(report.Indexes) == 0 {
		report.Message = "The database was already expanded; nothing was missing."
	}
	return report, nil
}

// refuseUnexpected fails if the application's schema lacks what the removal needs, or has what it
// cannot deal with.
func (r *Removal) refuseUnexpected(ctx context.Context) error {
	return pgx.BeginTxFunc(ctx, r.conn, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		blockers, err := expandBlockers(ctx, tx)
		if err != nil {
			return err
		}
		if len(blockers) > 0 {
			return &BlockedError{Step: "expand", Blockers: blockers}
		}
		return nil
	})
}

// BlockedError says why a step cannot be done. The step has changed nothing.
type BlockedError struct {
	Step     string
	Blockers []string
}

func (e *BlockedError) Error() string {
	text := e.Step + " refuses, and has changed nothing:"
	for _, blocker := range e.Blockers {
		text += "\n  - " + blocker
	}
	return text
}

func (r *Removal) expand(ctx context.Context, report *ExpandReport) error {
	if err := r.makeState(ctx); err != nil {
		return err
	}
	if err := r.makeCanonical(ctx); err != nil {
		return err
	}
	var err error
	if report.UnassignedWorkspaceID, err = r.makeUnassigned(ctx); err != nil {
		return err
	}
	if err := r.addColumns(ctx, report); err != nil {
		return err
	}
	if err := r.addBridgeIndexes(ctx, report); err != nil {
		return err
	}
	if err := r.makeTriggers(ctx, report.UnassignedWorkspaceID); err != nil {
		return err
	}
	if err := r.analyzeUnseen(ctx); err != nil {
		return err
	}
	_, err = r.conn.Exec(ctx, "UPDATE runledger_removal.state SET phase = 'expanded' WHERE phase = 'expanding'")
	return err
}

// makeState makes the tables that the removal remembers itself by.
func (r *Removal) makeState(ctx context.Context) error {
	return r.inTx(ctx, "make the removal's own tables", func(tx pgx.Tx) error {
		if err := makeStateTables(ctx, tx); err != nil {
			return err
		}
		types := r.opt.TypeMap
		var chosen bool
		if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM runledger_removal.type_map)").Scan(&chosen); err != nil {
			return err
		}
		if types == nil {
			if chosen {
				return nil
			}
			types = defaultTypeMap()
		}
		return replaceTypeMap(ctx, tx, types)
	})
}

// makeStateTables makes them. An earlier release has added columns without a note of which: those that
// are there are noted as its.
func makeStateTables(ctx context.Context, tx pgx.Tx) error {
	_, known, err := addedColumns(ctx, tx)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, stateSQL); err != nil || known {
		return err
	}
	have, err := readCatalog(ctx, tx, "public")
	if err != nil {
		return err
	}
	for _, name := range sharedTables {
		for _, c := range have[name].order {
			if !isShadow(c) && (isExpected(name, c) || onlyOwn(name, []string{c})) {
				continue
			}
			if err := noteColumn(ctx, tx, name, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// noteColumn notes that a column is the removal's.
func noteColumn(ctx context.Context, tx pgx.Tx, table, name string) error {
	_, err := tx.Exec(ctx, "INSERT INTO runledger_removal.added_columns VALUES ($1, $2) ON CONFLICT DO NOTHING", table, name)
	return err
}

// replaceTypeMap writes the map into the database. Another one than before undoes the backfill of
// the runs, since it was made with the one before.
func replaceTypeMap(ctx context.Context, tx pgx.Tx, types *TypeMap) error {
	old, standard := types.pairs()
	var same bool
	err := tx.QueryRow(ctx, `
		SELECT NOT EXISTS (
			(SELECT old, standard FROM runledger_removal.type_map EXCEPT SELECT * FROM unnest($1::text[], $2::text[]))
			UNION ALL
			(SELECT * FROM unnest($1::text[], $2::text[]) EXCEPT SELECT old, standard FROM runledger_removal.type_map))`,
		old, standard).Scan(&same)
	if err != nil || same {
		return err
	}
	_, err = tx.Exec(ctx, "DELETE FROM runledger_removal.type_map")
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "INSERT INTO runledger_removal.type_map SELECT * FROM unnest($1::text[], $2::text[])", old, standard); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "DELETE FROM runledger_removal.progress WHERE task IN ('operation_runs', 'archive')"); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "UPDATE runledger_removal.state SET phase = 'expanded' WHERE phase = 'backfilled'")
	return err
}

// makeUnassigned makes the workspace for the tenants that have none, once.
func (r *Removal) makeUnassigned(ctx context.Context) (int64, error) {
	var id int64
	err := r.inTx(ctx, "make the workspace unassigned", func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, "SELECT unassigned_workspace_id FROM runledger_removal.state").Scan(&id)
		if err == nil {
			return insertUnassigned(ctx, tx, id) // The application may have deleted it.
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if id, err = freeWorkspaceID(ctx, tx); err != nil {
			return err
		}
		if err := insertUnassigned(ctx, tx, id); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "INSERT INTO runledger_removal.state (phase, unassigned_workspace_id) VALUES ('expanding', $1)", id)
		return err
	})
	return id, err
}

// insertUnassigned makes the workspace of that id, if there is none. Somebody's workspace of the slug
// would have members who must not see these tenants.
func insertUnassigned(ctx context.Context, tx pgx.Tx, id int64) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO public.workspaces (id, name, slug, created_at, updated_at)
		SELECT $1, 'Unassigned', slug, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC'
		FROM (SELECT 'unassigned' AS slug, 0 AS n
		      UNION ALL SELECT 'unassigned-' || n, n FROM generate_series(2, 1000) AS n) AS wanted
		WHERE NOT EXISTS (SELECT FROM public.workspaces w WHERE w.id = $1 OR w.slug = wanted.slug)
		ORDER BY n LIMIT 1`, id)
	return err
}

// freeWorkspaceID is the id for a new workspace. A number that the sequence has given out and that no
// row has is taken first, so that an attempt that was killed does not show in the ids of the next:
// under the lock nobody else can be about to use it.
func freeWorkspaceID(ctx context.Context, tx pgx.Tx) (int64, error) {
	if _, err := tx.Exec(ctx, "LOCK TABLE public.workspaces IN SHARE ROW EXCLUSIVE MODE"); err != nil {
		return 0, err
	}
	var sequence string
	if err := tx.QueryRow(ctx, "SELECT coalesce(pg_get_serial_sequence('public.workspaces', 'id'), '')").Scan(&sequence); err != nil {
		return 0, err
	}
	query := "SELECT coalesce(max(id), 0) + 1 FROM public.workspaces"
	if sequence != "" {
		// Rows that were loaded with their ids leave the sequence behind them.
		if _, err := tx.Exec(ctx, fmt.Sprintf(`
			SELECT setval(%s, newest.id) FROM (SELECT max(id) AS id FROM public.workspaces) AS newest, %s AS s
			WHERE newest.id > s.last_value OR newest.id = s.last_value AND NOT s.is_called`, literal(sequence), sequence)); err != nil {
			return 0, err
		}
		query = fmt.Sprintf(`
			SELECT CASE WHEN is_called AND NOT EXISTS (SELECT FROM public.workspaces WHERE id >= last_value)
			            THEN last_value ELSE nextval(%s) END FROM %s`, literal(sequence), sequence)
	}
	var id int64
	err := tx.QueryRow(ctx, query).Scan(&id)
	return id, err
}

// addColumns adds to the application's tables the canonical columns that they lack.
func (r *Removal) addColumns(ctx context.Context, report *ExpandReport) error {
	application, canonical, err := r.catalogs(ctx)
	if err != nil {
		return err
	}
	for _, name := range tableNames(canonical) {
		have, ok := application[name]
		if !ok {
			continue // Contract moves the whole table.
		}
		want := canonical[name]
		for _, columnName := range want.order {
			now := current(name, columnName)
			if _, ok := have.columns[now]; ok {
				continue
			}
			if err := r.addColumn(ctx, name, now, want.columns[columnName]); err != nil {
				return err
			}
			report.Columns = append(report.Columns, name+"."+now)
		}
	}
	if _, ok := application["inventory_items"].columns[referenceColumn]; !ok {
		if err := r.addColumn(ctx, "inventory_items", referenceColumn, column{kind: "bigint"}); err != nil {
			return err
		}
		report.Columns = append(report.Columns, "inventory_items."+referenceColumn)
	}
	return nil
}

// addColumn adds a column that costs no rewrite: with its default if that is a constant, nullable
// if it has none. It is noted as the removal's in the same transaction.
func (r *Removal) addColumn(ctx context.Context, table, name string, col column) error {
	statement := fmt.Sprintf("ALTER TABLE %s ADD COLUMN IF NOT EXISTS %s %s", public(table), quoted(name), col.kind)
	if col.fallback != "" && isConstant(col.fallback) && !isShadow(name) {
		statement += " DEFAULT " + col.fallback
		if col.notNull {
			statement += " NOT NULL"
		}
	}
	return r.inTx(ctx, summarise(statement), func(tx pgx.Tx) error {
		if err := noteColumn(ctx, tx, table, name); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, statement)
		return err
	})
}

// isShadow tells whether a column is one of those that exist only until Contract.
func isShadow(column string) bool { return len(column) > len(ours) && column[:len(ours)] == ours }

// analyzeUnseen gives the planner statistics of the tables of which it has none.
func (r *Removal) analyzeUnseen(ctx context.Context) error {
	for _, name := range slices.Concat(legacyTables, largeTables, []string{"tenants", "backup_schedules"}) {
		var unseen bool
		err := r.conn.QueryRow(ctx, `
			SELECT coalesce((SELECT last_analyze IS NULL AND last_autoanalyze IS NULL
			                 FROM pg_stat_user_tables WHERE relid = to_regclass('public.' || $1)), false)`, name).Scan(&unseen)
		if err != nil {
			return err
		}
		if unseen {
			if err := r.alter(ctx, "ANALYZE "+public(name)); err != nil {
				return err
			}
		}
	}
	return nil
}
