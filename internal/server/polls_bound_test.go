package server_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbtest"
)

// change is a way in which runs change behind a server's back.
type change struct {
	name   string
	begin  func(t *testing.T) // what has happened before the server is asked
	commit func(t *testing.T)
}

// changesElsewhere are changes of the runs of f that are not made through the server that is asked.
func changesElsewhere(f fixture, elsewhere *harness) []change {
	exec := func(sql string, args ...any) func(t *testing.T) {
		return func(t *testing.T) {
			t.Helper()
			if _, err := elsewhere.pool.Exec(t.Context(), sql, args...); err != nil {
				t.Fatal(err)
			}
		}
	}
	send := func(method, rest, body string) func(t *testing.T) {
		return func(t *testing.T) {
			t.Helper()
			path := address("/workspaces/{workspace_id}/operation-runs"+rest, f.ID, f.run)
			if got, err := elsewhere.send(method, path, elsewhere.token(t, f.Operator.Subject), body); err != nil || got.status/100 != 2 {
				t.Fatalf("%s %s: %v, status %d: %s", method, path, err, got.status, got.body)
			}
		}
	}
	var late pgx.Tx
	return []change{
		{name: "a start on another server", commit: send(http.MethodPost, "", `{"type":"inventory_sync"}`)},
		{name: "a report on another server", commit: send(http.MethodPatch, "/{id}", `{"status":"running"}`)},
		{name: "a run changed by SQL", commit: exec("UPDATE operation_runs SET initiator_name = 'Grace' WHERE workspace_id = $1", f.ID)},
		{
			name: "a transaction that commits late",
			begin: func(t *testing.T) {
				t.Helper()
				var err error
				if late, err = elsewhere.pool.Begin(t.Context()); err != nil {
					t.Fatal(err)
				}
				if _, err := late.Exec(t.Context(), `INSERT INTO operation_runs (workspace_id, type, created_at, updated_at)
					VALUES ($1, 'inventory_sync', '2020-01-01Z', '2020-01-01Z')`, f.ID); err != nil {
					t.Fatal(err)
				}
				exec("UPDATE users SET name = name WHERE id = $1", f.Owner.ID)(t) // one that commits after it began
			},
			commit: func(t *testing.T) {
				t.Helper()
				if err := late.Commit(t.Context()); err != nil {
					t.Fatal(err)
				}
			},
		},
		{name: "a run that is moved into the past by SQL", commit: exec("UPDATE operation_runs SET updated_at = '2019-01-01Z' WHERE workspace_id = $1", f.ID)},
		{name: "runs deleted by SQL", commit: exec("DELETE FROM operation_runs WHERE workspace_id = $1 AND created_at = '2020-01-01Z'", f.ID)},
	}
}

func TestAnAnswerIsBehindTheCommitsOfOthersByTheBoundAtMost(t *testing.T) {
	t.Parallel()
	for _, bound := range []time.Duration{0, time.Second} {
		p := newPolled(t, dbtest.Pool(t), bound)
		f := newFixture(t, p.harness)
		token := p.token(t, f.Readonly.Subject)
		path := address(polledRoutes[0], f.ID, 0)
		for _, c := range changesElsewhere(f, newHarness(t)) {
			if c.begin != nil {
				c.begin(t)
			}
			tag := p.get(t, http.StatusOK, f.Readonly.Subject, path).header.Get("ETag")
			p.wantPoll(t, http.StatusNotModified, token, path, tag)
			c.commit(t)
			if bound > 0 {
				p.clock.advance(bound - 1)
				p.wantPoll(t, http.StatusNotModified, token, path, tag) // and that no longer:
				p.clock.advance(1)
			}
			if got := p.poll(t, token, path, tag); got.status != http.StatusOK {
				t.Errorf("bound %s: after %s the answer is %d", bound, c.name, got.status)
			}
		}
	}
}

// touched is what changes the answer of each of polledRoutes, by SQL. Each takes the workspace's id.
func touched() map[string]string {
	const (
		events    = "INSERT INTO operation_run_events (workspace_id, run_id, kind) SELECT workspace_id, id, 'reported' FROM operation_runs WHERE workspace_id = $1"
		more      = "INSERT INTO operation_runs (workspace_id, type, created_at) VALUES ($1, 'inventory_sync', now())"
		runs      = "UPDATE operation_runs SET attempt = attempt + 1 WHERE workspace_id = $1"
		findings  = "UPDATE findings SET scope_key = coalesce(scope_key, '') || 'x' WHERE workspace_id = $1"
		items     = "UPDATE inventory_items SET category = coalesce(category, '') || 'x' WHERE workspace_id = $1"
		tenants   = "UPDATE tenants SET name = name || 'x' WHERE workspace_id = $1"
		schedules = "UPDATE backup_schedules SET name = name || 'x' WHERE workspace_id = $1"
	)
	byRoute := map[string]string{}
	for _, pattern := range polledRoutes {
		switch {
		case strings.HasSuffix(pattern, "/events"):
			byRoute[pattern] = events
		case strings.HasSuffix(pattern, "/count"), strings.Contains(pattern, "fields="):
			byRoute[pattern] = more
		case strings.Contains(pattern, "/operation-runs"), strings.HasSuffix(pattern, "/runs"):
			byRoute[pattern] = runs
		case strings.Contains(pattern, "/findings"):
			byRoute[pattern] = findings
		case strings.Contains(pattern, "/inventory-items"):
			byRoute[pattern] = items
		case strings.Contains(pattern, "/tenants"):
			byRoute[pattern] = tenants
		default:
			byRoute[pattern] = schedules
		}
	}
	return byRoute
}

// Whatever is answered from memory is behind by the bound at most, also where the change was made before the
// answer and is committed after it.
func TestEveryAnswerIsBehindALateCommitByTheBoundAtMost(t *testing.T) {
	t.Parallel()
	for _, bound := range []time.Duration{0, time.Second} {
		p := newPolled(t, dbtest.Pool(t), bound)
		f := newFixture(t, p.harness)
		token := p.token(t, f.Readonly.Subject)
		for pattern, sql := range touched() {
			path := address(pattern, f.ID, f.row(pattern))
			late, err := p.pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := late.Exec(t.Context(), sql, f.ID); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
			tag := p.get(t, http.StatusOK, f.Readonly.Subject, path).header.Get("ETag")
			p.wantPoll(t, http.StatusNotModified, token, path, tag)
			if err := late.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.clock.advance(bound)
			if got := p.poll(t, token, path, tag); got.status != http.StatusOK {
				t.Errorf("bound %s: %s: after %s the answer is %d", bound, path, sql, got.status)
			}
		}
	}
}
