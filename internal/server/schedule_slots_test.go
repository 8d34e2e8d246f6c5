package server_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/internal/dbtest"
)

// slotEntry is a line of a schedule's history as the tests read it.
type slotEntry struct {
	SlotAt        *string  `json:"slot_at"`
	LocalTime     *string  `json:"local_time"`
	Timezone      *string  `json:"timezone"`
	Verdict       string   `json:"verdict"`
	LateBySeconds *float64 `json:"late_by_seconds"`
	MatchedBy     *string  `json:"matched_by"`
	Runs          []struct {
		ID        int64   `json:"id"`
		CreatedAt string  `json:"created_at"`
		MatchedBy *string `json:"matched_by"`
	} `json:"runs"`
}

// line is the entry on one line: when, by which clock, the verdict, how late, and how its runs were matched.
func (e *slotEntry) line() string {
	text := func(s *string) string {
		if s == nil {
			return "-"
		}
		return *s
	}
	when := text(e.SlotAt)
	if e.SlotAt == nil && len(e.Runs) == 1 {
		when = e.Runs[0].CreatedAt
	}
	late := "-"
	if e.LateBySeconds != nil {
		late = fmt.Sprint(*e.LateBySeconds)
	}
	ways := make([]string, 0, len(e.Runs))
	for _, run := range e.Runs {
		ways = append(ways, text(run.MatchedBy))
	}
	return strings.Join([]string{
		when, text(e.LocalTime), text(e.Timezone), e.Verdict, late, text(e.MatchedBy), "[" + strings.Join(ways, " ") + "]",
	}, " ")
}

// slotLines are the lines of all pages of a history.
func (h *harness) slotLines(t testing.TB, subject, path string) []string {
	t.Helper()
	var lines []string
	for next := path; ; {
		page := decode[struct {
			Data       []slotEntry `json:"data"`
			NextCursor *string     `json:"next_cursor"`
		}](t, h.get(t, http.StatusOK, subject, next).body)
		for i := range page.Data {
			lines = append(lines, page.Data[i].line())
		}
		if page.NextCursor == nil {
			return lines
		}
		next = path + "&cursor=" + *page.NextCursor
	}
}

// held is a schedule whose year was written down by hand.
type held struct {
	*worker

	id int64
}

// version writes what the schedule was from an instant on.
func (s *held) version( //nolint:revive // they are the columns
	t testing.TB, number int, from, zone, frequency, at, days string, grace int, enabled bool,
) {
	t.Helper()
	s.exec(t, `INSERT INTO backup_schedule_versions (workspace_id, schedule_id, version, valid_from, timezone, frequency,
			time_of_day, days_of_week, grace_seconds, is_enabled, is_deleted, compared_updated_at)
		VALUES ($1, $2, $3, $4::text::timestamptz, $5, $6, $7::text::time, nullif($8, '')::jsonb, nullif($9::bigint, 0), $10, false, '2024-12-01Z')`,
		s.ID, s.id, number, from, zone, frequency, at, days, grace, enabled)
}

// backup writes a run: when it was created, how long after that it started and ended (negative for
// not), its outcome, and what its context names, if anything.
func (s *held) backup(t testing.TB, created string, started, ended time.Duration, outcome, named string) int64 {
	t.Helper()
	return s.backupOf(t, "backup_schedule_run", fmt.Sprint(s.id), created, started, ended, outcome, named, 0)
}

func (s *held) backupOf( //nolint:revive // they are the columns
	t testing.TB, runType, reference, created string, started, ended time.Duration, outcome, named string, retryOf int64,
) int64 {
	t.Helper()
	status := "completed"
	if outcome == "pending" {
		status = "running"
		if started < 0 {
			status = "queued"
		}
	}
	var id int64
	if err := s.pool.QueryRow(t.Context(), `INSERT INTO operation_runs
			(workspace_id, type, status, outcome, retry_of_id, created_at, started_at, completed_at, context)
		SELECT $1, $2, $3, $4, nullif($5::bigint, 0), at,
			CASE WHEN $7::float8 >= 0 THEN at + make_interval(secs => $7) END,
			CASE WHEN $8::float8 >= 0 THEN at + make_interval(secs => $8) END,
			jsonb_strip_nulls(jsonb_build_object('backup_schedule_id', $9::jsonb, 'scheduled_for', nullif($10::text, '')))
		FROM (SELECT $6::text::timestamptz AS at) AS moment RETURNING id`,
		s.ID, runType, status, outcome, retryOf, created, started.Seconds(), ended.Seconds(), reference, named).Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}

