package legacy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Dependent is an object of the database that depends on a legacy table or column.
type Dependent struct {
	Kind   string `json:"kind"`   // foreign key, view, materialized view, trigger, function, policy, …
	Name   string `json:"name"`   // as PostgreSQL describes it
	On     string `json:"on"`     // the table, or table.column
	Effect string `json:"effect"` // what becomes of it
	Blocks bool   `json:"blocks"` // whether Contract refuses because of it
}

// What becomes of dependents.
const (
	goesAlong    = "goes along with the table to " + ArchiveSchema
	blocks       = "blocks contract: change or drop it first"
	worksOn      = "works unchanged after the table has moved to " + ArchiveSchema
	goesWith     = "goes with the column"
	perhaps      = "is not touched; its text names a table that moves to " + ArchiveSchema + ": have a look at it"
	recreateView = "is made anew over the column's new type"
)

// dependentsQuery lists what the catalog knows to depend on the tables $1 (whole) or on the columns
// $2.$3. What an index, a default or a constraint of the same table is to it, goes without saying.
const dependentsQuery = `
	WITH objects (oid, num, label, dropped) AS (
		SELECT c.oid, 0, c.relname::text, false FROM pg_class c
		WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY($1)
		UNION ALL
		SELECT c.oid, a.attnum, c.relname || '.' || a.attname, true
		FROM unnest($2::text[], $3::text[]) AS w(t, col)
		JOIN pg_class c ON c.relnamespace = 'public'::regnamespace AND c.relname = w.t
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = w.col)
	SELECT DISTINCT kind, name, label, dropped FROM (
		SELECT CASE v.relkind WHEN 'm' THEN 'materialized view' WHEN 'v' THEN 'view' ELSE 'rule' END AS kind,
		       v.oid::regclass::text AS name, o.label, o.dropped
		FROM objects o
		JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = o.oid
		                AND (o.num = 0 OR d.refobjsubid = o.num) AND d.classid = 'pg_rewrite'::regclass
		JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
		WHERE v.oid <> o.oid
		UNION ALL
		SELECT 'foreign key', k.conrelid::regclass || '.' || k.conname, o.label, o.dropped
		FROM objects o JOIN pg_constraint k ON k.contype = 'f'
		 AND (o.num = 0 AND k.confrelid = o.oid OR o.num > 0 AND k.confrelid = o.oid AND o.num = ANY(k.confkey)
		      OR o.num > 0 AND k.conrelid = o.oid AND o.num = ANY(k.conkey))
		UNION ALL
		SELECT 'trigger', t.tgname || ' on ' || t.tgrelid::regclass, o.label, o.dropped
		FROM objects o JOIN pg_trigger t ON NOT t.tgisinternal AND t.tgname NOT LIKE 'runledger\_%'
		 AND (o.num = 0 AND t.tgrelid = o.oid
		      OR o.num > 0 AND t.tgrelid = o.oid AND EXISTS (
		          SELECT FROM pg_depend d WHERE d.classid = 'pg_trigger'::regclass AND d.objid = t.oid
		          AND d.refobjid = o.oid AND d.refobjsubid = o.num))
		UNION ALL
		SELECT CASE d.classid WHEN 'pg_policy'::regclass THEN 'policy' WHEN 'pg_proc'::regclass THEN 'function'
		                      WHEN 'pg_publication_rel'::regclass THEN 'publication' ELSE 'generated column' END,
		       pg_describe_object(d.classid, d.objid, d.objsubid), o.label, o.dropped
		FROM objects o JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = o.oid
		 AND (o.num = 0 OR d.refobjsubid = o.num)
		WHERE d.classid IN ('pg_policy'::regclass, 'pg_proc'::regclass, 'pg_publication_rel'::regclass)
		   OR d.classid = 'pg_attrdef'::regclass AND o.num > 0
		      AND EXISTS (SELECT FROM pg_attrdef x JOIN pg_attribute a ON a.attrelid = x.adrelid AND a.attnum = x.adnum
		                  WHERE x.oid = d.objid AND a.attgenerated <> '' AND a.attnum <> o.num)
		UNION ALL
		SELECT CASE d.classid WHEN 'pg_proc'::regclass THEN 'function' ELSE 'row type' END,
		       pg_describe_object(d.classid, d.objid, d.objsubid), o.label, o.dropped
		FROM objects o JOIN pg_class c ON c.oid = o.oid JOIN pg_type t ON t.oid = c.reltype
		JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray) AND d.deptype = 'n'
		WHERE o.num = 0
		UNION ALL
		SELECT 'table', i.inhrelid::regclass::text, o.label, o.dropped
		FROM objects o JOIN pg_inherits i ON i.inhparent = o.oid
		WHERE o.num = 0
	) AS all_of_them ORDER BY kind, name, label`

