package schedule

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"sort"
	"time"
)

// Version is what a schedule was from an instant on, until the next version.
type Version struct {
	From    time.Time // the zero time for always
	Columns Columns
	Enabled bool
	Deleted bool
	// ComparedAt is the updated_at of the schedule's row when it last was what the version says.
	ComparedAt time.Time
}

// same tells whether two versions differ in nothing that a slot depends on.
func (v *Version) same(o *Version) bool {
	a, b := v.Columns, o.Columns
	return v.Enabled == o.Enabled && v.Deleted == o.Deleted && a.Frequency == b.Frequency &&
		a.TimeOfDay == b.TimeOfDay && a.Timezone == b.Timezone &&
		reflect.DeepEqual(a.GraceSeconds, b.GraceSeconds) && sameJSON(a.DaysOfWeek, b.DaysOfWeek)
}

// sameJSON tells whether two documents are equal as jsonb compares them.
func sameJSON(a, b []byte) bool {
	if bytes.Equal(a, b) || a == nil || b == nil {
		return bytes.Equal(a, b) && (a == nil) == (b == nil)
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// Row is a schedule as its row is now. Zero instants are null.
type Row struct {
	Columns   Columns
	Enabled   bool
	CreatedAt time.Time
	UpdatedAt time.Time
	DeletedAt time.Time
	Deleted   bool
}

// Versions are the versions of a schedule: the stored ones, the oldest first, and what its row says
// that none of them does yet, because somebody wrote into it past the service. Such an edit holds
// from the row's updated_at where it moved with the edit, else from now, so that an edit never
// changes what was before it. stored is not changed.
func Versions(stored []Version, row Row, now time.Time) []Version {
	all := slices.Clip(stored)
	if len(all) == 0 {
		first := Version{From: row.CreatedAt, Columns: row.Columns, Enabled: row.Enabled}
		if first.From.IsZero() {
			first.From = row.UpdatedAt
		}
		all = append(all, first)
	}
	last := &all[len(all)-1]
	current := Version{Columns: row.Columns, Enabled: row.Enabled, Deleted: row.Deleted, ComparedAt: row.UpdatedAt}
	if current.same(last) {
		return all
	}
	told := row.UpdatedAt
	if current.Deleted && !last.Deleted {
		told = row.DeletedAt
	}
	current.From = now
	if told.After(last.From) && told.After(last.ComparedAt) && !told.After(now) {
		current.From = told
	}
	if current.From.Before(last.From) {
		current.From = last.From
	}
	return append(all, current)
}

// Slot is one instant at which a schedule was due.
type Slot struct {
	At     time.Time
	Zone   *time.Location // in which it was planned
	Grace  time.Duration  // how late a backup may come and be on time
	Paused bool           // the schedule was not enabled
}

// The reach of a slot: how far from it a run may be and still belong to it.
const (
	// Early is how long before its slot a run may come that does not name it: clocks differ.
	Early = 5 * time.Minute
	// NamedEarly and NamedLate are how long before and after its slot a run may be created that names
	// it. Beyond, the name counts for nothing.
	NamedEarly = 24 * time.Hour
	NamedLate  = 7 * 24 * time.Hour
	// Blocking is how long a run that does not end keeps others from their slots.
	Blocking = 7 * 24 * time.Hour
	// longestTolerance is the most of Tolerance.
	longestTolerance = 12 * time.Hour
)

// Tolerance is how long after the slot a run may come that does not name it.
func (s *Slot) Tolerance() time.Duration { return min(4*s.Grace, longestTolerance) }

// deadline is when the grace of the slot has passed.
func (s *Slot) deadline() time.Time { return s.At.Add(s.Grace) }

// Due are the slots of a schedule between from and before, the latter excluded, in order. Each is of the
// version that holds at its instant. A deleted schedule has none, nor has a plan that cannot be read.
func Due(versions []Version, from, before time.Time) []Slot {
	var slots []Slot
	for i := range versions {
		v := &versions[i]
		start, end := from, before
		if v.From.After(start) {
			start = v.From
		}
		if i+1 < len(versions) && versions[i+1].From.Before(end) {
			end = versions[i+1].From
		}
		if v.Deleted || !start.Before(end) {
			continue
		}
		plan, err := v.Columns.Plan()
		if err != nil {
			continue
		}
		for _, at := range plan.Slots(start, end) {
			slots = append(slots, Slot{At: at, Zone: plan.Zone, Grace: plan.Grace, Paused: !v.Enabled})
		}
	}
	return slots
}

// atOrAfter is the place of the first slot at or after an instant.
func atOrAfter(slots []Slot, at time.Time) int {
	return sort.Search(len(slots), func(i int) bool { return !slots[i].At.Before(at) })
}
