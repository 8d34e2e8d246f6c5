package server_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/runledger/runledger/internal/dbtest"
)

// whileRemoved sends a write while a transaction, held open, has removed what sql says, and lets
// that end when the write waits for it.
func (w *worker) whileRemoved(t testing.TB, commit bool, method, path, body, sql string, args ...any) answer {
	t.Helper()
	tx, err := w.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if _, err := tx.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
	type sent struct {
		got answer
		err error
	}
	answered := make(chan sent, 1)
	go func() {
		got, err := w.send(method, path, w.bearer, body)
		answered <- sent{got, err}
	}()
	dbtest.AwaitBlocked(t, w.pool, tx, 1)
	end := tx.Rollback
	if commit {
		end = tx.Commit
	}
	if err := end(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := <-answered
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.got
}

// removeRun is how retention removes a run, in one statement.
const removeRun = `WITH e AS (DELETE FROM operation_run_events WHERE workspace_id = $1 AND run_id = $2)
	DELETE FROM operation_runs WHERE workspace_id = $1 AND id = $2`

func TestAWriteThatMeetsTheRemovalOfItsRunIsToldSo(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarnessOnFresh(t))
	findings := fmt.Sprintf("/workspaces/%d/findings/batch", w.ID)
	items := fmt.Sprintf("/workspaces/%d/inventory-items/batch", w.ID)
	batch := w.path("/batch")
	writes := []struct {
		name, method  string
		path          func(run int64) string
		body          string // %d is the run
		removed, kept []int  // statuses, of the whole and of its parts
		pointers      []string
	}{
		{"retry", http.MethodPost, func(run int64) string { return w.path(fmt.Sprintf("/%d/retry", run)) }, "", []int{404}, []int{201}, nil},
		{"finding", http.MethodPost, func(int64) string { return findings }, `{"findings":[
			{"finding_type":"drift","fingerprint":"a","current_operation_run_id":%[1]d},
			{"finding_type":"drift","fingerprint":"b"},
			{"finding_type":"drift","fingerprint":"c","baseline_operation_run_id":%[1]d}]}`,
			[]int{207, 422, 201, 422}, []int{207, 201, 200, 201}, []string{"/findings/0/current_operation_run_id", "/findings/2/baseline_operation_run_id"}},
		{"inventory item", http.MethodPost, func(int64) string { return items }, `{"operation_run_id":%d,"items":[
			{"policy_type":"p","external_id":"a"},{"policy_type":"p","external_id":"b"}]}`,
			[]int{207, 422, 422}, []int{207, 201, 201}, []string{"/operation_run_id", "/operation_run_id"}},
		{"report", http.MethodPatch, func(run int64) string { return w.path(fmt.Sprintf("/%d", run)) }, `{"status":"running"}`, []int{404}, []int{409}, nil},
		{"batch", http.MethodPost, func(int64) string { return batch }, `{"operations":[
			{"start":{"type":"inventory_sync"}},{"report":{"id":%d,"status":"running"}}]}`, []int{207, 201, 404}, []int{207, 201, 409}, nil},
	}
	for _, write := range writes {
		for _, commit := range []bool{true, false} {
			want := write.kept
			if commit {
				want = write.removed
			}
			run := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
			w.report(t, run.ID, `{"status":"completed","outcome":"succeeded"}`)
			body := write.body
			if body != "" && write.method == http.MethodPost {
				body = fmt.Sprintf(body, run.ID)
			}
			got := w.whileRemoved(t, commit, write.method, write.path(run.ID), body, removeRun, w.ID, run.ID)
			statuses, pointers := []int{got.status}, []string(nil)
			if got.status == http.StatusMultiStatus {
				parts := decode[operationResults](t, got.body)
				statuses = append(statuses, parts.statuses()...)
				for _, part := range parts.Results {
					if part.Problem != nil {
						pointers = append(pointers, part.Problem.pointers()...)
					}
				}
			}
			if !slices.Equal(statuses, want) || commit && !slices.Equal(pointers, write.pointers) {
				t.Errorf("%s, removed %t: statuses %v at %v, want %v\n%s", write.name, commit, statuses, pointers, want, got.body)
			}
		}
	}
	var orphans int
	if err := w.pool.QueryRow(t.Context(), `SELECT count(*) FROM operation_run_events AS e WHERE NOT EXISTS (
		SELECT FROM operation_runs AS r WHERE r.workspace_id = e.workspace_id AND r.id = e.run_id)`).Scan(&orphans); err != nil || orphans > 0 {
		t.Errorf("%d events without a run, %v", orphans, err)
	}
}

func TestItemsWhoseRunGoesBeforeTheyAreWrittenAreToldSo(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarnessOnFresh(t))
	path := fmt.Sprintf("/workspaces/%d/inventory-items/batch", w.ID)
	const body = `{"operation_run_id":%d,"items":[{"policy_type":"p","external_id":"a"}]}`
	first, second := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`), w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	if got, err := w.send(http.MethodPost, path, w.bearer, fmt.Sprintf(body, first.ID)); err != nil || got.status != http.StatusMultiStatus {
		t.Fatalf("status %d: %s, %v", got.status, got.body, err)
	}
	// The request sees the run, and waits for the table until the run is gone.
	got := w.whileRemoved(t, true, http.MethodPost, path, fmt.Sprintf(body, second.ID), fmt.Sprintf(`LOCK TABLE inventory_items IN SHARE MODE;
		DELETE FROM operation_run_events WHERE workspace_id = %[1]d AND run_id = %[2]d;
		DELETE FROM operation_runs WHERE workspace_id = %[1]d AND id = %[2]d`, w.ID, second.ID))
	parts := decode[operationResults](t, got.body)
	if !slices.Equal(parts.statuses(), []int{http.StatusUnprocessableEntity}) ||
		!slices.Equal(parts.Results[0].Problem.pointers(), []string{"/operation_run_id"}) {
		t.Errorf("status %d: %s", got.status, got.body)
	}
}

func TestAStartThatMeetsTheRemovalOfItsTenantIsToldSo(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarnessOnFresh(t))
	tenant := dbtest.NewTenant(t, w.pool, w.ID)
	got := w.whileRemoved(t, true, http.MethodPost, w.path(""), fmt.Sprintf(`{"type":"inventory_sync","tenant_id":%d}`, tenant),
		"DELETE FROM tenants WHERE workspace_id = $1 AND id = $2", w.ID, tenant)
	if problem := decode[problemBody](t, got.body); got.status != http.StatusUnprocessableEntity || !slices.Equal(problem.pointers(), []string{"/tenant_id"}) {
		t.Errorf("status %d: %s", got.status, got.body)
	}
}