// stretch is a time in which a schedule is due at one time of UTC, by one clock.
type stretch struct {
	first, last string // slots
	days        []time.Weekday
	zone        string
	offset      time.Duration
}

// due are the instants of a stretch.
func (s *stretch) due(t testing.TB) []time.Time {
	t.Helper()
	var all []time.Time
	for at := instant(t, s.first); !at.After(instant(t, s.last)); at = at.AddDate(0, 0, 1) {
		if len(s.days) == 0 || slices.Contains(s.days, at.Weekday()) {
			all = append(all, at)
		}
	}
	return all
}

const minute = time.Minute

// heldYear writes the year 2025 of a schedule, and returns it with the lines that its history is to have. Every
// instant and every verdict here was found with a calendar and docs/schedules.md; none is computed by
// the code under test. A slot that is not named has a run that names it and is on time.
func heldYear(t testing.TB, w *worker) (s *held, want []string) {
	t.Helper()
	s = &held{worker: w}
	if err := w.pool.QueryRow(t.Context(), `INSERT INTO backup_schedules
			(workspace_id, name, timezone, frequency, time_of_day, grace_seconds, created_at, updated_at)
		VALUES ($1, 'Held', 'America/New_York', 'daily', '01:30', 600, '2024-12-01Z', '2024-12-01Z') RETURNING id`, w.ID).Scan(&s.id); err != nil {
		t.Fatal(err)
	}
	s.version(t, 1, "2024-12-01T00:00:00Z", "Europe/Berlin", "daily", "02:30", "", 0, true)
	s.version(t, 2, "2025-04-01T00:00:00Z", "Europe/Berlin", "daily", "02:30", "", 0, false) // a pause
	s.version(t, 3, "2025-04-08T00:00:00Z", "Europe/Berlin", "daily", "02:30", "", 0, true)
	s.version(t, 4, "2025-06-01T00:00:00Z", "America/New_York", "daily", "22:00", "", 3600, true)
	s.version(t, 5, "2025-09-01T00:00:00Z", "Australia/Lord_Howe", "weekly", "06:00", "[1, 4]", 0, true)
	s.version(t, 6, "2025-11-01T00:00:00Z", "America/New_York", "daily", "01:30", "", 600, true)
	sundays := []time.Weekday{time.Sunday, time.Wednesday} // by UTC; Monday and Thursday there
	stretches := []stretch{
		{"2025-01-01T01:30:00Z", "2025-03-29T01:30:00Z", nil, "Europe/Berlin", time.Hour},
		{"2025-03-30T01:00:00Z", "2025-03-30T01:00:00Z", nil, "Europe/Berlin", 2 * time.Hour}, // 02:30 was not; 03:00 is what came then
		{"2025-03-31T00:30:00Z", "2025-05-31T00:30:00Z", nil, "Europe/Berlin", 2 * time.Hour},
		{"2025-06-01T02:00:00Z", "2025-08-31T02:00:00Z", nil, "America/New_York", -4 * time.Hour},
		{"2025-09-03T19:30:00Z", "2025-10-01T19:30:00Z", sundays, "Australia/Lord_Howe", 10*time.Hour + 30*minute},
		{"2025-10-05T19:00:00Z", "2025-10-29T19:00:00Z", sundays, "Australia/Lord_Howe", 11 * time.Hour},
		{"2025-11-01T05:30:00Z", "2025-11-02T05:30:00Z", nil, "America/New_York", -4 * time.Hour}, // the second was twice: its first
		{"2025-11-03T06:30:00Z", "2025-12-31T06:30:00Z", nil, "America/New_York", -5 * time.Hour},
	}
	special := s.oddities(t)
	for _, st := range stretches {
		for _, at := range st.due(t) {
			text := at.Format(time.RFC3339)
			rest, odd := special[text]
			if !odd {
				rest = "on_time - scheduled_for [scheduled_for]"
				reference := fmt.Sprint(s.id)
				if at.Day()%2 == 0 {
					reference = fmt.Sprintf("%q", reference)
				}
				s.backupOf(t, "backup_schedule_run", reference, at.Add(minute).Format(time.RFC3339), minute, 20*minute, "succeeded", text, 0)
			}
			delete(special, text)
			local := at.In(time.FixedZone("", int(st.offset.Seconds()))).Format(time.RFC3339)
			want = append(want, strings.Join([]string{text, local, st.zone, rest}, " "))
		}
	}
	for at, rest := range special { // what is left came for no slot
		want = append(want, at+" - - "+rest)
	}
	slices.SortFunc(want, func(a, b string) int { return strings.Compare(a[:20], b[:20]) })
	return s, want
}

