package db_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// references are the small tables that belong to no workspace; distributed, each node would have
// them whole.
var references = []string{"workspaces", "users", "operation_types", "server_keys", "audit_events", "goose_db_version"}

// A rule is what the schema must keep to so that its tables can be distributed by workspace_id as
// they are. Its query lists what breaks it; $1 are the reference tables.
type rule struct {
	name, query string
	planted     string // SQL that breaks the rule
}

const tables = `SELECT c.oid, c.relname FROM pg_class AS c
	WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relname = ANY ($1::text[])`

var rules = []rule{
	{
		name: "every table has a workspace_id that is never null",
		query: `SELECT t.relname FROM (` + tables + `) AS t WHERE NOT EXISTS (
			SELECT FROM pg_attribute AS a WHERE a.attrelid = t.oid AND a.attname = 'workspace_id' AND a.attnotnull)`,
		planted: "CREATE TABLE planted (id bigint)",
	},
	{
		name: "every primary key and unique index holds workspace_id",
		query: `SELECT i.indexrelid::regclass::text FROM (` + tables + `) AS t JOIN pg_index AS i ON i.indrelid = t.oid
			WHERE i.indisunique AND NOT EXISTS (SELECT FROM pg_attribute AS a
				WHERE a.attrelid = t.oid AND a.attname = 'workspace_id' AND a.attnum = ANY (i.indkey::int2[]))`,
		planted: "CREATE TABLE planted (id bigint PRIMARY KEY, workspace_id bigint NOT NULL)",
	},
	{
		name: "every foreign key between workspaces' tables holds workspace_id on both sides",
		query: `SELECT c.conname FROM pg_constraint AS c JOIN (` + tables + `) AS t ON t.oid = c.conrelid
			JOIN pg_class AS target ON target.oid = c.confrelid
			WHERE c.contype = 'f' AND NOT target.relname = ANY ($1::text[]) AND NOT EXISTS (
				SELECT FROM unnest(c.conkey, c.confkey) AS k (own, other)
				JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = k.own AND a.attname = 'workspace_id'
				JOIN pg_attribute AS b ON b.attrelid = c.confrelid AND b.attnum = k.other AND b.attname = 'workspace_id')`,
		planted: `CREATE TABLE planted_target (workspace_id bigint NOT NULL, id bigint, UNIQUE (workspace_id, id));
			ALTER TABLE planted_target ADD CONSTRAINT planted_id UNIQUE (id);
			CREATE TABLE planted (workspace_id bigint NOT NULL, id bigint REFERENCES planted_target (id))`,
	},
	{
		name: "no foreign key that holds workspace_id sets it to null or a default",
		query: `SELECT c.conname FROM pg_constraint AS c JOIN (` + tables + `) AS t ON t.oid = c.conrelid
			WHERE c.contype = 'f' AND (c.confdeltype IN ('n', 'd') OR c.confupdtype IN ('n', 'd'))
			AND EXISTS (SELECT FROM pg_attribute AS a
				WHERE a.attrelid = t.oid AND a.attname = 'workspace_id' AND a.attnum = ANY (c.conkey))`,
		planted: `CREATE TABLE planted (workspace_id bigint NOT NULL, tenant_id bigint,
			FOREIGN KEY (workspace_id, tenant_id) REFERENCES tenants (workspace_id, id) ON DELETE SET NULL)`,
	},
	{
		name:  "no triggers",
		query: `SELECT g.tgname FROM (` + tables + `) AS t JOIN pg_trigger AS g ON g.tgrelid = t.oid WHERE NOT g.tgisinternal`,
		planted: `CREATE FUNCTION planted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
			CREATE TRIGGER planted BEFORE INSERT ON findings FOR EACH ROW EXECUTE FUNCTION planted()`,
	},
	{
		name:    "no identity columns",
		query:   `SELECT a.attname FROM (` + tables + `) AS t JOIN pg_attribute AS a ON a.attrelid = t.oid WHERE a.attidentity <> ''`,
		planted: "CREATE TABLE planted (workspace_id bigint NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY)",
	},
	{
		name:    "no exclusion constraints",
		query:   `SELECT c.conname FROM pg_constraint AS c JOIN (` + tables + `) AS t ON t.oid = c.conrelid WHERE c.contype = 'x'`,
		planted: "CREATE TABLE planted (workspace_id bigint NOT NULL, during tstzrange, EXCLUDE USING gist (during WITH &&))",
	},
	{
		name: "no ids of 4 bytes",
		query: `SELECT t.relname || '.' || a.attname FROM (` + tables + `) AS t JOIN pg_attribute AS a ON a.attrelid = t.oid
			WHERE a.attnum > 0 AND (a.attname = 'id' OR a.attname LIKE '%\_id') AND a.atttypid <> 'bigint'::regtype
			AND NOT a.attname IN ('external_id', 'subject_external_id', 'transaction_id')`,
		planted: "CREATE TABLE planted (workspace_id integer NOT NULL)",
	},
	{
		name: "instants have a time zone, texts no length",
		query: `SELECT t.relname || '.' || a.attname FROM (` + tables + `) AS t JOIN pg_attribute AS a ON a.attrelid = t.oid
			WHERE a.attnum > 0 AND a.atttypid IN ('timestamp'::regtype, 'varchar'::regtype, 'json'::regtype)`,
		planted: "CREATE TABLE planted (workspace_id bigint NOT NULL, at timestamp)",
	},
	{
		name:    "no row-level security",
		query:   `SELECT c.relname FROM (` + tables + `) AS t JOIN pg_class AS c ON c.oid = t.oid WHERE c.relrowsecurity`,
		planted: "ALTER TABLE findings ENABLE ROW LEVEL SECURITY",
	},
}

