package schedule

import (
	"slices"
	"time"
)

// State is how a schedule fares.
type State string

// The states, the worst first.
const (
	StateMissing  State = "missing"   // nothing came for its newest slot, or its plan cannot be read
	StateFailing  State = "failing"   // what came for its newest slot made no backup
	StateNeverRan State = "never_ran" // it has no run at all
	StateLate     State = "late"      // its newest backup was late, or is overdue within its grace
	StateOK       State = "ok"        // the backup of its newest slot is there
	StatePaused   State = "paused"    // it is not enabled
)

// States lists every state, the worst first.
var States = []State{StateMissing, StateFailing, StateNeverRan, StateLate, StateOK, StatePaused}

// Rank is the place of the state among States.
func (s State) Rank() int { return slices.Index(States, s) }

// Health is how a schedule fares at an instant.
type Health struct {
	State State
	// Failed and Missed count the slots in a row, up to the newest, of which none has a backup. Slots
	// that were skipped or paused, and those whose run is active, neither count nor end the row.
	Failed, Missed int
	Since          time.Time // the first slot of that row, zero if there is none
	Next           time.Time // the next slot, zero if there is none
	Fault          error     // why the plan cannot be read, nil if it can
}

// Assess tells how a schedule fares at now. versions are those of a schedule, at least one. history
// is what Judge has told up to now, reaching as far back as a streak is to be followed. everRan tells
// whether the schedule has any run.
func Assess(versions []Version, history []Entry, everRan bool, now time.Time) Health {
	current := &versions[len(versions)-1]
	plan, fault := current.Columns.Plan()
	h := Health{Fault: fault}
	if fault == nil && current.Enabled && !current.Deleted {
		after := now
		if current.From.After(after) {
			after = current.From.Add(-1)
		}
		h.Next = plan.Next(after)
	}
	newest, overdue := h.follow(history, now)
	switch {
	case !current.Enabled:
		h.State = StatePaused
	case fault != nil:
		h.State = StateMissing
	case !everRan:
		h.State = StateNeverRan
	case newest == Missed:
		h.State = StateMissing
	case newest == Failed:
		h.State = StateFailing
	case newest == Late, overdue:
		h.State = StateLate
	default:
		h.State = StateOK
	}
	return h
}

// follow counts the streak back from the newest slot. It returns the newest verdict that is final,
// empty if there is none, and whether a slot waits for its run for longer than a quarter of its grace:
// the first moments after a slot are not worth a change of state.
func (h *Health) follow(history []Entry, now time.Time) (newest Verdict, overdue bool) {
	for i := range slices.Backward(history) {
		e := &history[i]
		if e.Verdict == Upcoming && !now.Before(e.Slot.At.Add(e.Slot.Grace/4)) {
			overdue = true
		}
		if !e.Settled() {
			continue
		}
		if newest == "" {
			newest = e.Verdict
		}
		if e.Kept() {
			break
		}
		if e.Verdict == Missed {
			h.Missed++
		} else {
			h.Failed++
		}
		h.Since = e.Slot.At
	}
	return newest, overdue
}

// Settled tells whether the entry is a slot that either has its backup or has gone without.
func (e *Entry) Settled() bool { return e.Kept() || e.Verdict == Failed || e.Verdict == Missed }

// Kept tells whether the entry is a slot that has its backup.
func (e *Entry) Kept() bool {
	return e.Verdict == OnTime || e.Verdict == Late || e.Verdict == Duplicate
}
