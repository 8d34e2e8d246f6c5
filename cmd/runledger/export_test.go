package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// lines is a server whose exports are these lines.
func lines(t *testing.T, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		if strings.HasSuffix(r.URL.Path, "/count") {
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprint(w, `{"count":1,"relation":"eq"}`)
			return
		}
		if r.Header.Get("Authorization") != "Bearer hunter2" || r.URL.RawQuery != "type=inventory_sync" {
			t.Errorf("asked with %v for %s", r.Header, r.URL)
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		_, _ = fmt.Fprint(w, body)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestAnExportLeavesAFileOnlyIfItIsWhole(t *testing.T) {
	t.Parallel()
	row := `{"id":1}` + "\n"
	environ := []string{"RUNLEDGER_TOKEN=hunter2"}
	for name, c := range map[string]struct {
		body string
		code int
	}{
		"another sum": {strings.Replace(whole("x\n"), "x", `{"id":1}`, 1), exitFailure},
		"no receipt":  {row, exitFailure},
		"whole":       {whole(row), exitOK},
	} {
		path := filepath.Join(t.TempDir(), "runs.ndjson")
		code, stdout, stderr := command(t, environ, "export", "--url", lines(t, c.body), "--workspace", "1", "--filter", "type=inventory_sync", path)
		written, err := os.ReadFile(path)
		if code != c.code || (err == nil) != (code == exitOK) || code == exitOK && (string(written) != row || !strings.Contains(stdout, `"rows":1`)) ||
			strings.Contains(stdout+stderr, "hunter2") {
			t.Errorf("%s: exit code %d, file %q, %v: %s%s", name, code, written, err, stdout, stderr)
		}
		if left, _ := filepath.Glob(path + "*"); len(left) > 1 || code != exitOK && len(left) > 0 {
			t.Errorf("%s: it leaves %v", name, left)
		}
	}
	for _, line := range []string{"export", "export f --url http://x --workspace 0", "export f --workspace 1", "export f --url http://x --workspace 1 --format xml", "export f --url http://x --workspace 1 --filter %zz", "export - --url http://x --workspace 1"} {
		if code, _, stderr := command(t, environ, strings.Fields(line)...); code != exitUsage {
			t.Errorf("runledger %s exits with %d: %s", line, code, stderr)
		}
	}
	if code, _, stderr := command(t, nil, "export", "--url", "http://x", "--workspace", "1", "f"); code != exitUsage || !strings.Contains(stderr, "RUNLEDGER_TOKEN") {
		t.Errorf("without a token it exits with %d: %s", code, stderr)
	}
}

// whole is the body of an export of one row, which a row is the first line of.
func whole(row string) string {
	return fmt.Sprintf(`%s{"receipt":{"rows":1,"first":{"id":1},"last":{"id":1},"sha256":"%x"}}`+"\n", row, sha256.Sum256([]byte(row)))
}

func TestAnExportTakesThePlaceOfFilesAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	socket, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	for _, err := range []error{
		syscall.Mkfifo(at("pipe"), 0o600), os.Mkdir(at("directory"), 0o700), os.Symlink("pipe", at("link to a pipe")), os.Symlink("circle", at("circle")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	untouched := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it asks the server all the same") }))
	defer untouched.Close()
	for name, says := range map[string]string{
		"pipe": "is a pipe", "directory": "is a directory", "socket": "is a socket", "link to a pipe": "is a pipe", "circle": "FILE cannot be written to",
	} {
		before, err := os.Lstat(at(name))
		if err != nil {
			t.Fatal(err)
		}
		code, stdout, stderr := command(t, []string{"RUNLEDGER_TOKEN=hunter2"}, "export", "--url", untouched.URL, "--workspace", "1", at(name))
		after, err := os.Lstat(at(name))
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, says) || err != nil || !os.SameFile(before, after) {
			t.Errorf("%s: exit code %d, %v: %s%s", name, code, err, stdout, stderr)
		}
	}
	if left, err := os.ReadDir(dir); len(left) != 5 {
		t.Errorf("it leaves %v, %v", left, err)
	}
	if _, err := destination(os.DevNull); err == nil || !strings.Contains(err.Error(), "is a device") { // which looks, and no more
		t.Errorf("of a device it says %v", err)
	}
}

func TestAnExportFollowsASymlinkToWhatItReplaces(t *testing.T) {
	t.Parallel()
	const row = `{"id":1}` + "\n"
	dir := t.TempDir()
	at := func(names ...string) string { return filepath.Join(append([]string{dir}, names...)...) }
	for _, err := range []error{
		os.MkdirAll(at("disk", "exports"), 0o700), os.MkdirAll(at("links"), 0o700), os.WriteFile(at("disk", "old"), []byte("old"), 0o600),
		os.Symlink("../disk/old", at("links", "to a file")), os.Symlink("to a file", at("links", "to a link")),
		os.Symlink(at("disk", "new"), at("links", "to nothing yet")), os.Symlink("disk/exports", at("mounted")), os.Symlink("../old", at("disk", "exports", "up")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ link, target string }{
		{at("links", "to a file"), at("disk", "old")},
		{at("links", "to a link"), at("disk", "old")},
		{at("links", "to nothing yet"), at("disk", "new")},
		{at("mounted") + "/up", at("disk", "old")},
		{at("mounted") + "/../older", at("disk", "older")}, // no symlink itself, and not beside the one before it
	} {
		before, err := os.Lstat(c.link)
		linked := err == nil
		_ = os.WriteFile(at("disk", "old"), []byte("old"), 0o600)
		code, _, stderr := command(t, []string{"RUNLEDGER_TOKEN=hunter2"}, "export", "--url", lines(t, whole(row)), "--workspace", "1", "--filter", "type=inventory_sync", c.link)
		written, err := os.ReadFile(c.target)
		if code != exitOK || err != nil || string(written) != row {
			t.Errorf("%s: exit code %d, file %q, %v: %s", c.link, code, written, err, stderr)
		}
		if after, err := os.Lstat(c.link); linked && (err != nil || !os.SameFile(before, after)) {
			t.Errorf("%s is no longer the symlink that it was: %v", c.link, err)
		}
	}
	for _, pattern := range []string{at("*", "*.part"), at("*.part")} {
		if left, _ := filepath.Glob(pattern); len(left) > 0 {
			t.Errorf("it leaves %v", left)
		}
	}
}

func TestAnExportSaysWhereAnIDIsFound(t *testing.T) {
	t.Parallel()
	for flags, says := range map[string]string{
		"--workspace demo":                 `--workspace wants the id of a workspace, a number such as 7, not "demo"; GET /workspaces and "runledger workspace list" tell it`,
		"--workspace 0":                    `not "0"`,
		"--workspace 1 --schedule nightly": `--schedule wants the id of a backup schedule, a number such as 418, not "nightly"`,
	} {
		args := append([]string{"export", "--url", "http://127.0.0.1:1", filepath.Join(t.TempDir(), "f")}, strings.Fields(flags)...)
		if code, _, stderr := command(t, []string{"RUNLEDGER_TOKEN=hunter2"}, args...); code != exitUsage || !strings.Contains(stderr, says) || strings.Contains(stderr, "strconv") {
			t.Errorf("%s: exit code %d: %s", flags, code, stderr)
		}
	}
}

func TestTwoExportsToOneFileAtOnceLeaveOneOfThemWhole(t *testing.T) {
	t.Parallel()
	body := map[string]string{"type=short": `{"id":1}` + "\n", "type=long": `{"id":1}` + "\n" + `{"id":2}` + "\n"}
	asked, others := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		if strings.HasSuffix(r.URL.Path, "/count") {
			http.NotFound(w, r)
			return
		}
		if r.URL.RawQuery == "type=short" { // it began first and ends last
			close(asked)
			<-others
		}
		rows := body[r.URL.RawQuery]
		w.Header().Set("Content-Type", "application/x-ndjson")
		_, _ = fmt.Fprintf(w, "%s"+`{"receipt":{"rows":%d,"sha256":"%x"}}`+"\n", rows, strings.Count(rows, "\n"), sha256.Sum256([]byte(rows)))
	}))
	defer s.Close()
	path := filepath.Join(t.TempDir(), "runs.ndjson")
	export := func(filter string) {
		code, _, stderr := command(t, []string{"RUNLEDGER_TOKEN=hunter2"}, "export", "--url", s.URL, "--workspace", "1", "--filter", filter, path)
		if written, err := os.ReadFile(path); code != exitOK || err != nil || string(written) != body[filter] {
			t.Errorf("%s: exit code %d, file %q, %v: %s", filter, code, written, err, stderr)
		}
	}
	var first sync.WaitGroup
	first.Go(func() { export("type=short") })
	<-asked
	export("type=long")
	close(others)
	first.Wait()
	if left, err := filepath.Glob(path + "*"); err != nil || len(left) != 1 {
		t.Errorf("they leave %v, %v", left, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("others may do with it what %v lets them; %v", info.Mode(), err)
	}
}

func TestTheProgressOfAnExportCountsLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	var shown [][2]int
	c := &countingLines{to: &out, total: 2, show: func(done, total int) { shown = append(shown, [2]int{done, total}) }}
	for _, part := range []string{"a\nb", "\n", "c\n"} {
		if _, err := c.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if fmt.Sprint(shown) != "[[1 2] [2 2] [3 3]]" || out.String() != "a\nb\nc\n" {
		t.Errorf("it shows %v of %q", shown, out.String())
	}
}
