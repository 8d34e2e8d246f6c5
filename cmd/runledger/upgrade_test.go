package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/dbtest"
)

// git runs git in the repository.
func git(t *testing.T, args ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "git", args...)
	command.Dir = "../.."
	out, err := command.Output()
	return strings.TrimSpace(string(out)), err
}

// before is the commit of the release before: that of the newest tag behind this commit, or, where
// nothing has been released yet, the last one that knew an older schema.
func before(t *testing.T) string {
	t.Helper()
	if tag, err := git(t, "describe", "--tags", "--abbrev=0", "HEAD^"); err == nil {
		return tag
	}
	migrations, err := filepath.Glob("../../db/migrations/*.sql")
	if err != nil || len(migrations) == 0 {
		t.Fatal(err)
	}
	newest := "db/migrations/" + filepath.Base(migrations[len(migrations)-1])
	added, err := git(t, "log", "-1", "--format=%H", "--diff-filter=A", "--", newest)
	if err != nil || added == "" {
		t.Skipf("this is no clone with the history of %s: %v", newest, err)
	}
	commit, err := git(t, "rev-parse", "--verify", "--quiet", added+"^")
	if err != nil {
		t.Skipf("the history ends at %s, which added %s: a shallow clone?", added, newest)
	}
	return commit
}

// unpack writes the tree of a commit to a directory.
func unpack(t *testing.T, commit, directory string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "git", "archive", "--format=tar", commit)
	command.Dir = "../.."
	archive, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	for reader := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag != tar.TypeReg || !filepath.IsLocal(header.Name) {
			continue
		}
		path := filepath.Join(directory, header.Name) //nolint:gosec // the name is local
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// While servers are replaced one after the other, those of the release before serve from the schema
// of this one. It compiles that release, so that it runs by "make test-upgrade" only.
func TestTheReleaseBeforeServesAndRecordsOnTheNewestSchema(t *testing.T) {
	t.Parallel()
	if os.Getenv("RUNLEDGER_TEST_UPGRADE") == "" {
		t.Skip("RUNLEDGER_TEST_UPGRADE is not set: make test-upgrade")
	}
	commit, directory := before(t), t.TempDir()
	unpack(t, commit, directory)
	binary := filepath.Join(directory, "before")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-X main.release="+commit, "-o", binary, "./cmd/runledger")
	build.Dir = directory
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the release before does not compile: %v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), binary, "version").Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the release before: %s", out)
	if now := does(t, nil, "version"); schemaOf(string(out)) == schemaOf(now) {
		t.Logf("both know the same schema: %s", now)
	}

	databaseURL := dbtest.Fresh(t)
	pool := dbtest.Connect(t, databaseURL)
	w := dbtest.NewWorkspace(t, pool)
	addr := freeAddress(t)
	server := exec.Command(binary, "serve")
	server.Env = []string{
		"RUNLEDGER_DATABASE_URL=" + databaseURL, "RUNLEDGER_ADDR=" + addr, "RUNLEDGER_ADMIN_ADDR=127.0.0.1:0", "RUNLEDGER_SHUTDOWN_DELAY=0s",
		"RUNLEDGER_SWEEP_INTERVAL=50ms", "RUNLEDGER_SURVEY_INTERVAL=50ms",
		"RUNLEDGER_JWT_HS256_SECRET=" + secret, "RUNLEDGER_JWT_ISSUER=i", "RUNLEDGER_JWT_AUDIENCE=a",
	}
	stderr, err := server.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	var faults []string
	logged, serving := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(logged)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if line := lines.Text(); strings.Contains(line, `"serving"`) {
				close(serving)
			} else if strings.Contains(line, `"ERROR"`) || strings.Contains(line, `"WARN"`) {
				faults = append(faults, line)
			}
		}
	}()
	defer func() {
		_ = server.Process.Signal(os.Interrupt)
		<-logged
		if err := server.Wait(); err != nil || len(faults) > 0 {
			t.Errorf("the release before ends with %v and complains:\n%s", err, strings.Join(faults, "\n"))
		}
	}()
	select {
	case <-serving:
	case <-logged:
		t.Fatal("the release before does not serve")
	}
	recordsARun(t, "http://"+addr, w)
	if _, err := pool.Exec(t.Context(), `UPDATE operation_runs SET heartbeat_at = now() - interval '1 day', started_at = now() - interval '1 day',
		created_at = now() - interval '1 day' WHERE workspace_id = $1 AND status = 'running'`, w.ID); err != nil {
		t.Fatal(err)
	}
	// And what it does beside: the sweep, which marks a run that went silent.
	dbtest.Await(t, pool, `EXISTS (SELECT FROM operation_runs WHERE workspace_id = $1 AND stalled_at IS NOT NULL)`, w.ID)
}

// schemaOf is the part of a version that names the schema.
func schemaOf(version string) string {
	_, schema, _ := strings.Cut(version, "schema ")
	return strings.TrimSpace(schema)
}

// recordsARun goes with runs through all that workers and readers do.
func recordsARun(t *testing.T, base string, w dbtest.Workspace) {
	t.Helper()
	signer, err := auth.NewSecretSigner([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	token, err := signer.Sign(w.Owner.Subject, "i", "a", time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
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
	ask(http.MethodGet, "/readyz", "", http.StatusOK)
	workspace := fmt.Sprintf("/workspaces/%d", w.ID)
	runs := workspace + "/operation-runs"
	for _, body := range []string{`{"status":"completed","outcome":"succeeded","summary_counts":{"total":1}}`, `{"status":"running"}`} {
		run := runs + "/" + idOf(ask(http.MethodPost, runs, `{"type":"inventory_sync"}`, http.StatusCreated))
		ask(http.MethodPatch, run, `{"status":"running","context":{"step":1}}`, http.StatusOK)
		ask(http.MethodPost, run+"/heartbeat", `{}`, http.StatusOK)
		ask(http.MethodPatch, run, body, http.StatusOK)
		ask(http.MethodGet, run+"/events", "", http.StatusOK)
	}
	for _, path := range []string{"/operation-runs", "/operation-runs/count", "/operation-runs/changes", "/findings", "/inventory-items", "/backup-schedules", "/operation-types"} {
		ask(http.MethodGet, workspace+path, "", http.StatusOK)
	}
	schedule := `{"name":"nightly","timezone":"Europe/Berlin","frequency":"daily","time_of_day":"02:00","retention_keep_last":7}`
	made := workspace + "/backup-schedules/" + idOf(ask(http.MethodPost, workspace+"/backup-schedules", schedule, http.StatusCreated))
	ask(http.MethodPatch, made, `{"time_of_day":"03:00"}`, http.StatusOK)
}

// idOf is the id of a row as it is shown.
func idOf(row string) string {
	_, id, _ := strings.Cut(row, `"id":`)
	id, _, _ = strings.Cut(id, ",")
	return strings.TrimSpace(id)
}
