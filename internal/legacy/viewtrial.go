package legacy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// viewObstacles says which views Contract may not make anew, or not without losing what stands on them.
func viewObstacles(ctx context.Context, tx pgx.Tx) ([]string, error) {
	var tables, columns []string
	for _, want := range retypedColumns {
		tables, columns = append(tables, want[0]), append(columns, want[1])
	}
	views, err := viewsOver(ctx, tx, tables, columns)
	if err != nil {
		return nil, fmt.Errorf("list the views: %w", err)
	}
	oids := make([]uint32, 0, len(views))
	for _, v := range views {
		oids = append(oids, v.oid)
	}
	return collect(ctx, tx, "list what stands on views", `
		WITH anew AS (SELECT c.oid, c.relowner, c.relnamespace, c.reltype, CASE c.relkind WHEN 'm' THEN 'materialized view' ELSE 'view' END AS word
		              FROM pg_class c WHERE c.oid = ANY($1::oid[]))
		SELECT format('%s %s belongs to %s, as whom the removal cannot make it anew: grant it that role, with CREATE on the schema, or drop the view and make it anew afterwards',
		              word, oid::regclass, pg_get_userbyid(relowner))
		FROM anew WHERE NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
		  AND (NOT pg_has_role(relowner, 'MEMBER') OR NOT has_schema_privilege(relowner, relnamespace, 'CREATE'))
		UNION
		SELECT format('%s stands on the %s %s, which is made anew: drop it first and make it anew afterwards',
		              pg_describe_object(d.classid, d.objid, 0), a.word, a.oid::regclass)
		FROM anew a JOIN pg_type t ON t.oid = a.reltype
		JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.oid
		                 OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray)
		LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
		LEFT JOIN pg_class i ON d.classid = 'pg_class'::regclass AND i.oid = d.objid
		WHERE d.deptype <> 'i' AND i.relkind IS DISTINCT FROM 'i' AND NOT (r.rulename = '_RETURN' AND r.ev_class = ANY($1::oid[]) IS TRUE)
		UNION
		SELECT format('view %s groups by the key %s, which changes: let it group by all its columns', r.ev_class::regclass, k.conname)
		FROM pg_constraint k JOIN pg_depend d ON d.refclassid = 'pg_constraint'::regclass AND d.refobjid = k.oid
		JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
		WHERE k.connamespace = 'public'::regnamespace AND k.conrelid::regclass::text = ANY($2)
		ORDER BY 1`, oids, rekeyed)
}

// trialSchema is where views are tried; no transaction that makes it is ever committed.
const trialSchema = ours + "trial"

// errTried ends a trial.
var errTried = errors.New("tried")

// tryViews makes the views over empty tables of the types that Contract is to give them, in a
// transaction that is undone, and says which cannot be made.
func (r *Removal) tryViews(ctx context.Context) ([]string, error) {
	var blockers []string
	err := pgx.BeginFunc(ctx, r.conn, func(tx pgx.Tx) error {
		s := &swapping{tx: tx}
		if err := s.prepare(ctx); err != nil || len(s.views) == 0 {
			return err
		}
		if err := s.makeTrialTables(ctx); err != nil {
			return err
		}
		for _, v := range s.views {
			// A failure takes back no more than this view.
			err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error { return tryView(ctx, tx, v) })
			if sqlState(err) == "" && err != nil {
				return err
			}
			if err != nil {
				blockers = append(blockers, fmt.Sprintf("%s %s cannot be made anew over the new types: %s: drop it first and make it anew afterwards",
					strings.ToLower(v.word()), v.name, saying(err)))
			}
		}
		return errTried
	})
	if errors.Is(err, errTried) {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("try to make the views anew: %w", err)
	}
	return blockers, nil
}

// makeTrialTables makes the tables of both, empty, with the columns and the keys that they are to have.
// Names without a schema mean them before the application's.
func (s *swapping) makeTrialTables(ctx context.Context) error {
	if err := s.exec(ctx, "CREATE SCHEMA "+trialSchema); err != nil {
		return err
	}
	if err := s.exec(ctx, "SET LOCAL search_path = "+trialSchema+", public"); err != nil {
		return err
	}
	for _, name := range s.both() {
		have, want := s.application[name], s.canonical[name]
		var columns []string
		for _, c := range want.order {
			columns = append(columns, quoted(c)+" "+want.columns[c].kind)
		}
		for _, c := range have.order {
			if _, canonical := want.columns[c]; !canonical && !isShadow(c) && s.extra(name, []string{c}) {
				columns = append(columns, quoted(c)+" "+have.columns[c].kind)
			}
		}
		columns = append(columns, want.constraints[name+"_pkey"].definition)
		if err := s.exec(ctx, fmt.Sprintf("CREATE TABLE %s.%s (%s)", trialSchema, quoted(name), strings.Join(columns, ", "))); err != nil {
			return err
		}
	}
	return nil
}

// tryView makes one view with its indexes.
func tryView(ctx context.Context, tx pgx.Tx, v view) error {
	name := trialSchema + "." + v.bare
	statements := []string{v.create(name)}
	for _, index := range v.indexes {
		head, tail, _ := strings.Cut(index, " ON ")
		_, tail, _ = strings.Cut(tail, " USING ")
		statements = append(statements, head+" ON "+name+" USING "+tail)
	}
	for _, statement := range statements {
		if _, err := tx.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}
