package legacy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// finish does what is left after Contract's transaction, none of which blocks anybody: the
// constraints are held against the old rows, materialized views are filled, statistics are made,
// and the removal's own schemas go. What was done is not done again.
func (r *Removal) finish(ctx context.Context, report *ContractReport) error {
	pending, err := r.aftermathPending(ctx)
	if err != nil {
		return fmt.Errorf("contract is done, but not what follows it: %w", err)
	}
	if !pending {
		if report.Message == "" {
			report.Message = nothingToDo(Contracted)
		}
		return nil
	}
	r.progress.Note("contract: done; holds the constraints against the old rows, without locks")
	for _, step := range []func(context.Context, *ContractReport) error{r.runAftermath, r.countArchive, r.clearAway} {
		if err := step(ctx, report); err != nil {
			return fmt.Errorf("contract is done, but not what follows it (run it again): %w", err)
		}
	}
	report.Message = "The legacy run stores are in the schema " + ArchiveSchema + "; Runledger can serve from this database."
	return nil
}

// aftermathPending tells whether the removal's own tables are there still.
func (r *Removal) aftermathPending(ctx context.Context) (bool, error) {
	var pending bool
	err := r.conn.QueryRow(ctx, "SELECT to_regnamespace($1) IS NOT NULL OR to_regnamespace($2) IS NOT NULL",
		removalSchema, canonicalSchema).Scan(&pending)
	return pending, err
}

// afterthought is one thing to do after Contract's transaction.
type afterthought struct {
	ID                      int64
	Kind, Object, Statement string
}

// doAfterwards does one.
func (r *Removal) doAfterwards(ctx context.Context, a afterthought) error {
	if a.Kind != "index" {
		return r.alter(ctx, a.Statement)
	}
	err := r.buildIndex(ctx, a.Object, a.Statement)
	if err == nil || !hopeless(err) {
		return err
	}
	// What is left of a unique index would go on refusing rows.
	if err := r.alter(ctx, "DROP INDEX CONCURRENTLY IF EXISTS public."+quoted(a.Object)); err != nil {
		return err
	}
	return err
}

// hopeless tells whether the database refuses a statement because of what it is or of the rows that
// there are, so that it is refused the next time, too.
func hopeless(err error) bool {
	const connection, rollback, resources, state, intervention, system = "08", "40", "53", "55", "57", "58"
	class := sqlState(err)
	return class != "" && !slices.Contains([]string{connection, rollback, resources, state, intervention, system}, class[:2])
}

// saying is what the database says of an error, on one line.
func saying(err error) string {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return err.Error()
	}
	return strings.TrimSuffix(strings.ReplaceAll(pgErr.Message+": "+pgErr.Detail, "\n", "; "), ": ")
}

// runAftermath does them one by one. A constraint that an old row breaks stays NOT VALID; an index or
// the rows of a materialized view that cannot be made anew are left to the operator.
func (r *Removal) runAftermath(ctx context.Context, report *ContractReport) error {
	var left bool
	if err := r.conn.QueryRow(ctx, "SELECT to_regclass('runledger_removal.aftermath') IS NOT NULL").Scan(&left); err != nil || !left {
		return err
	}
	rows, err := r.conn.Query(ctx, "SELECT id, kind, object, statement FROM runledger_removal.aftermath ORDER BY kind <> 'note', id") // What is noted may change soon.
	if err != nil {
		return err
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[afterthought])
	if err != nil {
		return err
	}
	for _, a := range all {
		err := r.doAfterwards(ctx, a)
		const foreignKeyViolation = "23503"
		switch state := sqlState(err); {
		case state == foreignKeyViolation, state == checkViolation:
			report.NotValid = append(report.NotValid, a.Object)
			r.progress.Note("contract: %s stays NOT VALID, since old rows break it: %s", a.Object, r.broken(ctx, a.Object, err))
		case (a.Kind == "index" || a.Kind == "refresh") && hopeless(err):
			report.NotDone = append(report.NotDone, a.Statement+": "+saying(err))
			r.progress.Note("contract: %s %s could not be made anew: %s", a.Kind, a.Object, saying(err))
		case err != nil:
			return err
		default:
			if _, err := r.conn.Exec(ctx, "DELETE FROM runledger_removal.aftermath WHERE id = $1", a.ID); err != nil {
				return err
			}
		}
	}
	for _, table := range largeTables {
		if err := r.alter(ctx, "ANALYZE "+public(table)); err != nil {
			return err
		}
	}
	return nil
}

