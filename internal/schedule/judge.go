package schedule

import (
	"cmp"
	"slices"
	"time"
)

// Verdict is what became of a slot.
type Verdict string

// The verdicts.
const (
	OnTime    Verdict = "on_time"   // a backup was made, and its run had come within the grace
	Late      Verdict = "late"      // a backup was made, and its run had come after the grace
	Running   Verdict = "running"   // no backup was made yet, and a run is active
	Failed    Verdict = "failed"    // runs came, and none made a backup
	Missed    Verdict = "missed"    // the grace has passed and nothing came
	Skipped   Verdict = "skipped"   // nothing came, and an earlier run was still active
	Duplicate Verdict = "duplicate" // a backup was made, and more than one run came for it
	Paused    Verdict = "paused"    // the schedule was not enabled
	Upcoming  Verdict = "upcoming"  // it is still to come, or its grace has not passed yet
	Manual    Verdict = "manual"    // no slot: a run that belongs to none
)

// Match is how a run was found to belong to a slot.
type Match string

// The ways to match, the surer first.
const (
	ByName   Match = "scheduled_for" // its context names the instant of the slot
	ByNearby Match = "nearest"       // it came near the slot
)

// Run is a backup run of a schedule. Zero instants are null.
type Run struct {
	ID           int64
	Status       string
	Outcome      string
	CreatedAt    time.Time
	StartedAt    time.Time
	CompletedAt  time.Time
	ScheduledFor time.Time // what its context names
	RetryOfID    int64     // 0 if it is no retry
}

// came is when the run came: when it started, or was made if it has not.
func (r *Run) came() time.Time {
	if r.StartedAt.IsZero() {
		return r.CreatedAt
	}
	return r.StartedAt
}

// Made tells whether the run made a backup.
func (r *Run) Made() bool {
	return r.Outcome == "succeeded" || r.Outcome == "partially_succeeded"
}

// Active tells whether the run is queued or running.
func (r *Run) Active() bool { return r.Status == "queued" || r.Status == "running" }

// blocks tells whether the run was made before an instant and was still active then.
func (r *Run) blocks(at time.Time) bool {
	if !r.CreatedAt.Before(at) || r.CreatedAt.Before(at.Add(-Blocking)) {
		return false
	}
	return r.Active() || r.CompletedAt.After(at)
}

// MatchedRun is a run with how it was matched, which is empty for a manual one.
type MatchedRun struct {
	Run

	By Match
}

// Entry is a line of a schedule's history: a slot with what became of it, or a manual run.
type Entry struct {
	Slot    *Slot // nil for a manual run
	Verdict Verdict
	// LateBy is how long after the slot its first run came, where that is more than the grace, else 0.
	LateBy time.Duration
	Runs   []MatchedRun // in the order in which they came
}

// At is where the entry stands in the history: its slot, or when the manual run was created.
func (e *Entry) At() time.Time {
	if e.Slot == nil {
		return e.Runs[0].CreatedAt
	}
	return e.Slot.At
}

// Judge tells the history of a schedule between from and before, the latter excluded, as it is at now:
// every slot and every manual run, in order. runs holds the schedule's backup runs that were created
// from Reach before from to Reach after before, in any order; others make no difference.
func Judge(versions []Version, runs []Run, from, before, now time.Time) []Entry {
	// Runs around the range may belong to slots in it, and those in it to slots around it.
	slots := Due(versions, from.Add(-Reach), before.Add(Reach))
	bySlot := make([][]MatchedRun, len(slots))
	var entries []Entry
	for i := range runs {
		run := &runs[i]
		if run.CreatedAt.IsZero() {
			continue
		}
		place, by := match(slots, run)
		switch {
		case place >= 0:
			bySlot[place] = append(bySlot[place], MatchedRun{Run: *run, By: by})
		case !run.CreatedAt.Before(from) && run.CreatedAt.Before(before):
			entries = append(entries, Entry{Verdict: Manual, Runs: []MatchedRun{{Run: *run}}})
		}
	}
	for i := atOrAfter(slots, from); i < len(slots) && slots[i].At.Before(before); i++ {
		entries = append(entries, judge(&slots[i], bySlot[i], runs, now))
	}
	slices.SortStableFunc(entries, func(a, b Entry) int {
		return cmp.Or(a.At().Compare(b.At()), cmp.Compare(a.id(), b.id()))
	})
	return entries
}

// Reach is how far around a range runs are to be known for its slots to be judged.
const Reach = NamedLate + NamedEarly

// id breaks ties of entries: a slot stands before the manual runs of its instant.
func (e *Entry) id() int64 {
	if e.Slot == nil {
		return e.Runs[0].ID
	}
	return 0
}

// match finds the slot that a run belongs to, -1 if none. A name that is no slot, because its writer
// knew another plan, is where the nearest slot is looked for.
func match(slots []Slot, run *Run) (int, Match) {
	near := run.CreatedAt
	named := run.ScheduledFor
	if !named.IsZero() && !named.Before(near.Add(-NamedLate)) && !named.After(near.Add(NamedEarly)) {
		near = named
		named = named.Truncate(time.Second)
		if i := atOrAfter(slots, named); i < len(slots) && slots[i].At.Before(named.Add(time.Second)) {
			return i, ByName
		}
	}
	found, distance := -1, time.Duration(0)
	for i := atOrAfter(slots, near.Add(-longestTolerance)); i < len(slots) && !slots[i].At.After(near.Add(Early)); i++ {
		after := near.Sub(slots[i].At)
		if slots[i].Paused || after > slots[i].Tolerance() {
			continue
		}
		if found < 0 || after.Abs() < distance {
			found, distance = i, after.Abs()
		}
	}
	return found, ByNearby
}

// judge tells what became of a slot that matched has come for.
func judge(slot *Slot, matched []MatchedRun, runs []Run, now time.Time) Entry {
	slices.SortStableFunc(matched, func(a, b MatchedRun) int {
		return cmp.Or(a.came().Compare(b.came()), cmp.Compare(a.ID, b.ID))
	})
	e := Entry{Slot: slot, Runs: matched}
	if len(matched) > 0 {
		if late := matched[0].came().Sub(slot.At); late > slot.Grace {
			e.LateBy = late
		}
	}
	switch {
	case slot.Paused:
		e.Verdict = Paused
	case len(matched) > 0:
		e.Verdict = fate(matched, e.LateBy > 0)
	case now.Before(slot.deadline()):
		e.Verdict = Upcoming
	case slices.ContainsFunc(runs, func(r Run) bool { return r.blocks(slot.At) }):
		e.Verdict = Skipped
	default:
		e.Verdict = Missed
	}
	return e
}

// fate is what became of a slot that runs have come for: first whether there is a backup, then what
// else was odd.
func fate(matched []MatchedRun, late bool) Verdict {
	came := make(map[int64]bool, len(matched))
	for i := range matched {
		came[matched[i].ID] = true
	}
	made, active, originals := false, false, 0
	for i := range matched {
		made = made || matched[i].Made()
		active = active || matched[i].Active()
		if !came[matched[i].RetryOfID] {
			originals++
		}
	}
	switch {
	case !made && active:
		return Running
	case !made:
		return Failed
	case originals > 1:
		return Duplicate
	case late:
		return Late
	default:
		return OnTime
	}
}
