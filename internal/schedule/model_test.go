package schedule_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/runledger/runledger/internal/schedule"
)

// The model knows the rules as docs/schedules.md has them and takes its time: it looks at every minute
// of a year for slots, and at every slot for every run.

type modelSlot struct {
	at     time.Time
	grace  time.Duration
	paused bool
}

// modelSlots goes through the minutes of a version's time. A wall time is due at the first instant at
// which the clocks show it or have gone past it.
func modelSlots(v schedule.Version, from, before time.Time) []modelSlot {
	zone, err := time.LoadLocation(v.Columns.Timezone)
	if err != nil {
		panic(err)
	}
	days := map[time.Weekday]bool{}
	for i, name := range []string{"7", "1", "2", "3", "4", "5", "6"} {
		days[time.Weekday(i)] = v.Columns.Frequency == "daily" || strings.Contains(string(v.Columns.DaysOfWeek), name)
	}
	grace := 30 * time.Minute
	if v.Columns.Frequency == "weekly" {
		grace = time.Hour
	}
	if v.Columns.GraceSeconds != nil {
		grace = time.Duration(*v.Columns.GraceSeconds) * time.Second
	}
	var slots []modelSlot
	shown := int64(0) // the latest wall minute so far
	for at := from.Add(-72 * time.Hour).Truncate(time.Minute); at.Before(before); at = at.Add(time.Minute) {
		_, offset := at.In(zone).Zone()
		wall := at.Unix()/60 + int64(offset)/60
		if shown == 0 {
			shown = wall - 1
		}
		due := false
		for ; shown < wall; shown++ {
			clock := time.Unix((shown+1)*60, 0).UTC()
			midnight := time.Duration(clock.Hour())*time.Hour + time.Duration(clock.Minute())*time.Minute
			due = due || midnight == v.Columns.TimeOfDay && days[clock.Weekday()]
		}
		if due && !at.Before(from) {
			slots = append(slots, modelSlot{at, grace, !v.Enabled})
		}
	}
	return slots
}

// modelHistory is the whole history, a line an entry.
func modelHistory(versions []schedule.Version, runs []schedule.Run, end, now time.Time) map[string]time.Time {
	var slots []modelSlot
	for i, v := range versions {
		until := end
		if i+1 < len(versions) {
			until = versions[i+1].From
		}
		if !v.Deleted && v.From.Before(until) {
			slots = append(slots, modelSlots(v, v.From, until)...)
		}
	}
	came := map[int][]schedule.Run{}
	lines := map[string]time.Time{}
	how := map[int64]string{}
	for _, run := range runs {
		place := -1
		near := run.CreatedAt
		if name := run.ScheduledFor; !name.IsZero() && name.Sub(near) <= 24*time.Hour && near.Sub(name) <= 7*24*time.Hour {
			near = name
			for i, slot := range slots {
				if slot.at.Equal(name) {
					place, how[run.ID] = i, "scheduled_for"
				}
			}
		}
		if place < 0 {
			best := 1000 * time.Hour
			for i, slot := range slots {
				after := near.Sub(slot.at)
				if !slot.paused && after >= -5*time.Minute && after <= min(4*slot.grace, 12*time.Hour) && after.Abs() < best {
					place, best, how[run.ID] = i, after.Abs(), "nearest"
				}
			}
		}
		if place >= 0 {
			came[place] = append(came[place], run)
		} else {
			lines[fmt.Sprintf("%s manual %d", run.CreatedAt.Format(time.RFC3339), run.ID)] = run.CreatedAt
		}
	}
	for i, slot := range slots {
		verdict := modelVerdict(slot, came[i], runs, now)
		var ids []string
		for _, run := range came[i] {
			ids = append(ids, fmt.Sprint(run.ID, how[run.ID]))
		}
		slices.Sort(ids)
		lines[fmt.Sprintf("%s %s %v", slot.at.UTC().Format(time.RFC3339), verdict, ids)] = slot.at
	}
	return lines
}

