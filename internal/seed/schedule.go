package seed

import (
	"fmt"
	"time"
)

// schedule is a backup schedule: daily with a retention run every week, or weekly with one after
// each, and a purge each month.
type schedule struct {
	id          int64
	index       uint64 // over all workspaces
	ws          *workspace
	tenant      *tenant
	name        string
	zone        *time.Location
	weekly      bool
	weekday     time.Weekday // of the weekly backup, and of the retention
	hour        int
	minute      int
	keepLast    int
	enabled     bool
	first, last time.Time // the first and last local day of its history, at noon UTC
	end         time.Time // nothing of it is later
	deletedAt   time.Time
	lastSlot    time.Time
	nextSlot    time.Time
}

// planSchedules plans at most budget runs of backup schedules and returns how many they are.
// While there is room every schedule has its whole history; the last ones are younger.
func (w *world) planSchedules(d *dice, ws *workspace, budget int) (int, error) {
	const fewest = 8 // a younger one is not worth having
	planned := 0
	for budget-planned >= fewest {
		s, err := newSchedule(d, ws)
		if err != nil {
			return 0, err
		}
		left := budget - planned
		n := w.reachBack(s, max(left*3/5, fewest))
		if n == 0 {
			break
		}
		planned += n
		ws.schedules = append(ws.schedules, s)
		w.streams = append(w.streams, stream{
			index: uint64(len(w.streams)), ws: ws, tenant: s.tenant, schedule: s, count: n, compares: -1,
		})
	}
	return planned, nil
}

func newSchedule(d *dice, ws *workspace) (*schedule, error) {
	number := len(ws.schedules)
	s := &schedule{
		index: ws.index<<32 | uint64(number), ws: ws, tenant: ws.tenants[d.skewed(len(ws.tenants))],
		weekly: number > 0 && d.chance(0.3), weekday: time.Weekday(d.IntN(7)),
		// Never between midnight and four, when clocks are changed: every slot exists, once.
		hour: pick(d, []int{4, 5, 18, 20, 21, 22, 23}), minute: 15 * d.IntN(4),
		keepLast: pick(d, []int{30, 30, 14, 7, 90, 12}), enabled: true, end: ws.end,
	}
	name := zones[d.skewed(len(zones))]
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("time zone of a backup schedule: %w", err)
	}
	s.zone = zone
	kind := "Nightly"
	if s.weekly {
		kind = "Weekly"
	}
	s.name = fmt.Sprintf("%s %s – %s", kind, pick(d, []string{"backup", "Sicherung", "sauvegarde", "バックアップ", "full copy"}), s.tenant.name)
	if number > 0 && d.chance(0.12) {
		s.enabled = false
		s.end = ws.end.Add(-d.between(30*day, 150*day)).Truncate(time.Hour)
		if d.chance(0.4) {
			s.deletedAt = s.end.Add(d.between(time.Hour, 20*day))
		}
	}
	return s, nil
}

// reachBack gives s the longest history of at most limit runs that its tenant's age allows, and
// returns how many runs it is.
func (w *world) reachBack(s *schedule, limit int) int {
	local := s.end.In(s.zone)
	s.last = time.Date(local.Year(), local.Month(), local.Day(), 12, 0, 0, 0, time.UTC)
	s.first = s.last.Add(day)
	d := newDice()
	n := 0
	for today := s.last; ; today = today.Add(-day) {
		due := w.dueOn(d, s, today)
		if n+len(due) > limit || s.slot(today).Before(s.tenant.start) {
			break
		}
		n += len(due)
		s.first = today
		if len(due) > 0 && s.lastSlot.IsZero() {
			s.lastSlot = due[0].slot
		}
	}
	if !s.enabled {
		return n
	}
	for today := s.last; ; today = today.Add(day) {
		if slot := s.slot(today); s.isDue(today) && slot.After(s.end) {
			s.nextSlot = slot
			return n
		}
	}
}

// slot is the instant of the schedule's time of day on a local day.
func (s *schedule) slot(today time.Time) time.Time {
	year, month, dayOfMonth := today.Date()
	return time.Date(year, month, dayOfMonth, s.hour, s.minute, 0, 0, s.zone).UTC()
}

func (s *schedule) isDue(today time.Time) bool { return !s.weekly || today.Weekday() == s.weekday }

// dueOn lists the runs of one local day in their order, those up to the schedule's end.
func (w *world) dueOn(d *dice, s *schedule, today time.Time) []occurrence {
	if !s.isDue(today) {
		return nil
	}
	slot := s.slot(today)
	d.place(w.seed, placeSlot, s.index, uint64(slot.Unix())) //nolint:gosec // only a coordinate
	due := []occurrence{{typ: typeBackup, slot: slot, at: slot.Add(d.between(200*time.Millisecond, 20*time.Second))}}
	if today.Weekday() == s.weekday {
		due = append(due, occurrence{typ: typeRetention, slot: slot, at: slot.Add(d.between(150*time.Minute, 170*time.Minute))})
		if today.Day() <= 7 {
			due = append(due, occurrence{typ: typePurge, slot: slot, at: slot.Add(d.between(190*time.Minute, 200*time.Minute))})
		}
	}
	for len(due) > 0 && due[len(due)-1].at.After(s.end) {
		due = due[:len(due)-1]
	}
	return due
}

// ticks walks the schedule's history forward.
func (w *world) ticks(d *dice, s *schedule) func() (occurrence, bool) {
	today := s.first
	var due []occurrence
	return func() (occurrence, bool) {
		for len(due) == 0 {
			if today.After(s.last) {
				return occurrence{}, false
			}
			due = w.dueOn(d, s, today)
			today = today.Add(day)
		}
		next := due[0]
		due = due[1:]
		return next, true
	}
}
