package server_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/dbtest"
)

// comparedRoutes are pages of which it is found out whether their rows are the same, read in each of the ways
// in which a list is read.
var comparedRoutes = append([]string{
	"/workspaces/{workspace_id}/operation-runs?limit=2",
	"/workspaces/{workspace_id}/operation-runs?status=queued,running&order=created_at",
	"/workspaces/{workspace_id}/operation-runs?order=updated_at&type=inventory_sync&outcome=succeeded,failed&limit=3",
	"/workspaces/{workspace_id}/operation-runs?order=updated_at&type=inventory_sync&fields=id",
	"/workspaces/{workspace_id}/operation-runs?type=inventory_sync&status=queued&stalled=false&created_from=2019-01-01T00:00:00Z",
	"/workspaces/{workspace_id}/findings?severity=medium,high&status=new&limit=3",
	"/workspaces/{workspace_id}/findings?fields=id,status",
	"/workspaces/{workspace_id}/inventory-items?platform=windows,ios",
}, listRoutes...)

// commitElsewhere commits something that has nothing to do with any list.
func (h *harness) commitElsewhere(t *testing.T, userID int64) {
	t.Helper()
	if _, err := h.pool.Exec(t.Context(), "UPDATE users SET updated_at = now() WHERE id = $1", userID); err != nil {
		t.Fatal(err)
	}
}

func TestAPageOfTheSameRowsIsNotReadAgainWhereOthersCommit(t *testing.T) {
	t.Parallel()
	counter := &statementCounter{}
	p := newPolled(t, newTracedPool(t, dbtest.URL(t), counter), time.Second)
	f := newFixture(t, p.harness)
	token := p.token(t, f.Readonly.Subject)
	for _, pattern := range listRoutes {
		path := address(pattern, f.ID, f.row(pattern))
		p.get(t, http.StatusOK, f.Readonly.Subject, path)
		tag := p.get(t, http.StatusOK, f.Readonly.Subject, path).header.Get("ETag")
		p.clock.advance(time.Second)
		p.commitElsewhere(t, f.Owner.ID)
		want := p.wantPoll(t, http.StatusNotModified, token, path, tag) // which reads the versions with the page
		for n := range 3 {
			p.clock.advance(time.Second)
			p.commitElsewhere(t, f.Owner.ID)
			p.get(t, http.StatusOK, f.Owner.Subject, address(polledRoutes[6], f.ID, f.tenant)) // so that the gate sees it
			same, all, gate := p.answers(t, "same_rows"), counter.all.Load(), counter.gate.Load()
			got := p.wantPoll(t, http.StatusNotModified, token, path, tag)
			if got.comparable() != want.comparable() {
				t.Errorf("%s: by the versions of its rows\n%s\nby the query\n%s", path, got.comparable(), want.comparable())
			}
			if p.answers(t, "same_rows") != same+1 {
				t.Errorf("%s: poll %d was not answered by the versions of the rows", path, n)
			}
			if statements, gates := counter.all.Load()-all, counter.gate.Load()-gate; statements != 1 || gates != 0 {
				t.Errorf("%s: it took %d statements, %d of them the gate's", path, statements, gates)
			}
		}
		// Who is no member any more is one at no poll.
		p.commitElsewhere(t, f.Owner.ID)
		p.clock.advance(time.Second)
		for _, sql := range []string{
			"DELETE FROM workspace_memberships WHERE workspace_id = $1 AND user_id = $2",
			"INSERT INTO workspace_memberships (workspace_id, user_id, role) VALUES ($1, $2, 'readonly')",
		} {
			if _, err := p.pool.Exec(t.Context(), sql, f.ID, f.Readonly.ID); err != nil {
				t.Fatal(err)
			}
			status := http.StatusNotModified
			if strings.HasPrefix(sql, "DELETE") {
				status = http.StatusNotFound
			}
			p.wantPoll(t, status, token, path, tag)
		}
	}
}