func modelVerdict(slot modelSlot, came, all []schedule.Run, now time.Time) string {
	if slot.paused {
		return "paused"
	}
	if len(came) == 0 {
		if slot.at.Add(slot.grace).After(now) {
			return "upcoming"
		}
		for _, run := range all {
			age := slot.at.Sub(run.CreatedAt)
			if age > 0 && age <= 7*24*time.Hour && (run.Status != "completed" || run.CompletedAt.After(slot.at)) {
				return "skipped"
			}
		}
		return "missed"
	}
	backups, active, unasked := 0, 0, 0
	first := came[0].StartedAt
	for _, run := range came {
		if run.Outcome == "succeeded" || run.Outcome == "partially_succeeded" {
			backups++
		}
		if run.Status != "completed" {
			active++
		}
		if !slices.ContainsFunc(came, func(other schedule.Run) bool { return other.ID == run.RetryOfID }) {
			unasked++
		}
		if run.StartedAt.Before(first) {
			first = run.StartedAt
		}
	}
	switch {
	case backups == 0 && active > 0:
		return "running"
	case backups == 0:
		return "failed"
	case unasked > 1:
		return "duplicate"
	case first.Sub(slot.at) > slot.grace:
		return fmt.Sprint("late ", first.Sub(slot.at))
	default:
		return "on_time"
	}
}

// drawVersions draws a year of a schedule: edits of its time, days, zone and grace, pauses, a deletion.
func drawVersions(t *rapid.T, begin time.Time) []schedule.Version {
	var versions []schedule.Version
	at := begin
	zones := []string{"Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "Asia/Kathmandu", "UTC", "America/New_York", "Africa/Casablanca"}
	for range rapid.IntRange(1, 5).Draw(t, "versions") {
		v := schedule.Version{From: at, Enabled: rapid.IntRange(0, 3).Draw(t, "enabled") > 0}
		v.Columns = schedule.Columns{
			Frequency: "daily", Timezone: rapid.SampledFrom(zones).Draw(t, "zone"),
			TimeOfDay: time.Duration(rapid.SampledFrom([]int{0, 30, 90, 120, 150, 165, 180, 23*60 + 59, 720}).Draw(t, "minute")) * time.Minute,
		}
		if rapid.Bool().Draw(t, "weekly") {
			v.Columns.Frequency = "weekly"
			v.Columns.DaysOfWeek = []byte(rapid.SampledFrom([]string{"[1]", "[7]", "[1, 2, 5]", "[6, 7]", "[3]"}).Draw(t, "days"))
		}
		if rapid.IntRange(0, 2).Draw(t, "graced") == 0 {
			grace := int64(rapid.SampledFrom([]int{60, 900, 7200, 43200}).Draw(t, "grace"))
			v.Columns.GraceSeconds = &grace
		}
		versions = append(versions, v)
		at = at.Add(time.Duration(rapid.IntRange(1, 150*24*60).Draw(t, "lasts")) * time.Minute)
	}
	if rapid.IntRange(0, 4).Draw(t, "deleted") == 0 {
		last := versions[len(versions)-1]
		last.From, last.Deleted = at, true
		versions = append(versions, last)
	}
	return versions
}

// drawRuns draws what came: for most slots one run, for some none, several, late ones, long ones, and
// manual ones at any time.
func drawRuns(t *rapid.T, slots []schedule.Slot, begin, now time.Time) []schedule.Run {
	var runs []schedule.Run
	add := func(at, named time.Time, retryOf int64) int64 {
		r := schedule.Run{ID: int64(len(runs) + 1), CreatedAt: at, StartedAt: at.Add(time.Second), ScheduledFor: named, RetryOfID: retryOf}
		r.Status, r.Outcome = "completed", rapid.SampledFrom([]string{
			"succeeded", "succeeded", "succeeded", "partially_succeeded", "failed", "cancelled",
		}).Draw(t, "outcome")
		r.CompletedAt = at.Add(time.Duration(rapid.SampledFrom([]int{1, 5, 5, 5, 60, 1500, 9 * 24 * 60}).Draw(t, "takes")) * time.Minute)
		if r.CompletedAt.After(now) {
			r.Status, r.Outcome, r.CompletedAt = "running", "pending", time.Time{}
		}
		runs = append(runs, r)
		return r.ID
	}
	for _, slot := range slots {
		named := time.Time{}
		if rapid.Bool().Draw(t, "named") {
			named = slot.At
		}
		late := func(minutes int) time.Time { return slot.At.Add(time.Duration(minutes)*time.Minute + 7*time.Second) }
		switch rapid.IntRange(0, 9).Draw(t, "fate") {
		case 0: // nothing
		case 1:
			add(late(rapid.IntRange(-10, 12*24*60).Draw(t, "late")), named, 0)
		case 2:
			add(late(0), named, 0)
			add(late(rapid.IntRange(0, 90).Draw(t, "second")), named, 0)
		case 3:
			first := add(late(0), named, 0)
			add(late(rapid.IntRange(5, 900).Draw(t, "retry")), named, first)
		case 4: // a name that is no slot
			add(late(3), slot.At.Add(time.Duration(rapid.IntRange(-90, 90).Draw(t, "off"))*time.Minute), 0)
		default:
			add(late(0), named, 0)
		}
	}
	for range rapid.IntRange(0, 20).Draw(t, "manual") {
		add(begin.Add(time.Duration(rapid.IntRange(0, 365*24*60).Draw(t, "when"))*time.Minute), time.Time{}, 0)
	}
	return slices.DeleteFunc(runs, func(r schedule.Run) bool { return r.CreatedAt.After(now) })
}

func TestEveryVerdictOfAYearIsThatOfTheModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		begin := time.Date(2025, time.January, 1, 0, 0, 0, 0, time.UTC)
		end := begin.AddDate(1, 0, 0)
		now := begin.Add(time.Duration(rapid.IntRange(1, 380*24*60).Draw(t, "now")) * time.Minute)
		versions := drawVersions(t, begin)
		runs := drawRuns(t, schedule.Due(versions, begin, end), begin, now)
		want := modelHistory(versions, runs, end.Add(10*24*time.Hour), now)
		// Any part of the history is told as the whole of it is.
		from := begin.Add(time.Duration(rapid.IntRange(0, 360*24*60).Draw(t, "from")) * time.Minute)
		for _, r := range []struct{ from, before time.Time }{{begin, end}, {from, from.Add(100 * time.Hour)}} {
			expected := map[string]bool{}
			for line, at := range want {
				if !at.Before(r.from) && at.Before(r.before) {
					expected[line] = true
				}
			}
			known := slices.DeleteFunc(slices.Clone(runs), func(run schedule.Run) bool {
				return run.CreatedAt.Before(r.from.Add(-schedule.Reach)) || !run.CreatedAt.Before(r.before.Add(schedule.Reach))
			})
			last := time.Time{}
			for _, e := range schedule.Judge(versions, known, r.from, r.before, now) {
				if line := lineOf(&e); !expected[line] {
					t.Errorf("not of the model: %s", line)
				} else {
					delete(expected, line)
				}
				if e.At().Before(last) {
					t.Errorf("%s stands behind %s", e.At(), last)
				}
				last = e.At()
			}
			for line := range expected {
				t.Errorf("missing: %s", line)
			}
		}
	})
}

