package schedule

import "time"

// The kinds of events that tell of a schedule's slots.
const (
	EventMissed    = "schedule_missed"    // a slot's grace has passed and nothing came
	EventRecovered = "schedule_recovered" // a slot has its backup, the first after one that was missed
)

// Event is what is told of a slot. A slot and a kind make at most one event.
type Event struct {
	Kind   string
	SlotAt time.Time
}

// Alerts are the events that a schedule's history calls for and that are not among those told
// already: one for each slot that was missed since an instant, and one for the slot that ends it,
// which is the missed slot itself if its backup came after all.
func Alerts(history []Entry, told []Event, since time.Time) []Event {
	var fresh, missed, recovered []Event
	for _, event := range told {
		if event.Kind == EventMissed {
			missed = append(missed, event)
		} else {
			recovered = append(recovered, event)
		}
	}
	for i := range history {
		e := &history[i]
		switch {
		case e.Verdict == Missed && !e.Slot.At.Before(since) && !tells(missed, e.Slot.At):
			missed = append(missed, Event{EventMissed, e.Slot.At})
			fresh = append(fresh, missed[len(missed)-1])
		case e.Kept() && isOpen(missed, recovered, e.Slot.At):
			recovered = append(recovered, Event{EventRecovered, e.Slot.At})
			fresh = append(fresh, recovered[len(recovered)-1])
		}
	}
	return fresh
}

// tells is whether one of the events is of a slot.
func tells(events []Event, slotAt time.Time) bool {
	for _, event := range events {
		if event.SlotAt.Equal(slotAt) {
			return true
		}
	}
	return false
}

// isOpen tells whether the last slot up to at that was missed has no recovery yet.
func isOpen(missed, recovered []Event, at time.Time) bool {
	var last time.Time
	for _, event := range missed {
		if !event.SlotAt.After(at) && event.SlotAt.After(last) {
			last = event.SlotAt
		}
	}
	if last.IsZero() {
		return false
	}
	for _, event := range recovered {
		if !event.SlotAt.Before(last) {
			return false
		}
	}
	return true
}
