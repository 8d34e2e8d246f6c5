// Package schedule knows at which instants a backup schedule was due, and what became of each. It
// does no I/O: plans, runs and the present come from its caller.
//
// docs/schedules.md says the rules in words.
package schedule

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The frequencies of a plan.
const (
	Daily  = "daily"
	Weekly = "weekly"
)

// Days is a set of days of the week, a bit for each time.Weekday.
type Days uint8

// EveryDay is the set of all days.
const EveryDay Days = 1<<7 - 1

// Has tells whether a day is in the set.
func (d Days) Has(day time.Weekday) bool { return d&(1<<day) != 0 }

// Numbers are the days by ISO 8601, Monday being 1 and Sunday 7, in order.
func (d Days) Numbers() []int {
	var numbers []int
	for number := 1; number <= 7; number++ {
		if d.Has(time.Weekday(number % 7)) {
			numbers = append(numbers, number)
		}
	}
	return numbers
}

// Plan says when a schedule is due: on some days of the week at a time of day by the clocks of a
// time zone.
type Plan struct {
	Days      Days
	TimeOfDay time.Duration // since midnight by the clock, from 0 to 24 h
	Zone      *time.Location
	Grace     time.Duration // how late a backup may come and be on time
}

// The grace of schedules that set none.
const (
	dailyGrace  = 30 * time.Minute
	weeklyGrace = time.Hour
)

// Columns are the columns of a backup schedule that make its plan, as the database has them.
type Columns struct {
	Frequency    string
	TimeOfDay    time.Duration
	DaysOfWeek   []byte // JSON, nil for null
	Timezone     string
	GraceSeconds *int64
}

// Plan reads the columns. The error, in words for the owner of the schedule, says why they are no
// plan; such a schedule is never due.
func (c Columns) Plan() (Plan, error) {
	p := Plan{TimeOfDay: c.TimeOfDay, Grace: dailyGrace}
	if c.TimeOfDay < 0 || c.TimeOfDay > 24*time.Hour {
		return Plan{}, fmt.Errorf("the time of day %s is not within a day", c.TimeOfDay)
	}
	var err error
	if p.Zone, err = LoadZone(c.Timezone); err != nil {
		return Plan{}, err
	}
	switch c.Frequency {
	case Daily: // every day, whatever days_of_week says
		p.Days = EveryDay
	case Weekly:
		p.Grace = weeklyGrace
		if p.Days, err = ParseDays(c.DaysOfWeek); err != nil {
			return Plan{}, err
		}
		if p.Days == 0 {
			return Plan{}, errors.New("the schedule is weekly and days_of_week names no day")
		}
	default:
		return Plan{}, fmt.Errorf("the frequency %q is neither daily nor weekly", c.Frequency)
	}
	if c.GraceSeconds != nil {
		p.Grace = time.Duration(*c.GraceSeconds) * time.Second
	}
	return p, nil
}

// ParseDays reads days of the week from JSON. They are an array of numbers by ISO 8601, Monday
// being 1 and Sunday 7; 0 is Sunday, too. Older stores have numbers as texts, English names or
// their first three letters, and objects with the days as values, which is how PHP writes an array
// with gaps. Null and nothing are no days.
func ParseDays(document []byte) (Days, error) {
	if len(document) == 0 {
		return 0, nil
	}
	var list []any
	if err := json.Unmarshal(document, &list); err != nil {
		var object map[string]any
		if err := json.Unmarshal(document, &object); err != nil {
			return 0, errors.New("days_of_week is no array of days")
		}
		for _, value := range object {
			list = append(list, value)
		}
	}
	var days Days
	for _, value := range list {
		day, ok := parseDay(value)
		if !ok {
			return 0, errors.New("days_of_week has something that is no day: use 1 for Monday to 7 for Sunday")
		}
		days |= 1 << day
	}
	return days, nil
}

// parseDay reads one day.
func parseDay(value any) (time.Weekday, bool) {
	switch v := value.(type) {
	case float64:
		if v == float64(int(v)) && v >= 0 && v <= 7 {
			return time.Weekday(int(v) % 7), true
		}
	case string:
		text := strings.ToLower(strings.TrimSpace(v))
		if number, err := strconv.Atoi(text); err == nil && number >= 0 && number <= 7 {
			return time.Weekday(number % 7), true
		}
		for day := time.Sunday; day <= time.Saturday; day++ {
			name := strings.ToLower(day.String())
			if text == name || text == name[:3] {
				return day, true
			}
		}
	}
	return 0, false
}
