package seed

import (
	"time"
)

// The operation types that the data is made of, as the allow-list has them from the beginning.
const (
	typeInventorySync = "inventory_sync"
	typeGroupSync     = "entra_group_sync"
	typeDrift         = "drift_generate_findings"
	typeBackup        = "backup_schedule_run"
	typeRetention     = "backup_schedule_retention"
	typePurge         = "backup_schedule_purge"
)

// ending is the state that the newest run of a stream is in.
type ending int

const (
	endsCompleted ending = iota
	endsQueued
	endsRunning
	endsStalled
)

// stream is one piece of work that comes again and again: the same operation with the same
// selection, or the runs of one backup schedule. Its runs follow each other without overlap, so
// that no two active runs have one identity.
type stream struct {
	index     uint64 // its place in world.streams
	ws        *workspace
	tenant    *tenant // nil: the workspace's own work
	typ       string
	count     int
	period    time.Duration
	last      time.Time // when the newest run is due
	batched   bool      // enqueued together with the workspace's others: the same microsecond
	selection selection
	compares  int // of drift generation: the index of the sync whose runs it compares
	ending    ending
	schedule  *schedule // nil: recurs with its period
}

// occurrence is one run to come.
type occurrence struct {
	at       time.Time // when it is created
	typ      string
	slot     time.Time // of a backup schedule's run: when it was due
	byUser   bool
	final    bool // the newest of its stream
	sequence int  // within the stream, from 0
}

// ticks walks the occurrences of a recurring piece of work forward. A person's run comes at any
// time in the first third of a period; with a run lasting a third at most, none meets the next.
func (s *stream) ticks(d *dice, seed uint64) func() (occurrence, bool) {
	k := 0
	return func() (occurrence, bool) {
		if k == s.count {
			return occurrence{}, false
		}
		at := s.last.Add(-time.Duration(s.count-1-k) * s.period)
		o := occurrence{typ: s.typ, sequence: k, final: k == s.count-1}
		if s.batched {
			d.place(seed, placeBatch, s.ws.index, uint64(at.Unix())) //nolint:gosec // only a coordinate
			o.at = at.Add(d.between(0, 90*time.Second))
		} else {
			d.place(seed, placeTick, s.index, uint64(k)) //nolint:gosec // never negative
			o.byUser = d.chance(0.2)
			o.at = at.Add(d.between(0, 90*time.Second))
			if o.byUser && !o.final {
				o.at = o.at.Add(d.between(0, min(s.period/3, 8*time.Hour)))
			}
		}
		if o.final {
			o.at = s.finish(d, o.at)
		}
		k++
		return o, true
	}
}

// finish is when the newest run is created, so that it can be in the state that the stream ends in.
func (s *stream) finish(d *dice, due time.Time) time.Time {
	switch s.ending {
	case endsQueued:
		return s.ws.end.Add(-d.between(time.Second, 2*time.Minute))
	case endsRunning:
		return s.ws.end.Add(-d.between(3*time.Minute, 9*time.Minute))
	case endsStalled:
		return s.ws.end.Add(-d.between(32*time.Minute, 38*time.Minute))
	case endsCompleted:
	}
	return due
}

// finished is what later runs need to know of an earlier one.
type finished struct {
	id int64
	at time.Time
}

// lane is a stream on its way through a timeline.
type lane struct {
	*stream

	ticks func() (occurrence, bool)
	next  occurrence
	// done are the latest completed runs that saw something, the newest last.
	done []finished
	// The run that the next occurrence starts again, if any, and which attempt it was.
	retryOf, attempt int64
	hash             string // the identity, where all runs of the stream have one
}

const rememberedRuns = 6

func (l *lane) remember(r *run) {
	if len(l.done) == rememberedRuns {
		copy(l.done, l.done[1:])
		l.done = l.done[:rememberedRuns-1]
	}
	l.done = append(l.done, finished{r.id, r.completedAt})
}

// timeline merges the streams of a world into all of its runs in the order of their creation. It
// holds a few words a stream and draws every run when its turn comes; a second timeline of the same
// world draws the same again.
type timeline struct {
	world   *world
	dice    *dice // left behind in the place of the newest run, for what else is drawn of it
	ticking *dice
	firstID int64
	drawn   int
	lanes   []*lane // as world.streams
	heap    []*lane // a binary heap, the lane with the earliest next occurrence on top
	run     run
}

// newTimeline begins at the first run, which gets the id firstID.
func newTimeline(w *world, firstID int64) *timeline {
	t := &timeline{world: w, dice: newDice(), ticking: newDice(), firstID: firstID}
	for i := range w.streams {
		s := &w.streams[i]
		l := &lane{stream: s}
		if s.schedule != nil {
			l.ticks = w.ticks(t.ticking, s.schedule)
		} else {
			l.ticks = s.ticks(t.ticking, w.seed)
			l.hash = s.identity()
		}
		t.lanes = append(t.lanes, l)
		if next, ok := l.ticks(); ok {
			l.next = next
			t.heap = append(t.heap, l)
		}
	}
	for i := len(t.heap)/2 - 1; i >= 0; i-- {
		t.sink(i)
	}
	return t
}

// step draws the next run, or returns nil after the last. The run is valid until the next step.
func (t *timeline) step() *run {
	if len(t.heap) == 0 {
		return nil
	}
	l := t.heap[0]
	t.run = t.draw(l, l.next, t.firstID+int64(t.drawn))
	t.drawn++
	next, more := l.ticks()
	if more {
		l.next = next
		t.again(l, &t.run)
	} else {
		end := len(t.heap) - 1
		t.heap[0] = t.heap[end]
		t.heap = t.heap[:end]
	}
	t.sink(0)
	return &t.run
}

// again lets the next occurrence of a failed run be its retry, by a person, minutes later.
func (t *timeline) again(l *lane, r *run) {
	l.retryOf, l.attempt = 0, 0
	if r.outcome != outcomeFailed || r.attempt >= 3 || l.schedule != nil || l.next.final || !r.retried {
		return
	}
	// The last third of a period is free, and a third of the shortest is longer than this.
	l.next.at = r.completedAt.Add(t.ticking.between(time.Minute, 5*time.Minute))
	l.next.byUser = true
	l.retryOf, l.attempt = r.id, r.attempt
}

// earlier orders lanes by their next occurrence. Ties go by the stream, so that the order is total.
func earlier(a, b *lane) bool {
	if c := a.next.at.Compare(b.next.at); c != 0 {
		return c < 0
	}
	return a.index < b.index
}

// sink restores the heap below i.
func (t *timeline) sink(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(t.heap); child++ {
			if earlier(t.heap[child], t.heap[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		t.heap[i], t.heap[least] = t.heap[least], t.heap[i]
		i = least
	}
}
