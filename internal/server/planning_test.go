package server_test

import (
	"fmt"
	"net/http"
	"testing"

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
		{"findings", "force_generic_plan"},
		{"findings?severity=high&status=new", "force_custom_plan"},
		{"inventory-items", "force_generic_plan"},
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
