package server_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// healthEntry is how a schedule fares as the tests read it.
type healthEntry struct {
	ID               int64      `json:"backup_schedule_id"`
	Name             string     `json:"name"`
	State            string     `json:"state"`
	LastSuccessAt    *time.Time `json:"last_success_at"`
	LastSuccessRunID *int64     `json:"last_success_run_id"`
	Streak           struct {
		Failed int        `json:"failed"`
		Missed int        `json:"missed"`
		Since  *time.Time `json:"since"`
	} `json:"streak"`
	NextSlotAt *time.Time `json:"next_slot_at"`
	PlanFault  *string    `json:"plan_fault"`
}

// healthOf are all schedules that a list of health tells of.
func (w *worker) healthOf(t testing.TB, query string) []healthEntry {
	t.Helper()
	var all []healthEntry
	path := fmt.Sprintf("/workspaces/%d/backup-schedules/health?%s", w.ID, query)
	for next := path; ; {
		page := decode[struct {
			Data       []healthEntry `json:"data"`
			NextCursor *string       `json:"next_cursor"`
		}](t, w.get(t, http.StatusOK, w.Readonly.Subject, next).body)
		all = append(all, page.Data...)
		if page.NextCursor == nil {
			return all
		}
		next = path + "&cursor=" + *page.NextCursor
	}
}

// since is a schedule, due daily twelve hours from now, that was made eight and a half days ago: it has
// had eight slots, the newest twelve hours ago. outcomes are those of its slots, the oldest first:
// succeeded and so on, late for one that succeeded late, nothing for a slot without a run.
func (w *worker) since(t testing.TB, name, set string, outcomes ...string) (id int64, runs []int64) {
	t.Helper()
	newest := time.Now().UTC().Truncate(time.Second).Add(-12 * time.Hour)
	if err := w.pool.QueryRow(t.Context(), `INSERT INTO backup_schedules (workspace_id, name, frequency, time_of_day, created_at, updated_at)
		VALUES ($1, $2, 'daily', $3::text::time, $4, $4) RETURNING id`,
		w.ID, name, newest.Format(time.TimeOnly), newest.Add(-7*24*time.Hour-time.Hour)).Scan(&id); err != nil {
		t.Fatal(err)
	}
	if set != "" {
		w.exec(t, "UPDATE backup_schedules SET "+set+" WHERE workspace_id = $1 AND id = $2", w.ID, id)
	}
	s := &held{worker: w, id: id}
	for i, outcome := range outcomes {
		slot := newest.AddDate(0, 0, i-len(outcomes)+1)
		created := slot.Add(time.Minute)
		if outcome == "late" {
			created, outcome = slot.Add(time.Hour), "succeeded"
		}
		if outcome != "" {
			runs = append(runs, s.backup(t, created.Format(time.RFC3339), 0, time.Minute, outcome, slot.Format(time.RFC3339)))
		}
	}
	return id, runs
}

func TestTheWorstScheduleComesFirst(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	good := func(rest ...string) []string {
		return append(slices.Repeat([]string{"succeeded"}, 8-len(rest)), rest...)
	}
	w.since(t, "paused", "is_enabled = false", good()...)
	w.since(t, "ok", "", good("failed", "succeeded")...)
	w.since(t, "late", "", good("late")...)
	w.since(t, "never ran", "")
	_, failing := w.since(t, "failing", "", good("failed", "cancelled")...)
	w.since(t, "missing two", "", good("", "")...)
	w.since(t, "missing three", "", good("failed", "", "")...)
	w.since(t, "unreadable", "timezone = 'Mars/Olympus'", good()...)
	w.since(t, "deleted", "deleted_at = now()", good("")...)
	other := newWorker(t, w.harness)
	other.since(t, "another workspace's", "", good("")...)

	all := w.healthOf(t, "")
	lines := make([]string, 0, len(all))
	for _, e := range all {
		fault := ""
		if e.PlanFault != nil {
			fault = " with a fault"
		}
		if next := e.NextSlotAt != nil; next == (e.State == "paused" || fault != "") {
			t.Errorf("%s: a next slot: %t", e.Name, next)
		}
		lines = append(lines, fmt.Sprintf("%s: %s %d+%d%s", e.Name, e.State, e.Streak.Failed, e.Streak.Missed, fault))
	}
	want := []string{
		"missing three: missing 1+2", "missing two: missing 0+2", "unreadable: missing 0+0 with a fault",
		"failing: failing 2+0", "never ran: never_ran 0+8", "late: late 0+0", "ok: ok 0+0", "paused: paused 0+0",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("the health is\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	for _, e := range all {
		if e.Name != "failing" {
			continue
		}
		if e.LastSuccessRunID == nil || *e.LastSuccessRunID != failing[5] || e.LastSuccessAt == nil || e.Streak.Since == nil ||
			e.Streak.Since.Sub(*e.LastSuccessAt).Round(time.Hour) != 24*time.Hour {
			t.Errorf("the failing one is %+v; its last success was %d", e, failing[5])
		}
	}
	if paged := w.healthOf(t, "limit=3"); len(paged) != len(all) || paged[4].ID != all[4].ID || paged[7].ID != all[7].ID {
		t.Errorf("in pages of three it is %+v", paged)
	}
	if some := w.healthOf(t, "state=late,missing"); len(some) != 4 || some[3].Name != "late" {
		t.Errorf("those late or missing are %+v", some)
	}
	bad := decode[problemBody](t, w.get(t, http.StatusBadRequest, w.Readonly.Subject,
		fmt.Sprintf("/workspaces/%d/backup-schedules/health?state=bad&limit=x&from=1", w.ID)).body)
	if got := bad.pointers(); !slices.Equal(got, []string{"from", "limit", "state"}) {
		t.Errorf("the faults are with %q", got)
	}
}

func TestManyManualRunsHideNoBackup(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	id, _ := w.since(t, "nightly", "", append(slices.Repeat([]string{"succeeded"}, 7), "failed")...)
	w.exec(t, `INSERT INTO operation_runs (workspace_id, type, status, outcome, created_at, started_at, completed_at, context)
		SELECT $1, 'backup_schedule_run', 'completed', 'failed', at, at AS started, at AS completed, jsonb_build_object('backup_schedule_id', $2::bigint)
		FROM (SELECT now() - interval '9 hours' + n * interval '1 second' AS at FROM generate_series(1, 2000) AS n) AS manual`, w.ID, id)
	if got := w.healthOf(t, "")[0]; got.State != "failing" || got.Streak.Failed != 1 || got.Streak.Missed != 0 {
		t.Errorf("beside many manual runs it is %s: %d failed, %d missed", got.State, got.Streak.Failed, got.Streak.Missed)
	}
}
