package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

// A page without filters, or with one, is planned once on each connection; one with several is
// planned for their values. Neither depends on what the database's own default is.
func TestAListIsPlannedOnceUnlessItHasSeveralFilters(t *testing.T) {
	t.Parallel()
	config := dbtest.Pool(t).Config()
	config.MaxConns = 1
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	ws := dbtest.NewWorkspace(t, pool)
	h := newHarnessOn(t, pool, server.Options{})
	base := fmt.Sprintf("/workspaces/%d/", ws.ID)
	setting := func() string {
		t.Helper()
		var mode string
		if err := pool.QueryRow(t.Context(), "SHOW plan_cache_mode").Scan(&mode); err != nil {
			t.Fatal(err)
		}
		return mode
	}
	for _, c := range []struct{ path, want string }{
		{"operation-runs", "force_generic_plan"},
		{"operation-runs?type=inventory_sync", "force_generic_plan"},
		{"operation-runs?type=inventory_sync&status=queued", "force_custom_plan"},
		{"operation-runs?backup_schedule_id=5", "force_generic_plan"},
		{"operation-runs?failure_code=x&outcome=failed,blocked&user_id=1", "force_generic_plan"},
		{"operation-runs?failure_code=x&outcome=failed,blocked&user_id=1&tenant_id=1", "force_custom_plan"},
		{"findings", "force_generic_plan"},
		{"findings?severity=high&status=new", "force_custom_plan"},
		{"inventory-items", "force_generic_plan"},
		{"tenants", "force_generic_plan"},
		{"tenants?external_id=x", "force_generic_plan"},
	} {
		h.get(t, http.StatusOK, ws.Readonly.Subject, base+c.path)
		if got := setting(); got != c.want {
			t.Errorf("%s was planned under %s, want %s", c.path, got, c.want)
		}
	}
	// A plan for all values, made when a table was nearly empty, reads all of it for each of hundreds of rows.
	operator := h.token(t, ws.Operator.Subject)
	run := (&worker{harness: h, Workspace: ws, bearer: operator}).start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	for path, body := range map[string]string{
		"findings/batch":        `{"findings":[{"finding_type":"drift","fingerprint":"a"}]}`,
		"inventory-items/batch": fmt.Sprintf(`{"operation_run_id":%d,"items":[{"policy_type":"p","external_id":"a"}]}`, run.ID),
	} {
		if got, err := h.send(http.MethodPost, base+path, operator, body); err != nil || got.status != http.StatusMultiStatus {
			t.Fatalf("%s: status %d, %v", path, got.status, err)
		}
		if got := setting(); got != "force_custom_plan" {
			t.Errorf("%s was planned under %s", path, got)
		}
		h.get(t, http.StatusOK, ws.Readonly.Subject, base+"operation-runs")
	}
}

func TestABatchIntoTablesThatWereEmptyAMomentAgoDoesNotCompareAllWithAll(t *testing.T) {
	t.Parallel()
	pool, seen := newRecordedPool(t, dbtest.Fresh(t))
	w := newWorker(t, newHarnessOn(t, pool, server.Options{}))
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	const known, batched = 4000, 400
	for _, sql := range []string{
		"ALTER TABLE inventory_items SET (autovacuum_enabled = off)", "ALTER TABLE findings SET (autovacuum_enabled = off)",
		fmt.Sprintf(`INSERT INTO inventory_items (workspace_id, policy_type, external_id, last_seen_operation_run_id)
			SELECT %d, 'p', 'x' || n, %d FROM generate_series(1, %d) AS n`, w.ID, run.ID, known),
		fmt.Sprintf(`INSERT INTO findings (workspace_id, finding_type, fingerprint, current_operation_run_id)
			SELECT %d, 'drift', 'x' || n, %d FROM generate_series(1, %d) AS n`, w.ID, run.ID, known),
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	var items, findings []string
	for n := range batched {
		items = append(items, fmt.Sprintf(`{"policy_type":"p","external_id":"x%d"}`, 2*n+1))
		findings = append(findings, fmt.Sprintf(`{"finding_type":"drift","fingerprint":"x%d","current_operation_run_id":%d}`, 2*n+1, run.ID))
	}
	conn, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	for _, c := range []struct{ path, body, statement string }{
		{"inventory-items/batch", fmt.Sprintf(`{"operation_run_id":%d,"items":[%s]}`, run.ID, strings.Join(items, ",")), "ListInventoryItemsByExternalID"},
		{"findings/batch", fmt.Sprintf(`{"findings":[%s]}`, strings.Join(findings, ",")), "ListFindingsByFingerprint"},
	} {
		got, err := w.send(http.MethodPost, fmt.Sprintf("/workspaces/%d/%s", w.ID, c.path), w.bearer, c.body)
		if err != nil || got.status != http.StatusMultiStatus || len(decode[operationResults](t, got.body).Results) != batched {
			t.Fatalf("%s: status %d, %.300s, %v", c.path, got.status, got.body, err)
		}
		sent := seen.last(t, c.statement)
		for _, generic := range []bool{false, true} {
			compared := 0.0
			plan, text := explain(t, conn, sent, generic)
			plan.visit(func(n planNode) { compared += n.JoinedBy })
			if compared > 2*batched*batched {
				t.Errorf("%s, generic %t: %.0f pairs were compared in vain:\n%s", c.statement, generic, compared, text)
			}
		}
	}
}
