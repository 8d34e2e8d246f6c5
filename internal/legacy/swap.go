package legacy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runledger/runledger/db"
)

// swapping is Contract's transaction while it runs.
type swapping struct {
	tx                     pgx.Tx
	report                 *ContractReport
	application, canonical map[string]*table
	foreign                []foreignKey     // of the application's own tables, to keys that are swapped
	views                  []view           // over columns that are swapped
	last                   map[string]int64 // the largest id of each large table
}

// foreignKey is one of a table that is not canonical to the key of one that is.
type foreignKey struct {
	table      string // qualified
	name       string
	definition string
	references string
	validated  bool
	shared     string // the canonical table that it is of, if it is of one
}

// exec runs one statement and says which one failed.
func (s *swapping) exec(ctx context.Context, statement string, args ...any) error {
	if _, err := s.tx.Exec(ctx, statement, args...); err != nil {
		return fmt.Errorf("%s: %w", summarise(statement), err)
	}
	return nil
}

// alter runs a statement on a table of the schema public.
func (s *swapping) alter(ctx context.Context, table, format string, args ...any) error {
	return s.exec(ctx, "ALTER TABLE "+public(table)+" "+fmt.Sprintf(format, args...))
}

// prepare reads what is there, before the locks are taken.
func (s *swapping) prepare(ctx context.Context) error {
	var err error
	if s.application, err = readCatalog(ctx, s.tx, "public"); err != nil {
		return err
	}
	if s.canonical, err = readCatalog(ctx, s.tx, canonicalSchema); err != nil {
		return err
	}
	if s.foreign, err = s.foreignKeys(ctx); err != nil {
		return err
	}
	s.views, err = viewsOverSwapped(ctx, s.tx)
	return err
}

// both are the canonical tables that the application has too.
func (s *swapping) both() []string {
	return slices.DeleteFunc(tableNames(s.canonical), func(name string) bool { return s.application[name] == nil })
}

// foreignKeys lists the foreign keys to primary keys that change, of tables that are not canonical and
// of the application's own columns of those that are.
func (s *swapping) foreignKeys(ctx context.Context) ([]foreignKey, error) {
	var swappedKeys []string
	for _, name := range s.both() {
		key := name + "_pkey"
		if s.application[name].constraints[key].definition != s.canonical[name].constraints[key].definition {
			swappedKeys = append(swappedKeys, name)
		}
	}
	rows, err := s.tx.Query(ctx, `
		SELECT k.conrelid::regclass::text, k.conname, pg_get_constraintdef(k.oid), f.relname, k.convalidated,
		       CASE WHEN n.nspname = 'public' AND t.relname = ANY($2) THEN t.relname ELSE '' END
		FROM pg_constraint k
		JOIN pg_class t ON t.oid = k.conrelid JOIN pg_namespace n ON n.oid = t.relnamespace
		JOIN pg_class f ON f.oid = k.confrelid
		WHERE k.contype = 'f' AND k.conparentid = 0 AND f.relnamespace = 'public'::regnamespace AND f.relname = ANY($1)
		  AND n.nspname <> $3
		ORDER BY k.oid`, swappedKeys, s.both(), canonicalSchema)
	if err != nil {
		return nil, err
	}
	keys, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (foreignKey, error) {
		var k foreignKey
		err := row.Scan(&k.table, &k.name, &k.definition, &k.references, &k.validated, &k.shared)
		k.definition = strings.TrimSuffix(k.definition, " NOT VALID")
		return k, err
	})
	return slices.DeleteFunc(keys, func(k foreignKey) bool {
		return k.shared != "" && !s.keepsConstraint(k.shared, k.name, s.application[k.shared].constraints[k.name])
	}), err
}

