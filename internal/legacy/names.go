package legacy

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

//go:embed data/canonical_names.tsv
var canonicalNames string

// canonicalName is the name of an object that Contract makes or moves into the schema public.
type canonicalName struct {
	kind string // table, view, sequence, index, column or function
	name string // of a function, with the types of its arguments
	of   string // the table of an index, a column or an owned sequence
}

// canonicalObjects are all of them, as the migrations make them, but for the columns of tables that the
// application does not have. They are known before there is a canonical table anywhere.
var canonicalObjects = func() []canonicalName {
	var all []canonicalName
	for line := range strings.Lines(canonicalNames) {
		fields := append(strings.Split(strings.TrimSpace(line), "\t"), "")
		all = append(all, canonicalName{fields[0], fields[1], fields[2]})
	}
	return all
}()

// sharedTables are the tables that both the application and the canonical schema have.
var sharedTables = func() []string {
	var all []string
	for _, want := range expected() {
		if !slices.Contains(legacyTables, want[0]) && !slices.Contains(all, want[0]) {
			all = append(all, want[0])
		}
	}
	return all
}()

// rekeyed are those of them whose key changes: it becomes (workspace_id, …).
var rekeyed = slices.DeleteFunc(slices.Clone(sharedTables), func(name string) bool {
	return !slices.Contains(canonicalObjects, canonicalName{"column", "workspace_id", name})
})

// takenNames says which canonical names the application uses for something of its own: Expand would
// take its columns for canonical ones and overwrite them, and Contract could not make its objects.
func takenNames(ctx context.Context, tx pgx.Tx) ([]string, error) {
	u, err := readUsedNames(ctx, tx)
	if err != nil {
		return nil, err
	}
	var taken []string
	for _, c := range canonicalObjects {
		if kind, name := u.by(c); kind != "" {
			taken = append(taken, fmt.Sprintf("%s %s: is there already, and Runledger needs the name: rename it", kind, name))
		}
	}
	archive, err := relationsOf(ctx, tx, ArchiveSchema)
	if err != nil {
		return nil, err
	}
	for _, name := range sortedKeys(archive) {
		taken = append(taken, fmt.Sprintf("%s %s.%s: is there already, and purge would delete it: move it to another schema",
			archive[name].kind, ArchiveSchema, name))
	}
	return taken, nil
}

// usedNames are the names that the schema public has, and which of its columns Expand has added.
type usedNames struct {
	tables    map[string]*table
	relations map[string]relation
	functions []string
	added     map[[2]string]bool
	known     bool // whether it is known what was added
}

func readUsedNames(ctx context.Context, tx pgx.Tx) (u usedNames, err error) {
	if u.tables, err = readCatalog(ctx, tx, "public"); err != nil {
		return u, err
	}
	if u.added, u.known, err = addedColumns(ctx, tx); err != nil {
		return u, err
	}
	if u.relations, err = relationsOf(ctx, tx, "public"); err != nil {
		return u, err
	}
	u.functions, err = functionsOf(ctx, tx)
	return u, err
}

// by tells what of the application's has a canonical name; kind is empty if nothing has.
func (u usedNames) by(c canonicalName) (kind, name string) {
	switch c.kind {
	case "column":
		_, exists := u.tables[c.of].columns[c.name]
		if exists && u.known && !u.added[[2]string{c.of, c.name}] && !isExpected(c.of, c.name) {
			return c.kind, c.of + "." + c.name
		}
	case "function":
		if slices.Contains(u.functions, c.name) {
			return c.kind, c.name
		}
	default:
		if found, exists := u.relations[c.name]; exists && !found.givesWay(c, u.tables) {
			return found.kind, c.name
		}
	}
	return "", ""
}

// functionsOf lists the functions of the schema public, with the types of their arguments.
func functionsOf(ctx context.Context, tx pgx.Tx) ([]string, error) {
	return collect(ctx, tx, "list the functions", "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace")
}

