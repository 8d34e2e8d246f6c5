package server_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

func TestAHeartbeatIsAChangeWhereItEndsAMark(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	w.report(t, run.ID, `{"status":"running"}`)
	for mark, ends := range map[string]bool{
		"stalled = NULL, stalled_at = NULL":             false, // there is none
		"stalled = 'no_progress', stalled_at = now()":   false,
		"stalled = 'no_heartbeat', stalled_at = now()":  true,
		"stalled = NULL, stalled_at = '2020-01-01 UTC'": true, // as an older store may have it
	} {
		w.exec(t, "UPDATE operation_runs SET updated_at = now() - '1 hour'::interval, "+mark+" WHERE workspace_id = $1", w.ID)
		got := w.act(t, http.StatusOK, run.ID, "heartbeat")
		if changed := time.Since(got.UpdatedAt) < time.Minute; changed != ends || ends && got.StalledAt != nil {
			t.Errorf("%s: it last changed at %v, and is stalled since %v", mark, got.UpdatedAt, got.StalledAt)
		}
	}
}

// Rows of an older store may have no counts at all.
func TestTheFirstCountsOfARunAreProgress(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	w.exec(t, `UPDATE operation_runs SET status = 'running', started_at = now(), summary_counts = NULL, stalled = 'no_progress',
		stalled_at = now(), progressed_at = now() - '1 hour'::interval WHERE workspace_id = $1`, w.ID)
	if got := w.report(t, run.ID, `{"context":{"a":1}}`); got.StalledAt == nil {
		t.Error("a report without counts ends the mark")
	}
	got := w.report(t, run.ID, `{"summary_counts":{"done":1}}`)
	if got.StalledAt != nil || time.Since(w.progressedAt(t, run.ID)) > time.Minute {
		t.Errorf("after its first counts the run is stalled since %v", got.StalledAt)
	}
}

func (w *worker) progressedAt(t testing.TB, id int64) (at time.Time) {
	t.Helper()
	if err := w.pool.QueryRow(t.Context(), "SELECT progressed_at FROM operation_runs WHERE workspace_id = $1 AND id = $2", w.ID, id).Scan(&at); err != nil {
		t.Fatal(fmt.Errorf("run %d: %w", id, err))
	}
	return at
}
