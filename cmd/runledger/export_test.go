package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
	receipt := func(sum [sha256.Size]byte) string {
		return fmt.Sprintf(`{"receipt":{"rows":1,"first":{"id":1},"last":{"id":1},"sha256":"%x"}}`+"\n", sum)
	}
	environ := []string{"RUNLEDGER_TOKEN=hunter2"}
	for name, c := range map[string]struct {
		body string
		code int
	}{
		"another sum": {row + receipt(sha256.Sum256(nil)), exitFailure},
		"no receipt":  {row, exitFailure},
		"whole":       {row + receipt(sha256.Sum256([]byte(row))), exitOK},
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
