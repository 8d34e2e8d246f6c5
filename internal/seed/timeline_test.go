package seed

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// until is not at a round date in any zone, and follows a change of clocks.
var until = time.Date(2026, time.November, 3, 17, 0, 0, 0, time.UTC)

// numbered is a world as it would be in a database without rows.
func numbered(t *testing.T, o Options) *world {
	t.Helper()
	w, err := newWorld(o)
	if err != nil {
		t.Fatal(err)
	}
	w.number(1, 1, 1, 1)
	return w
}

func TestRunsOfEverySizeObeyTheRulesOfTheTables(t *testing.T) {
	t.Parallel()
	for _, size := range []Options{
		{Workspaces: 1, Runs: 0},
		{Workspaces: 3, Runs: 1},
		{Workspaces: 7, Runs: 5},
		{Workspaces: 1, Runs: 40},
		{Workspaces: 2, Runs: 333},
		{Workspaces: 3, Runs: 2000},
		{Workspaces: 40, Runs: 500},
		{Workspaces: 5, Runs: 30_011},
		{Workspaces: 2, Runs: 150_000},
	} {
		for seed := range uint64(3) {
			o := Options{Workspaces: size.Workspaces, Runs: size.Runs, Seed: seed, Until: until}
			t.Run(fmt.Sprintf("%d workspaces with %d runs, seed %d", o.Workspaces, o.Runs, seed), func(t *testing.T) {
				t.Parallel()
				w := numbered(t, o)
				checkTimeline(t, w, o)
			})
		}
	}
}

func checkTimeline(t *testing.T, w *world, o Options) {
	t.Helper()
	line := newTimeline(w, 1)
	active := make(map[string]bool)
	busy := make(map[*lane]time.Time)
	var previous time.Time
	n := 0
	for r := line.step(); r != nil && !t.Failed(); r = line.step() {
		n++
		if r.at.Before(previous) {
			t.Errorf("run %d was created before run %d", r.id, r.id-1)
		}
		previous = r.at
		if r.status != "completed" {
			if active[r.hash] {
				t.Errorf("two active runs have the identity of run %d", r.id)
			}
			if r.lane.ws.archived {
				t.Errorf("run %d of the archived workspace is active", r.id)
			}
			active[r.hash] = true
		}
		if r.lane.schedule == nil && r.at.Before(busy[r.lane]) {
			t.Errorf("run %d was created at %v, while the one before it went on until %v", r.id, r.at, busy[r.lane])
		}
		busy[r.lane] = r.completedAt
		checkInstants(t, r)
	}
	if n != o.Runs {
		t.Errorf("%d runs, want %d", n, o.Runs)
	}
	if want := w.tally().Runs; n != want {
		t.Errorf("%d runs, but %d were counted", n, want)
	}
}

// checkInstants checks that what happened to a run happened in a possible order and not in the future.
func checkInstants(t *testing.T, r *run) {
	t.Helper()
	end := r.lane.ws.end
	if (r.status == "completed") == r.completedAt.IsZero() || (r.outcome == "pending") != r.completedAt.IsZero() {
		t.Errorf("run %d: status %s, outcome %s and completed at %v contradict each other", r.id, r.status, r.outcome, r.completedAt)
	}
	if !r.completedAt.IsZero() && r.startedAt.After(r.completedAt) {
		t.Errorf("run %d started at %v, after its end at %v", r.id, r.startedAt, r.completedAt)
	}
	for name, at := range map[string]time.Time{
		"started_at": r.startedAt, "completed_at": r.completedAt, "heartbeat_at": r.heartbeatAt,
		"stalled_at": r.stalledAt, "cancel_requested_at": r.cancelAt, "updated_at": r.updatedAt,
	} {
		if !at.IsZero() && (at.Before(r.at) || at.After(end)) {
			t.Errorf("run %d (%s, %s): %s is %v, outside of %v to %v", r.id, r.status, r.outcome, name, at, r.at, end)
		}
		if !at.Equal(at.Truncate(time.Microsecond)) {
			t.Errorf("run %d: %s is %v, finer than PostgreSQL keeps", r.id, name, at)
		}
	}
	changes := r.changes(nil)
	for i := 1; i < len(changes); i++ {
		if changes[i].at.Before(changes[i-1].at) {
			t.Errorf("run %d: event %v is before %v", r.id, changes[i], changes[i-1])
		}
	}
	if r.newest.id != 0 && (r.newest.at.After(r.at) || r.baseline.at.After(r.newest.at) || r.newest.id <= r.baseline.id) {
		t.Errorf("run %d compares %v with %v", r.id, r.baseline, r.newest)
	}
}

