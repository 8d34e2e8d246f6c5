package legacy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// PurgeReport is what Purge did.
type PurgeReport struct {
	Step      string   `json:"step"`
	State     State    `json:"state"`
	Message   string   `json:"message"`
	Directory string   `json:"directory,omitempty"` // where the export is
	Deleted   Counts   `json:"deleted,omitempty"`   // rows, by table
	Mentions  []string `json:"functions_that_name_the_tables,omitempty"`
}

// errNotConfirmed says that the database's name was not typed.
var errNotConfirmed = errors.New("not confirmed: the database's name was not typed; nothing was deleted")

// Purge exports the archive to a directory, reads the export back, and deletes the archive: the only
// step that deletes. It refuses while anything depends on the archive, and unless confirm, which
// gets the database's name, returns that name as the operator typed it.
func (r *Removal) Purge(ctx context.Context, directory string, confirm func(database string) (string, error)) (*PurgeReport, error) {
	report := &PurgeReport{Step: "purge", Directory: directory}
	if err := r.lock(ctx); err != nil {
		return nil, err
	}
	var err error
	if report.State, err = Detect(ctx, r.conn); err != nil {
		return nil, err
	}
	switch report.State {
	case Foreign:
		return nil, errForeign
	case Empty, Canonical:
		report.Message = nothingToDo(report.State)
		return report, nil
	case Uncontracted, Expanding, Expanded, Backfilled, Undoing:
		return nil, &BlockedError{Step: "purge", Blockers: []string{"the database is not contracted yet: run " + report.State.Next()}}
	case Contracted:
	}
	if err := r.refusePurge(ctx, report); err != nil {
		return nil, err
	}
	var database string
	if err := r.conn.QueryRow(ctx, "SELECT current_database()").Scan(&database); err != nil {
		return nil, fmt.Errorf("purge: %w", err)
	}
	typed, err := confirm(database)
	if err != nil {
		return nil, fmt.Errorf("purge: %w", err)
	}
	if typed != database {
		return nil, errNotConfirmed
	}
	if err := r.purge(ctx, report); err != nil {
		return nil, fmt.Errorf("purge deleted nothing: %w", err)
	}
	report.State = Canonical
	report.Message = "The archive is exported, its export was read back, and it is deleted."
	return report, nil
}

// refusePurge fails while anything depends on the archive, or contract has not finished.
func (r *Removal) refusePurge(ctx context.Context, report *PurgeReport) error {
	pending, err := r.aftermathPending(ctx)
	if err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	if pending {
		return &BlockedError{Step: "purge", Blockers: []string{"contract has not finished what follows it: run runledger legacy contract again"}}
	}
	rows, err := r.conn.Query(ctx, `
		SELECT DISTINCT CASE v.relkind WHEN 'm' THEN 'materialized view ' ELSE 'view ' END || v.oid::regclass || ' reads ' || c.oid::regclass
		FROM pg_class c
		JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.classid = 'pg_rewrite'::regclass
		JOIN pg_rewrite w ON w.oid = d.objid JOIN pg_class v ON v.oid = w.ev_class AND v.oid <> c.oid
		WHERE c.relnamespace = to_regnamespace($1)
		UNION ALL
		SELECT 'foreign key ' || k.conname || ' of ' || k.conrelid::regclass || ' refers to ' || c.oid::regclass
		FROM pg_class c JOIN pg_constraint k ON k.contype = 'f' AND k.confrelid = c.oid
		JOIN pg_class t ON t.oid = k.conrelid AND t.relnamespace <> c.relnamespace
		WHERE c.relnamespace = to_regnamespace($1)
		UNION ALL
		SELECT pg_describe_object(d.classid, d.objid, 0) || ' reads ' || c.oid::regclass
		FROM pg_class c JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.classid = 'pg_proc'::regclass
		WHERE c.relnamespace = to_regnamespace($1)
		UNION ALL
		SELECT pg_describe_object(d.classid, d.objid, d.objsubid) || ' is made of rows of ' || c.oid::regclass
		FROM pg_class c JOIN pg_type t ON t.oid = c.reltype
		JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray) AND d.deptype = 'n'
		WHERE c.relnamespace = to_regnamespace($1)
		UNION ALL
		SELECT i.inhrelid::regclass || ' inherits from ' || c.oid::regclass
		FROM pg_class c JOIN pg_inherits i ON i.inhparent = c.oid
		WHERE c.relnamespace = to_regnamespace($1)
		ORDER BY 1`, ArchiveSchema)
	if err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	blockers, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	if len(blockers) > 0 {
		return &BlockedError{Step: "purge", Blockers: blockers}
	}
	return pgx.BeginTxFunc(ctx, r.conn, readOnly, func(tx pgx.Tx) error {
		mentions, err := mentioningFunctions(ctx, tx)
		for _, m := range mentions {
			report.Mentions = append(report.Mentions, m.Name+" names "+m.On)
		}
		slices.Sort(report.Mentions)
		return err
	})
}

// purge exports, reads back and deletes in one transaction, in which nobody else can write to the
// archive.
func (r *Removal) purge(ctx context.Context, report *PurgeReport) error {
	return r.inTx(ctx, "purge", func(tx pgx.Tx) error {
		names, err := r.archiveTables(ctx)
		if err != nil {
			return err
		}
		var qualified []string
		for _, name := range names {
			qualified = append(qualified, pgx.Identifier{ArchiveSchema, name}.Sanitize())
		}
		list := strings.Join(qualified, ", ")
		if _, err := tx.Exec(ctx, "LOCK TABLE "+list+" IN SHARE ROW EXCLUSIVE MODE"); err != nil {
			return err
		}
		e := &exporter{tx: tx, directory: report.Directory, progress: r.progress}
		written, err := e.export(ctx, names)
		if err != nil {
			return err
		}
		if err := e.readBack(); err != nil {
			return fmt.Errorf("read the export back: %w", err)
		}
		report.Deleted = Counts{}
		for _, f := range written.Tables {
			report.Deleted[f.Table] = f.Rows
		}
		if _, err := tx.Exec(ctx, "DROP TABLE "+list); err != nil { // never CASCADE
			if detail := errorDetail(err); detail != "" {
				return fmt.Errorf("%w: %s", err, detail)
			}
			return err
		}
		_, err = tx.Exec(ctx, "DROP SCHEMA "+ArchiveSchema)
		return err
	})
}
