package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/dbtest"
)

// itemBody is what the tests read of an inventory item.
type itemBody struct {
	ID                     int64           `json:"id"`
	DisplayName            *string         `json:"display_name"`
	Meta                   json.RawMessage `json:"meta"`
	LastSeenAt             *time.Time      `json:"last_seen_at"`
	LastSeenOperationRunID *int64          `json:"last_seen_operation_run_id"`
	LastSeenOperationRun   *struct {
		ID int64 `json:"id"`
	} `json:"last_seen_operation_run"`
}

const inventoryBatch = "/inventory-items/batch"

// see records that a run saw the item x of a tenant (0 for none) under a name.
func (w *worker) see(t testing.TB, status int, run, tenant int64, name string) itemBody {
	t.Helper()
	return *w.below207(t, inventoryBatch, sighting(run, tenant, name), status)[0].Item
}

func sighting(run, tenant int64, name string) string {
	of := "null"
	if tenant != 0 {
		of = fmt.Sprint(tenant)
	}
	return fmt.Sprintf(`{"operation_run_id":%d,"items":[{"tenant_id":%s,"policy_type":"p","external_id":"x","display_name":%q}]}`,
		run, of, name)
}

func TestAnItemIsWhatTheNewestRunSawOfIt(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	of := dbtest.NewTenant(t, w.pool, w.ID)
	older := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`).ID
	newer := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`).ID
	for _, tenant := range []int64{0, of} {
		first := w.see(t, http.StatusCreated, older, tenant, "first")
		if got := w.see(t, http.StatusOK, older, tenant, "again"); got.ID != first.ID || *got.DisplayName != "again" {
			t.Errorf("the same run again left %+v", got)
		}
		if got := w.see(t, http.StatusOK, newer, tenant, "newer"); *got.DisplayName != "newer" || got.LastSeenOperationRun.ID != newer {
			t.Errorf("the newer run left %+v", got)
		}
		if got := w.see(t, http.StatusOK, older, tenant, "late"); *got.DisplayName != "newer" || *got.LastSeenOperationRunID != newer {
			t.Errorf("the older run, late, left %+v", got)
		}
	}
	// What is newer is told by created_at, and by the id only where that is the same.
	w.exec(t, "UPDATE operation_runs SET created_at = created_at + interval '1 day' WHERE workspace_id = $1 AND id = $2", w.ID, older)
	if got := w.see(t, http.StatusOK, older, of, "made later"); *got.DisplayName != "made later" {
		t.Errorf("the run with the later created_at left %+v", got)
	}
}

func TestEachItemOfABatchIsAnsweredByItself(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w, other := newWorker(t, h), newWorker(t, h)
	h.client.Transport = w.plainTransport(t) // the contract has no wrong objects in a batch
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`).ID
	foreign := other.start(t, http.StatusCreated, `{"type":"inventory_sync"}`).ID
	ahead := time.Now().Add(time.Hour).Format(time.RFC3339)
	results := w.below207(t, inventoryBatch, fmt.Sprintf(`{"operation_run_id":%d,"items":[
		{"policy_type":"p","external_id":"1","meta":{"api_key":"hunter2","n":1},"last_seen_at":"2026-01-31T20:02:12+01:00"},
		{"policy_type":"p","external_id":"2","tenant_id":%d},
		{"policy_type":"p"},
		{"policy_type":"p","external_id":"3","last_seen_at":%q},
		{"policy_type":"p","external_id":"1","display_name":"later"}]}`, run, dbtest.NewTenant(t, h.pool, other.ID), ahead),
		201, 422, 422, 422, 200)
	if got := results[0].Item; strings.Contains(string(got.Meta), "hunter2") || !got.LastSeenAt.Equal(time.Date(2026, 1, 31, 19, 2, 12, 0, time.UTC)) {
		t.Errorf("the first item is %+v with %s", got, got.Meta)
	}
	if got := results[4].Item; got.ID != results[0].Item.ID || *got.DisplayName != "later" || string(got.Meta) != "{}" {
		t.Errorf("the later item is %+v with %s", got, got.Meta)
	}
	elsewhere := decode[problemBody](t, w.below(t, 422, http.MethodPost, inventoryBatch, sighting(foreign, 0, "x")).body)
	nowhere := decode[problemBody](t, w.below(t, 422, http.MethodPost, inventoryBatch, sighting(1<<62, 0, "x")).body)
	if fmt.Sprint(elsewhere) != fmt.Sprint(nowhere) || !slices.Equal(elsewhere.pointers(), []string{"/operation_run_id"}) {
		t.Errorf("%+v for a run elsewhere, %+v for none", elsewhere, nowhere)
	}
	w.below(t, 422, http.MethodPost, inventoryBatch, `{"items":[{"policy_type":"p","external_id":"1"}]}`)
	w.below(t, 422, http.MethodPost, inventoryBatch, fmt.Sprintf(`{"operation_run_id":%d}`, run))
}

func TestAnItemMayHaveBeenSeenAtAnyInstant(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`).ID
	for _, at := range []string{"0001-01-01T00:00:00Z", "0001-01-01T00:00:01Z", "1970-01-01T00:00:00Z"} {
		got := w.below207(t, inventoryBatch, fmt.Sprintf(`{"operation_run_id":%d,"items":[
			{"policy_type":"p","external_id":%q,"last_seen_at":%q}]}`, run, at, at), http.StatusCreated)[0].Item
		if got.LastSeenAt.Format(time.RFC3339) != at {
			t.Errorf("seen at %s, it says %s", at, got.LastSeenAt)
		}
	}
}

