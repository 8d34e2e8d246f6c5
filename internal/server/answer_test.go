package server_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

func TestEveryReadIsConditional(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	token := h.token(t, f.Readonly.Subject)
	walk(t, h, func(method, pattern string) {
		if method != http.MethodGet || strings.HasSuffix(pattern, "/events") {
			return
		}
		path := address(pattern, f.ID, f.row(pattern))
		whole := h.do(t, method, path, token, "Accept-Encoding", "identity") // a HEAD has the length of that
		tag := whole.header.Get("ETag")
		if whole.status != http.StatusOK || !strings.HasPrefix(tag, `W/"`) || !strings.HasSuffix(tag, `"`) {
			t.Errorf("GET %s: %d with ETag %s", pattern, whole.status, tag)
			return
		}
		wantVary := "Accept-Encoding, Authorization"
		if strings.HasSuffix(pattern, "/operation-runs") || strings.HasSuffix(pattern, "/runs") {
			wantVary += "; Accept" // these can be exported
		}
		if control, vary := whole.header.Get("Cache-Control"), strings.Join(whole.header.Values("Vary"), "; "); control != "private, no-cache" || vary != wantVary {
			t.Errorf("GET %s: Cache-Control %q, Vary %q", pattern, control, vary)
		}
		for condition, want := range map[string]int{
			tag: http.StatusNotModified, "*": http.StatusNotModified, strings.TrimPrefix(tag, "W/"): http.StatusNotModified,
			`"other", ` + tag: http.StatusNotModified, tag + `,W/"other"`: http.StatusNotModified,
			`W/"other"`: http.StatusOK, `""`: http.StatusOK, "nonsense": http.StatusOK, strings.Trim(tag, `W/"`): http.StatusOK,
		} {
			got := h.do(t, method, path, token, "If-None-Match", condition)
			if got.status != want {
				t.Errorf("GET %s with If-None-Match %s: %d, want %d", pattern, condition, got.status, want)
			}
			if got.status == http.StatusNotModified && (got.body != "" || got.header.Get("ETag") != tag || strings.Join(got.header.Values("Vary"), "; ") != wantVary) {
				t.Errorf("GET %s: a 304 with body %q and header %v", pattern, got.body, got.header)
			}
		}
		head := h.do(t, http.MethodHead, path, token)
		if head.status != http.StatusOK || head.body != "" || head.header.Get("ETag") != tag ||
			head.header.Get("Content-Length") != whole.header.Get("Content-Length") {
			t.Errorf("HEAD %s: %d, %v", pattern, head.status, head.header)
		}
	})
}

func TestARowChangedBySQLChangesTheTag(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	list := fmt.Sprintf("/workspaces/%d/operation-runs", f.ID)
	paths := []string{list, fmt.Sprintf("%s/%d", list, f.run), fmt.Sprintf("/workspaces/%d/backup-schedules/%d/runs", f.ID, f.schedule)}
	for _, change := range []string{"initiator_name = 'Grace'", "summary_counts = '{\"items\": 1}'", "status = 'running'"} {
		before := map[string]string{}
		for _, path := range paths {
			before[path] = h.get(t, http.StatusOK, f.Readonly.Subject, path).header.Get("ETag")
		}
		if _, err := h.pool.Exec(t.Context(), "UPDATE operation_runs SET "+change+" WHERE workspace_id = $1 AND id = $2", f.ID, f.run); err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			got := h.do(t, http.MethodGet, path, h.token(t, f.Readonly.Subject), "If-None-Match", before[path])
			if got.status != http.StatusOK || got.header.Get("ETag") == before[path] {
				t.Errorf("GET %s after %s: %d with the tag before", path, change, got.status)
			}
		}
	}
}