// broken says what old rows break: the database names a key that is not there, and nothing of a row
// that a CHECK does not allow, so that its condition has to do.
func (r *Removal) broken(ctx context.Context, constraint string, violation error) string {
	if detail := errorDetail(violation); detail != "" {
		return detail
	}
	var definition string
	err := r.conn.QueryRow(ctx, `SELECT pg_get_constraintdef(oid) FROM pg_constraint
		WHERE conname = $1 AND connamespace = 'public'::regnamespace`, constraint).Scan(&definition)
	if err != nil {
		return violation.Error() // it is told beside the work, and says enough
	}
	return strings.TrimSuffix(definition, " NOT VALID")
}

// countArchive counts what the archive has.
func (r *Removal) countArchive(ctx context.Context, report *ContractReport) error {
	report.Archived = map[string]int64{}
	names, err := r.archiveTables(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		var n int64
		if err := r.conn.QueryRow(ctx, "SELECT count(*) FROM "+pgx.Identifier{ArchiveSchema, name}.Sanitize()).Scan(&n); err != nil {
			return err
		}
		report.Archived[name] = n
	}
	return nil
}

// archiveTables lists the tables of the archive.
func (r *Removal) archiveTables(ctx context.Context) ([]string, error) {
	rows, err := r.conn.Query(ctx, `SELECT relname::text FROM pg_class
		WHERE relnamespace = to_regnamespace($1) AND relkind IN ('r', 'p') ORDER BY relname`, ArchiveSchema)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// clearAway drops what the removal needed for itself, table by table and never with CASCADE. The
// last thing to go is the schema that says that something is left.
func (r *Removal) clearAway(ctx context.Context, _ *ContractReport) error {
	for _, schema := range []string{canonicalSchema, removalSchema} {
		err := r.inTx(ctx, "clear away the schema "+schema, func(tx pgx.Tx) error {
			return dropSchema(ctx, tx, schema)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// dropSchema drops a schema of ours with its views, tables and functions. Anything else in it, or
// anything that depends on it, is a reason to refuse.
func dropSchema(ctx context.Context, tx pgx.Tx, schema string) error {
	for _, query := range []string{
		`SELECT CASE WHEN count(*) > 0 THEN 'DROP VIEW ' || string_agg(c.oid::regclass::text, ', ') END
		 FROM pg_class c WHERE c.relnamespace = to_regnamespace($1) AND c.relkind = 'v'`,
		`SELECT CASE WHEN count(*) > 0 THEN 'DROP TABLE ' || string_agg(c.oid::regclass::text, ', ') END
		 FROM pg_class c WHERE c.relnamespace = to_regnamespace($1) AND c.relkind IN ('r', 'p')`,
		`SELECT CASE WHEN count(*) > 0 THEN 'DROP FUNCTION ' || string_agg(p.oid::regprocedure::text, ', ') END
		 FROM pg_proc p WHERE p.pronamespace = to_regnamespace($1)`,
	} {
		var drop *string
		if err := tx.QueryRow(ctx, query, schema).Scan(&drop); err != nil {
			return err
		}
		if drop == nil {
			continue
		}
		if _, err := tx.Exec(ctx, *drop); err != nil {
			return fmt.Errorf("%s: %w", strings.SplitN(*drop, " ", 3)[1], err)
		}
	}
	_, err := tx.Exec(ctx, "DROP SCHEMA IF EXISTS "+quoted(schema))
	return err
}
