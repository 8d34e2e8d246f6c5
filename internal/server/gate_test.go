package server_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/runledger/runledger/internal/dbtest"
)

// fixture is one row of every kind in a workspace.
type fixture struct {
	dbtest.Workspace
	tenant, run, finding, item, schedule int64
}

// newFixture makes a workspace with one row of every kind.
func newFixture(t testing.TB, h *harness) fixture {
	t.Helper()
	f := fixture{Workspace: dbtest.NewWorkspace(t, h.pool)}
	f.tenant = dbtest.NewTenant(t, h.pool, f.ID)
	insert := func(id *int64, sql string, args ...any) {
		t.Helper()
		if err := h.pool.QueryRow(t.Context(), sql, args...).Scan(id); err != nil {
			t.Fatal(err)
		}
	}
	insert(&f.schedule, `INSERT INTO backup_schedules (workspace_id, tenant_id, name, frequency, time_of_day, days_of_week)
		VALUES ($1, $2, 'Nightly', 'daily', '02:30', '[1, 5]') RETURNING id`, f.ID, f.tenant)
	insert(&f.run, `INSERT INTO operation_runs (workspace_id, tenant_id, initiator_name, type, context)
		VALUES ($1, $2, 'Ada', 'backup_schedule_run', jsonb_build_object('backup_schedule_id', $3::bigint)) RETURNING id`,
		f.ID, f.tenant, f.schedule)
	insert(&f.finding, `INSERT INTO findings (workspace_id, tenant_id, finding_type, fingerprint, current_operation_run_id, baseline_operation_run_id)
		VALUES ($1, $2, 'drift', 'abc', $3, $3) RETURNING id`, f.ID, f.tenant, f.run)
	insert(&f.item, `INSERT INTO inventory_items (workspace_id, tenant_id, policy_type, external_id, last_seen_operation_run_id)
		VALUES ($1, $2, 'conditionalAccess', 'x-1', $3) RETURNING id`, f.ID, f.tenant, f.run)
	return f
}

// row is the id, in the fixture, of the row that a route below a workspace shows.
func (f fixture) row(pattern string) int64 {
	switch {
	case strings.Contains(pattern, "/tenants/"):
		return f.tenant
	case strings.Contains(pattern, "/operation-runs/"):
		return f.run
	case strings.Contains(pattern, "/findings/"):
		return f.finding
	case strings.Contains(pattern, "/inventory-items/"):
		return f.item
	case strings.Contains(pattern, "/backup-schedules/"):
		return f.schedule
	default:
		return 0
	}
}

// goodBody is a body that a route to one row takes: a bad one is refused before the row is looked at.
func goodBody(method, pattern string) string {
	switch {
	case method != http.MethodPatch:
		return ""
	case strings.Contains(pattern, "/findings/"):
		return `{"status":"acknowledged"}`
	default:
		return `{"status":"running"}`
	}
}

// address fills a route's pattern.
func address(pattern string, workspaceID, rowID any) string {
	path := strings.Replace(pattern, "{workspace_id}", fmt.Sprint(workspaceID), 1)
	return strings.Replace(path, "{id}", fmt.Sprint(rowID), 1)
}