// TestRowsThatNoServerWroteAreServed writes what only a database without this one's constraints
// can hold: they were added after such rows were.
func TestRowsThatNoServerWroteAreServed(t *testing.T) {
	t.Parallel()
	pool := dbtest.Connect(t, dbtest.Fresh(t))
	h := newHarnessOn(t, pool, server.Options{}).hurried(t) // the contract knows no such status
	w := dbtest.NewWorkspace(t, pool)
	for _, constraint := range []string{"status", "outcome", "completed_outcome", "completed_at", "started_before_completed"} {
		if _, err := pool.Exec(t.Context(), "ALTER TABLE operation_runs DROP CONSTRAINT operation_runs_"+constraint+"_check"); err != nil {
			t.Fatal(err)
		}
	}
	instants := []string{
		"'infinity'", "'-infinity'", "'294276-12-31 23:59:59.999999+00'", "'4714-11-24 00:00:00+00 BC'", "'0001-01-01 00:00:00+00 BC'",
		"'10000-01-01 00:00:00+00'", "NULL", "now()",
	}
	written := 0
	for _, column := range []string{"created_at", "updated_at", "started_at", "completed_at", "heartbeat_at", "stalled_at"} {
		for _, at := range instants {
			sql := fmt.Sprintf(`INSERT INTO operation_runs (workspace_id, type, status, outcome, context, failure_summary, summary_counts, initiator_name, %s)
				VALUES ($1, 'odd ''type"', 'lost', 'won', '[1e300, "\ud83d\ude00"]', '{"code": 1}', NULL, E'\u2028\t\u0001', %s)`, column, at)
			if _, err := pool.Exec(t.Context(), sql, pgx.QueryExecModeExec, w.ID); err != nil {
				t.Errorf("%s = %s cannot be written: %v", column, at, err)
				continue
			}
			written++
		}
	}
	list := fmt.Sprintf("/workspaces/%d/operation-runs", w.ID)
	token := h.token(t, w.Readonly.Subject)
	for _, query := range []string{
		"", "&status=queued,running", "&stalled=true", "&failure_code=1", "&created_from=0000-01-01T00:00:00Z", "&updated_before=9999-12-31T23:59:59Z",
		"&started_from=2000-01-01T00:00:00Z&completed_before=9999-12-31T23:59:59.9999999Z",
	} {
		var first map[int64]bool
		for _, order := range []string{"-created_at", "created_at", "updated_at"} {
			seen := map[int64]bool{}
			h.visit(t, token, fmt.Sprintf("%s?limit=5&order=%s%s", list, order, query), func(p page) {
				for _, id := range p.ids() {
					if seen[id] {
						t.Errorf("order=%s%s shows run %d twice", order, query, id)
					}
					seen[id] = true
				}
			})
			if query == "" && len(seen) != written {
				t.Errorf("order=%s shows %d of %d runs", order, len(seen), written)
			}
			if first == nil {
				first = seen
			}
			if !maps.Equal(seen, first) {
				t.Errorf("order=%s%s shows %d runs, another order %d", order, query, len(seen), len(first))
			}
		}
	}
}

func TestNoQueryStringIsAFaultOfTheServer(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	h = h.hurried(t)
	token := h.token(t, f.Readonly.Subject)
	values := []string{
		"", "0", "1", "-1", "1e9", "9223372036854775807", "9223372036854775808", "NaN", "null", "true", "'", "''", "%27%3B--", "%00", "%0A", "%FF",
		"%C0%80", "%ED%A0%80", "%F0%9F%98%80", "%5C", "%22", "%24%31", "%3F", "$1", "?", "{}", "[]", "0000-01-01T00:00:00Z",
		"0000-01-01T00:00:00%2B23:59", "9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.9999999-23:59", "2016-12-31T23:59:60Z",
		strings.Repeat("a", 1024), strings.Repeat("a,", 500) + "b", strings.Repeat("%E2%82%AC", 341), "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u,v,w,x,y,z",
	}
	names := []string{
		"type", "status", "outcome", "tenant_id", "user_id", "run_identity_hash", "backup_schedule_id", "failure_code", "stalled", "created_from",
		"created_before", "started_from", "started_before", "completed_from", "completed_before", "updated_from", "updated_before", "order",
		"limit", "cursor", "policy_type", "category", "platform", "external_id", "severity", "finding_type", "is_enabled", "scope_key", "nothing",
	}
	for _, noun := range []string{"operation-runs", "operation-runs/count", "tenants", "findings", "inventory-items", "backup-schedules"} {
		for _, name := range names {
			for _, value := range values {
				path := fmt.Sprintf("/workspaces/%d/%s?%s=%s", f.ID, noun, name, value)
				if got := h.do(t, http.MethodGet, path, token); got.status != http.StatusOK && got.status != http.StatusBadRequest {
					t.Errorf("GET %s: %d %s", path, got.status, got.body)
				}
			}
		}
	}
}