// oddities writes everything that was not on time, and returns what is to be said of each slot and run.
func (s *held) oddities(t testing.TB) map[string]string {
	t.Helper()
	const hour = time.Hour
	special := map[string]string{}
	say := func(at, rest string) { special[at] = rest }
	const manual = "manual - - [-]"

	// The edges of the range.
	s.backup(t, "2024-12-31T23:00:00Z", 0, minute, "succeeded", "2025-01-01T01:30:00Z") // before it, for a slot in it
	say("2025-01-01T01:30:00Z", "on_time - scheduled_for [scheduled_for]")
	s.backup(t, "2024-12-31T12:00:00Z", 0, minute, "succeeded", "")
	s.backup(t, "2025-01-01T00:00:00Z", 0, minute, "succeeded", "")
	say("2025-01-01T00:00:00Z", manual)
	s.backup(t, "2026-01-01T00:00:00Z", 0, minute, "succeeded", "")
	s.backup(t, "2026-01-02T06:30:00Z", 0, minute, "succeeded", "2025-12-31T06:30:00Z") // behind it, likewise
	say("2025-12-31T06:30:00Z", "late 172800 scheduled_for [scheduled_for]")

	// Half an hour of grace, two hours of tolerance, five minutes of earliness.
	s.backupOf(t, "backup_schedule_run", "9223372036854775807", "2025-01-10T01:31:00Z", 0, minute, "succeeded", "2025-01-10T01:30:00Z", 0)
	say("2025-01-10T01:30:00Z", "missed - - []") // that was another schedule's
	s.backup(t, "2025-01-11T01:31:00Z", 29*minute, hour, "succeeded", "2025-01-11T01:30:00Z")
	say("2025-01-11T01:30:00Z", "on_time - scheduled_for [scheduled_for]")
	s.backup(t, "2025-01-12T01:31:00Z", 44*minute, hour, "succeeded", "2025-01-12T01:30:00Z")
	say("2025-01-12T01:30:00Z", "late 2700 scheduled_for [scheduled_for]")
	s.backup(t, "2025-01-14T01:40:00Z", 0, minute, "succeeded", "")
	say("2025-01-14T01:30:00Z", "on_time - nearest [nearest]")
	s.backup(t, "2025-01-15T01:26:00Z", 0, minute, "succeeded", "")
	say("2025-01-15T01:30:00Z", "on_time - nearest [nearest]")
	s.backup(t, "2025-01-16T03:20:00Z", 0, minute, "succeeded", "")
	say("2025-01-16T01:30:00Z", "late 6600 nearest [nearest]")
	s.backup(t, "2025-01-17T03:40:00Z", 0, minute, "succeeded", "")
	say("2025-01-17T01:30:00Z", "missed - - []")
	say("2025-01-17T03:40:00Z", manual)
	s.backup(t, "2025-01-18T01:24:00Z", 0, minute, "succeeded", "")
	say("2025-01-18T01:24:00Z", manual)
	say("2025-01-18T01:30:00Z", "missed - - []")

	// Outcomes, retries, doubles.
	s.backup(t, "2025-01-20T01:31:00Z", 0, minute, "failed", "2025-01-20T01:30:00Z")
	say("2025-01-20T01:30:00Z", "failed - scheduled_for [scheduled_for]")
	first := s.backup(t, "2025-01-21T01:31:00Z", 0, minute, "failed", "2025-01-21T01:30:00Z")
	s.backupOf(t, "backup_schedule_run", fmt.Sprint(s.id), "2025-01-21T01:35:00Z", 0, minute, "succeeded", "2025-01-21T01:30:00Z", first)
	say("2025-01-21T01:30:00Z", "on_time - scheduled_for [scheduled_for scheduled_for]")
	s.backup(t, "2025-01-22T01:31:00Z", 0, minute, "succeeded", "2025-01-22T01:30:00Z")
	s.backup(t, "2025-01-22T01:32:00Z", 0, minute, "succeeded", "")
	say("2025-01-22T01:30:00Z", "duplicate - scheduled_for [scheduled_for nearest]")
	s.backup(t, "2025-01-23T01:31:00Z", minute, -1, "pending", "2025-01-23T01:30:00Z")
	say("2025-01-23T01:30:00Z", "running - scheduled_for [scheduled_for]")
	s.backup(t, "2025-01-28T01:31:00Z", 0, minute, "partially_succeeded", "2025-01-28T01:30:00Z")
	say("2025-01-28T01:30:00Z", "on_time - scheduled_for [scheduled_for]")
	s.backup(t, "2025-01-30T01:31:00Z", -1, minute, "blocked", "2025-01-30T01:30:00Z")
	say("2025-01-30T01:30:00Z", "failed - scheduled_for [scheduled_for]")
	s.backup(t, "2025-01-31T01:31:00Z", 0, minute, "cancelled", "2025-01-31T01:30:00Z")
	say("2025-01-31T01:30:00Z", "failed - scheduled_for [scheduled_for]")

	// What runs name.
	s.backup(t, "2025-02-03T12:00:00Z", 0, minute, "succeeded", "")
	say("2025-02-03T12:00:00Z", manual)
	s.backup(t, "2025-02-07T10:00:00Z", 0, minute, "succeeded", "2025-02-05T01:30:00Z") // caught up with later
	say("2025-02-05T01:30:00Z", "late 203400 scheduled_for [scheduled_for]")
	s.backup(t, "2025-02-10T12:00:00Z", 0, minute, "succeeded", "2025-02-02T01:30:00Z") // too late to be believed
	say("2025-02-10T12:00:00Z", manual)
	s.backup(t, "2025-02-12T01:46:00Z", 0, minute, "succeeded", "2025-02-12T01:45:00Z") // no slot
	say("2025-02-12T01:30:00Z", "on_time - nearest [nearest]")
	s.backup(t, "2025-02-14T02:00:00Z", 0, minute, "succeeded", "2025-02-15T01:30:00Z") // a day early
	say("2025-02-15T01:30:00Z", "on_time - scheduled_for [scheduled_for]")
	s.backup(t, "2025-02-16T01:31:00Z", 0, minute, "succeeded", "2025-02-16 01:30:00") // without a zone: UTC
	say("2025-02-16T01:30:00Z", "on_time - scheduled_for [scheduled_for]")
	s.backup(t, "2025-02-17T01:31:00Z", 0, minute, "succeeded", "2025-02-17T02:30:00+01:00")
	say("2025-02-17T01:30:00Z", "on_time - scheduled_for [scheduled_for]")
	s.backup(t, "2025-02-18T02:10:00Z", -1, -1, "pending", "2025-02-18T01:30:00Z") // queued, and late already
	say("2025-02-18T01:30:00Z", "running 2400 scheduled_for [scheduled_for]")
	s.backupOf(t, "backup_schedule_retention", fmt.Sprint(s.id), "2025-03-05T01:31:00Z", 0, minute, "succeeded", "2025-03-05T01:30:00Z", 0)
	say("2025-03-05T01:30:00Z", "missed - - []") // retention is no backup

	// A run that takes more than a day; one that stayed active for longer than it may keep others away.
	s.backup(t, "2025-03-10T01:31:00Z", 0, 24*hour, "succeeded", "2025-03-10T01:30:00Z")
	say("2025-03-10T01:30:00Z", "on_time - scheduled_for [scheduled_for]")
	say("2025-03-11T01:30:00Z", "skipped - - []")
	s.backup(t, "2025-03-14T01:31:00Z", 0, 240*hour, "failed", "2025-03-14T01:30:00Z")
	say("2025-03-14T01:30:00Z", "failed - scheduled_for [scheduled_for]")
	say("2025-03-21T01:30:00Z", "skipped - - []")
	say("2025-03-22T01:30:00Z", "missed - - []")

	// The pause.
	for day := 1; day <= 7; day++ {
		say(fmt.Sprintf("2025-04-%02dT00:30:00Z", day), "paused - - []")
	}
	s.backup(t, "2025-04-03T00:31:00Z", 0, minute, "succeeded", "2025-04-03T00:30:00Z")
	say("2025-04-03T00:30:00Z", "paused - scheduled_for [scheduled_for]")
	s.backup(t, "2025-04-04T00:40:00Z", 0, minute, "succeeded", "")
	say("2025-04-04T00:40:00Z", manual)

	// An hour of grace, in another zone.
	s.backup(t, "2025-06-05T02:01:00Z", 59*minute, hour, "succeeded", "2025-06-05T02:00:00Z")
	say("2025-06-05T02:00:00Z", "on_time - scheduled_for [scheduled_for]")
	s.backup(t, "2025-06-06T02:01:00Z", hour, 2*hour, "succeeded", "2025-06-06T02:00:00Z")
	say("2025-06-06T02:00:00Z", "late 3660 scheduled_for [scheduled_for]")
	s.backup(t, "2025-06-10T02:01:00Z", 0, minute, "failed", "2025-06-10T02:00:00Z")
	s.backup(t, "2025-06-10T02:02:00Z", 0, minute, "failed", "2025-06-10T02:00:00Z")
	say("2025-06-10T02:00:00Z", "failed - scheduled_for [scheduled_for scheduled_for]")
	s.backup(t, "2025-06-11T02:01:00Z", 0, minute, "failed", "2025-06-11T02:00:00Z")
	s.backup(t, "2025-06-11T02:02:00Z", 0, minute, "succeeded", "2025-06-11T02:00:00Z")
	say("2025-06-11T02:00:00Z", "duplicate - scheduled_for [scheduled_for scheduled_for]")
	first = s.backup(t, "2025-06-15T02:01:00Z", 0, minute, "failed", "2025-06-15T02:00:00Z")
	s.backupOf(t, "backup_schedule_run", fmt.Sprint(s.id), "2025-06-15T02:30:00Z", 0, -1, "pending", "2025-06-15T02:00:00Z", first)
	say("2025-06-15T02:00:00Z", "running - scheduled_for [scheduled_for scheduled_for]")

	// Weekly, by clocks that go forward by half an hour, then ten minutes of grace.
	say("2025-09-10T19:30:00Z", "missed - - []")
	s.backup(t, "2025-10-01T23:00:00Z", 0, minute, "succeeded", "")
	say("2025-10-01T19:30:00Z", "late 12600 nearest [nearest]")
	s.backup(t, "2025-11-04T06:31:00Z", 10*minute, hour, "succeeded", "2025-11-04T06:30:00Z")
	say("2025-11-04T06:30:00Z", "late 660 scheduled_for [scheduled_for]")
	s.backup(t, "2025-11-05T07:09:00Z", 0, minute, "succeeded", "")
	say("2025-11-05T06:30:00Z", "late 2340 nearest [nearest]")
	s.backup(t, "2025-11-06T07:11:00Z", 0, minute, "succeeded", "")
	say("2025-11-06T06:30:00Z", "missed - - []")
	say("2025-11-06T07:11:00Z", manual)
	return special
}

