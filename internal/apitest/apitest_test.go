package apitest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"github.com/runledger/runledger/api"
	"github.com/runledger/runledger/internal/apitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// judge is a test that notes its failures.
type judge struct {
	testing.TB
	mu       sync.Mutex
	failures []string
}

func (j *judge) Helper() {}

func (j *judge) Errorf(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.failures = append(j.failures, fmt.Sprintf(format, args...))
}

// answer is what the server of a test answers.
type answer struct {
	status int
	header map[string]string // on top of those that every such answer has; "" removes one
	body   string
}

// exchange sends a request to a server that gives one answer, and returns what the validator
// said.
func exchange(t *testing.T, method, target string, a answer, header ...string) []string {
	t.Helper()
	served := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		set := map[string]string{
			"X-Request-Id": "r1", "X-Content-Type-Options": "nosniff", "Content-Type": "application/json",
			"ETag": `W/"1v2k9x3h7q0zp-41873"`, "Cache-Control": "private, no-cache", "Vary": "Authorization",
		}
		if a.status >= http.StatusBadRequest {
			set["Content-Type"], set["Cache-Control"] = "application/problem+json", "no-store"
			delete(set, "ETag")
			delete(set, "Vary")
		}
		for name, value := range set {
			w.Header().Set(name, value)
		}
		for name, value := range a.header {
			w.Header().Del(name)
			if value != "" {
				w.Header().Set(name, value)
			}
		}
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
	}))
	defer served.Close()
	j := &judge{TB: t}
	base := &http.Transport{}
	defer base.CloseIdleConnections()
	client := http.Client{Transport: apitest.NewValidator(j).Transport(base)}
	request, err := http.NewRequestWithContext(t.Context(), method, served.URL+target, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer token")
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if method != http.MethodHead && string(body) != a.body {
		t.Errorf("the body came through as %q, want %q", body, a.body)
	}
	return j.failures
}