func TestTheSchemaCanBeDistributedByWorkspace(t *testing.T) {
	t.Parallel()
	conn, err := pgx.Connect(t.Context(), dbtest.Fresh(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	broken := func(tx pgx.Tx, r rule) []string {
		t.Helper()
		rows, err := tx.Query(t.Context(), r.query, references)
		if err != nil {
			t.Fatalf("%s: %v", r.name, err)
		}
		found, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatalf("%s: %v", r.name, err)
		}
		return found
	}
	for _, r := range rules {
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if found := broken(tx, r); len(found) > 0 {
			t.Errorf("%s: broken by %v", r.name, found)
		}
		// A rule that nothing can break guards nothing.
		if _, err := tx.Exec(t.Context(), r.planted); err != nil {
			t.Fatalf("%s: %v", r.name, err)
		}
		if len(broken(tx, r)) == 0 {
			t.Errorf("%s: the planted fault was not found", r.name)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// forbidden are words that no query may have, and why.
var forbidden = map[*regexp.Regexp]string{
	regexp.MustCompile(`(?i)clock_timestamp`):                                        "it differs from node to node: take now() or a parameter",
	regexp.MustCompile(`(?is)DO UPDATE\s+SET[^;]*\bnow\(\)`):                         "now() in DO UPDATE is refused: take excluded or a parameter",
	regexp.MustCompile(`(?i)\bOFFSET\b`):                                             "pages are keyset pages",
	regexp.MustCompile(`(?i)count\(\*\)\s+OVER`):                                     "a list has no total",
	regexp.MustCompile(`(?i)\bON CONFLICT ON CONSTRAINT\b`):                          "constraints' names arrive empty: name the columns",
	regexp.MustCompile(`(?i)\b(LISTEN|NOTIFY|pg_notify)\b`):                          "a notification stays on its node",
	regexp.MustCompile(`(?i)(@\w+|\$[0-9]+|sqlc\.narg\([^)]*\))(::\w+)? IS NULL OR`): "optional filters have no good plan",
}

func faultsOf(query string) []string {
	var faults []string
	for pattern, why := range forbidden {
		if pattern.MatchString(query) {
			faults = append(faults, why)
		}
	}
	return faults
}

func TestNoQueryHasWhatCannotBeDistributed(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../sql/queries/*.sql")
	if err != nil || len(files) < 5 {
		t.Fatalf("%v: %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for query := range strings.SplitSeq(string(text), "-- name: ") {
			name, _, _ := strings.Cut(query, " ")
			if strings.HasPrefix(name, "FindKept") {
				continue // the row at a rank is what these look for, not a page
			}
			for _, fault := range faultsOf(withoutComments(query)) {
				t.Errorf("%s: %s: %s", file, name, fault)
			}
		}
	}
	for _, planted := range []string{
		"UPDATE findings SET updated_at = clock_timestamp()",
		"INSERT INTO findings (id) VALUES (1) ON CONFLICT (id) DO UPDATE\nSET updated_at = now()",
		"SELECT 1 LIMIT 1 OFFSET 50", "SELECT count(*) OVER () FROM findings",
		"INSERT INTO findings (id) VALUES (1) ON CONFLICT ON CONSTRAINT findings_pkey DO NOTHING",
		"SELECT pg_notify('a', 'b')", "SELECT 1 WHERE $1::text IS NULL OR status = $1",
		"SELECT 1 WHERE (@status::text IS NULL OR r.status = @status)", "SELECT 1 WHERE sqlc.narg('status') IS NULL OR status = sqlc.narg('status')",
	} {
		if len(faultsOf(planted)) == 0 {
			t.Errorf("%q was let pass", planted)
		}
	}
}

// withoutComments is SQL without its comment lines.
func withoutComments(query string) string {
	lines := strings.Split(query, "\n")
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(strings.TrimSpace(line), "--") })
	return fmt.Sprintln(strings.Join(lines, "\n"))
}