func TestAYearOfAScheduleIsJudgedAsWasWrittenDownBeforehand(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	s, want := heldYear(t, w)
	path := fmt.Sprintf("/workspaces/%d/backup-schedules/%d/slots?", w.ID, s.id)
	year := w.slotLines(t, w.Readonly.Subject, path+"from=2025-01-01T00:00:00Z&before=2026-01-01T00:00:00Z")
	if diff := cmp.Diff(want, year); diff != "" {
		t.Fatalf("the year is not what was written down (-want +got):\n%s", diff)
	}
	if got := w.slotLines(t, w.Readonly.Subject, path+"from=2025-01-01T00:00:00Z&before=2026-01-01T00:00:00Z&limit=13"); !slices.Equal(got, want) {
		t.Errorf("in pages of 13 it is another year:\n%s", cmp.Diff(want, got))
	}
	var byMonth []string
	for month := time.January; month <= time.December; month++ {
		from := time.Date(2025, month, 1, 0, 0, 0, 0, time.UTC)
		byMonth = append(byMonth, w.slotLines(t, w.Readonly.Subject,
			path+"from="+from.Format(time.RFC3339)+"&before="+from.AddDate(0, 1, 0).Format(time.RFC3339))...)
	}
	if !slices.Equal(byMonth, want) {
		t.Errorf("month by month it is another year:\n%s", cmp.Diff(want, byMonth))
	}
	// A slot belongs to the range that begins with it, and not to the one that ends with it.
	at := func(from, before string) int {
		return len(w.slotLines(t, w.Readonly.Subject, path+"from="+from+"&before="+before))
	}
	if n := at("2025-02-01T01:30:00Z", "2025-02-02T01:30:00Z"); n != 1 {
		t.Errorf("%d entries from a slot to the next", n)
	}
	if n := at("2025-02-01T01:30:00.000001Z", "2025-02-02T01:30:00Z"); n != 0 {
		t.Errorf("%d entries between two slots", n)
	}
}

