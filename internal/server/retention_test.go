package server_test

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

// retentionPage is a page of what the retention of a backup schedule keeps.
type retentionPage struct {
	BackupScheduleID int64            `json:"backup_schedule_id"`
	KeepLast         int64            `json:"keep_last"`
	Keep             []map[string]any `json:"keep"`
	Release          []map[string]any `json:"release"`
	WithoutBackup    []map[string]any `json:"without_backup"`
	NextCursor       *string          `json:"next_cursor"`
}

// retained are the ids of all pages of each list.
type retained struct{ Keep, Release, WithoutBackup []int64 }

// backupSchedule makes a schedule that keeps so many backups.
func backupSchedule(t *testing.T, h *harness, workspaceID int64, keepLast int) int64 {
	t.Helper()
	var id int64
	err := h.pool.QueryRow(t.Context(), `INSERT INTO backup_schedules (workspace_id, name, frequency, time_of_day, retention_keep_last)
		VALUES ($1, 'Nightly', 'daily', '02:30', $2) RETURNING id`, workspaceID, keepLast).Scan(&id)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// backupRun makes a run of a schedule that was created and completed so many hours ago; an empty
// outcome is one that still runs. reference is the schedule's id in the context, as JSON.
func backupRun(t *testing.T, h *harness, workspaceID int64, runType, reference, outcome string, hoursAgo int) int64 {
	t.Helper()
	var id int64
	err := h.pool.QueryRow(t.Context(), `
		INSERT INTO operation_runs (workspace_id, type, status, outcome, created_at, completed_at, context)
		SELECT $1, $2, CASE WHEN $4 = '' THEN 'running' ELSE 'completed' END, CASE WHEN $4 = '' THEN 'pending' ELSE $4 END,
		       at, CASE WHEN $4 <> '' THEN at END, jsonb_build_object('backup_schedule_id', $3::jsonb)
		FROM (SELECT now() - make_interval(hours => $5) AS at) AS moment RETURNING id`,
		workspaceID, runType, reference, outcome, hoursAgo).Scan(&id)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// retention reads all pages of a schedule's retention.
func (h *harness) retention(t *testing.T, subject, path string, limit int) (all retained, keepLast int64) {
	t.Helper()
	ids := func(into *[]int64, runs []map[string]any) {
		for _, run := range runs {
			*into = append(*into, int64(run["id"].(float64)))
		}
	}
	cursor := ""
	for {
		p := decode[retentionPage](t, h.get(t, http.StatusOK, subject, fmt.Sprintf("%s?limit=%d%s", path, limit, cursor)).body)
		if n := len(p.Keep) + len(p.Release) + len(p.WithoutBackup); n > limit {
			t.Errorf("%d runs on a page of %d", n, limit)
		}
		ids(&all.Keep, p.Keep)
		ids(&all.Release, p.Release)
		ids(&all.WithoutBackup, p.WithoutBackup)
		if p.NextCursor == nil {
			return all, p.KeepLast
		}
		cursor = "&cursor=" + *p.NextCursor
	}
}

func TestTheRetentionOfAScheduleKeepsItsNewestBackups(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w := dbtest.NewWorkspace(t, h.pool)
	schedule := backupSchedule(t, h, w.ID, 2)
	other := backupSchedule(t, h, w.ID, 2)
	number := strconv.FormatInt(schedule, 10)
	text := strconv.Quote(number)
	run := func(reference, outcome string, hoursAgo int) int64 {
		return backupRun(t, h, w.ID, "backup_schedule_run", reference, outcome, hoursAgo)
	}
	run(number, "", 1)
	failed := run(number, "failed", 2)
	newest := run(text, "succeeded", 3)
	blocked := run(number, "blocked", 4)
	partial := run(number, "partially_succeeded", 5)
	third := run(number, "succeeded", 6)
	cancelled := run(text, "cancelled", 7)
	oldest := run(text, "partially_succeeded", 8)
	run(strconv.FormatInt(other, 10), "succeeded", 1)
	backupRun(t, h, w.ID, "backup_schedule_retention", number, "succeeded", 1)
	backupRun(t, h, w.ID, "backup_schedule_purge", number, "succeeded", 9)

	path := fmt.Sprintf("/workspaces/%d/backup-schedules/%d/retention", w.ID, schedule)
	want := retained{
		Keep: []int64{newest, partial}, Release: []int64{third, oldest}, WithoutBackup: []int64{failed, blocked, cancelled},
	}
	for _, limit := range []int{1, 2, 3, 7, 200} {
		got, keepLast := h.retention(t, w.Readonly.Subject, path, limit)
		if diff := cmp.Diff(want, got); diff != "" || keepLast != 2 {
			t.Errorf("pages of %d: keep_last %d %s", limit, keepLast, diff)
		}
	}
	h.get(t, http.StatusBadRequest, w.Readonly.Subject, path+"?outcome=failed")
	foreign := fmt.Sprintf("/workspaces/%d/backup-schedules/%d/retention", dbtest.NewWorkspace(t, h.pool).ID, schedule)
	h.get(t, http.StatusNotFound, w.Owner.Subject, foreign)
}

func TestAScheduleNeverLetsItsLastBackupGoAndKeepsAllIfThereAreFew(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w := dbtest.NewWorkspace(t, h.pool)
	for keepLast, c := range map[int]struct{ kept, said int }{-1: {1, 1}, 0: {1, 1}, 1: {1, 1}, 3: {3, 3}, 4: {3, 4}, 2147483647: {3, 2147483647}} {
		schedule := backupSchedule(t, h, w.ID, keepLast)
		for hours := range 3 {
			backupRun(t, h, w.ID, "backup_schedule_run", strconv.FormatInt(schedule, 10), "succeeded", hours)
		}
		got, said := h.retention(t, w.Owner.Subject, fmt.Sprintf("/workspaces/%d/backup-schedules/%d/retention", w.ID, schedule), 50)
		if len(got.Keep) != c.kept || len(got.Release) != 3-c.kept || said != int64(c.said) {
			t.Errorf("retention_keep_last %d: keep_last %d, %+v", keepLast, said, got)
		}
	}
}

func TestARecalledBackupIsNeitherKeptNorInTheWayOfAGoodOne(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w := newWorker(t, h)
	schedule := backupSchedule(t, h, w.ID, 1)
	number := strconv.FormatInt(schedule, 10)
	path := fmt.Sprintf("/workspaces/%d/backup-schedules/%d/retention", w.ID, schedule)
	want := func(want retained) {
		t.Helper()
		got, _ := h.retention(t, w.Readonly.Subject, path, 2)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	older := backupRun(t, h, w.ID, "backup_schedule_run", number, "succeeded", 72)
	good := backupRun(t, h, w.ID, "backup_schedule_run", number, "succeeded", 48)
	bad := backupRun(t, h, w.ID, "backup_schedule_run", number, "succeeded", 24)
	want(retained{Keep: []int64{bad}, Release: []int64{good, older}})
	w.recall(t, bad, "The disk was full.")
	want(retained{Keep: []int64{good}, Release: []int64{older}, WithoutBackup: []int64{bad}})
	w.recall(t, good, "The disk was full before, too.")
	w.recall(t, older, "It always was.")
	want(retained{WithoutBackup: []int64{bad, good, older}})
}

func TestTheRetentionOfAScheduleIsReadFromItsIndexInOrder(t *testing.T) {
	t.Parallel()
	pool, seen := newRecordedPool(t, dbtest.Fresh(t))
	h := newHarnessOn(t, pool, server.Options{})
	w := dbtest.NewWorkspace(t, pool)
	schedule := backupSchedule(t, h, w.ID, 30)
	if _, err := pool.Exec(t.Context(), `
		INSERT INTO operation_runs (created_at, workspace_id, type, status, outcome, completed_at, context)
		SELECT at, $1, 'backup_schedule_run', 'completed', 'succeeded', at, jsonb_build_object('backup_schedule_id', $2::bigint + n % 5)
		FROM generate_series(1, 5000) AS n, LATERAL (SELECT now() - make_interval(mins => n) AS at) AS moment`, w.ID, schedule); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), "ANALYZE operation_runs"); err != nil {
		t.Fatal(err)
	}
	h.get(t, http.StatusOK, w.Owner.Subject, fmt.Sprintf("/workspaces/%d/backup-schedules/%d/retention", w.ID, schedule))
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for _, name := range []string{"FindKeptBackupPosition", "ListCompletedBackups"} {
		sent := seen.last(t, name)
		for _, generic := range []bool{false, true} {
			plan, text := explain(t, conn.Conn(), sent, generic)
			index := ""
			plan.visit(func(n planNode) {
				index += n.Index
				if n.Type == "Sort" {
					t.Errorf("%s sorts: %s", name, text)
				}
			})
			if index != "operation_runs_backup_schedule_id_idx" || plan.Hit+plan.Read > 200 {
				t.Errorf("%s: index %q, %d buffers", name, index, plan.Hit+plan.Read)
			}
		}
	}
}
