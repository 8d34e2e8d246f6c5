package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbtest"
)

// diffBody is what the tests read of a comparison.
type diffBody struct {
	Run       *struct{ ID int64 } `json:"run"`
	Against   *struct{ ID int64 } `json:"against"`
	AgainstBy *string             `json:"against_by"`
	Counts    []struct {
		Name          string
		Before, After *int64
		Change        int64
	} `json:"counts"`
	Failures []struct {
		Code                  string
		Before, After, Change int64
		Messages              []string
	} `json:"failures"`
	Context []struct {
		Path, Kind    string
		Before, After json.RawMessage
	} `json:"context"`
	Duration struct {
		Change *float64 `json:"change_seconds"`
	} `json:"duration"`
}

// diff is what changed from another run to a run.
func (w *worker) diff(t testing.TB, id int64, query string) diffBody {
	t.Helper()
	return decode[diffBody](t, w.get(t, http.StatusOK, w.Readonly.Subject, w.path(fmt.Sprintf("/%d/diff%s", id, query))).body)
}

// wantAgainst fails the test unless a run is compared with another (0 for none) for a reason.
func (w *worker) wantAgainst(t testing.TB, id, against int64, by string) {
	t.Helper()
	got := w.diff(t, id, "?against=last_good")
	if got.Run == nil || got.Run.ID != id || (got.Against == nil) != (against == 0) ||
		against != 0 && (got.Against.ID != against || *got.AgainstBy != by) {
		t.Errorf("run %d is compared with %+v by %v, want %d by %q", id, got.Against, got.AgainstBy, against, by)
	}
}

func TestARunIsComparedWithTheLastOfTheSameWorkThatSucceeded(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w, f := newWorker(t, h), newFixture(t, h)
	sync := `{"type":"inventory_sync","identity":"a"}`
	w.wantAgainst(t, w.done(t, sync, "failed"), 0, "")
	w.done(t, `{"type":"drift_generate_findings"}`, "succeeded")
	other := w.done(t, `{"type":"inventory_sync","identity":"b"}`, "succeeded")
	w.wantAgainst(t, w.done(t, sync, "failed"), other, "type")
	good := w.done(t, sync, "succeeded")
	w.wantAgainst(t, good, other, "type") // itself is not before itself
	w.done(t, sync, "partially_succeeded")
	tenant := dbtest.NewTenant(t, w.pool, w.ID)
	w.wantAgainst(t, w.done(t, fmt.Sprintf(`{"type":"inventory_sync","tenant_id":%d}`, tenant), "failed"), 0, "")
	bad := w.done(t, sync, "succeeded")
	last := w.start(t, http.StatusCreated, sync).ID
	w.wantAgainst(t, last, bad, "identity")
	w.recall(t, bad, "wrong")
	w.wantAgainst(t, last, good, "identity")

	// What is part of a schedule is compared with its own kind of that schedule alone.
	backup := `{"type":"backup_schedule_%s","context":{"backup_schedule_id":%s}}`
	w.done(t, fmt.Sprintf(backup, "run", `"7"`), "succeeded")
	w.wantAgainst(t, w.done(t, fmt.Sprintf(backup, "run", "8"), "failed"), 0, "")
	seven := w.done(t, fmt.Sprintf(backup, "run", "7"), "succeeded")
	w.done(t, fmt.Sprintf(backup, "purge", "7"), "succeeded")
	w.wantAgainst(t, w.done(t, fmt.Sprintf(backup, "run", `"7"`), "failed"), seven, "backup_schedule")
	otherName := strings.Replace(fmt.Sprintf(backup, "run", "7"), "schedule_id", "Schedule_ID", 1) // which is part of none
	w.wantAgainst(t, w.done(t, otherName, "failed"), seven, "type")

	for _, query := range []string{"?against=x", "?against=0", "?against=9223372036854775807", fmt.Sprintf("?against=%d", f.run), "?against=1&against=2", "?for=1"} {
		w.get(t, http.StatusBadRequest, w.Readonly.Subject, w.path(fmt.Sprintf("/%d/diff%s", last, query)))
	}
	w.get(t, http.StatusNotFound, w.Readonly.Subject, w.path(fmt.Sprintf("/%d/diff", f.run)))
}

func TestADiffTellsWhatMovedAndByHowMuch(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	report := func(context, report string) int64 {
		id := w.start(t, http.StatusCreated, `{"type":"inventory_sync","identity":1,"context":`+context+`}`).ID
		w.report(t, id, report)
		return id
	}
	before := report(`{"trigger":"manual","selection":{"name":"all"}}`, `{"status":"completed","outcome":"succeeded","summary_counts":{"total":3,"gone":1}}`)
	after := report(`{"trigger":"manual","selection":{"name":"some"}}`, `{"status":"completed","outcome":"failed","summary_counts":{"total":5},
		"failure_summary":[{"code":"throttled","message":"429"},{"code":"throttled","message":"429"}]}`)
	w.exec(t, "UPDATE operation_runs SET started_at = completed_at - make_interval(secs => CASE id WHEN $2 THEN 1.5 ELSE 4 END) WHERE workspace_id = $1", pgx.QueryExecModeExec, w.ID, before)
	for _, query := range []string{"", "?against=last_good", fmt.Sprintf("?against=%d", before)} {
		got := w.diff(t, after, query)
		if got.Against.ID != before || len(got.Counts) != 2 || got.Counts[0].Change != -1 || got.Counts[0].After != nil || got.Counts[1].Change != 2 ||
			len(got.Failures) != 1 || got.Failures[0].Change != 2 || len(got.Failures[0].Messages) != 1 ||
			len(got.Context) != 1 || got.Context[0].Path != "/selection/name" || string(got.Context[0].After) != `"some"` ||
			got.Duration.Change == nil || *got.Duration.Change != 2.5 {
			t.Errorf("%s: %+v", query, got)
		}
	}
	if got := w.diff(t, before, ""); got.Against != nil || len(got.Context) != 2 || got.Context[1].Path != "/trigger" || got.Context[1].Kind != "added" {
		t.Errorf("the first run is %+v", got)
	}
	finding := w.rests(t, http.StatusCreated, "f", before, after)
	path := fmt.Sprintf("/workspaces/%d/findings/%d/diff", w.ID, finding)
	if got := decode[diffBody](t, w.get(t, http.StatusOK, w.Readonly.Subject, path).body); got.Run.ID != after || got.Against.ID != before || *got.AgainstBy != "id" || len(got.Counts) != 2 {
		t.Errorf("the finding's runs are %+v", got)
	}
	w.exec(t, "UPDATE findings SET baseline_operation_run_id = NULL, current_operation_run_id = NULL WHERE workspace_id = $1", w.ID)
	if got := decode[diffBody](t, w.get(t, http.StatusOK, w.Readonly.Subject, path).body); got.Run != nil || got.Against != nil || len(got.Counts) != 0 {
		t.Errorf("without its runs it is %+v", got)
	}
}