func TestSlotsRefuseARangeThatIsNoneAndTellOfNoForeignSchedule(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	id := backupSchedule(t, w.harness, w.ID, 3)
	path := fmt.Sprintf("/workspaces/%d/backup-schedules/%d/slots", w.ID, id)
	for query, parameters := range map[string]string{
		"?from=2025-01-01T00:00:00Z&before=2025-01-01T00:00:00Z":     "before",
		"?from=2025-01-02T00:00:00Z&before=2025-01-01T00:00:00Z":     "before",
		"?from=2025-01-01T00:00:00Z&before=2026-02-05T00:00:00Z":     "", // 400 days
		"?from=2025-01-01T00:00:00Z&before=2026-02-05T01:00:00Z":     "", // clocks went back
		"?from=2025-01-01T00:00:00Z&before=2026-02-05T01:00:00.001Z": "before",
		"?from=2020-01-01T00:00:00Z":                                 "from",
		"?from=2999-01-01T00:00:00Z":                                 "from",
		"?from=2020-01-01T00:00:00Z&before=now":                      "before",
		"?from=2999-01-01T00:00:00Z&before=now":                      "before",
		"?from=yesterday&before=2999-01-01T00:00:00Z":                "from",
		"?from=yesterday&before=now&limit=0&until=3":                 "before from limit until",
	} {
		status := http.StatusBadRequest
		if parameters == "" {
			status = http.StatusOK
		}
		got := decode[problemBody](t, w.get(t, status, w.Readonly.Subject, path+query).body)
		places := got.pointers()
		slices.Sort(places)
		if names := strings.Join(places, " "); names != parameters {
			t.Errorf("%s: faults with %q, want %q", query, names, parameters)
		}
	}
	other := dbtest.NewWorkspace(t, w.pool)
	foreign := backupSchedule(t, w.harness, other.ID, 3)
	at := func(id int64) answer {
		return w.do(t, http.MethodGet, fmt.Sprintf("/workspaces/%d/backup-schedules/%d/slots", w.ID, id), w.token(t, w.Readonly.Subject), "X-Request-Id", "the-same")
	}
	none, theirs := at(int64(1)<<60), at(foreign)
	if none.status != http.StatusNotFound {
		t.Errorf("a schedule that is none is a %d", none.status)
	}
	if none.comparable() != theirs.comparable() {
		t.Errorf("a schedule of another workspace is\n%s\nnone is\n%s", theirs.comparable(), none.comparable())
	}
}
