package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

// listRoutes are the lists that are read with their membership in one statement.
var listRoutes = []string{
	"/workspaces/{workspace_id}/operation-runs",
	"/workspaces/{workspace_id}/backup-schedules/{id}/runs",
	"/workspaces/{workspace_id}/findings",
	"/workspaces/{workspace_id}/inventory-items",
	"/workspaces/{workspace_id}/tenants",
}

func TestAPageIsOneRoundTripForWhomTheGateHasLetIn(t *testing.T) {
	t.Parallel()
	w, counter := newCountedWorker(t)
	f, empty := newFixture(t, w.harness), dbtest.NewWorkspace(t, w.pool)
	asked := func(subject, path string) (statements, gate int64) {
		t.Helper()
		all, atGate := counter.all.Load(), counter.gate.Load()
		w.get(t, http.StatusOK, subject, path)
		return counter.all.Load() - all, counter.gate.Load() - atGate
	}
	for _, pattern := range listRoutes {
		path := address(pattern, f.ID, f.row(pattern))
		asked(f.Readonly.Subject, path)
		if statements, gate := asked(f.Readonly.Subject, path); statements != 1 || gate != 0 {
			t.Errorf("%s: %d statements, %d of them the gate's", path, statements, gate)
		}
		if _, gate := asked(f.Operator.Subject, path); gate == 0 && pattern == listRoutes[0] {
			t.Errorf("%s: somebody else did not pass the gate", path)
		}
	}
	// Whose subject became that of another member passes the gate once more.
	for _, sql := range []string{"UPDATE users SET subject = subject || ' of old' WHERE id = $1", "UPDATE users SET subject = $2 WHERE id = $1"} {
		args := []any{f.Readonly.ID, f.Readonly.Subject}[:strings.Count(sql, "$")]
		if len(args) > 1 {
			args[0] = f.Manager.ID
		}
		if _, err := w.pool.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []int64{1, 0} {
		if _, gate := asked(f.Readonly.Subject, address(listRoutes[0], f.ID, 0)); gate != want {
			t.Errorf("the gate was asked %d times, want %d", gate, want)
		}
	}
	// Without rows there is nothing that proves a membership.
	path := address(listRoutes[0], empty.ID, 0)
	asked(empty.Owner.Subject, path)
	if statements, gate := asked(empty.Owner.Subject, path); statements != 2 || gate != 1 {
		t.Errorf("an empty list: %d statements, %d of them the gate's", statements, gate)
	}
}

func TestWhoIsNoMemberAnyMoreFindsNoList(t *testing.T) {
	t.Parallel()
	w, counter := newCountedWorker(t)
	f := newFixture(t, w.harness)
	const fixedID = "the-same-request-id"
	want := w.do(t, http.MethodGet, "/workspaces/9223372036854775807", w.token(t, f.Owner.Subject), "X-Request-Id", fixedID).comparable()
	type request struct {
		query  string
		header []string
	}
	for end, c := range map[string]struct {
		sql   string
		tries []request
	}{
		"the subject is another user's":    {"UPDATE users SET subject = subject || ' of old' WHERE id = $1", []request{{"", nil}}},
		"the membership is in another one": {"UPDATE workspace_memberships SET workspace_id = (SELECT min(id) FROM workspaces) WHERE user_id = $1", []request{{"", nil}}},
		"the membership was removed": {
			"DELETE FROM workspace_memberships WHERE user_id = $1",
			[]request{
				{"", nil}, {"?fields=id", nil}, {"?limit=1", nil}, {"?limit=x&%zz", nil}, {"?cursor=none", nil}, {"?tenant_id=9", nil},
				{"?status=queued,running", nil}, {"?legacy_table=backup_schedule_runs&legacy_id=1", nil},
				{"", []string{"Accept", "text/csv"}}, {"", []string{"Accept", "application/x-ndjson"}}, {"", []string{"Accept", "image/png"}},
				{"", []string{"If-None-Match", "*"}},
			},
		},
	} {
		for _, pattern := range listRoutes {
			for _, try := range c.tries {
				user := dbtest.NewUser(t, w.pool)
				dbtest.AddMember(t, w.pool, f.ID, user.ID, "owner")
				path, token := address(pattern, f.ID, f.row(pattern)), w.token(t, user.Subject)
				w.get(t, http.StatusOK, user.Subject, path)
				atGate := counter.gate.Load()
				w.get(t, http.StatusOK, user.Subject, path)
				if counter.gate.Load() != atGate {
					t.Fatalf("%s: a member whom the gate knows is asked again", path)
				}
				if _, err := w.pool.Exec(t.Context(), c.sql, user.ID); err != nil {
					t.Fatal(err)
				}
				for _, method := range []string{http.MethodGet, http.MethodGet, http.MethodHead} {
					got := w.do(t, method, path+try.query, token, append([]string{"X-Request-Id", fixedID}, try.header...)...)
					if method == http.MethodHead {
						if got.status != http.StatusNotFound {
							t.Errorf("%s: HEAD %s%s answers %d", end, path, try.query, got.status)
						}
					} else if got.comparable() != want {
						t.Errorf("%s: %s%s (%s) answers\n%s", end, path, try.query, try.header, got.comparable())
					}
				}
			}
		}
	}
}

func TestTheLogNamesWhoReadAList(t *testing.T) {
	t.Parallel()
	lines := make(lineWriter, 16)
	h := newHarnessOn(t, dbtest.Pool(t), server.Options{Log: slog.New(slog.NewJSONHandler(lines, nil))})
	f := newFixture(t, h)
	path := address(listRoutes[0], f.ID, 0)
	reads := func(subject string, want fixture, user int64) {
		t.Helper()
		got := h.do(t, http.MethodGet, path, h.token(t, subject))
		if got.status == http.StatusOK && len(decode[page](t, got.body).Data) != 1 {
			t.Errorf("the list is %s", got.body)
		}
		var told struct {
			UserID      int64 `json:"user_id"`
			WorkspaceID int64 `json:"workspace_id"`
		}
		line := <-lines
		if err := json.Unmarshal(line, &told); err != nil || told.UserID != user || told.WorkspaceID != want.ID {
			t.Errorf("%v: %s", err, line)
		}
	}
	reads(f.Readonly.Subject, f, f.Readonly.ID)
	reads(f.Readonly.Subject, f, f.Readonly.ID)
	// The subject becomes that of another member, who finds the same list and is named by it.
	for _, sql := range []string{"UPDATE users SET subject = NULL WHERE id = $1", "UPDATE users SET subject = $3 WHERE id = $2 AND $1 > 0"} {
		args := []any{f.Readonly.ID, f.Operator.ID, f.Readonly.Subject}
		if _, err := h.pool.Exec(t.Context(), sql, args[:strings.Count(sql, "$")]...); err != nil {
			t.Fatal(err)
		}
	}
	reads(f.Readonly.Subject, f, f.Operator.ID)
	reads(f.Readonly.Subject, f, f.Operator.ID)
	if _, err := h.pool.Exec(t.Context(), "DELETE FROM workspace_memberships WHERE user_id = $1", f.Operator.ID); err != nil {
		t.Fatal(err)
	}
	reads(f.Readonly.Subject, fixture{}, 0) // a stranger, of whom nothing is told
}

// lineWriter hands over the lines of a log as they are written.
type lineWriter chan []byte

// Write hands over a line.
func (w lineWriter) Write(line []byte) (int, error) {
	w <- bytes.Clone(line)
	return len(line), nil
}

// TestWhoIsNoMemberAnyMoreIsAStrangerThoughTheListCannotBeRead holds that also of a server that is in trouble:
// who is none is told so, as all strangers are.
func TestWhoIsNoMemberAnyMoreIsAStrangerThoughTheListCannotBeRead(t *testing.T) {
	t.Parallel()
	impatient, err := url.Parse(dbtest.Fresh(t))
	if err != nil {
		t.Fatal(err)
	}
	settings := impatient.Query()
	settings.Set("lock_timeout", "50ms")
	impatient.RawQuery = settings.Encode()
	p := newPolled(t, dbtest.Connect(t, impatient.String()), time.Second)
	f := newFixture(t, p.harness)
	path, token := address(listRoutes[0], f.ID, 0), p.token(t, f.Readonly.Subject)
	tag := p.get(t, http.StatusOK, f.Readonly.Subject, path).header.Get("ETag")
	p.clock.advance(time.Minute)
	p.commitElsewhere(t, f.Owner.ID)
	p.wantPoll(t, http.StatusNotModified, token, path, tag) // so that the next one goes ahead of the gate

	locked := dbtest.Connect(t, impatient.String())
	lock, err := locked.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := lock.Exec(t.Context(), "LOCK TABLE operation_runs IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	for _, status := range []int{http.StatusServiceUnavailable, http.StatusNotFound} {
		p.clock.advance(time.Minute)
		p.commitElsewhere(t, f.Owner.ID)
		p.get(t, http.StatusOK, f.Owner.Subject, address(polledRoutes[6], f.ID, f.tenant)) // so that the gate sees it
		p.wantPoll(t, status, token, path, tag)
		p.get(t, status, f.Readonly.Subject, path)
		if _, err := p.pool.Exec(t.Context(), "DELETE FROM workspace_memberships WHERE workspace_id = $1 AND user_id = $2", f.ID, f.Readonly.ID); err != nil {
			t.Fatal(err)
		}
	}
}