// dependents lists everything that depends on a legacy table or on a column that is dropped.
func dependents(ctx context.Context, tx pgx.Tx) ([]Dependent, error) {
	var tables, columns []string
	for _, name := range sortedKeys(dropped) {
		for _, c := range dropped[name] {
			tables, columns = append(tables, name), append(columns, c)
		}
	}
	found, err := queryDependents(ctx, tx, legacyTables, tables, columns)
	if err != nil {
		return nil, err
	}
	for i := range found {
		d := &found[i]
		ofColumn := slices.ContainsFunc(tables, func(t string) bool { return len(d.On) > len(t) && d.On[:len(t)+1] == t+"." })
		referring, _, _ := strings.Cut(d.Name, ".")
		_, loses := dropped[referring]
		switch {
		case d.Kind == "foreign key" && (ofColumn || loses):
			d.Effect = goesWith
		case ofColumn:
			d.Effect, d.Blocks = blocks, true
		case d.Kind == "trigger":
			d.Effect = goesAlong
		default:
			d.Effect = worksOn
		}
	}
	mentions, err := mentioningFunctions(ctx, tx)
	return append(found, mentions...), err
}

func queryDependents(ctx context.Context, tx pgx.Tx, whole, tables, columns []string) ([]Dependent, error) {
	rows, err := tx.Query(ctx, dependentsQuery, whole, tables, columns)
	if err != nil {
		return nil, fmt.Errorf("list the dependents: %w", err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Dependent, error) {
		var d Dependent
		var ofColumn bool
		err := row.Scan(&d.Kind, &d.Name, &d.On, &ofColumn)
		return d, err
	})
	if err != nil {
		return nil, fmt.Errorf("list the dependents: %w", err)
	}
	return found, nil
}

// mentioningFunctions lists the functions whose text names a legacy table or column. The catalog
// does not know what a function's text depends on, so that this is as much as can be said.
func mentioningFunctions(ctx context.Context, tx pgx.Tx) ([]Dependent, error) {
	names := slices.Clone(legacyTables)
	for _, name := range sortedKeys(dropped) {
		names = append(names, dropped[name]...)
	}
	rows, err := tx.Query(ctx, `
		SELECT p.oid::regprocedure::text, w.name
		FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
		CROSS JOIN unnest($1::text[]) AS w(name)
		WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'runledger_removal')
		  AND p.prosrc ~ ('\m' || w.name || '\M')
		ORDER BY 1, 2`, names)
	if err != nil {
		return nil, fmt.Errorf("list the functions: %w", err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Dependent, error) {
		d := Dependent{Kind: "function", Effect: perhaps}
		err := row.Scan(&d.Name, &d.On)
		return d, err
	})
	if err != nil {
		return nil, fmt.Errorf("list the functions: %w", err)
	}
	return found, nil
}

// contractBlockers says everything that makes Contract refuse.
func contractBlockers(ctx context.Context, tx pgx.Tx) ([]string, error) {
	blockers, err := expandBlockers(ctx, tx)
	if err != nil {
		return nil, err
	}
	all, err := dependents(ctx, tx)
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		if d.Blocks {
			blockers = append(blockers, fmt.Sprintf("%s %s reads %s, which goes: change or drop it first", d.Kind, d.Name, d.On))
		}
	}
	retyped, err := retypedDependents(ctx, tx)
	if err != nil {
		return nil, err
	}
	for _, d := range retyped {
		if d.Blocks {
			blockers = append(blockers, fmt.Sprintf("%s %s stands on %s, whose type changes: drop it first and make it anew afterwards", d.Kind, d.Name, d.On))
		}
	}
	for _, find := range []func(context.Context, pgx.Tx) ([]string, error){viewObstacles, strangeForeignKeys, unfilledColumns, homelessRows, duplicates, tooLong} {
		found, err := find(ctx, tx)
		if err != nil {
			return nil, err
		}
		blockers = append(blockers, found...)
	}
	return blockers, nil
}

// retypedDependents lists what stands on columns that get another type. Views are made anew;
// anything else of the application's has to give way first.
func retypedDependents(ctx context.Context, tx pgx.Tx) ([]Dependent, error) {
	var tables, columns []string
	for _, want := range retypedColumns {
		tables, columns = append(tables, want[0]), append(columns, want[1])
	}
	found, err := queryDependents(ctx, tx, []string{}, tables, columns)
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(d Dependent) bool { return d.Kind == "foreign key" })
	for i := range found {
		found[i].Effect, found[i].Blocks = recreateView, false
		if k := found[i].Kind; k != "view" && k != "materialized view" {
			found[i].Effect, found[i].Blocks = blocks, true
		}
	}
	return found, nil
}

// homelessRows says how many rows belong to a tenant that is not there, and so to no workspace.
func homelessRows(ctx context.Context, tx pgx.Tx) ([]string, error) {
	var blockers []string
	for _, name := range []string{"backup_schedules", "findings", "inventory_items"} {
		var n int64
		err := tx.QueryRow(ctx, fmt.Sprintf(`SELECT count(*) FROM %s r
			WHERE NOT EXISTS (SELECT FROM public.tenants t WHERE t.id = r.tenant_id)`, public(name))).Scan(&n)
		if err != nil {
			return nil, fmt.Errorf("look for rows without a tenant: %w", err)
		}
		if n > 0 {
			blockers = append(blockers, fmt.Sprintf("%d rows of %s belong to a tenant that does not exist, and so to no workspace", n, name))
		}
	}
	return blockers, nil
}