// relation is something that has a name among those of a schema's tables.
type relation struct {
	kind string
	of   string // the table of an index or an owned sequence
}

// givesWay tells whether Contract itself replaces the relation by the canonical one of its name, or
// finds that it is the canonical one.
func (found relation) givesWay(want canonicalName, have map[string]*table) bool {
	switch want.kind {
	case "table":
		return slices.Contains(sharedTables, want.name)
	case "index":
		if found.kind != "index" || found.of != want.of {
			return false
		}
		index := have[want.of].indexes[want.name]
		return index.constraint || !onlyOwn(want.of, index.columns)
	case "sequence":
		// One that another column uses, or none, is left where it is: see keepsSequence.
		return slices.Contains(sharedTables, want.of)
	}
	return false
}

// onlyOwn tells whether one of the columns is the application's own, so that what stands on it stays.
func onlyOwn(table string, columns []string) bool {
	return slices.ContainsFunc(columns, func(c string) bool {
		if isShadow(c) || slices.Contains(dropped[table], c) {
			return false
		}
		for _, old := range renamed[table] {
			if c == old {
				return false
			}
		}
		return !slices.Contains(canonicalObjects, canonicalName{"column", c, table})
	})
}

// relationsOf lists the relations of a schema, and the types that are not a relation's: they share the
// names.
func relationsOf(ctx context.Context, tx pgx.Tx, schema string) (map[string]relation, error) {
	rows, err := tx.Query(ctx, `
		SELECT c.relname::text, CASE c.relkind WHEN 'i' THEN 'index' WHEN 'I' THEN 'index' WHEN 'S' THEN 'sequence' WHEN 'v' THEN 'view'
		       WHEN 'm' THEN 'materialized view' WHEN 'c' THEN 'type' WHEN 'f' THEN 'foreign table' ELSE 'table' END,
		       coalesce(t.relname::text, '')
		FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid LEFT JOIN pg_class t ON t.oid = i.indrelid
		WHERE c.relnamespace = to_regnamespace($1)
		UNION ALL
		SELECT typname::text, 'type', '' FROM pg_type
		WHERE typnamespace = to_regnamespace($1) AND typrelid = 0 AND typelem = 0`, schema)
	if err != nil {
		return nil, fmt.Errorf("list the names of the schema %s: %w", schema, err)
	}
	relations := map[string]relation{}
	var name string
	var found relation
	_, err = pgx.ForEachRow(rows, []any{&name, &found.kind, &found.of}, func() error { relations[name] = found; return nil })
	if err != nil {
		return nil, fmt.Errorf("list the names of the schema %s: %w", schema, err)
	}
	return relations, nil
}

// isExpected tells whether a column is one that the application's own migrations make.
func isExpected(table, column string) bool {
	return slices.ContainsFunc(expected(), func(want [3]string) bool { return want[0] == table && want[1] == column })
}

// addedColumns are the columns that Expand has added, by table and column. It is not known of a
// database that an earlier release has expanded.
func addedColumns(ctx context.Context, tx pgx.Tx) (added map[[2]string]bool, known bool, err error) {
	var begun bool
	err = tx.QueryRow(ctx, "SELECT to_regclass('runledger_removal.state') IS NOT NULL, to_regclass('runledger_removal.added_columns') IS NOT NULL").
		Scan(&begun, &known)
	if err != nil {
		return nil, false, fmt.Errorf("read which columns were added: %w", err)
	}
	if !known {
		return nil, !begun, nil
	}
	rows, err := tx.Query(ctx, "SELECT table_name, column_name FROM runledger_removal.added_columns")
	if err != nil {
		return nil, false, fmt.Errorf("read which columns were added: %w", err)
	}
	added = map[[2]string]bool{}
	var key [2]string
	_, err = pgx.ForEachRow(rows, []any{&key[0], &key[1]}, func() error { added[key] = true; return nil })
	return added, true, err
}
