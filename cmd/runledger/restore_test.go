package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/dbtest"
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

// does a program, and fails with what it says.
func program(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(name), err, out)
	}
}

func TestARestoredDatabaseIsTheSameAndServes(t *testing.T) {
	t.Parallel()
	original, restored := dbtest.Fresh(t), dbtest.Empty(t)
	dump, restore := postgresTool(t, original, "pg_dump"), postgresTool(t, original, "pg_restore")
	environ := []string{"RUNLEDGER_DATABASE_URL=" + original}
	does(t, environ, "seed", "--runs", "2000", "--workspaces", "2")
	does(t, environ, "workspace", "create", "drill")
	does(t, environ, "member", "add", "drill", "alice", "--role", "owner")

	file := filepath.Join(t.TempDir(), "runledger.dump")
	program(t, dump, "--format=custom", "--file="+file, original)
	if info, err := os.Stat(file); err != nil || info.Size() == 0 {
		t.Fatalf("the dump: %v, %v", info, err)
	}
	program(t, restore, "--exit-on-error", "--no-owner", "--dbname="+restored, file)

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
	servesAndRecords(t, restored)
}

// servesAndRecords starts a server on a database that has the workspace drill with its owner alice,
// and records a run there.
func servesAndRecords(t *testing.T, databaseURL string) {
	t.Helper()
	signer, err := auth.NewSecretSigner([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	token, err := signer.Sign("alice", "i", "a", time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), databaseURL)
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
		DatabaseURL: databaseURL, Addr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0", JWTSecret: secret, JWTIssuer: "i", JWTAudience: "a",
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
