package db_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"

	"github.com/runledger/runledger/internal/dbtest"
)

// While servers are replaced, the release before runs on the schema of the next one. So a migration
// only adds what that release does not miss. What it still needs is taken away a release later, by
// a migration that says "-- contract: " and since when nothing needs it any more.
const contractMark = "-- contract: "

// An expansion rule is a query over the catalogs before and after a migration, copied to temporary tables
// whose names begin with before_ and after_. It lists what the release before would stumble over.
var expansionRules = []struct{ name, query, planted string }{
	{
		name: "every table and column stays, with its type",
		query: `SELECT relname || '.' || attname FROM before_columns
			EXCEPT SELECT b.relname || '.' || b.attname FROM before_columns AS b JOIN after_columns AS a USING (relname, attname, type)`,
		planted: "ALTER TABLE findings RENAME COLUMN severity TO weight",
	},
	{
		name: "a column that took nulls still does",
		query: `SELECT relname || '.' || attname FROM before_columns AS b JOIN after_columns AS a USING (relname, attname)
			WHERE a.attnotnull AND NOT b.attnotnull`,
		planted: "ALTER TABLE tenants ALTER COLUMN external_id SET NOT NULL",
	},
	{
		name: "a column that had a default still has one",
		query: `SELECT relname || '.' || attname FROM before_columns AS b JOIN after_columns AS a USING (relname, attname)
			WHERE b.atthasdef AND NOT a.atthasdef`,
		planted: "ALTER TABLE operation_runs ALTER COLUMN attempt DROP DEFAULT",
	},
	{
		name: "a new column of an old table takes nulls or has a default",
		query: `SELECT relname || '.' || attname FROM after_columns AS a
			WHERE a.attnotnull AND NOT a.atthasdef AND relname IN (SELECT relname FROM before_columns)
			  AND (relname, attname) NOT IN (SELECT relname, attname FROM before_columns)`,
		planted: "ALTER TABLE tenants ADD COLUMN planted bigint NOT NULL",
	},
	{
		name: "no new constraint or unique index is about old columns alone",
		query: `SELECT name FROM after_constraints AS c WHERE name NOT IN (SELECT name FROM before_constraints)
			AND relname IN (SELECT relname FROM before_columns)
			AND NOT EXISTS (SELECT FROM unnest(c.columns) AS k (attname) WHERE (c.relname, k.attname) NOT IN (SELECT relname, attname FROM before_columns))`,
		planted: "CREATE UNIQUE INDEX planted ON tenants (workspace_id, name)",
	},
	{
		name: "every unique index stays, for ON CONFLICT names its columns",
		query: `SELECT name FROM before_constraints WHERE is_unique
			EXCEPT SELECT name FROM after_constraints WHERE is_unique`,
		planted: "ALTER TABLE tenants DROP CONSTRAINT tenants_external_id_key",
	},
}

// snapshot keeps the catalog as it is under a name, for the length of a transaction.
func snapshot(ctx context.Context, tx pgx.Tx, name string) error {
	_, err := tx.Exec(ctx, strings.ReplaceAll(`
		CREATE TEMPORARY TABLE $_columns ON COMMIT DROP AS
		SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull, a.atthasdef
		FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped;
		CREATE TEMPORARY TABLE $_constraints ON COMMIT DROP AS
		SELECT t.relname::text, c.conname::text AS name, c.contype IN ('p', 'u') AS is_unique, ARRAY (
			SELECT a.attname::text FROM pg_attribute AS a WHERE a.attrelid = t.oid AND a.attnum = ANY (c.conkey)) AS columns
		FROM pg_constraint AS c JOIN pg_class AS t ON t.oid = c.conrelid WHERE t.relnamespace = 'public'::regnamespace
		UNION
		SELECT t.relname::text, i.relname::text, true, ARRAY (
			SELECT a.attname::text FROM pg_attribute AS a WHERE a.attrelid = t.oid AND a.attnum = ANY (x.indkey::int2[]))
		FROM pg_index AS x JOIN pg_class AS t ON t.oid = x.indrelid JOIN pg_class AS i ON i.oid = x.indexrelid
		WHERE t.relnamespace = 'public'::regnamespace AND x.indisunique`, "$", name))
	return err
}

// stumbles lists what change takes from under those who knew the schema before it, a line each.
func stumbles(t *testing.T, conn *pgx.Conn, change string, keep bool) []string {
	t.Helper()
	ctx := t.Context()
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if err := snapshot(ctx, tx, "before"); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, change); err != nil {
		t.Fatalf("%v in %s", err, change)
	}
	if err := snapshot(ctx, tx, "after"); err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, rule := range expansionRules {
		rows, err := tx.Query(ctx, rule.query)
		if err != nil {
			t.Fatalf("%s: %v", rule.name, err)
		}
		broken, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatalf("%s: %v", rule.name, err)
		}
		if len(broken) > 0 {
			found = append(found, fmt.Sprintf("%s: %v", rule.name, broken))
		}
	}
	if keep {
		if err := tx.Commit(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

func TestEachMigrationLeavesTheReleaseBeforeWhatItNeeds(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.Empty(t)
	conn := connect(t, databaseURL)
	for i, m := range migrations(t, databaseURL) {
		text, err := os.ReadFile("migrations/" + m)
		if err != nil {
			t.Fatal(err)
		}
		_, up, _ := strings.Cut(string(text), "-- +goose Up")
		up, _, _ = strings.Cut(up, "-- +goose Down")
		found := stumbles(t, conn, up, true)
		if i == 0 || strings.Contains(up, contractMark) {
			continue
		}
		for _, fault := range found {
			t.Errorf("%s: %s", m, fault)
		}
	}
	// A rule that nothing can break guards nothing.
	for _, rule := range expansionRules {
		if found := strings.Join(stumbles(t, conn, rule.planted, false), "\n"); !strings.Contains(found, rule.name) {
			t.Errorf("%s: the planted fault was not found: %s", rule.name, found)
		}
	}
}

// migrations are the files in their order.
func migrations(t *testing.T, databaseURL string) []string {
	t.Helper()
	pool, err := sql.Open("pgx", databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	provider, err := goose.NewProvider(goose.DialectPostgres, pool, os.DirFS("migrations"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, source := range provider.ListSources() {
		names = append(names, source.Path)
	}
	return names
}
