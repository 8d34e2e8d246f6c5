package legacy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// view is a view or materialized view of the application's over columns that get another type. It
// is made anew over them: the database refuses to change a type under a view.
type view struct {
	oid        uint32
	name       string // qualified
	bare       string // without its schema
	kind       string // v or m
	definition string
	options    string // of storage, as WITH takes them
	populated  bool
	owner      string
	comment    string
	grants     []string // statements, with those of the columns and their comments
	indexes    []string
}

// swappedColumns are the columns whose type or identity Contract changes, as table and column.
func swappedColumns(application, canonical map[string]*table) (tables, columns []string) {
	for _, name := range tableNames(canonical) {
		have := application[name]
		if have == nil {
			continue
		}
		for _, c := range canonical[name].order {
			old := c
			if legacy, ok := renamed[name][c]; ok {
				old = legacy
			}
			if existing, ok := have.columns[old]; ok && (isShadowed(name, c) || existing.kind != canonical[name].columns[c].kind) {
				tables, columns = append(tables, name), append(columns, old)
			}
		}
	}
	return tables, columns
}

// viewsOverSwapped lists the views that have to be made anew, each before those that read it.
func viewsOverSwapped(ctx context.Context, tx pgx.Tx) ([]view, error) {
	application, err := readCatalog(ctx, tx, "public")
	if err != nil {
		return nil, err
	}
	canonical, err := readCatalog(ctx, tx, canonicalSchema)
	if err != nil {
		return nil, err
	}
	tables, columns := swappedColumns(application, canonical)
	return viewsOver(ctx, tx, tables, columns)
}

// viewsOver lists the views that read the columns, themselves or through other views.
func viewsOver(ctx context.Context, tx pgx.Tx, tables, columns []string) ([]view, error) {
	rows, err := tx.Query(ctx, `
		WITH RECURSIVE reading (oid, depth) AS (
			SELECT r.ev_class, 1
			FROM unnest($1::text[], $2::text[]) AS s(t, c)
			JOIN pg_class t ON t.relname = s.t AND t.relnamespace = 'public'::regnamespace
			JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = s.c
			JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid AND d.refobjsubid = a.attnum
			                AND d.classid = 'pg_rewrite'::regclass
			JOIN pg_rewrite r ON r.oid = d.objid
			UNION
			SELECT r.ev_class, v.depth + 1
			FROM reading v
			JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = v.oid AND d.classid = 'pg_rewrite'::regclass
			JOIN pg_rewrite r ON r.oid = d.objid AND r.ev_class <> v.oid
			WHERE v.depth < 100)
		SELECT c.oid, c.oid::regclass::text, quote_ident(c.relname), c.relkind::text, pg_get_viewdef(c.oid), coalesce(array_to_string(c.reloptions, ', '), ''),
		       c.relispopulated, pg_get_userbyid(c.relowner), coalesce(obj_description(c.oid, 'pg_class'), ''),
		       array(SELECT format('GRANT %s ON %s TO %s%s', x.privilege_type, c.oid::regclass,
		                           CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END,
		                           CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
		             FROM aclexplode(c.relacl) x WHERE x.grantee <> c.relowner)
		    || array(SELECT format('GRANT %s (%I) ON %s TO %s%s', x.privilege_type, a.attname, c.oid::regclass,
		                           CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END,
		                           CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
		             FROM pg_attribute a, aclexplode(a.attacl) x WHERE a.attrelid = c.oid)
		    || array(SELECT format('COMMENT ON COLUMN %s.%I IS %L', c.oid::regclass, a.attname, col_description(c.oid, a.attnum))
		             FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND col_description(c.oid, a.attnum) IS NOT NULL),
		       array(SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i WHERE i.indrelid = c.oid)
		FROM (SELECT oid, max(depth) AS depth FROM reading GROUP BY oid) AS v JOIN pg_class c USING (oid)
		WHERE c.relkind IN ('v', 'm')
		ORDER BY v.depth, c.oid`, tables, columns)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (view, error) {
		var v view
		err := row.Scan(&v.oid, &v.name, &v.bare, &v.kind, &v.definition, &v.options, &v.populated, &v.owner, &v.comment, &v.grants, &v.indexes)
		return v, err
	})
}

// word is VIEW or MATERIALIZED VIEW.
func (v view) word() string {
	if v.kind == "m" {
		return "MATERIALIZED VIEW"
	}
	return "VIEW"
}

// dropViews drops the views over swapped columns, the last reader first, and never with CASCADE.
func (s *swapping) dropViews(ctx context.Context) error {
	for _, v := range slices.Backward(s.views) {
		if err := s.exec(ctx, "DROP "+v.word()+" "+v.name); err != nil {
			return err
		}
	}
	return nil
}

// makeViews makes them anew, of the same definition, owner and rights.
func (s *swapping) makeViews(ctx context.Context) error {
	for _, v := range s.views {
		if err := s.makeView(ctx, v); err != nil {
			return err
		}
		s.report.RecreatedViews = append(s.report.RecreatedViews, v.name)
	}
	return nil
}

// create is the statement that makes the view under a name.
func (v view) create(name string) string {
	with := ""
	if v.options != "" {
		with = " WITH (" + v.options + ")"
	}
	statement := fmt.Sprintf("CREATE %s %s%s AS %s", v.word(), name, with, strings.TrimSuffix(strings.TrimSpace(v.definition), ";"))
	if v.kind == "m" {
		statement += " WITH NO DATA"
	}
	return statement
}

// ungrant takes from everybody but its owner what default privileges gave them on a new view.
const ungrant = `
	DO $$
	DECLARE
		grantee oid;
	BEGIN
		FOR grantee IN SELECT DISTINCT acl.grantee FROM pg_class AS c, aclexplode(c.relacl) AS acl
		               WHERE c.oid = %[1]s::regclass AND acl.grantee <> c.relowner
		LOOP
			EXECUTE format('REVOKE ALL ON %%s FROM %%s', %[1]s::regclass,
				CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END);
		END LOOP;
	END $$`

func (s *swapping) makeView(ctx context.Context, v view) error {
	statements := append([]string{v.create(v.name)}, v.indexes...)
	statements = append(statements, fmt.Sprintf("ALTER %s %s OWNER TO %s", v.word(), v.name, quoted(v.owner)))
	statements = append(statements, fmt.Sprintf(ungrant, literal(v.name)))
	statements = append(statements, v.grants...)
	if v.comment != "" {
		statements = append(statements, fmt.Sprintf("COMMENT ON %s %s IS %s", v.word(), v.name, literal(v.comment)))
	}
	for _, statement := range statements {
		if err := s.exec(ctx, statement); err != nil {
			return err
		}
	}
	if v.kind == "m" && v.populated {
		return s.later(ctx, "refresh", v.name, "REFRESH MATERIALIZED VIEW "+v.name)
	}
	return nil
}
