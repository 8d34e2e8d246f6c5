package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/localpg"
)

// postgresTool finds a program of PostgreSQL that is not older than the server.
func postgresTool(t *testing.T, databaseURL, name string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	var number string
	if err := conn.QueryRow(t.Context(), "SHOW server_version_num").Scan(&number); err != nil {
		t.Fatal(err)
	}
	server, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	const perMajor = 10_000
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if path, err := exec.LookPath(name); err == nil {
		found = append(found, path)
	}
	for _, path := range found {
		out, err := exec.Command(path, "--version").Output()
		if err != nil {
			continue
		}
		fields := strings.Fields(string(out)) // pg_dump (PostgreSQL) 15.18 (Debian …)
		major, _, _ := strings.Cut(fields[2], ".")
		if n, err := strconv.Atoi(major); err == nil && n >= server/perMajor {
			return path
		}
	}
	t.Skipf("no %s of version %d or later is installed (Debian: apt-get install postgresql-client)", name, server/perMajor)
	return ""
}

// checksums are the count and a sum of the rows of each table, and where each sequence is.
func checksums(t *testing.T, databaseURL string) map[string]string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	rows, err := conn.Query(t.Context(), `SELECT format('%I', relname), relkind = 'S' FROM pg_class
		WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'S')`)
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]string{}
	var name string
	var isSequence bool
	kinds := map[string]bool{}
	if _, err := pgx.ForEachRow(rows, []any{&name, &isSequence}, func() error { kinds[name] = isSequence; return nil }); err != nil {
		t.Fatal(err)
	}
	for name, isSequence := range kinds {
		query := "SELECT count(*) || ' ' || coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM " + name + " AS t"
		if isSequence {
			query = "SELECT last_value || ' ' || is_called FROM " + name
		}
		var sum string
		if err := conn.QueryRow(t.Context(), query).Scan(&sum); err != nil {
			t.Fatal(err)
		}
		sums[name] = sum
	}
	return sums
}

// rolePassword is that of the roles of the drill.
const rolePassword = "a-role-of-a-test"

// as is the address of a database of a server for one of the roles of the drill.
func as(server *localpg.Server, role, database string) string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s", role, rolePassword, server.Port(), database)
}

// installed is a server with the two roles of docs/operations.md, and a database of theirs that holds
// seeded runs and the workspace drill with its owner alice.
func installed(t *testing.T) *localpg.Server {
	t.Helper()
	server := dbtest.Cluster(t)
	conn, err := pgx.Connect(t.Context(), server.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	for _, statement := range []string{
		"CREATE ROLE runledger_owner LOGIN PASSWORD '" + rolePassword + "'", "CREATE ROLE runledger_app LOGIN PASSWORD '" + rolePassword + "'",
		"CREATE DATABASE runledger OWNER runledger_owner TEMPLATE template0 ENCODING 'UTF8'",
	} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	environ := []string{"RUNLEDGER_DATABASE_URL=" + as(server, "runledger_owner", "runledger")}
	does(t, environ, "migrate", "up")
	does(t, environ, "migrate", "grant", "runledger_app")
	does(t, environ, "seed", "--runs", "2000", "--workspaces", "2")
	does(t, environ, "workspace", "create", "drill")
	does(t, environ, "member", "add", "drill", "alice", "--role", "owner")
	return server
}

// drill is what docs/operations.md says how to restore, for a server at hand. The roles are made in
// another cluster alone.
func drill(t *testing.T, to *localpg.Server, anotherCluster bool) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ = bytes.Cut(text, []byte("\n## Backup and restore: the drill\n"))
	_, text, _ = bytes.Cut(text, []byte("```sh\n"))
	text, _, found := bytes.Cut(text, []byte("```\n"))
	if !found {
		t.Fatal("docs/operations.md has no drill")
	}
	script := strings.NewReplacer("…", rolePassword, "db.example.com:5432", fmt.Sprintf("127.0.0.1:%d", to.Port())).Replace(string(text))
	if !anotherCluster {
		script = regexp.MustCompile(`(?m)^.*CREATE ROLE.*\n`).ReplaceAllString(script, "")
	}
	return script
}

