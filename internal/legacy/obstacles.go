package legacy

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// expandBlockers says everything that makes Expand refuse: what the schema lacks, and what of the
// application's the removal would take for its own or set off.
func expandBlockers(ctx context.Context, tx pgx.Tx) ([]string, error) {
	for _, find := range []func(context.Context, pgx.Tx) ([]string, error){schemaDifferences, hiddenRows} {
		blockers, err := find(ctx, tx)
		if err != nil || len(blockers) > 0 {
			return blockers, err // The rest would only fail on what is missing.
		}
	}
	var blockers []string
	for _, find := range []func(context.Context, pgx.Tx) ([]string, error){otherOwners, takenNames, idsWithoutSequence, firingTriggers} {
		found, err := find(ctx, tx)
		if err != nil {
			return nil, err
		}
		blockers = append(blockers, found...)
	}
	return blockers, nil
}

// touchedTables are the application's tables that the removal changes or moves.
var touchedTables = append([]string{"operation_runs", "findings", "inventory_items", "backup_schedules", "tenants"}, legacyTables...)

// ownedTables are those and the other tables that it reads or makes canonical.
var ownedTables = append([]string{"users", "workspaces", "workspace_memberships"}, touchedTables...)

// hiddenRows lists the tables of which row security shows the removal's role a part only: what it does not
// see, it would neither move nor export, and delete with the archive.
func hiddenRows(ctx context.Context, tx pgx.Tx) ([]string, error) {
	return collect(ctx, tx, "look for row security", `
		SELECT format('row security hides rows of %s from %s: ALTER TABLE %1$s NO FORCE ROW LEVEL SECURITY, until the archive is purged', c.oid::regclass, current_user)
		FROM pg_class c
		WHERE c.relnamespace IN ('public'::regnamespace, to_regnamespace($2)) AND c.relname = ANY ($1) AND row_security_active(c.oid)
		ORDER BY 1`, ownedTables, ArchiveSchema)
}

// otherOwners lists the tables that belong to somebody else than the removal's role. A foreign key is checked
// with the rights of the owner of the table that it refers to, and a new table belongs to whoever made it:
// what is made by another role, even by a superuser, would not be the application's.
func otherOwners(ctx context.Context, tx pgx.Tx) ([]string, error) {
	return collect(ctx, tx, "look for the owners", `
		SELECT format('%s belongs to %s, and the removal is run by %s: run it as the owner, whatever else the role may do', c.oid::regclass, pg_get_userbyid(c.relowner), current_user)
		FROM pg_class c
		WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY ($1) AND pg_get_userbyid(c.relowner) <> current_user
		ORDER BY 1`, ownedTables)
}

// firingTriggers lists the application's triggers that could change a row that the removal fills, or
// behind the back of its own triggers. Those that come after a row's update may do what they do for any.
func firingTriggers(ctx context.Context, tx pgx.Tx) ([]string, error) {
	const row, before, update = 1, 2, 16 // bits of tgtype
	return collect(ctx, tx, "list the triggers", fmt.Sprintf(`
		SELECT format('trigger %%s on %%s: may change what the removal fills, or behind its triggers: disable it (ALTER TABLE … DISABLE TRIGGER) until contract is done',
		              t.tgname, c.relname)
		FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
		WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND c.relnamespace = 'public'::regnamespace
		  AND c.relname = ANY($1) AND p.pronamespace IS DISTINCT FROM to_regnamespace($2)
		  AND t.tgtype & %[1]d = %[1]d
		ORDER BY c.relname, t.tgname`, row|before|update),
		[]string{"operation_runs", "findings", "inventory_items", "backup_schedules", "tenants"}, removalSchema)
}

// strangeForeignKeys lists the foreign keys of the application's own tables that Contract cannot keep:
// those to another key than the id, which goes, and those of partitioned tables to a key that changes,
// which cannot be put back without a look at every row.
func strangeForeignKeys(ctx context.Context, tx pgx.Tx) ([]string, error) {
	return collect(ctx, tx, "list the foreign keys", `
		WITH keys AS (
			SELECT k.conname, k.conrelid::regclass AS of, t.relkind, f.relname,
			       array(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS u(num, n)
			             JOIN pg_attribute a ON a.attrelid = f.oid AND a.attnum = u.num ORDER BY u.n) AS columns
			FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid JOIN pg_class f ON f.oid = k.confrelid
			WHERE k.contype = 'f' AND k.conparentid = 0 AND f.relnamespace = 'public'::regnamespace AND f.relname = ANY($1)
			  AND t.relnamespace IS DISTINCT FROM to_regnamespace($3)
			  AND NOT (t.relnamespace = 'public'::regnamespace AND t.relname = ANY($1)))
		SELECT CASE WHEN columns <> '{id}'
		            THEN format('foreign key %s of %s refers to %s (%s), which is no key of Runledger''s: drop it, or let it refer to the id',
		                        conname, of, relname, array_to_string(columns, ', '))
		            ELSE format('foreign key %s of the partitioned table %s refers to the key of %s, which changes: drop it first and make it anew afterwards',
		                        conname, of, relname) END
		FROM keys WHERE columns <> '{id}' OR relkind = 'p' AND relname = ANY($2)
		ORDER BY of::text, conname`, sharedTables, rekeyed, canonicalSchema)
}

// unfilledColumns lists the application's own columns that would make every row of the service's fail.
// Those that its own migrations have made are known, and may be null after Contract.
func unfilledColumns(ctx context.Context, tx pgx.Tx) ([]string, error) {
	have, err := readCatalog(ctx, tx, "public")
	if err != nil {
		return nil, err
	}
	var blockers []string
	for _, name := range sharedTables {
		for _, c := range have[name].order {
			if have[name].columns[c].unfilled() && onlyOwn(name, []string{c}) && !isExpected(name, c) {
				blockers = append(blockers, fmt.Sprintf("column %s.%s: must not be null and has no default, and Runledger does not fill it: give it a default, or let it be null", name, c))
			}
		}
	}
	return blockers, nil
}

// collect runs a query of lines for people.
func collect(ctx context.Context, tx pgx.Tx, what, query string, args ...any) ([]string, error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return lines, nil
}
