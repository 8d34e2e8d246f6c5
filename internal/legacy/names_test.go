package legacy

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbtest"
)

// Plan knows the canonical names before the migrations have made the canonical tables anywhere.
func TestCanonicalNamesAreThoseOfTheMigrations(t *testing.T) {
	t.Parallel()
	rows, err := connect(t, dbtest.Fresh(t)).Query(t.Context(), `
		SELECT concat_ws(E'\t', CASE c.relkind WHEN 'i' THEN 'index' WHEN 'S' THEN 'sequence' WHEN 'v' THEN 'view' ELSE 'table' END,
		                 c.relname, t.relname)
		FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
		LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND c.relkind = 'S' AND d.deptype IN ('a', 'i')
		                     AND d.refclassid = 'pg_class'::regclass
		LEFT JOIN pg_class t ON t.oid = coalesce(i.indrelid, d.refobjid)
		WHERE c.relnamespace = 'public'::regnamespace
		UNION ALL
		SELECT concat_ws(E'\t', 'column', a.attname, c.relname)
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname = ANY($1)
		UNION ALL
		SELECT concat_ws(E'\t', 'function', oid::regprocedure) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
		ORDER BY 1`, sharedTables)
	if err != nil {
		t.Fatal(err)
	}
	want, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if file := os.Getenv("RUNLEDGER_LEGACY_WRITE_NAMES"); file != "" {
		if err := os.WriteFile(file, []byte(strings.Join(want, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, strings.Split(strings.TrimSpace(canonicalNames), "\n")); diff != "" {
		t.Errorf("data/canonical_names.tsv, wanted (-) and had (+); RUNLEDGER_LEGACY_WRITE_NAMES=data/canonical_names.tsv writes it:\n%s", diff)
	}
}
