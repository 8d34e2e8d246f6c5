package server_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

// preflight asks, as a browser does, whether a page may send a request.
func (h *harness) preflight(t *testing.T, origin, method, headers string) http.Header {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, h.url+"/workspaces/1/operation-runs/1", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", origin)
	req.Header.Set("Access-Control-Request-Method", method)
	req.Header.Set("Access-Control-Request-Headers", headers)
	req.Close = true
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.Header
}

// crossing are the headers of an answer to a page of another origin. The contract describes what
// everybody gets, so these answers are not held against it.
func (h *harness) crossing(t *testing.T, path, token, origin string) http.Header {
	t.Helper()
	resp, err := h.plainly(path, token, "Origin", origin)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.Header
}

// crossOrigin are the headers that let pages of other origins do something.
func crossOrigin(h http.Header) []string {
	var found []string
	for name, values := range h {
		if strings.HasPrefix(name, "Access-Control-") {
			found = append(found, name+": "+strings.Join(values, ", "))
		}
	}
	slices.Sort(found)
	return found
}

func TestPagesOfConfiguredOriginsMayReadAndNoOthers(t *testing.T) {
	t.Parallel()
	const app = "https://app.example.com"
	h := newHarnessOn(t, dbtest.Pool(t), server.Options{Origins: []string{app, "http://localhost:5173"}})
	w := dbtest.NewWorkspace(t, h.pool)
	token := h.token(t, w.Owner.Subject)
	path := fmt.Sprintf("/workspaces/%d/operation-runs", w.ID)

	for _, headers := range []string{"authorization", "authorization,content-type,if-match", "authorization,idempotency-key", "authorization,last-event-id,traceparent"} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete} {
			got := h.preflight(t, app, method, headers)
			if got.Get("Access-Control-Allow-Origin") != app || got.Get("Access-Control-Allow-Methods") != method || got.Get("Access-Control-Allow-Headers") != headers {
				t.Errorf("%s with %s: %v", method, headers, crossOrigin(got))
			}
		}
	}
	// What a page may read it may read of every answer, that of a refusal too.
	for path, token := range map[string]string{path: token, "/workspaces/0/operation-runs": token, "/workspaces": "", "/nothing": ""} {
		got := h.crossing(t, path, token, app)
		if got.Get("Access-Control-Allow-Origin") != app || !strings.Contains(got.Get("Access-Control-Expose-Headers"), "Retry-After") ||
			!slices.Contains(strings.Split(strings.Join(got.Values("Vary"), ", "), ", "), "Origin") {
			t.Errorf("GET %s: %v, Vary %v", path, crossOrigin(got), got.Values("Vary"))
		}
	}
	for _, origin := range []string{"https://evil.example", app + ".evil.example", "https://evil-app.example.com", "http://app.example.com", app + ":8443", "null", "*"} {
		if found := crossOrigin(h.crossing(t, path, token, origin)); len(found) > 0 {
			t.Errorf("a page of %s may: %v", origin, found)
		}
		if found := crossOrigin(h.preflight(t, origin, http.MethodPatch, "authorization")); len(found) > 0 {
			t.Errorf("a page of %s may send: %v", origin, found)
		}
	}
	for name, got := range map[string]http.Header{
		"a method that there is not": h.preflight(t, app, "TRACE", "authorization"), "a header of its own": h.preflight(t, app, http.MethodGet, "x-forwarded-for"),
	} {
		if found := crossOrigin(got); len(found) > 0 {
			t.Errorf("%s is allowed: %v", name, found)
		}
	}
	// No answer depends on a cookie, so none may be sent.
	if found := strings.Join(crossOrigin(h.crossing(t, path, token, app)), " "); strings.Contains(found, "Credentials") {
		t.Errorf("credentials are asked for: %s", found)
	}
}

func TestWithoutConfiguredOriginsNoPageMayAnything(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	if found := crossOrigin(h.crossing(t, "/livez", "", "https://app.example.com")); len(found) > 0 {
		t.Errorf("a page may: %v", found)
	}
	if found := crossOrigin(h.preflight(t, "https://app.example.com", http.MethodGet, "authorization")); len(found) > 0 {
		t.Errorf("a page may send: %v", found)
	}
}

func TestEveryAnswerKeepsBrowsersFromGuessingAndFraming(t *testing.T) {
	t.Parallel()
	h := newHarnessOn(t, dbtest.Pool(t), server.Options{})
	w := dbtest.NewWorkspace(t, h.pool)
	token := h.token(t, w.Owner.Subject)
	for _, c := range []struct {
		method, path, token string
		status              int
	}{
		{http.MethodGet, fmt.Sprintf("/workspaces/%d/operation-runs", w.ID), token, http.StatusOK},
		{http.MethodGet, fmt.Sprintf("/workspaces/%d/operation-runs?limit=x", w.ID), token, http.StatusBadRequest},
		{http.MethodGet, "/workspaces", "", http.StatusUnauthorized},
		{http.MethodGet, "/workspaces/0", token, http.StatusNotFound},
		{http.MethodDelete, "/workspaces", token, http.StatusMethodNotAllowed},
		{http.MethodGet, "/livez", "", http.StatusOK},
		{http.MethodGet, "/openapi.json", "", http.StatusOK},
	} {
		got := h.do(t, c.method, c.path, c.token)
		if got.status != c.status || got.header.Get("X-Content-Type-Options") != "nosniff" || got.header.Get("Referrer-Policy") != "no-referrer" ||
			got.header.Get("Content-Security-Policy") != "default-src 'none'; frame-ancestors 'none'" {
			t.Errorf("%s %s: %d, %v", c.method, c.path, got.status, got.header)
		}
	}
}