// lock takes every lock that the transaction is going to need, in one statement.
func (s *swapping) lock(ctx context.Context) error {
	var names []string
	for _, name := range slices.Concat(s.both(), legacyTables) {
		names = append(names, public(name))
	}
	for _, k := range s.foreign {
		names = append(names, k.table)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	return s.exec(ctx, "LOCK TABLE "+strings.Join(names, ", ")+" IN ACCESS EXCLUSIVE MODE")
}

// run does the work, under the locks.
func (s *swapping) run(ctx context.Context) error {
	// Whatever the database's zone is, a timestamp without one is UTC; only so does the change of
	// type need no rewrite.
	if err := s.exec(ctx, "SET LOCAL timezone = 'UTC'"); err != nil {
		return err
	}
	steps := []func(context.Context) error{
		s.catchUp, s.advanceSequences, s.assignTenants, s.deriveHashes, s.dropTriggers, s.dropViews, s.dropForeignKeys,
		s.swapTables, s.moveNewTables, s.moveFunctionsAndViews, s.addTypes, s.addForeignKeys, s.makeViews, s.archive, s.remember,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// catchUp fills what the application has written since the last look.
func (s *swapping) catchUp(ctx context.Context) error {
	const most = 20000
	var waiting int
	var unassigned int64
	err := s.tx.QueryRow(ctx, `
		SELECT (SELECT count(*) FROM (SELECT FROM runledger_removal.dirty LIMIT $1) AS waiting), unassigned_workspace_id
		FROM runledger_removal.state`, most+1).Scan(&waiting, &unassigned)
	if err != nil {
		return err
	}
	if waiting > most {
		return errFarBehind
	}
	s.last = map[string]int64{}
	for _, name := range largeTables {
		var last int64
		if err := s.tx.QueryRow(ctx, "SELECT coalesce(max(id), 0) FROM "+public(name)).Scan(&last); err != nil {
			return err
		}
		s.last[name] = last
	}
	for {
		taken, notes, err := take(ctx, s.tx, "DELETE FROM runledger_removal.dirty RETURNING kind, id")
		if err != nil {
			return fmt.Errorf("catch up: %w", err)
		}
		if notes == 0 {
			return nil
		}
		did, err := catchUpWith(ctx, s.tx, taken, most, unassigned)
		if err != nil {
			return fmt.Errorf("catch up: %w", err)
		}
		if len(did.back) > 0 { // one note may concern all rows of a tenant
			return errFarBehind
		}
		s.report.CaughtUp += did.rows
	}
}

// advanceSequences keeps the service from giving out ids that the application's tables were loaded
// with. It comes before the swap, while the keys lead with the id.
func (s *swapping) advanceSequences(ctx context.Context) error {
	return db.AdvanceSequences(ctx, s.tx, slices.DeleteFunc(s.both(), func(name string) bool {
		_, ok := s.application[name].columns["id"]
		return !ok
	})...)
}

// assignTenants gives the tenants without a workspace theirs, which the application may have deleted.
func (s *swapping) assignTenants(ctx context.Context) error {
	var unassigned int64
	if err := s.tx.QueryRow(ctx, "SELECT unassigned_workspace_id FROM runledger_removal.state").Scan(&unassigned); err != nil {
		return err
	}
	if err := insertUnassigned(ctx, s.tx, unassigned); err != nil {
		return fmt.Errorf("make the workspace unassigned: %w", err)
	}
	return s.exec(ctx, `UPDATE public.tenants SET workspace_id = (SELECT unassigned_workspace_id FROM runledger_removal.state)
		WHERE workspace_id IS NULL`)
}

// deriveHashes leaves to the newest of several active runs of one identity its hash, and gives the
// others one that is derived from theirs and their id. Their original is archived.
func (s *swapping) deriveHashes(ctx context.Context) error {
	var n int64
	err := s.tx.QueryRow(ctx, `
		WITH older AS (
			SELECT id FROM (
				SELECT id, row_number() OVER (PARTITION BY workspace_id, tenant_id, run_identity_hash
				                              ORDER BY created_at DESC NULLS LAST, id DESC) AS place
				FROM public.operation_runs WHERE status IN ('queued', 'running')) AS active
			WHERE place > 1),
		derived AS (
			UPDATE public.operation_runs r
			SET runledger_run_identity_hash = encode(sha256(convert_to(r.run_identity_hash || ':' || r.id, 'UTF8')), 'hex')
			FROM older WHERE r.id = older.id
			RETURNING r.id, r.type, r.context, r.failure_summary, r.run_identity_hash),
		kept AS (
			INSERT INTO runledger_removal.operation_run_originals
			SELECT * FROM derived ON CONFLICT (operation_run_id) DO NOTHING)
		SELECT count(*) FROM derived`).Scan(&n)
	if err != nil {
		return fmt.Errorf("derive identity hashes: %w", err)
	}
	s.report.Duplicates = n
	return nil
}

// dropTriggers removes the removal's triggers and their functions.
func (s *swapping) dropTriggers(ctx context.Context) error {
	for _, t := range triggers(0) {
		if err := s.exec(ctx, fmt.Sprintf("DROP TRIGGER IF EXISTS %s ON %s", quoted(ours+t.name), public(t.table))); err != nil {
			return err
		}
		if err := s.exec(ctx, fmt.Sprintf("DROP FUNCTION IF EXISTS %s.%s()", removalSchema, quoted(ours+t.name))); err != nil {
			return err
		}
	}
	return nil
}

// dropForeignKeys removes, for the time being, the foreign keys that stand on keys that change.
func (s *swapping) dropForeignKeys(ctx context.Context) error {
	for _, k := range s.foreign {
		if err := s.exec(ctx, fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT %s", k.table, quoted(k.name))); err != nil {
			return err
		}
	}
	return nil
}

// addForeignKeys puts them back. The application's own tables refer to a row by its id alone, so
// that a table they refer to keeps a unique key over it.
func (s *swapping) addForeignKeys(ctx context.Context) error {
	for _, k := range s.foreign {
		if err := s.exec(ctx, fmt.Sprintf("ALTER TABLE %s ADD CONSTRAINT %s %s NOT VALID", k.table, quoted(k.name), k.definition)); err != nil {
			return err
		}
		if k.validated {
			if err := s.later(ctx, "validate", k.name, fmt.Sprintf("ALTER TABLE %s VALIDATE CONSTRAINT %s", s.moved(k.table), quoted(k.name))); err != nil {
				return err
			}
		}
	}
	return nil
}

// moved is where a table stands after the legacy ones went to the archive.
func (s *swapping) moved(table string) string {
	if slices.Contains(legacyTables, table) {
		return ArchiveSchema + "." + table
	}
	return table
}

// later notes a statement that needs none of the transaction's locks.
func (s *swapping) later(ctx context.Context, kind, object, statement string) error {
	return s.exec(ctx, "INSERT INTO runledger_removal.aftermath (kind, object, statement) VALUES ($1, $2, $3)", kind, object, statement)
}

// moveNewTables moves the canonical tables that the application lacks into its schema.
func (s *swapping) moveNewTables(ctx context.Context) error {
	var moving []string
	for _, name := range tableNames(s.canonical) {
		if s.application[name] == nil {
			moving = append(moving, name)
		}
	}
	for _, name := range moving {
		for _, key := range sortedKeys(s.canonical[name].constraints) {
			if c := s.canonical[name].constraints[key]; c.kind == "f" && !slices.Contains(moving, c.references) {
				if err := s.exec(ctx, fmt.Sprintf("ALTER TABLE %s.%s DROP CONSTRAINT %s", canonicalSchema, quoted(name), quoted(key))); err != nil {
					return err
				}
			}
		}
		if err := s.exec(ctx, fmt.Sprintf("ALTER TABLE %s.%s SET SCHEMA public", canonicalSchema, quoted(name))); err != nil {
			return err
		}
	}
	for _, name := range moving {
		for _, key := range sortedKeys(s.canonical[name].constraints) {
			if c := s.canonical[name].constraints[key]; c.kind == "f" && !slices.Contains(moving, c.references) {
				if err := s.alter(ctx, name, "ADD CONSTRAINT %s %s", quoted(key), inPublic(c.definition)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// moveFunctionsAndViews moves the functions that the service's statements call, and makes the views
// that they read over the tables as they are now: those of the canonical schema are over its own,
// empty ones.
func (s *swapping) moveFunctionsAndViews(ctx context.Context) error {
	rows, err := s.tx.Query(ctx, `
		SELECT format('ALTER FUNCTION %s SET SCHEMA public', oid::regprocedure) FROM pg_proc
		WHERE pronamespace = to_regnamespace($1)
		UNION ALL
		SELECT format('CREATE VIEW public.%I AS %s', relname, replace(pg_get_viewdef(oid), $1 || '.', 'public.')) FROM pg_class
		WHERE relnamespace = to_regnamespace($1) AND relkind = 'v'`, canonicalSchema)
	if err != nil {
		return err
	}
	statements, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, statement := range statements {
		if err := s.exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// addTypes makes the map's types known, without accepting new runs of those that the allow-list
// does not have.
func (s *swapping) addTypes(ctx context.Context) error {
	return s.exec(ctx, `
		INSERT INTO public.operation_types (name, label, accepts_new_runs)
		SELECT DISTINCT standard, upper(left(standard, 1)) || replace(substr(standard, 2), '_', ' '), false
		FROM runledger_removal.type_map ON CONFLICT (name) DO NOTHING`)
}

// archive moves the legacy stores, and what Contract has changed, to the archive.
func (s *swapping) archive(ctx context.Context) error {
	if err := s.exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+ArchiveSchema); err != nil {
		return err
	}
	for _, name := range legacyTables {
		if err := s.alter(ctx, name, "SET SCHEMA "+ArchiveSchema); err != nil {
			return err
		}
	}
	for _, source := range slices.Sorted(maps.Keys(archived)) {
		for _, a := range archived[source] {
			if err := s.exec(ctx, fmt.Sprintf("ALTER TABLE %s.%s SET SCHEMA %s", removalSchema, a.table, ArchiveSchema)); err != nil {
				return err
			}
		}
	}
	return nil
}

// remember leaves a note of the removal in the archive, for Verify and for people.
func (s *swapping) remember(ctx context.Context) error {
	if err := s.exec(ctx, "UPDATE runledger_removal.state SET phase = 'contracted'"); err != nil {
		return err
	}
	// Which run was made of which legacy row, should the operator import those without a bridge.
	if err := s.exec(ctx, `CREATE TABLE legacy_archive.imported_runs (
		legacy_table text NOT NULL, legacy_id bigint NOT NULL, operation_run_id bigint NOT NULL,
		PRIMARY KEY (legacy_table, legacy_id))`); err != nil {
		return err
	}
	if err := s.noteBrokenBridges(ctx); err != nil {
		return err
	}
	return s.exec(ctx, `
		CREATE TABLE legacy_archive.removal AS
		SELECT now() AS contracted_at, unassigned_workspace_id,
		       (SELECT jsonb_object_agg(old, standard) FROM runledger_removal.type_map) AS type_map,
		       $1::bigint AS last_run_id, $2::bigint AS last_finding_id, $3::bigint AS last_item_id
		FROM runledger_removal.state`, s.last["operation_runs"], s.last["findings"], s.last["inventory_items"])
}

// errorDetail is what the database says beyond an error's message.
func errorDetail(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Detail
	}
	return ""
}

// sortedKeys are the keys of a map in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