// lineOf is an entry as the model writes it.
func lineOf(e *schedule.Entry) string {
	if e.Slot == nil {
		return fmt.Sprintf("%s manual %d", e.At().Format(time.RFC3339), e.Runs[0].ID)
	}
	verdict := string(e.Verdict)
	if e.Verdict == schedule.Late {
		verdict = fmt.Sprint("late ", e.LateBy)
	}
	var ids []string
	for i := range e.Runs {
		ids = append(ids, fmt.Sprint(e.Runs[i].ID, e.Runs[i].By))
	}
	slices.Sort(ids)
	return fmt.Sprintf("%s %s %v", e.At().Format(time.RFC3339), verdict, ids)
}

func BenchmarkAYearOfADailySchedule(b *testing.B) {
	begin := time.Date(2025, time.January, 1, 0, 0, 0, 0, time.UTC)
	versions := []schedule.Version{{From: begin, Enabled: true, Columns: schedule.Columns{
		Frequency: "daily", Timezone: "Europe/Berlin", TimeOfDay: 150 * time.Minute,
	}}}
	end := begin.AddDate(1, 0, 0)
	var runs []schedule.Run
	for i, slot := range schedule.Due(versions, begin, end) {
		if i%10 != 0 {
			at := slot.At.Add(time.Minute)
			runs = append(runs, schedule.Run{
				ID: int64(i), Status: "completed", Outcome: "succeeded", CreatedAt: at, StartedAt: at, CompletedAt: at.Add(time.Hour), ScheduledFor: slot.At,
			})
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if n := len(schedule.Judge(versions, runs, begin, end, end)); n != 365 {
			b.Fatal(n)
		}
	}
}
