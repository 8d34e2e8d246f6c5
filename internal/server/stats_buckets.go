package server

import (
	"time"

	"github.com/runledger/runledger/internal/schedule"
)

// bucketUnit is how long the buckets of a statistic are, in the clock of a time zone.
type bucketUnit struct {
	name    string
	longest time.Duration // the longest range that may be asked for, by the clock
	usual   time.Duration // the range where none is asked for
	// start is the beginning of a bucket at an instant or before it, next that of the one behind the
	// bucket which begins at an instant.
	start, next func(at time.Time) time.Time
}

const dayLength = 24 * time.Hour

// setBack is how much longer than by the clock a range may be, because the clocks were set back in it.
const setBack = time.Hour

// bucketUnits are the units by name. Each range holds at most some 750 buckets.
var bucketUnits = map[string]bucketUnit{
	"hour": {"hour", 31 * dayLength, dayLength, hourBefore, nextHour},
	"day":  {"day", 400 * dayLength, 30 * dayLength, startOfDay, func(at time.Time) time.Time { return midnight(at, 1) }},
	"week": {"week", 5 * 366 * dayLength, 26 * 7 * dayLength, startOfWeek, func(at time.Time) time.Time { return midnight(at, 7) }},
}

// buckets are where the buckets begin that hold the instants of a range, and where the last one
// ends. They have no gaps: whatever the clock does, each instant is in one.
func (u bucketUnit) buckets(from, before time.Time, zone *time.Location) []time.Time {
	at := u.bucketOf(from.In(zone))
	boundaries := []time.Time{at}
	for at.Before(before) {
		at = u.next(at)
		boundaries = append(boundaries, at)
	}
	return boundaries
}

// bucketOf is the beginning of the bucket that an instant is in.
func (u bucketUnit) bucketOf(instant time.Time) time.Time {
	at := u.start(instant)
	// Where the clocks were set back over midnight, a day came that had been over.
	for next := u.next(at); !next.After(instant); next = u.next(at) {
		at = next
	}
	return at
}

// hourBefore is a full hour some hours before an instant. In the half hour after the clocks were set by
// one, they do not tell when the bucket began; counted from before, it is known.
func hourBefore(at time.Time) time.Time { return startOfHour(at.Add(-3 * time.Hour)) }

// startOfHour is when the clock last showed a full hour.
func startOfHour(at time.Time) time.Time {
	past := time.Duration(at.Minute())*time.Minute + time.Duration(at.Second())*time.Second + time.Duration(at.Nanosecond())
	return at.Add(-past)
}

// nextHour is when the clock next shows a full hour. One that is set by half an hour makes a bucket
// of one hour and a half; one that is set by an hour makes none longer or shorter.
func nextHour(at time.Time) time.Time {
	next := at.Add(time.Hour)
	if past := next.Sub(startOfHour(next)); past > 0 {
		next = next.Add(time.Hour - past)
	}
	return next
}

// startOfDay is when the day began that an instant is in.
func startOfDay(at time.Time) time.Time { return midnight(at, 0) }

// startOfWeek is when the week began that an instant is in, on its Monday (ISO 8601).
func startOfWeek(at time.Time) time.Time {
	const week = 7
	return midnight(at, -((int(at.Weekday()) + week - 1) % week))
}

// midnight is when the day begins that is so many days behind that of an instant. Where the clock
// leaves out midnight, or the day, that is the first instant behind the gap.
func midnight(at time.Time, days int) time.Time {
	year, month, day := at.Date()
	return schedule.DayStart(year, month, day+days, at.Location())
}
