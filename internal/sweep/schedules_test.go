package sweep

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/internal/dbtest"
)

// nightly inserts a daily schedule that is due at 02:00 UTC and was made before the test's present.
func (w *world) nightly(t *testing.T, now time.Time) int64 {
	t.Helper()
	var id int64
	err := w.pool.QueryRow(t.Context(), `INSERT INTO backup_schedules (workspace_id, name, frequency, time_of_day, created_at, updated_at)
		VALUES ($1, 'Nightly', 'daily', '02:00', $2, $2) RETURNING id`, w.workspace, now.Add(-72*time.Hour)).Scan(&id)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// backup inserts a successful run of a schedule for a slot.
func (w *world) backup(t *testing.T, id int64, slot time.Time) {
	t.Helper()
	_, err := w.pool.Exec(t.Context(), `INSERT INTO operation_runs (workspace_id, type, status, outcome, created_at, started_at, completed_at, context)
		VALUES ($1, 'backup_schedule_run', 'completed', 'succeeded', $3, $3, $3, jsonb_build_object('backup_schedule_id', $2::bigint))`,
		w.workspace, id, slot.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
}

// failed makes many backups of a schedule that failed, one at each interval after an instant.
func (w *world) failed(t *testing.T, id int64, after, interval string, n int) {
	t.Helper()
	_, err := w.pool.Exec(t.Context(), `INSERT INTO operation_runs (workspace_id, type, status, outcome, created_at, started_at, completed_at, context)
		SELECT $1, 'backup_schedule_run', 'completed', 'failed', at, at AS started, at AS completed, jsonb_build_object('backup_schedule_id', $2::bigint)
		FROM (SELECT $3::timestamptz + n * $4::interval AS at FROM generate_series(1, $5::bigint) AS n) AS instants`,
		w.workspace, id, after, interval, n)
	if err != nil {
		t.Fatal(err)
	}
}

// told are the kinds and slots of the workspace's events of schedules, in the order of the feed.
func (w *world) told(t *testing.T) []string {
	t.Helper()
	return one[[]string](t, w, `SELECT coalesce(array_agg(kind || ' ' || to_char(slot_at AT TIME ZONE 'UTC', 'DD HH24:MI') ORDER BY transaction_id, id), '{}')
		FROM backup_schedule_events WHERE workspace_id = $1`, w.workspace)
}

func TestMissedSlotsAndRecoveriesAreToldOnceByManySweepers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := time.Date(2026, time.March, 4, 1, 0, 0, 0, time.UTC)
	id := w.nightly(t, now) // made on the 1st at 01:00: due on the 1st, the 2nd and the 3rd
	w.backup(t, id, now.Add(-71*time.Hour))
	watch := func(at time.Time) {
		var all sync.WaitGroup
		for range 4 {
			s, _ := w.sweeper(t)
			all.Go(func() {
				if err := s.watchSchedules(t.Context(), w.pool, at); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	watch(now)
	want := []string{"schedule_missed 02 02:00", "schedule_missed 03 02:00"}
	if got := w.told(t); !slices.Equal(got, want) {
		t.Fatalf("told %q, want %q", got, want)
	}
	slot := now.Add(time.Hour)
	watch(slot.Add(10 * time.Minute)) // within the grace
	w.backup(t, id, slot)
	watch(slot.Add(20 * time.Minute))
	watch(slot.Add(2 * time.Hour))
	want = append(want, "schedule_recovered 04 02:00")
	if got := w.told(t); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	if n := one[int64](t, w, "SELECT count(*) FROM backup_schedule_versions WHERE workspace_id = $1", w.workspace); n != 1 {
		t.Errorf("%d versions of a schedule that nobody edited", n)
	}
}

func TestAnEditPastTheServiceIsNotedFromTheMomentItTells(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := time.Date(2026, time.March, 4, 1, 0, 0, 0, time.UTC)
	id := w.nightly(t, now)
	s, _ := w.sweeper(t)
	watch := func(at time.Time) {
		if err := s.watchSchedules(t.Context(), w.pool, at); err != nil {
			t.Fatal(err)
		}
	}
	edit := func(set string, args ...any) {
		if _, err := w.pool.Exec(t.Context(), "UPDATE backup_schedules SET "+set+" WHERE id = $1", append([]any{id}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
	watch(now)
	edit("time_of_day = '03:00', updated_at = $2", now.Add(10*time.Minute)) // says when
	watch(now.Add(time.Hour))
	edit("is_enabled = false") // does not: it began when it was noticed
	watch(now.Add(2 * time.Hour))
	edit("last_run_at = now(), updated_at = $2", now.Add(3*time.Hour)) // no edit of the plan
	watch(now.Add(4 * time.Hour))
	edit("is_enabled = true") // the row's updated_at is of before
	watch(now.Add(5 * time.Hour))
	edit("deleted_at = $2", now.Add(6*time.Hour))
	watch(now.Add(7 * time.Hour))
	watch(now.Add(8 * time.Hour))
	got := one[[]string](t, w, `SELECT array_agg(to_char(valid_from AT TIME ZONE 'UTC', 'DD HH24:MI ') || to_char(time_of_day, 'HH24:MI')
		|| CASE WHEN is_deleted THEN ' deleted' WHEN is_enabled THEN '' ELSE ' paused' END ORDER BY version)
		FROM backup_schedule_versions WHERE workspace_id = $1`, w.workspace)
	want := []string{
		"01 01:00 02:00", "04 01:10 03:00", "04 03:00 03:00 paused", "04 06:00 03:00", "04 07:00 03:00 deleted",
	}
	if !slices.Equal(got, want) {
		t.Errorf("versions %q, want %q", got, want)
	}
}

func TestSchedulesAreCountedByWorkspaceAndState(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := time.Now()
	w.nightly(t, now)
	if _, err := w.pool.Exec(t.Context(), "UPDATE backup_schedules SET is_enabled = false WHERE id = $1", w.nightly(t, now)); err != nil {
		t.Fatal(err)
	}
	other := dbtest.NewWorkspace(t, w.pool)
	s, registry := w.sweeper(t)
	if err := s.watchSchedules(t.Context(), w.pool, now); err != nil {
		t.Fatal(err)
	}
	series := scheduleSeries(t, registry)
	if len(series) != 6 || series["never_ran"] != 1 || series["paused"] != 1 || series["ok"] != 0 {
		t.Errorf("series %v; workspace %d has no schedule", series, other.ID)
	}
}

// scheduleSeries are the values of the metric of schedules by state.
func scheduleSeries(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "runledger_backup_schedules") {
			continue
		}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetName() == "state" {
					values[label.GetValue()] += metric.GetGauge().GetValue()
				}
			}
		}
	}
	return values
}

func TestSchedulesHaveAWorkspaceLabelIfItIsAskedForAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := time.Date(2026, time.March, 4, 12, 0, 0, 0, time.UTC)
	w.nightly(t, now)
	for _, byWorkspace := range []bool{false, true} {
		s, registry := w.sweeper(t)
		s.options.ByWorkspace = byWorkspace
		s.metrics.states = s.options.describeSchedules()
		if err := s.watchSchedules(t.Context(), w.pool, now); err != nil {
			t.Fatal(err)
		}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		labelled := false
		for _, family := range families {
			for _, metric := range family.GetMetric() {
				for _, label := range metric.GetLabel() {
					labelled = labelled || label.GetName() == "workspace_id" && label.GetValue() == strconv.FormatInt(w.workspace, 10)
				}
			}
		}
		if labelled != byWorkspace || scheduleSeries(t, registry)["missing"] == 0 && scheduleSeries(t, registry)["never_ran"] == 0 {
			t.Errorf("asked for workspaces: %t, told: %t, %v", byWorkspace, labelled, scheduleSeries(t, registry))
		}
	}
}

func TestTheSeriesOfSchedulesAreBounded(t *testing.T) {
	t.Parallel()
	v := scheduleSurvey{}
	for id := range int64(mostWorkspaces + 100) {
		v.count(strconv.FormatInt(id+1, 10), nil)
	}
	if len(v) != mostWorkspaces+1 {
		t.Errorf("%d workspaces have series", len(v))
	}
}

func TestNothingIsToldOfSlotsWhoseRunsAreTooManyToRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := time.Date(2026, time.March, 4, 12, 0, 0, 0, time.UTC)
	id := w.nightly(t, now) // made on the 1st at 12:00: due on the 2nd, the 3rd and the 4th
	for day := 2; day <= 4; day++ {
		w.backup(t, id, time.Date(2026, time.March, day, 2, 0, 0, 0, time.UTC))
	}
	w.failed(t, id, "2026-03-03 09:00Z", "3 seconds", 20000)
	s, _ := w.sweeper(t)
	if err := s.watchSchedules(t.Context(), w.pool, now); err != nil {
		t.Fatal(err)
	}
	if told := w.told(t); len(told) != 0 {
		t.Errorf("of backups that were on time it tells %q", told)
	}
}

func TestASlotThatARunWhichHangsWasInTheWayOfIsNotMissedHoweverManyOtherRunsThereAre(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := time.Date(2026, time.March, 4, 12, 0, 0, 0, time.UTC)
	id := w.nightly(t, now) // made on the 1st at 12:00: due on the 2nd, the 3rd and the 4th
	if _, err := w.pool.Exec(t.Context(), `INSERT INTO operation_runs (workspace_id, type, status, outcome, created_at, started_at, context)
		VALUES ($1, 'backup_schedule_run', 'running', 'pending', '2026-03-02 02:00Z', '2026-03-02 02:00Z', jsonb_build_object('backup_schedule_id', $2::bigint))`,
		w.workspace, id); err != nil {
		t.Fatal(err)
	}
	w.failed(t, id, "2026-03-02 15:00Z", "20 seconds", 1200)
	s, _ := w.sweeper(t)
	if err := s.watchSchedules(t.Context(), w.pool, now); err != nil {
		t.Fatal(err)
	}
	if told := w.told(t); len(told) != 0 {
		t.Errorf("of slots that a run was in the way of it tells %q", told)
	}
}
