package server_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/runledger/runledger/api"
)

// injections are what people put where they suspect SQL. Each that does what it wants to shows more
// rows, another workspace's, waits, fails, or changes something.
var injections = []string{
	"' OR '1'='1", "1) OR (1=1", "'; DELETE FROM operation_runs; --", "1; DROP TABLE operation_runs CASCADE", "' UNION SELECT * FROM operation_runs --",
	"'||(SELECT string_agg(subject,',') FROM users)||'", "1 AND (SELECT 1 FROM pg_sleep(30))=1", `\' OR 1=1 --`, "$$; SELECT 1; $$",
	"inventory_sync') OR ('1'='1", "CAST((SELECT version()) AS int)", "-created_at, (SELECT 1)", "\x00' OR 1=1",
}

// queryParameters are the query parameters of every operation of the contract, by method and path.
func queryParameters(t *testing.T) map[string][]string {
	t.Helper()
	type parameter struct {
		Ref  string `yaml:"$ref"`
		Name string `yaml:"name"`
		In   string `yaml:"in"`
	}
	var document struct {
		Paths      map[string]map[string]yaml.Node `yaml:"paths"`
		Components struct {
			Parameters map[string]parameter `yaml:"parameters"`
		} `yaml:"components"`
	}
	if err := yaml.Unmarshal(api.YAML(), &document); err != nil {
		t.Fatal(err)
	}
	names := map[string][]string{}
	for path, item := range document.Paths {
		for method, node := range item {
			if method == "parameters" {
				continue
			}
			var operation struct {
				Parameters []parameter `yaml:"parameters"`
			}
			if err := node.Decode(&operation); err != nil {
				t.Fatal(err)
			}
			key := strings.ToUpper(method) + " " + path
			for _, p := range operation.Parameters {
				if name, ok := strings.CutPrefix(p.Ref, "#/components/parameters/"); ok {
					p = document.Components.Parameters[name]
				}
				if p.In == "query" {
					names[key] = append(names[key], p.Name)
				}
			}
		}
	}
	return names
}

var (
	workspaceIDs  = regexp.MustCompile(`"workspace_id":(\d+)`)
	waitsForMore  = regexp.MustCompile(`/(events|export)$`)
	internalWords = regexp.MustCompile(`(?i)SQLSTATE|syntax error|PostgreSQL \d|goroutine \d`)
)

func TestNoParameterIsEverReadAsSQL(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f, other := newFixture(t, h), newFixture(t, h)
	token := h.token(t, f.Owner.Subject)
	own, _ := stored(t, h, f.ID)
	foreign, _ := stored(t, h, other.ID)
	h = h.hurried(t)
	parameters := queryParameters(t)
	asked, attacked := 0, map[string]bool{}
	try := func(method, path, body string, statuses ...int) {
		t.Helper()
		asked++
		got, err := h.send(method, path, token, body)
		if err != nil {
			t.Fatal(err)
		}
		known := false
		for _, status := range statuses {
			known = known || status == got.status
		}
		if !known || internalWords.MatchString(got.body) {
			t.Errorf("%s %s answers %d %.300s", method, path, got.status, got.body)
		}
		for _, match := range workspaceIDs.FindAllStringSubmatch(got.body, -1) {
			if match[1] != fmt.Sprint(f.ID) {
				t.Errorf("%s %s shows a row of workspace %s", method, path, match[1])
			}
		}
	}
	walk(t, h, func(method, pattern string) {
		for _, injection := range injections {
			escaped := url.PathEscape(injection)
			try(method, address(pattern, escaped, f.row(pattern)), "", http.StatusNotFound)
			try(method, address(pattern, fmt.Sprintf("%d%s", f.ID, escaped), f.row(pattern)), "", http.StatusNotFound)
			if strings.Contains(pattern, "{id}") {
				try(method, address(pattern, f.ID, escaped), goodBody(method, pattern), http.StatusNotFound)
				try(method, address(pattern, f.ID, fmt.Sprintf("%d%s", f.row(pattern), escaped)), goodBody(method, pattern), http.StatusNotFound)
			}
		}
		names := parameters[method+" "+pattern]
		if method != http.MethodGet {
			names = []string{"limit"} // a write has none, and refuses it
		}
		for _, name := range names {
			attacked[name] = true
			for _, injection := range injections {
				path := address(pattern, f.ID, f.row(pattern)) + "?" + url.QueryEscape(name) + "=" + url.QueryEscape(injection)
				if method == http.MethodGet && waitsForMore.MatchString(pattern) && pattern == eventStream {
					continue // what it does not refuse does not end; stream_test.go tries its positions
				}
				try(method, path, goodBody(method, pattern), http.StatusOK, http.StatusBadRequest)
			}
		}
		if len(names) > 0 {
			for _, injection := range injections[:5] {
				if pattern != eventStream {
					try(method, address(pattern, f.ID, f.row(pattern))+"?"+url.QueryEscape(injection)+"=1", goodBody(method, pattern), http.StatusBadRequest)
				}
			}
		}
	})
	if asked < 2000 || len(attacked) < 20 {
		t.Errorf("%d requests only, for %d parameters: %v", asked, len(attacked), attacked)
	}
	for name, id := range map[string]struct {
		id   int64
		want string
	}{"the workspace": {f.ID, own}, "another workspace": {other.ID, foreign}} {
		if now, _ := stored(t, h, id.id); now != id.want {
			t.Errorf("%s holds something else now:\n%s\nwas\n%s", name, now, id.want)
		}
	}
}