func TestDocumentsAreValidAndOfTheRightSize(t *testing.T) {
	t.Parallel()
	w := numbered(t, Options{Workspaces: 6, Runs: 20_000, Seed: 3, Until: until})
	line := newTimeline(w, 1_000_000_000)
	for r := line.step(); r != nil; r = line.step() {
		for _, document := range [][]byte{
			appendCounts(nil, line.dice, r), appendFailures(nil, line.dice, r), appendContext(nil, line.dice, r),
		} {
			if !json.Valid(document) {
				t.Fatalf("run %d: not JSON: %s", r.id, document)
			}
		}
		counts := make(map[string]uint64)
		if err := json.Unmarshal(appendCounts(nil, line.dice, r), &counts); err != nil {
			t.Fatalf("run %d: counts: %v", r.id, err)
		}
		if counts["succeeded"]+counts["failed"] != counts["processed"] || counts["processed"] > counts["total"] {
			t.Fatalf("run %d: counts do not add up: %v", r.id, counts)
		}
	}
}

func TestSharesFallOffBehindTheFirst(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 300; n++ {
		all := shares(n)
		var sum float64
		for i, share := range all {
			sum += share
			if i > 0 && share > all[i-1] {
				t.Errorf("of %d workspaces the one at %d has more than the one before", n, i)
			}
		}
		if first := all[0] / sum; len(all) != n || n >= 4 && (first < 0.299 || first > 0.301) {
			t.Errorf("of %d workspaces the first owns %.3f", n, first)
		}
	}
}

func TestSlotsAreAtTheScheduledLocalTime(t *testing.T) {
	t.Parallel()
	w := numbered(t, Options{Workspaces: 4, Runs: 60_000, Seed: 5, Until: until})
	line := newTimeline(w, 1)
	seen := make(map[string]bool)
	for r := line.step(); r != nil; r = line.step() {
		s := r.lane.schedule
		if s == nil {
			continue
		}
		local := r.slot.In(s.zone)
		if local.Hour() != s.hour || local.Minute() != s.minute || s.weekly && local.Weekday() != s.weekday {
			t.Errorf("schedule %q at %02d:%02d has a slot at %v", s.name, s.hour, s.minute, local)
		}
		if seen[r.hash] {
			t.Errorf("schedule %q has the slot %v twice", s.name, local)
		}
		seen[r.hash] = true
	}
	for _, ws := range w.workspaces {
		for _, s := range ws.schedules {
			if s.lastSlot.IsZero() || s.lastSlot.After(s.end) || s.enabled != s.nextSlot.After(s.end) {
				t.Errorf("schedule %q: last %v, next %v, end %v", s.name, s.lastSlot, s.nextSlot, s.end)
			}
		}
	}
	if len(seen) == 0 {
		t.Error("no schedule ever ran")
	}
}

func TestRecurringWorkKeepsWithinItsTenantsLife(t *testing.T) {
	t.Parallel()
	w := numbered(t, Options{Workspaces: 1, Runs: 100, Seed: 1, Until: until})
	ws := w.workspaces[0]
	for _, runs := range []int{1, 2, 50, 500, 3000, 12_000, 90_000} {
		first, planned := len(w.streams), 0
		w.planType(newDice(), ws, ws.tenants[0], typeInventorySync, runs)
		for _, s := range w.streams[first:] {
			planned += s.count
			oldest := s.last.Add(-time.Duration(s.count-1) * s.period)
			life := ws.end.Sub(ws.tenants[0].start)
			if s.period > life/time.Duration(s.count) || s.last.After(ws.end) || oldest.Before(ws.tenants[0].start) {
				t.Errorf("%d runs every %v are from %v to %v", s.count, s.period, oldest, s.last)
			}
		}
		if planned != runs {
			t.Errorf("%d runs are planned, want %d", planned, runs)
		}
	}
}

func TestARunInProgressEndsWithItsArchivedWorkspace(t *testing.T) {
	t.Parallel()
	for _, archived := range []bool{true, false} {
		r := run{
			id: 1, status: statusCompleted, outcome: outcomeFailed, failures: 1,
			occurrence:  occurrence{at: until.Add(-time.Hour)},
			lane:        &lane{stream: &stream{ws: &workspace{end: until, archived: archived}}},
			startedAt:   until.Add(-59 * time.Minute),
			heartbeatAt: until.Add(-20 * time.Minute),
			stalledAt:   until.Add(-5 * time.Minute),
			completedAt: until.Add(10 * time.Minute),
			updatedAt:   until.Add(10 * time.Minute),
		}
		r.interrupt(until)
		checkInstants(t, &r)
		if (r.status == statusCompleted) != archived {
			t.Errorf("archived is %t and the run is %s", archived, r.status)
		}
	}
}