// restores does the drill with the tools in a directory.
func restores(t *testing.T, tools string, from, to *localpg.Server) {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(builtBinary, filepath.Join(dir, "runledger")); err != nil {
		t.Fatal(err)
	}
	superuser, err := url.Parse(to.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	password, _ := superuser.User.Password()
	script := exec.CommandContext(t.Context(), "sh", "-e", "-x", "-c", drill(t, to, from != to))
	script.Dir = dir
	script.Env = []string{
		"PATH=" + strings.Join([]string{dir, tools, os.Getenv("PATH")}, ":"), "HOME=" + dir,
		"PGHOST=127.0.0.1", fmt.Sprintf("PGPORT=%d", to.Port()), "PGUSER=" + superuser.User.Username(), "PGPASSWORD=" + password,
		"RUNLEDGER_DATABASE_URL=" + as(from, "runledger_owner", "runledger"),
	}
	if out, err := script.CombinedOutput(); err != nil {
		t.Fatalf("the drill: %v\n%s", err, out)
	}
	if info, err := os.Stat(filepath.Join(dir, "runledger.dump")); err != nil || info.Size() == 0 {
		t.Fatalf("the dump: %v, %v", info, err)
	}
}

func TestARestoredDatabaseIsTheSameAndServes(t *testing.T) {
	t.Parallel()
	from := installed(t)
	tools := filepath.Dir(postgresTool(t, from.URL("postgres"), "pg_restore"))
	for name, to := range map[string]*localpg.Server{"in the same cluster": from, "in another cluster": dbtest.Cluster(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			restores(t, tools, from, to)
			isTheSame(t, from.URL("runledger"), to.URL("runledger_restored"))
			servesAndRecords(t, as(to, "runledger_owner", "runledger_restored"), as(to, "runledger_app", "runledger_restored"))
		})
	}
}

// isTheSame compares the rows of every table and the state of every sequence.
func isTheSame(t *testing.T, original, restored string) {
	t.Helper()
	before, after := checksums(t, original), checksums(t, restored)
	if len(before) < 15 {
		t.Errorf("only %d tables and sequences are compared", len(before))
	}
	for name, sum := range before {
		if after[name] != sum {
			t.Errorf("%s: %s before, %s after", name, sum, after[name])
		}
	}
	// A sum that no change moves compares nothing.
	conn, err := pgx.Connect(t.Context(), restored)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "UPDATE operation_runs SET attempt = attempt + 1 WHERE id = (SELECT max(id) FROM operation_runs)"); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close(t.Context())
	if checksums(t, restored)["operation_runs"] == before["operation_runs"] {
		t.Error("a changed row leaves the sum as it was")
	}
}

// servesAndRecords starts a server on a database that has the workspace drill with its owner alice,
// and records a run there. The addresses of the database are the owner's and the servers' own.
func servesAndRecords(t *testing.T, ownerURL, databaseURL string) {
	t.Helper()
	signer, err := auth.NewSecretSigner([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	token, err := signer.Sign("alice", "i", "a", time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), ownerURL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	var workspaceID, seeded int64
	if err := conn.QueryRow(t.Context(), `SELECT (SELECT id FROM workspaces WHERE slug = 'drill'),
		(SELECT min(workspace_id) FROM operation_runs)`).Scan(&workspaceID, &seeded); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), `INSERT INTO workspace_memberships (workspace_id, user_id, role)
		SELECT $1, id, 'readonly' FROM users WHERE subject = 'alice'`, seeded); err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan string, 1), make(chan error, 1)
	c := config{
		MaxConnections: 100,
		DatabaseURL:    databaseURL, Addr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0", JWTSecret: secret, JWTIssuer: "i", JWTAudience: "a",
		DatabaseMaxConns: 4, DatabaseAcquireTimeout: 10 * time.Second, StatementTimeout: 10 * time.Second,
		IdleTransactionTimeout: 10 * time.Second, ShutdownGrace: 10 * time.Second, LogFormat: "text",
	}
	go func() {
		a := &app{stdout: t.Output(), stderr: t.Output()}
		ended <- a.serve(ctx, c, c.listen, func(addr, _ string) { ready <- addr })
	}()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	base := "http://" + <-ready
	ask := func(method, path, body string, want int) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		req.Close = true
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != want {
			t.Fatalf("%s %s: %d, not %d: %v\n%s", method, path, resp.StatusCode, want, err, text)
		}
		return string(text)
	}
	if list := ask(http.MethodGet, fmt.Sprintf("/workspaces/%d/operation-runs", seeded), "", http.StatusOK); !strings.Contains(list, `"id":`) {
		t.Errorf("no run is listed: %s", list)
	}
	runs := fmt.Sprintf("/workspaces/%d/operation-runs", workspaceID)
	ask(http.MethodPost, runs, `{"type":"inventory_sync"}`, http.StatusCreated)
	// A change is told when all that began before it has ended, which takes a moment on a busy server.
	tick, late := time.NewTicker(50*time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for changes := ""; !strings.Contains(changes, `"run_id"`); changes = ask(http.MethodGet, runs+"/changes", "", http.StatusOK) {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("the new run is not among the changes: %s", changes)
		}
	}
}
