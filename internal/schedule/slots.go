package schedule

import (
	"math"
	"slices"
	"time"
)

const secondsPerDay = 24 * 60 * 60

// Slots are the instants at which the plan is due between from and before, the latter excluded, in
// order, each once. Their cost grows with the number of days in between.
//
// A local time that does not exist, because the clocks go forward over it, is due at the first
// instant after the gap, be it an hour or a whole day that is missing. One that exists twice is due
// at its first.
func (p Plan) Slots(from, before time.Time) []time.Time {
	if p.Zone == nil || p.Days == 0 || !from.Before(before) {
		return nil
	}
	var slots []time.Time
	w := walls{zone: p.Zone}
	timeOfDay := int64(p.TimeOfDay / time.Second)
	// A gap may bring a slot into a later day by the clock, and a time of day of 24:00 into the next.
	last := localDay(before, p.Zone) + 1
	for day := localDay(from, p.Zone) - 3; day <= last; day++ {
		if !p.Days.Has(weekday(day)) {
			continue
		}
		seconds, exists := w.instant(day*secondsPerDay + timeOfDay)
		at := time.Unix(seconds, 0)
		if exists {
			at = at.Add(p.TimeOfDay % time.Second)
		}
		if !at.Before(from) && at.Before(before) {
			slots = append(slots, at.UTC())
		}
	}
	slices.SortFunc(slots, time.Time.Compare)
	return slices.CompactFunc(slots, time.Time.Equal) // two times of day may be missing in one gap
}

// DayStart is the first instant of a day by the clocks of a zone: of a midnight that there is twice
// the first, and where the clocks go forward over midnight, or over the whole day, the instant at
// which they do. A day beyond its month's last is one of the next month, as for time.Date.
func DayStart(year int, month time.Month, day int, zone *time.Location) time.Time {
	w := walls{zone: zone}
	seconds, _ := w.instant(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix())
	return time.Unix(seconds, 0).In(zone)
}

// Next is the first slot after an instant, the zero time if there is none.
func (p Plan) Next(after time.Time) time.Time {
	const longest = 16 * secondsPerDay * time.Second // a weekly slot and a missing day
	if slots := p.Slots(after.Add(1), after.Add(longest)); len(slots) > 0 {
		return slots[0]
	}
	return time.Time{}
}

// localDay is the number of a zone's day at an instant, counted from 1970-01-01.
func localDay(at time.Time, zone *time.Location) int64 {
	year, month, day := at.In(zone).Date()
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix() / secondsPerDay
}

// weekday is the day of the week of a day counted from 1970-01-01, which was a Thursday.
func weekday(day int64) time.Weekday {
	return time.Weekday(((day+int64(time.Thursday))%7 + 7) % 7)
}

// walls finds instants by what the clocks on the walls of a zone show: seconds since 1970-01-01 00:00
// by the clock. It remembers the stretch that it last looked at; days in a row lie in few of them.
type walls struct {
	zone *time.Location
	last stretch
}

// stretch is a time in which a zone keeps one offset from UTC, in seconds.
type stretch struct{ start, end, offset int64 }

func (w *walls) stretchAt(instant int64) stretch {
	s := w.bounds(instant)
	// Beyond the changes that a zone's file lists, Go takes a leap year for a day shorter: on its
	// last days a stretch ends where it began, or before.
	for probe := instant; s.end <= instant; {
		probe += secondsPerDay
		if next := w.bounds(probe); next.offset == s.offset {
			s.end = next.end
		} else {
			s.end = max(next.start, instant+1)
		}
	}
	return s
}

// bounds is the stretch of an instant as Go has it.
func (w *walls) bounds(instant int64) stretch {
	at := time.Unix(instant, 0).In(w.zone)
	_, offset := at.Zone()
	start, end := at.ZoneBounds()
	s := stretch{start: math.MinInt64, end: math.MaxInt64, offset: int64(offset)}
	if !start.IsZero() {
		s.start = start.Unix()
	}
	if !end.IsZero() {
		s.end = end.Unix()
	}
	return s
}

// instant is the first instant at which the clocks show wall. If they never do, exists is false
// and it is the instant at which they go forward over it.
func (w *walls) instant(wall int64) (at int64, exists bool) {
	// No zone is a day from UTC: whatever shows this time lies within a day of it.
	first, last := wall-secondsPerDay, wall+secondsPerDay
	if s := w.last; s.start <= first && last < s.end {
		return wall - s.offset, true
	}
	gap, found := int64(0), false
	for s := w.stretchAt(first); ; {
		if at := wall - s.offset; s.start <= at && at < s.end {
			w.last = s
			return at, true
		}
		if s.end > last {
			return gap, false
		}
		next := w.stretchAt(s.end)
		if !found && s.end+s.offset <= wall && wall < s.end+next.offset {
			gap, found = s.end, true
		}
		s = next
	}
}
