package server_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"testing"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

// listRoutes are the lists that are read with their membership in one statement.
var listRoutes = []string{
	"/workspaces/{workspace_id}/operation-runs",
	"/workspaces/{workspace_id}/backup-schedules/{id}/runs",
	"/workspaces/{workspace_id}/findings",
	"/workspaces/{workspace_id}/inventory-items",
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
	for end, sql := range map[string]string{
		"the membership was removed":       "DELETE FROM workspace_memberships WHERE user_id = $1",
		"the subject is another user's":    "UPDATE users SET subject = subject || ' of old' WHERE id = $1",
		"the membership is in another one": "UPDATE workspace_memberships SET workspace_id = (SELECT min(id) FROM workspaces) WHERE user_id = $1",
	} {
		for _, pattern := range listRoutes {
			for _, try := range []struct {
				query  string
				header []string
			}{
				{"", nil}, {"?fields=id", nil}, {"?limit=1", nil}, {"?limit=x&%zz", nil}, {"?cursor=none", nil}, {"?tenant_id=9", nil},
				{"?status=queued,running", nil}, {"?legacy_table=backup_schedule_runs&legacy_id=1", nil},
				{"", []string{"Accept", "text/csv"}}, {"", []string{"Accept", "application/x-ndjson"}}, {"", []string{"Accept", "image/png"}},
				{"", []string{"If-None-Match", "*"}},
			} {
				user := dbtest.NewUser(t, w.pool)
				dbtest.AddMember(t, w.pool, f.ID, user.ID, "owner")
				path, token := address(pattern, f.ID, f.row(pattern)), w.token(t, user.Subject)
				w.get(t, http.StatusOK, user.Subject, path)
				atGate := counter.gate.Load()
				w.get(t, http.StatusOK, user.Subject, path)
				if counter.gate.Load() != atGate {
					t.Fatalf("%s: a member whom the gate knows is asked again", path)
				}
				if _, err := w.pool.Exec(t.Context(), sql, user.ID); err != nil {
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
	for range 2 {
		h.get(t, http.StatusOK, f.Readonly.Subject, path)
		var told struct {
			UserID      int64 `json:"user_id"`
			WorkspaceID int64 `json:"workspace_id"`
		}
		line := <-lines
		if err := json.Unmarshal(line, &told); err != nil || told.UserID != f.Readonly.ID || told.WorkspaceID != f.ID {
			t.Errorf("%v: %s", err, line)
		}
	}
}

// lineWriter hands over the lines of a log as they are written.
type lineWriter chan []byte

// Write hands over a line.
func (w lineWriter) Write(line []byte) (int, error) {
	w <- bytes.Clone(line)
	return len(line), nil
}