// changesOf are what changes the rows of a workspace, by SQL; each takes the workspace's id. Some change what
// some pages show, some nothing that any shows, some nothing at all.
var changesOf = []string{
	"INSERT INTO operation_runs (workspace_id, type, created_at) VALUES ($1, 'inventory_sync', now() - random() * interval '3 days')",
	`INSERT INTO operation_runs (workspace_id, type, status, outcome, created_at, updated_at, started_at, completed_at)
		SELECT $1, 'inventory_sync', 'completed', (ARRAY['succeeded', 'failed'])[1 + n % 2], at, at + '1 minute', at, at + n * interval '1 hour'
		FROM (SELECT now() - random() * interval '3 days' AS at, (random() * 3)::int AS n) AS random`,
	"UPDATE operation_runs SET attempt = attempt + 1 WHERE (workspace_id, id) = (SELECT workspace_id, id FROM operation_runs WHERE workspace_id = $1 ORDER BY random() LIMIT 1)",
	"UPDATE operation_runs SET updated_at = now() WHERE (workspace_id, id) = (SELECT workspace_id, id FROM operation_runs WHERE workspace_id = $1 ORDER BY random() LIMIT 1)",
	"UPDATE operation_runs SET status = 'running' WHERE workspace_id = $1 AND status = 'queued' AND random() < 0.5",
	"UPDATE operation_runs SET status = 'completed', outcome = 'failed', completed_at = now() WHERE workspace_id = $1 AND status = 'running' AND type = 'inventory_sync'",
	"UPDATE operation_runs SET recalled_at = now() WHERE workspace_id = $1 AND type = 'backup_schedule_run'",
	"UPDATE operation_runs SET initiator_name = initiator_name WHERE workspace_id = $1",
	"DELETE FROM operation_runs WHERE (workspace_id, id) = (SELECT workspace_id, id FROM operation_runs WHERE workspace_id = $1 AND type = 'inventory_sync' ORDER BY random() LIMIT 1)",
	"INSERT INTO findings (workspace_id, finding_type, fingerprint, severity) VALUES ($1, 'drift', random()::text, (ARRAY['low', 'medium', 'high'])[1 + (random() * 2)::int])",
	"UPDATE findings SET status = CASE status WHEN 'new' THEN 'acknowledged' ELSE 'new' END WHERE (workspace_id, id) = (SELECT workspace_id, id FROM findings WHERE workspace_id = $1 ORDER BY random() LIMIT 1)",
	"DELETE FROM findings WHERE (workspace_id, id) = (SELECT workspace_id, id FROM findings WHERE workspace_id = $1 ORDER BY random() LIMIT 1)",
	"INSERT INTO inventory_items (workspace_id, policy_type, external_id, platform) VALUES ($1, 'p', random()::text, (ARRAY['ios', 'windows', 'linux'])[1 + (random() * 2)::int])",
	"UPDATE inventory_items SET platform = 'ios' WHERE workspace_id = $1 AND random() < 0.5",
	"UPDATE tenants SET name = name || 'x' WHERE workspace_id = $1",
	"UPDATE backup_schedules SET is_enabled = NOT is_enabled WHERE workspace_id = $1",
}

func TestWhateverChangesAPollIsAnsweredAsThePageWouldBe(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	p := newPolled(t, dbtest.Pool(t), 0)
	f := newFixture(t, p.harness)
	newRuns(t, p.harness, f.ID, 5, 2)
	token := p.token(t, f.Readonly.Subject)
	tags := map[string]string{}
	changed := 0
	for step := range 150 {
		sql := ""
		if random.IntN(2) == 0 {
			sql = changesOf[random.IntN(len(changesOf))]
			if _, err := p.pool.Exec(t.Context(), sql, f.ID); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
		}
		p.commitElsewhere(t, f.Owner.ID)
		for _, pattern := range comparedRoutes {
			path := address(pattern, f.ID, f.row(pattern))
			before := tags[path]
			got := p.poll(t, token, path, before)
			page := p.get(t, http.StatusOK, f.Readonly.Subject, path)
			tags[path] = page.header.Get("ETag")
			want := http.StatusOK
			if before == tags[path] {
				want = http.StatusNotModified
			} else if before != "" {
				changed++
			}
			if got.status != want || got.header.Get("ETag") != tags[path] || fmt.Sprint(got.header["Link"]) != fmt.Sprint(page.header["Link"]) {
				t.Fatalf("seed %d, step %d: %s: after %q a poll is answered %d, want %d", seed, step, path, sql, got.status, want)
			}
		}
	}
	if same := p.answers(t, "same_rows"); same < 100 || changed < 50 {
		t.Errorf("seed %d: %d answers by the versions of rows, %d changes", seed, same, changed)
	}
}
