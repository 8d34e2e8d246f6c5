package legacy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// table is what the catalog says about one table.
type table struct {
	columns     map[string]column
	order       []string // the columns' names as they stand
	indexes     map[string]index
	constraints map[string]constraint
}

type column struct {
	kind      string // its type with modifiers, as format_type writes it
	notNull   bool
	fallback  string // its default, empty for none
	generated bool   // whether it is an identity or generated column
}

// unfilled tells whether a row must name a value for the column.
func (c column) unfilled() bool { return c.notNull && c.fallback == "" && !c.generated }

type index struct {
	definition string // CREATE INDEX …, with the table's name qualified
	columns    []string
	unique     bool
	valid      bool
	whole      bool // whether it has, of each row, columns alone, and at once
	constraint bool // whether it carries a primary key or unique constraint
}

type constraint struct {
	kind       string // p, u, c, f, x: as in pg_constraint
	definition string // without its name; NOT VALID stripped
	columns    []string
	references string // the table that a foreign key refers to, without schema
	validated  bool
}

// readCatalog describes the tables of a schema by name. Names of other objects are written
// without the schema, so that descriptions of two schemas can be compared.
func readCatalog(ctx context.Context, tx pgx.Tx, schema string) (map[string]*table, error) {
	if _, err := tx.Exec(ctx, "SELECT set_config('search_path', $1, true)", schema); err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	tables := map[string]*table{}
	for _, read := range []func(context.Context, pgx.Tx, string, map[string]*table) error{
		readColumns, readIndexes, readConstraints,
	} {
		if err := read(ctx, tx, schema, tables); err != nil {
			return nil, fmt.Errorf("read the catalog: %w", err)
		}
	}
	if _, err := tx.Exec(ctx, "SELECT set_config('search_path', 'public', true)"); err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	return tables, nil
}

func readColumns(ctx context.Context, tx pgx.Tx, schema string, tables map[string]*table) error {
	rows, err := tx.Query(ctx, `
		SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
		       coalesce(pg_get_expr(d.adbin, d.adrelid), ''), a.attidentity <> '' OR a.attgenerated <> ''
		FROM pg_class c
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
		WHERE c.relnamespace = to_regnamespace($1) AND c.relkind IN ('r', 'p')
		ORDER BY c.relname, a.attnum`, schema)
	if err != nil {
		return err
	}
	var name, columnName string
	var col column
	_, err = pgx.ForEachRow(rows, []any{&name, &columnName, &col.kind, &col.notNull, &col.fallback, &col.generated}, func() error {
		t := tables[name]
		if t == nil {
			t = &table{columns: map[string]column{}, indexes: map[string]index{}, constraints: map[string]constraint{}}
			tables[name] = t
		}
		t.columns[columnName] = col
		t.order = append(t.order, columnName)
		return nil
	})
	return err
}

func readIndexes(ctx context.Context, tx pgx.Tx, schema string, tables map[string]*table) error {
	// The columns that an index depends on are those of its keys, its expressions and its predicate.
	rows, err := tx.Query(ctx, `
		SELECT t.relname, c.relname, pg_get_indexdef(c.oid), i.indisunique, i.indisvalid,
		       i.indexprs IS NULL AND i.indpred IS NULL AND i.indimmediate AND i.indnatts = i.indnkeyatts,
		       EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = c.oid AND k.contype IN ('p', 'u', 'x')),
		       array(SELECT a.attname::text FROM pg_attribute a
		             WHERE a.attrelid = t.oid AND a.attnum > 0 AND (
		                 a.attnum = ANY(i.indkey::int2[])
		                 OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
		                            AND d.objid = c.oid AND d.refobjid = t.oid AND d.refobjsubid = a.attnum)))
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
		WHERE t.relnamespace = to_regnamespace($1) AND t.relkind IN ('r', 'p')`, schema)
	if err != nil {
		return err
	}
	var name, indexName string
	var idx index
	_, err = pgx.ForEachRow(rows, []any{&name, &indexName, &idx.definition, &idx.unique, &idx.valid, &idx.whole, &idx.constraint, &idx.columns}, func() error {
		tables[name].indexes[indexName] = idx
		idx.columns = nil
		return nil
	})
	return err
}

func readConstraints(ctx context.Context, tx pgx.Tx, schema string, tables map[string]*table) error {
	rows, err := tx.Query(ctx, `
		SELECT t.relname, k.conname, k.contype::text, pg_get_constraintdef(k.oid), k.convalidated,
		       coalesce(f.relname, ''),
		       array(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u(num, n)
		             JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = u.num ORDER BY u.n)
		FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid LEFT JOIN pg_class f ON f.oid = k.confrelid
		WHERE t.relnamespace = to_regnamespace($1) AND t.relkind IN ('r', 'p') AND k.contype <> 't'`, schema)
	if err != nil {
		return err
	}
	var name, constraintName string
	var con constraint
	_, err = pgx.ForEachRow(rows, []any{&name, &constraintName, &con.kind, &con.definition, &con.validated, &con.references, &con.columns}, func() error {
		con.definition = strings.TrimSuffix(con.definition, " NOT VALID")
		tables[name].constraints[constraintName] = con
		con.columns = nil
		return nil
	})
	return err
}

// catalogs reads the application's tables and the canonical ones.
func (r *Removal) catalogs(ctx context.Context) (application, canonical map[string]*table, err error) {
	err = pgx.BeginTxFunc(ctx, r.conn, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		var err error
		if application, err = readCatalog(ctx, tx, "public"); err != nil {
			return err
		}
		canonical, err = readCatalog(ctx, tx, canonicalSchema)
		return err
	})
	return application, canonical, err
}

// tableNames are the names of tables in order.
func tableNames(tables map[string]*table) []string {
	names := make([]string, 0, len(tables))
	for name := range tables {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