// example is the JSON of an example of the contract.
func example(t *testing.T, name string) string {
	t.Helper()
	var document struct {
		Components map[string]map[string]map[string]any
	}
	if err := yaml.Unmarshal(api.YAML(), &document); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(document.Components["examples"][name]["value"])
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func problem(kind string, status int) string {
	return fmt.Sprintf(`{"type":"urn:runledger:problem:%s","title":"T","status":%d,"detail":"D","request_id":"r1"}`, kind, status)
}

func TestAnAnswerByTheContractPasses(t *testing.T) {
	t.Parallel()
	largest := strings.NewReplacer(`"id":48213`, `"id":9223372036854775807`,
		`"backup_schedule_id":418`, `"backup_schedule_id":1e400`).Replace(example(t, "CompletedRun"))
	retryAfter := map[string]string{"Retry-After": "1"}
	for name, c := range map[string]struct {
		method, target string
		answer         answer
	}{
		"row":             {"GET", "/workspaces/7/operation-runs/48213", answer{200, nil, example(t, "CompletedRun")}},
		"legacy row":      {"GET", "/workspaces/7/operation-runs/112", answer{200, nil, example(t, "LegacyRun")}},
		"largest numbers": {"GET", "/workspaces/7/operation-runs/9223372036854775807", answer{200, nil, largest}},
		"list": {"GET", "/workspaces/7/operation-runs?status=queued,running&limit=9999&created_from=2026-01-01T00:00:00%2B01:00", answer{
			200, map[string]string{"Link": `</workspaces/7/operation-runs?cursor=x&limit=1>; rel="next"`}, example(t, "RunList"),
		}},
		"findings":         {"GET", "/workspaces/7/findings", answer{200, nil, example(t, "FindingList")}},
		"head":             {"HEAD", "/workspaces/7/findings", answer{200, nil, ""}},
		"not modified":     {"GET", "/workspaces/7/findings", answer{304, map[string]string{"Content-Type": ""}, ""}},
		"stranger":         {"GET", "/workspaces/x/findings?nonsense=1", answer{404, nil, problem("not-found", 404)}},
		"wrong request":    {"GET", "/workspaces/7/findings?limit=none", answer{400, nil, problem("invalid-parameters", 400)}},
		"outage":           {"GET", "/workspaces/7/findings", answer{503, retryAfter, problem("unavailable", 503)}},
		"unknown address":  {"GET", "/workspaces/7/nothing", answer{404, nil, problem("not-found", 404)}},
		"unknown method":   {"DELETE", "/workspaces/7/findings", answer{405, map[string]string{"Allow": "GET, HEAD"}, problem("method-not-allowed", 405)}},
		"unknown and down": {"GET", "/workspaces/7/nothing", answer{503, retryAfter, problem("unavailable", 503)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, failure := range exchange(t, c.method, c.target, c.answer) {
				t.Error(failure)
			}
		})
	}
}

func TestAViolationFailsTheTestThatSeesIt(t *testing.T) {
	t.Parallel()
	run := example(t, "CompletedRun")
	path := "/workspaces/7/operation-runs/48213"
	for name, c := range map[string]struct {
		method, target string
		answer         answer
		want           string // part of the message
	}{
		"undocumented member":    {"GET", path, answer{200, nil, strings.Replace(run, "{", `{"secret":1,`, 1)}, "secret"},
		"missing member":         {"GET", path, answer{200, nil, strings.Replace(run, `"attempt":1,`, "", 1)}, "attempt"},
		"wrong type":             {"GET", path, answer{200, nil, strings.Replace(run, `"attempt":1`, `"attempt":"1"`, 1)}, "/attempt"},
		"null where none may be": {"GET", path, answer{200, nil, strings.Replace(run, `"attempt":1`, `"attempt":null`, 1)}, "/attempt"},
		"instant without Z":      {"GET", path, answer{200, nil, strings.Replace(run, `:40.03Z"`, `:40.03+00:00"`, 1)}, "_at"},
		"instant that is none":   {"GET", path, answer{200, nil, strings.Replace(run, `2026-01-31T21:02:40.03Z`, `2026-02-31T21:02:40Z`, 1)}, "_at"},
		"not JSON":               {"GET", path, answer{200, nil, run + "}"}, "JSON"},
		"two values":             {"GET", path, answer{200, nil, run + run}, "JSON"},
		"no body":                {"GET", path, answer{200, nil, ""}, "missing"},
		"null for a row":         {"GET", path, answer{200, nil, "null"}, "null"},
		"other content":          {"GET", path, answer{200, map[string]string{"Content-Type": "text/html"}, run}, "text/html"},
		"undocumented status":    {"GET", path, answer{202, nil, run}, "202"},
		"undocumented header":    {"GET", path, answer{200, map[string]string{"X-Powered-By": "me"}, run}, "X-Powered-By"},
		"missing header":         {"GET", path, answer{200, map[string]string{"Etag": ""}, run}, "ETag"},
		"strong tag":             {"GET", path, answer{200, map[string]string{"ETag": `"1v2k9x3h7q0zp-41873"`}, run}, "etag"},
		"header of a HEAD":       {"HEAD", path, answer{200, map[string]string{"Vary": ""}, ""}, "Vary"},
		"problem without a kind": {"GET", path, answer{404, nil, problem("", 404)}, "/type"},
		"401 without challenge":  {"GET", path, answer{401, nil, problem("unauthorized", 401)}, "WWW-Authenticate"},
		"parameter accepted":     {"GET", path + "?verbose=1", answer{200, nil, run}, "verbose"},
		"bad value accepted":     {"GET", "/workspaces/7/findings?tenant_id=x", answer{200, nil, example(t, "FindingList")}, "tenant_id"},
		"unknown choice":         {"GET", "/workspaces/7/operation-runs?status=done", answer{200, nil, example(t, "RunList")}, "done"},
		"undocumented address":   {"GET", "/workspaces/7/nothing", answer{200, nil, "{}"}, "no such operation"},
		"undocumented method":    {"DELETE", path, answer{204, nil, ""}, "no such operation"},
		"404 that is none":       {"GET", "/workspaces/7/nothing", answer{404, map[string]string{"Content-Type": "text/plain"}, "no"}, "text/plain"},
		"405 without Allow":      {"DELETE", path, answer{405, nil, problem("method-not-allowed", 405)}, "Allow"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			failures := exchange(t, c.method, c.target, c.answer)
			if len(failures) != 1 {
				t.Fatalf("%d failures, want 1: %q", len(failures), failures)
			}
			if !strings.Contains(failures[0], c.want) {
				t.Errorf("the message does not say %q:\n%s", c.want, failures[0])
			}
			t.Log(failures[0])
		})
	}
}

func TestARequestWithoutATokenThatIsAcceptedIsAViolation(t *testing.T) {
	t.Parallel()
	failures := exchange(t, "GET", "/workspaces/7", answer{200, nil, example(t, "Workspace")}, "Authorization", "")
	if len(failures) != 1 {
		t.Errorf("%d failures, want 1: %q", len(failures), failures)
	}
}

func BenchmarkTransport(b *testing.B) {
	var document map[string]any
	if err := yaml.Unmarshal(api.YAML(), &document); err != nil {
		b.Fatal(err)
	}
	row, err := json.Marshal(document["components"].(map[string]any)["examples"].(map[string]any)["CompletedRun"].(map[string]any)["value"])
	if err != nil {
		b.Fatal(err)
	}
	const rows = 50
	body := `{"data":[` + strings.Repeat(string(row)+",", rows-1) + string(row) + `],"next_cursor":null}`
	transport := apitest.NewValidator(b).Transport(roundTrip(func(request *http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: http.StatusOK,
			Header: http.Header{
				"X-Request-Id": {"r1"}, "X-Content-Type-Options": {"nosniff"}, "Content-Type": {"application/json"},
				"Etag": {`W/"1v2k9x3h7q0zp-41873"`}, "Cache-Control": {"private, no-cache"}, "Vary": {"Authorization"},
			},
			Body: io.NopCloser(strings.NewReader(body)), Request: request,
		}, nil
	}))
	request := httptest.NewRequest(http.MethodGet, "/workspaces/7/operation-runs?status=queued", http.NoBody)
	request.Header.Set("Authorization", "Bearer token")
	for b.Loop() {
		if _, err := transport.RoundTrip(request); err != nil { //nolint:bodyclose // it is in memory
			b.Fatal(err)
		}
	}
}

// roundTrip is a function that is a round tripper.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
