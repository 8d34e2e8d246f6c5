package server_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

// filteredRuns is how many runs the workspace of the test of filtered plans has, ten minutes apart.
const filteredRuns = 24_000

// fillForFilters puts runs into a workspace: of a tenant with nearly all of them and one with few,
// of an identity with a third, of a user with another third, with a common code of failures, and with rare ones before and behind
// it. It returns the two tenants.
func fillForFilters(t *testing.T, pool *pgxpool.Pool, workspaceID int64) (common, rare int64) {
	t.Helper()
	common, rare = dbtest.NewTenant(t, pool, workspaceID), dbtest.NewTenant(t, pool, workspaceID)
	for _, sql := range []string{
		`INSERT INTO operation_runs (workspace_id, tenant_id, user_id, type, status, outcome, run_identity_hash, failure_summary, created_at,
			started_at, completed_at, updated_at)
		SELECT $1, CASE WHEN n % 2000 = 7 THEN $3::bigint ELSE $2::bigint END,
		       CASE WHEN n % 3 = 1 THEN (SELECT min(user_id) FROM workspace_memberships WHERE workspace_id = $1) END,
		       CASE WHEN n % 4 = 0 THEN 'entra_group_sync' ELSE 'inventory_sync' END, 'completed',
		       CASE WHEN n % 5 = 0 THEN 'failed' WHEN n % 3001 = 0 THEN 'blocked' ELSE 'succeeded' END,
		       CASE WHEN n % 3 = 0 THEN repeat('0', 64) ELSE encode(sha256(convert_to(n::text, 'UTF8')), 'hex') END,
		       CASE WHEN n % 3000 = 0 THEN '[{"code":"throttled"},{"code":"timeout"},{"code":"throttled"},{"code":"disk_full"}]'
		            WHEN n % 4000 = 5 THEN '[{"code":"no_licence"}]'
		            WHEN n % 10 = 0 THEN '[{"code":"throttled"},{"code":"timeout"},{"code":"unreachable"}]'
		            WHEN n % 5 = 0 THEN '[{"code":"throttled"}]' ELSE '[]' END::jsonb,
		       at, at + interval '1 second', at + interval '1 minute', at + interval '2 minutes'
		FROM generate_series(1, ` + fmt.Sprint(filteredRuns) + `) AS n, LATERAL (SELECT timestamptz '2026-01-01' + n * interval '10 minutes' AS at) AS a`,
	} {
		if _, err := pool.Exec(t.Context(), sql, workspaceID, common, rare); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pool.Exec(t.Context(), "VACUUM ANALYZE operation_runs"); err != nil {
		t.Fatal(err)
	}
	return common, rare
}

// Whatever a second filter keeps, and whatever the order is, a page is made of few rows: no list
// reads all that one of its filters keeps. Plans hold for all values, and for the values asked for.
func TestFilteredPagesVisitFewRows(t *testing.T) {
	t.Parallel()
	pool, seen := newRecordedPool(t, dbtest.Fresh(t))
	w := newWorker(t, newHarnessOn(t, pool, server.Options{}))
	common, rare := fillForFilters(t, pool, w.ID)
	conn, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	at := func(n int) string {
		return url.QueryEscape(time.Date(2026, time.January, 1, 0, 10*n, 0, 0, time.UTC).Format(time.RFC3339))
	}
	const lists = "type=drift_generate_findings,policy_export,restore_execute"
	early, late := "started_before="+at(100), "completed_from="+at(filteredRuns-100)
	for _, filters := range []string{
		"failure_code=throttled", "failure_code=disk_full", "failure_code=no_licence", "failure_code=no_such_code",
		fmt.Sprintf("failure_code=throttled&tenant_id=%d", common), fmt.Sprintf("failure_code=throttled&tenant_id=%d", rare),
		fmt.Sprintf("failure_code=timeout&tenant_id=%d", rare), fmt.Sprintf("failure_code=disk_full&tenant_id=%d", common),
		"failure_code=throttled&outcome=blocked,cancelled", fmt.Sprintf("failure_code=throttled&outcome=blocked,cancelled&tenant_id=%d", rare),
		fmt.Sprintf("failure_code=timeout&tenant_id=%d&type=entra_group_sync,policy_export", common),
		"failure_code=unreachable&outcome=failed&" + late, "failure_code=throttled&status=queued",
		"failure_code=throttled&" + early, "failure_code=unreachable&" + late, "failure_code=disk_full&" + early,
		"failure_code=throttled&run_identity_hash=" + strings.Repeat("0", 64), "failure_code=no_licence&run_identity_hash=" + strings.Repeat("0", 64),
		"run_identity_hash=" + strings.Repeat("0", 64), "run_identity_hash=" + strings.Repeat("0", 64) + "&type=backup_schedule_purge",
		fmt.Sprintf("run_identity_hash=%s&tenant_id=%d", strings.Repeat("0", 64), rare),
		"run_identity_hash=" + strings.Repeat("0", 64) + "&" + lists,
		fmt.Sprintf("user_id=%d&type=inventory_sync&run_identity_hash=%s", w.Owner.ID, strings.Repeat("f", 64)),
		fmt.Sprintf("user_id=%d&run_identity_hash=%s", w.Owner.ID, strings.Repeat("0", 64)),
		early, late, early + "&" + late, early + "&updated_from=" + at(filteredRuns/2), "created_from=" + at(filteredRuns/2) + "&" + late,
		fmt.Sprintf("tenant_id=%d", common), fmt.Sprintf("tenant_id=%d", rare), "outcome=failed", "outcome=blocked", "outcome=blocked,cancelled",
		fmt.Sprintf("tenant_id=%d&type=entra_group_sync,policy_export", common), fmt.Sprintf("tenant_id=%d&%s", common, late),
		fmt.Sprintf("tenant_id=%d&outcome=blocked,cancelled&%s", common, early), lists + "&outcome=blocked,cancelled",
		lists + "&status=queued,running", lists + "&status=running,completed", lists + "&status=queued,running&" + late,
		fmt.Sprintf("tenant_id=%d&outcome=pending", common), fmt.Sprintf("tenant_id=%d&outcome=pending&%s", rare, late),
		"run_identity_hash=" + strings.Repeat("0", 64) + "&started_from=" + at(100), "outcome=failed&completed_from=" + at(100),
		"failure_code=timeout&completed_from=" + at(100), "type=entra_group_sync&updated_before=" + at(filteredRuns-100),
	} {
		for _, list := range []struct{ order, statement string }{
			{"-created_at", "ListRuns"}, {"created_at", "ListRunsOldestFirst"}, {"updated_at", "ListRunsByUpdate"},
		} {
			w.get(t, http.StatusOK, w.Readonly.Subject, w.path("?order="+list.order+"&"+filters))
			sent := seen.last(t, list.statement)
			for _, generic := range []bool{false, true} {
				most := 700 // a third of them is for the entries of the identity
				switch {    // what is planned for its values
				case generic && (strings.Contains(filters, "pending") || strings.Contains(filters, lists+"&status=")):
					most = 3000 // the runs of the tenant or the types are visited, for each status
				case generic && strings.Contains(filters, lists):
					most = 1200 // the entries of the identity are read for each of the types
				}
				if plan, text := explain(t, conn, sent, generic); plan.Hit+plan.Read > most {
					t.Errorf("%s, order %s, generic %t: %d buffers, want %d at most:\n%s", filters, list.order, generic, plan.Hit+plan.Read, most, text)
				}
			}
		}
	}
}