// walk calls visit for every route below a workspace.
func walk(t *testing.T, h *harness, visit func(method, pattern string)) {
	t.Helper()
	routes := 0
	err := chi.Walk(h.server.Routes(), func(method, pattern string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		if strings.Contains(pattern, "{workspace_id}") {
			routes++
			visit(method, pattern)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if routes < 10 {
		t.Fatalf("walked %d routes only", routes)
	}
}

func TestStrangersGetOneAnswerOnEveryRoute(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	other := newFixture(t, h)
	stranger := dbtest.NewUser(t, h.pool)
	removed := dbtest.NewUser(t, h.pool)
	dbtest.AddMember(t, h.pool, f.ID, removed.ID, "owner")
	removedToken := h.token(t, removed.Subject)
	if got := h.do(t, http.MethodGet, address("/workspaces/{workspace_id}", f.ID, 0), removedToken); got.status != http.StatusOK {
		t.Fatalf("a member gets %d", got.status)
	}
	if _, err := h.pool.Exec(t.Context(), "DELETE FROM workspace_memberships WHERE workspace_id = $1 AND user_id = $2", f.ID, removed.ID); err != nil {
		t.Fatal(err)
	}
	strangerToken, memberToken := h.token(t, stranger.Subject), h.token(t, f.Owner.Subject)
	unknownToken := h.token(t, "nobody-has-this-subject")

	const fixedID = "the-same-request-id"
	want := h.do(t, http.MethodGet, "/workspaces/9223372036854775807", strangerToken, "X-Request-Id", fixedID)
	if want.status != http.StatusNotFound {
		t.Fatalf("status %d for a workspace that does not exist", want.status)
	}
	walk(t, h, func(method, pattern string) {
		row := f.row(pattern)
		for situation, try := range map[string]struct{ method, path, token string }{
			"a stranger":                      {method, address(pattern, f.ID, row), strangerToken},
			"a subject nobody has":            {method, address(pattern, f.ID, row), unknownToken},
			"a removed member":                {method, address(pattern, f.ID, row), removedToken},
			"a member of another workspace":   {method, address(pattern, other.ID, other.row(pattern)), memberToken},
			"no such workspace":               {method, address(pattern, int64(1)<<62, row), strangerToken},
			"no such workspace, for a member": {method, address(pattern, int64(1)<<62, row), memberToken},
			"a workspace id of zero":          {method, address(pattern, 0, row), memberToken},
			"a negative workspace id":         {method, address(pattern, -1, row), memberToken},
			"a padded workspace id":           {method, address(pattern, fmt.Sprintf("0%d", f.ID), row), memberToken},
			"a malformed workspace id":        {method, address(pattern, "abc", row), memberToken},
			"a workspace id with a dot":       {method, address(pattern, fmt.Sprintf("%d.0", f.ID), row), memberToken},
			"an escaped workspace id":         {method, address(pattern, "%31%00", row), memberToken},
			"an over-long workspace id":       {method, address(pattern, strings.Repeat("9", 3000), row), memberToken},
			"an unknown sub-route":            {method, address(pattern, f.ID, row) + "/nothing", strangerToken},
			"an unknown sub-route, a member":  {method, address(pattern, f.ID, row) + "/nothing/here", memberToken},
			"a wrong method":                  {http.MethodTrace, address(pattern, f.ID, row), strangerToken},
			"bad parameters":                  {method, address(pattern, f.ID, row) + "?limit=x&%zz", strangerToken},
		} {
			got := h.do(t, try.method, try.path, try.token, "X-Request-Id", fixedID)
			if got.comparable() != want.comparable() {
				t.Errorf("%s: %s %s answers\n%s\nwant\n%s", situation, try.method, pattern, got.comparable(), want.comparable())
			}
		}
		if !strings.Contains(pattern, "{id}") {
			return
		}
		for situation, id := range map[string]any{
			"a row of another workspace": other.row(pattern), "no such row": int64(1) << 62, "a malformed id": "abc",
			"an over-long id": strings.Repeat("9", 3000), "a negative id": -1, "a padded id": fmt.Sprintf("0%d", row),
		} {
			got, err := h.send(method, address(pattern, f.ID, id), memberToken, goodBody(method, pattern), "X-Request-Id", fixedID)
			if err != nil {
				t.Fatal(err)
			}
			if got.comparable() != want.comparable() {
				t.Errorf("%s: %s %s answers\n%s\nwant\n%s", situation, method, pattern, got.comparable(), want.comparable())
			}
		}
	})
}

func TestNoRouteBelowAWorkspaceAnswersWithoutAValidToken(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	expired, err := h.signer.Sign(f.Owner.Subject, testIssuer, testAudience, time.Minute, time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	const fixedID = "the-same-request-id"
	for situation, try := range map[string]struct{ token, challenge string }{
		"no token":      {"", `Bearer realm="runledger"`},
		"a bad token":   {"not.a.token", `Bearer realm="runledger", error="invalid_token"`},
		"an old token":  {expired, `Bearer realm="runledger", error="invalid_token"`},
		"a long token":  {strings.Repeat("a", 20_000), `Bearer realm="runledger", error="invalid_token"`},
		"a wrong token": {h.token(t, f.Owner.Subject) + "x", `Bearer realm="runledger", error="invalid_token"`},
		// RFC 6750 section 3.1: no error where another way of signing in was tried.
		"no bearer": {"", `Bearer realm="runledger"`},
	} {
		header := []string{"X-Request-Id", fixedID}
		if situation == "no bearer" {
			header = append(header, "Authorization", "Basic YWxpY2U6c2VjcmV0")
		}
		want := h.do(t, http.MethodGet, "/workspaces", try.token, header...)
		if want.status != http.StatusUnauthorized || want.header.Get("WWW-Authenticate") != try.challenge {
			t.Errorf("%s: %s", situation, want.comparable())
		}
		walk(t, h, func(method, pattern string) {
			for _, path := range []string{
				address(pattern, f.ID, f.row(pattern)), address(pattern, int64(1)<<62, 1), address(pattern, "abc", "abc"),
				address(pattern, f.ID, f.row(pattern)) + "/nothing",
			} {
				got := h.do(t, method, path, try.token, header...)
				if got.comparable() != want.comparable() {
					t.Errorf("%s: %s %s answers\n%s\nwant\n%s", situation, method, path, got.comparable(), want.comparable())
				}
			}
		})
	}
}

func TestSpacesMayStandBeforeATokenAndOnlyThere(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	token := h.token(t, f.Owner.Subject)
	for authorization, want := range map[string]int{
		"Bearer " + token: http.StatusOK, "bearer   " + token: http.StatusOK, "BEARER " + token: http.StatusOK,
		"Bearer" + token: http.StatusUnauthorized, "Bearer  ": http.StatusUnauthorized, "Bearer\t" + token: http.StatusUnauthorized,
		"Bearer " + token + " " + token: http.StatusUnauthorized,
	} {
		if got := h.do(t, http.MethodGet, "/workspaces", "", "Authorization", authorization); got.status != want {
			t.Errorf("%.12q…: status %d, want %d", authorization, got.status, want)
		}
	}
}

func TestMembersGetAnAnswerOnEveryRoute(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	walk(t, h, func(method, pattern string) {
		if method != http.MethodGet || pattern == eventStream { // a stream does not end: stream_test.go reads it
			return
		}
		for _, member := range []dbtest.User{f.Owner, f.Manager, f.Operator, f.Readonly} {
			got := h.do(t, method, address(pattern, f.ID, f.row(pattern)), h.token(t, member.Subject))
			if got.status != http.StatusOK {
				t.Errorf("GET %s answers %d: %s", pattern, got.status, got.body)
			}
		}
	})
}

func TestAMembershipRemovedIsGoneAtTheNextRequest(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	path := address("/workspaces/{workspace_id}/operation-runs", f.ID, 0)
	first := h.get(t, http.StatusOK, f.Operator.Subject, path)
	if _, err := h.pool.Exec(t.Context(), "DELETE FROM workspace_memberships WHERE workspace_id = $1 AND user_id = $2", f.ID, f.Operator.ID); err != nil {
		t.Fatal(err)
	}
	got := h.do(t, http.MethodGet, path, h.token(t, f.Operator.Subject), "If-None-Match", first.header.Get("ETag"))
	if got.status != http.StatusNotFound {
		t.Errorf("status %d after the membership was removed", got.status)
	}
}

func TestAnArchivedWorkspaceReadsAsBefore(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	path := address("/workspaces/{workspace_id}/operation-runs", f.ID, 0)
	before := h.get(t, http.StatusOK, f.Readonly.Subject, path)
	if _, err := h.pool.Exec(t.Context(), "UPDATE workspaces SET archived_at = now() WHERE id = $1", f.ID); err != nil {
		t.Fatal(err)
	}
	if after := h.get(t, http.StatusOK, f.Readonly.Subject, path); after.body != before.body {
		t.Errorf("the list changed from %s to %s", before.body, after.body)
	}
}

func TestAWrongMethodNamesTheRightOnes(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	got := h.do(t, http.MethodDelete, address("/workspaces/{workspace_id}/findings", f.ID, 0), h.token(t, f.Owner.Subject))
	if got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != "GET, HEAD" {
		t.Errorf("status %d, Allow %q", got.status, got.header.Get("Allow"))
	}
	// What stands beside ids is no row.
	for below, want := range map[string]string{
		"operation-runs": "GET, HEAD, POST", "operation-runs/7": "GET, HEAD, PATCH", "operation-runs/batch": "POST",
		"operation-runs/count": "GET, HEAD", "operation-runs/7/retry": "POST", "operation-runs/7%2F": "GET, HEAD, PATCH",
		"findings/batch": "POST", "backup-schedules/health": "GET, HEAD", "backup-schedules/7": "GET, HEAD, PATCH, DELETE",
	} {
		got := h.do(t, http.MethodPut, fmt.Sprintf("/workspaces/%d/%s", f.ID, below), h.token(t, f.Owner.Subject))
		if got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != want {
			t.Errorf("%s: status %d, Allow %q, want %q", below, got.status, got.header.Get("Allow"), want)
		}
	}
	// Nor is it looked for as one.
	for _, wrong := range []struct{ method, below, allow string }{
		{http.MethodGet, "operation-runs/batch", "POST"}, {http.MethodPatch, "operation-runs/batch", "POST"},
		{http.MethodPatch, "operation-runs/count", "GET, HEAD"}, {http.MethodGet, "findings/batch", "POST"},
		{http.MethodDelete, "backup-schedules/health", "GET, HEAD"},
	} {
		path := fmt.Sprintf("/workspaces/%d/%s", f.ID, wrong.below)
		got := h.do(t, wrong.method, path, h.token(t, f.Owner.Subject))
		if got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != wrong.allow {
			t.Errorf("%s %s: status %d, Allow %q, want %q", wrong.method, wrong.below, got.status, got.header.Get("Allow"), wrong.allow)
		}
		if got := h.do(t, wrong.method, path, h.token(t, newFixture(t, h).Owner.Subject)); got.status != http.StatusNotFound || got.header.Values("Allow") != nil {
			t.Errorf("%s %s: a stranger is told %d, Allow %q", wrong.method, wrong.below, got.status, got.header.Values("Allow"))
		}
	}
	// Where there is nothing, there is nothing for any method.
	for _, path := range []string{"/nothing", fmt.Sprintf("/workspaces/%d/nothing", f.ID)} {
		if got := h.do(t, "PROPFIND", path, h.token(t, f.Owner.Subject)); got.status != http.StatusNotFound || got.header.Values("Allow") != nil {
			t.Errorf("PROPFIND %s: %d, Allow %q", path, got.status, got.header.Values("Allow"))
		}
	}
}

func TestAWriteIsOfWhoIsAMemberWhenItHasCome(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w := newWorker(t, h)
	body, rest := io.Pipe()
	asked := &signallingReader{Reader: body, read: make(chan struct{})}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+w.path(""), asked)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.bearer)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Expect", "100-continue")
	transport := &http.Transport{ExpectContinueTimeout: time.Minute}
	defer transport.CloseIdleConnections()
	status := make(chan int, 1)
	go func() {
		defer close(status)
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Error(err)
			return
		}
		_ = resp.Body.Close()
		status <- resp.StatusCode
	}()
	<-asked.read // the server wants the body
	w.exec(t, "DELETE FROM workspace_memberships WHERE workspace_id = $1 AND user_id = $2", w.ID, w.Operator.ID)
	if _, err := io.WriteString(rest, `{"type":"inventory_sync"}`); err != nil {
		t.Fatal(err)
	}
	_ = rest.Close()
	if got := <-status; got != http.StatusNotFound {
		t.Errorf("status %d", got)
	}
	if got := h.list(t, w.Owner.Subject, w.path("")); len(got.Data) > 0 {
		t.Errorf("there are %v", got.Data)
	}
}
