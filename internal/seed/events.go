package seed

import (
	"strconv"
	"time"
)

// The kinds of operation_run_events.
const (
	eventCreated         = "created"
	eventStarted         = "started"
	eventReported        = "reported"
	eventStalled         = "stalled"
	eventCancelRequested = "cancel_requested"
	eventCompleted       = "completed"
	eventRetried         = "retried"
)

// change is one event of a run.
type change struct {
	run  int64
	kind string
	at   time.Time
}

// changes appends what happened to r, in order. Heartbeats are no events of their own here: they
// would be most of the table and tell nothing.
func (r *run) changes(to []change) []change {
	add := func(kind string, at time.Time) { to = append(to, change{r.id, kind, at}) }
	add(eventCreated, r.at)
	requested := !r.cancelAt.IsZero()
	if requested && (r.startedAt.IsZero() || r.cancelAt.Before(r.startedAt)) {
		add(eventCancelRequested, r.cancelAt)
		requested = false
	}
	if !r.startedAt.IsZero() {
		add(eventStarted, r.startedAt)
		until := r.completedAt
		switch {
		case requested:
			until = r.cancelAt
		case r.stalledOut:
			until = r.heartbeatAt
		}
		step := until.Sub(r.startedAt) / time.Duration(r.reports+1)
		for i := range r.reports {
			add(eventReported, r.startedAt.Add(time.Duration(i+1)*step).Truncate(time.Microsecond))
		}
	}
	if requested {
		add(eventCancelRequested, r.cancelAt)
	}
	if !r.stalledAt.IsZero() {
		add(eventStalled, r.stalledAt)
	}
	if !r.completedAt.IsZero() {
		add(eventCompleted, r.completedAt)
	}
	return to
}

// revision is how often the row was written.
func (r *run) revision() int64 {
	var room [12]change
	return int64(len(r.changes(room[:0])))
}

// chronicle tells which events are kept: those of the newest runs. A real server writes an event
// with every change; for most of a long history nobody reads them, and they would be three quarters
// of all rows.
type chronicle struct {
	since int // the number of the first run that has events
	room  []change
}

func newChronicle(w *world) *chronicle {
	const share, atLeast = 10, 10_000
	return &chronicle{since: w.runs - max(w.runs/share, min(w.runs, atLeast))}
}

// of lists the events that come into the world with r. The result is valid until the next call.
func (c *chronicle) of(r *run) []change {
	if r.number < c.since {
		return nil
	}
	c.room = r.changes(c.room[:0])
	if r.retryOf != 0 {
		c.room = append(c.room, change{r.retryOf, eventRetried, r.at})
	}
	return c.room
}

func (l *loader) eventRows() table {
	columns := []string{"workspace_id", "run_id", "kind", "at", "actor", "data"}
	t, c := newTimeline(l.world, l.firstRun), newChronicle(l.world)
	var r *run
	var left []change
	var data []byte
	row := make([]any, 0, len(columns))
	return table{"operation_run_events", columns, func() []any {
		for len(left) == 0 {
			if r = t.step(); r == nil {
				return nil
			}
			left = c.of(r)
		}
		e := left[0]
		left = left[1:]
		data = appendEventData(data[:0], r, e)
		row = append(row[:0], r.lane.ws.id, e.run, e.kind, e.at, r.actor(e.kind), data)
		return row
	}}
}

func (r *run) actor(kind string) string {
	switch kind {
	case eventCreated, eventRetried:
		return r.initiator()
	case eventCancelRequested:
		return r.lane.ws.users[0].name()
	case eventStalled:
		return "System"
	case eventCompleted:
		if r.stalledOut {
			return "System"
		}
	}
	return "Worker"
}

func appendEventData(b []byte, r *run, e change) []byte {
	switch e.kind {
	case eventCreated:
		b = append(b, `{"status":"queued","attempt":`...)
		b = strconv.AppendInt(b, r.attempt, 10)
	case eventStarted, eventReported:
		b = append(b, `{"status":"running"`...)
	case eventCompleted:
		b = append(b, `{"status":"completed","outcome":`...)
		b = appendString(b, r.outcome)
	case eventRetried:
		b = append(b, `{"retried_by_run_id":`...)
		b = strconv.AppendInt(b, r.id, 10)
	default:
		b = append(b, '{')
	}
	return append(b, '}')
}
