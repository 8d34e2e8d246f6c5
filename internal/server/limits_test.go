package server_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

// seldom is a rate at which no token comes back while a test runs.
func seldom(burst int) server.Rate { return server.Rate{PerSecond: 1e-6, Burst: burst} }

// told is what a registry exposes.
func told(t *testing.T, registry *prometheus.Registry) string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&text, family); err != nil {
			t.Fatal(err)
		}
	}
	return text.String()
}

// isTooMany tells whether an answer is a 429 that says when to come back.
func isTooMany(t *testing.T, got answer, policy string, burst int) {
	t.Helper()
	if got.status != http.StatusTooManyRequests || got.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("status %d, %s", got.status, got.body)
	}
	seconds := got.header.Get("Retry-After")
	if !regexp.MustCompile(`^[1-9][0-9]*$`).MatchString(seconds) {
		t.Errorf("Retry-After: %q", seconds)
	}
	if limit := got.header.Get("RateLimit"); limit != fmt.Sprintf("%q;r=0;t=%s", policy, seconds) {
		t.Errorf("RateLimit: %s", limit)
	}
	if told := got.header.Get("RateLimit-Policy"); !strings.HasPrefix(told, fmt.Sprintf("%q;q=%d;w=", policy, burst)) {
		t.Errorf("RateLimit-Policy: %s", told)
	}
}

func TestAnAddressThatAsksTooOftenIsToldWhenToComeBack(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	h := newHarnessOn(t, dbtest.Pool(t), server.Options{Registry: registry, Limits: server.Limits{PerAddress: seldom(3)}})
	w := dbtest.NewWorkspace(t, h.pool)
	for range 3 {
		h.get(t, http.StatusOK, w.Owner.Subject, "/workspaces")
	}
	isTooMany(t, h.do(t, http.MethodGet, "/workspaces", h.token(t, w.Owner.Subject)), "address", 3)
	// Whoever asks without a token, or for nothing that there is, is counted as well.
	isTooMany(t, h.do(t, http.MethodGet, "/workspaces", ""), "address", 3)
	// Health is told however often somebody asks.
	for _, probe := range []string{"/livez", "/readyz", "/healthz"} {
		for range 3 {
			if got := h.do(t, http.MethodGet, probe, ""); got.status != http.StatusOK {
				t.Errorf("%s: status %d", probe, got.status)
			}
		}
	}
	// What is no question about health is counted, wherever it is sent.
	if got := h.hurried(t).do(t, http.MethodPost, "/livez", ""); got.status != http.StatusTooManyRequests {
		t.Errorf("POST /livez: status %d", got.status)
	}
	if text := told(t, registry); !strings.Contains(text, `runledger_http_refused_total{reason="address_rate"} 3`+"\n") {
		t.Errorf("the refusals are not counted:\n%s", text)
	}
}

func TestPreflightsAreCountedAsOtherRequests(t *testing.T) {
	t.Parallel()
	const app = "https://app.example.com"
	h := newHarnessOn(t, dbtest.Pool(t), server.Options{Origins: []string{app}, Limits: server.Limits{PerAddress: seldom(2)}})
	for i := range 4 {
		got := h.preflight(t, app, http.MethodGet, "authorization")
		if allowed := got.Get("Access-Control-Allow-Origin") == app; allowed != (i < 2) || (got.Get("Retry-After") == "") != allowed {
			t.Errorf("preflight %d: %v", i+1, got)
		}
	}
}

func TestASubjectThatAsksTooOftenStopsNobodyElse(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	h := newHarnessOn(t, dbtest.Pool(t), server.Options{Registry: registry, Limits: server.Limits{PerSubject: seldom(2)}})
	w := dbtest.NewWorkspace(t, h.pool)
	other := dbtest.NewUser(t, h.pool)
	path := fmt.Sprintf("/workspaces/%d/operation-runs", w.ID)
	for range 2 {
		h.get(t, http.StatusOK, w.Owner.Subject, path)
	}
	isTooMany(t, h.do(t, http.MethodGet, path, h.token(t, w.Owner.Subject)), "subject", 2)
	h.get(t, http.StatusOK, other.Subject, "/workspaces")
	if text := told(t, registry); !strings.Contains(text, `runledger_http_refused_total{reason="subject_rate"} 1`+"\n") {
		t.Errorf("the refusal is not counted:\n%s", text)
	}
}

func TestForwardedAddressesCountFromTrustedProxiesOnly(t *testing.T) {
	t.Parallel()
	here := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	for name, c := range map[string]struct {
		trusted []netip.Prefix
		chains  []string // X-Forwarded-For of one request each
		passed  int      // how many of them pass where an address may ask once
	}{
		"anybody can write the header":            {nil, []string{"1.1.1.1", "2.2.2.2", "3.3.3.3"}, 1},
		"a proxy tells of different clients":      {here, []string{"1.1.1.1", "2.2.2.2", "3.3.3.3"}, 3},
		"what a client wrote itself is left out":  {here, []string{"7.7.7.7, 1.1.1.1", "8.8.8.8, 1.1.1.1", "1.1.1.1"}, 1},
		"a chain of proxies is followed":          {here, []string{"1.1.1.1, 10.1.1.1", "2.2.2.2, 10.1.1.1, 10.2.2.2"}, 2},
		"nothing before a stranger is believed":   {here, []string{"1.1.1.1, 9.9.9.9, 10.1.1.1", "2.2.2.2, 9.9.9.9"}, 1},
		"nonsense is the proxy's own":             {here, []string{"nonsense", "unknown, ", "1.1.1.1, x"}, 1},
		"a /64 of IPv6 is one client":             {here, []string{"2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"}, 2},
		"IPv4 in IPv6 is IPv4":                    {here, []string{"::ffff:1.1.1.1", "1.1.1.1"}, 1},
		"only the proxy's own network is trusted": {here[1:], []string{"1.1.1.1", "2.2.2.2"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarnessOn(t, dbtest.Pool(t), server.Options{Limits: server.Limits{PerAddress: seldom(1), TrustedProxies: c.trusted}})
			passed := 0
			for _, chain := range c.chains {
				if got := h.do(t, http.MethodGet, "/openapi.json", "", "X-Forwarded-For", chain); got.status == http.StatusOK {
					passed++
				} else if got.status != http.StatusTooManyRequests {
					t.Errorf("%s: status %d", chain, got.status)
				}
			}
			if passed != c.passed {
				t.Errorf("%d pass, not %d", passed, c.passed)
			}
		})
	}
}

func TestWhatThereIsNoPlaceForIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	h := newHarnessOn(t, dbtest.Connect(t, dbtest.Fresh(t)), server.Options{Registry: registry, Limits: server.Limits{MaxRequests: 1}})
	w := dbtest.NewWorkspace(t, h.pool)
	path := fmt.Sprintf("/workspaces/%d/operation-runs", w.ID)
	token := h.token(t, w.Owner.Subject)

	lock, err := h.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	release := func() { _ = lock.Rollback(context.WithoutCancel(t.Context())) }
	defer release()
	if _, err := lock.Exec(t.Context(), "LOCK TABLE operation_runs IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	held := make(chan int, 1)
	go func() {
		defer close(held)
		if resp, err := h.plainly(path, token); err == nil {
			_ = resp.Body.Close()
			held <- resp.StatusCode
		}
	}()
	dbtest.AwaitBlocked(t, h.pool, lock, 1)

	// It is refused before anything is done for it: the database, which would keep it waiting, is not asked.
	got := h.do(t, http.MethodGet, path, token)
	if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" || !strings.Contains(got.body, "urn:runledger:problem:overloaded") {
		t.Errorf("status %d, %s", got.status, got.body)
	}
	for _, probe := range []string{"/livez", "/readyz"} {
		if got := h.do(t, http.MethodGet, probe, ""); got.status != http.StatusOK {
			t.Errorf("%s: status %d", probe, got.status)
		}
	}
	release()
	if status := <-held; status != http.StatusOK {
		t.Errorf("the request that was being answered gets %d", status)
	}
	h.get(t, http.StatusOK, w.Owner.Subject, path)
	if text := told(t, registry); !strings.Contains(text, `runledger_http_refused_total{reason="capacity"} 1`+"\n") {
		t.Errorf("the refusal is not counted:\n%s", text)
	}
}

func TestNobodyHoldsAllPlacesByBodiesThatDoNotCome(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	h := newHarnessOn(t, dbtest.Pool(t), server.Options{Registry: registry, Limits: server.Limits{MaxRequests: 160}})
	w := dbtest.NewWorkspace(t, h.pool)
	path := fmt.Sprintf("/workspaces/%d/operation-runs", w.ID)
	stranger := h.token(t, dbtest.NewUser(t, h.pool).Subject)
	const share = 128
	var conns []net.Conn
	hold := func() {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(h.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{", path, stranger); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	for range share {
		hold()
	}
	var refused answer
	awaitTrue(t, "the share to be used up", func() bool {
		if refused = h.do(t, http.MethodGet, path, stranger); refused.status == http.StatusTooManyRequests {
			return true
		}
		hold() // it may have taken the place of one that came meanwhile
		return false
	})
	if refused.header.Get("Retry-After") == "" || !strings.Contains(refused.body, "One subject may have 128 requests at once") {
		t.Errorf("%v: %s", refused.header, refused.body)
	}
	h.get(t, http.StatusOK, w.Owner.Subject, path)
	for _, conn := range conns {
		_ = conn.Close()
	}
	h.becomes(t, path, stranger, http.StatusNotFound)
	if text := told(t, registry); !strings.Contains(text, `runledger_http_refused_total{reason="subject_share"} `) ||
		strings.Contains(text, `runledger_http_refused_total{reason="subject_share"} 0`) {
		t.Errorf("the refusal is not counted:\n%s", text)
	}
}

// plainly is a GET whose answer is not held against the contract.
func (h *harness) plainly(path, token string, header ...string) (*http.Response, error) {
	req, err := http.NewRequest(http.MethodGet, h.url+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	req.Close = true
	return (&http.Transport{DisableCompression: true}).RoundTrip(req)
}

func TestAnOpenStreamTakesNoPlaceOfARequest(t *testing.T) {
	t.Parallel()
	h := newHarnessOn(t, dbtest.Pool(t), server.Options{Limits: server.Limits{MaxRequests: 1}})
	w := dbtest.NewWorkspace(t, h.pool)
	path := fmt.Sprintf("/workspaces/%d/operation-runs", w.ID)
	resp, err := h.plainly(path+"/events", h.token(t, w.Owner.Subject), "Accept", "text/event-stream")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := resp.Body.Read(make([]byte, 1)); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("the stream: %d, %v", resp.StatusCode, err)
	}
	h.get(t, http.StatusOK, w.Owner.Subject, path)
}

func TestTheFirstInternalErrorOfARouteIsAnIncreaseOfItsCounter(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	newHarnessOn(t, dbtest.Pool(t), server.Options{Registry: registry})
	all := told(t, registry)
	for _, route := range []string{
		`method="GET",route="/workspaces/{workspace_id}/operation-runs"`, `method="PATCH",route="/workspaces/{workspace_id}/operation-runs/{id}"`,
		`method="",route=""`,
	} {
		if series := `runledger_http_requests_total{code="500",` + route + `} 0`; !strings.Contains(all, series) {
			t.Errorf("before the first one there is no %s", series)
		}
	}
}