// The run that holds the row may be one that the waiting statement began before: whichever comes
// first, the newer run's word stands.
func TestOfTwoRunsThatWriteAnItemAtOnceTheNewerOnesWordStands(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	older := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`).ID
	w.see(t, http.StatusCreated, older, 0, "first")
	// Another transaction starts a newer run and writes the item, and commits while the older
	// run's statement, which cannot see that run, waits for the row.
	tx, err := w.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	var newer int64
	err = tx.QueryRow(t.Context(), `WITH run AS (
			INSERT INTO operation_runs (workspace_id, type) VALUES ($1, 'inventory_sync') RETURNING id)
		SELECT id FROM run`, w.ID).Scan(&newer)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tx.Exec(t.Context(), `UPDATE inventory_items SET display_name = 'newer', last_seen_operation_run_id = $2
		WHERE workspace_id = $1 AND external_id = 'x'`, w.ID, newer)
	if err != nil {
		t.Fatal(err)
	}
	var waiting sync.WaitGroup
	var late answer
	waiting.Go(func() {
		var err error
		late, err = w.send(http.MethodPost, fmt.Sprintf("/workspaces/%d%s", w.ID, inventoryBatch), w.bearer, sighting(older, 0, "late"))
		if err != nil {
			t.Error(err)
		}
	})
	var pid uint32
	if err := tx.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	dbtest.Await(t, w.pool, "EXISTS (SELECT FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid)))", int32(pid))
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	waiting.Wait()
	if late.status != http.StatusMultiStatus || !strings.Contains(late.body, `"display_name":"newer"`) {
		t.Errorf("the older run's answer is %d %s", late.status, late.body)
	}
}

func TestRunsThatWriteTheSameItemsInAnyOrderAgreeOnTheNewest(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	const runs, items = 8, 40
	var ids []int64
	for range runs {
		ids = append(ids, w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`).ID)
	}
	var everybody sync.WaitGroup
	for n, run := range ids {
		everybody.Go(func() {
			var list []string
			for i := range items {
				place := i
				if n%2 == 1 { // half of them the other way round, so that locks would cross
					place = items - 1 - i
				}
				list = append(list, fmt.Sprintf(`{"policy_type":"p","external_id":"x%d","display_name":"%d"}`, place, run))
			}
			body := fmt.Sprintf(`{"operation_run_id":%d,"items":[%s]}`, run, strings.Join(list, ","))
			got, err := w.send(http.MethodPost, fmt.Sprintf("/workspaces/%d%s", w.ID, inventoryBatch), w.bearer, body)
			if err != nil || got.status != http.StatusMultiStatus || strings.Contains(got.body, `"problem"`) {
				t.Errorf("status %d, error %v: %.300s", got.status, err, got.body)
			}
		})
	}
	everybody.Wait()
	newest := fmt.Sprint(ids[runs-1])
	page := w.list(t, w.Readonly.Subject, fmt.Sprintf("/workspaces/%d/inventory-items?limit=200", w.ID))
	if len(page.Data) != items {
		t.Errorf("%d items, want %d", len(page.Data), items)
	}
	for _, item := range page.Data {
		if item["display_name"] != newest {
			t.Errorf("item %v was last seen by %v, want %s", item["external_id"], item["display_name"], newest)
		}
	}
}
