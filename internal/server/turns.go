package server

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// turns lets as many statements run at once as there are connections, and keeps the others waiting
// in an order that serves people under load: who came last goes first, because the first to have
// come are the first whose clients have given up, and a request that is half done is the one that
// comes back at once for its next statement. (Fail at Scale, ACM Queue 13.8, calls it adaptive
// LIFO.) One that has to wait too long is refused; that is much sooner in an overload.
//
// It is an overload when somebody has been waiting for some time without a break. A crowd that comes
// at once is none: as long as nobody else comes, all of it is served.
type turns struct {
	patience  time.Duration // the longest wait in a crowd
	impatient time.Duration // the longest wait in an overload
	longest   int           // how many may wait
	refused   func()        // counts a refusal

	mu      sync.Mutex
	free    int
	waiting list.List // of *turn, the last to have come at the front
	since   time.Time // when the waiting began, if somebody is or was waiting just now
	calm    time.Time // when nobody was waiting any more, if nobody is
}

// turn is somebody who waits for one.
type turn struct {
	since   time.Time
	over    chan struct{} // closed at the end of the wait
	refused bool          // how it has ended
	ended   bool
}

const (
	overloadBegins   = 250 * time.Millisecond // how long somebody has to be waiting for it to be one
	overloadEnds     = 100 * time.Millisecond // and for how long nobody, for it to be none any more
	overloadPatience = 50 * time.Millisecond
	longestQueue     = 4096
)

func newTurns(places int, patience time.Duration, refused func()) *turns {
	return &turns{
		free: places, patience: patience, impatient: min(overloadPatience, patience), longest: longestQueue, refused: refused,
	}
}

// take waits for a turn. The error is errOverloaded or that of ctx.
func (t *turns) take(ctx context.Context) error {
	if t == nil {
		return nil
	}
	mine, element, patience := t.enter()
	if mine == nil {
		if patience == 0 {
			t.refused()
			return errOverloaded
		}
		return nil
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-mine.over:
	case <-timer.C:
		t.giveUp(element, mine)
	case <-ctx.Done():
		if t.giveUp(element, mine) {
			return ctx.Err()
		}
	}
	if mine.refused {
		t.refused()
		return errOverloaded
	}
	return nil
}

// enter takes a free turn, or joins those who wait. There is no turn to wait for where it was
// taken, with some patience, or where too many wait, with none.
func (t *turns) enter() (mine *turn, element *list.Element, patience time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.free > 0:
		t.free--
		return nil, nil, t.patience
	case t.waiting.Len() >= t.longest:
		return nil, nil, 0
	}
	now := time.Now()
	if t.waiting.Len() == 0 && now.Sub(t.calm) > overloadEnds {
		t.since = now
	}
	patience = t.patience
	if t.isOverload(now) {
		patience = t.impatient
	}
	mine = &turn{since: now, over: make(chan struct{})}
	return mine, t.waiting.PushFront(mine), patience
}

// isOverload tells whether somebody has been waiting for long. It is called with mu held.
func (t *turns) isOverload(now time.Time) bool {
	if t.waiting.Len() == 0 && now.Sub(t.calm) > overloadEnds {
		return false
	}
	return now.Sub(t.since) > overloadBegins
}

// overloaded tells whether whoever comes now had better not be taken in. The one who has waited
// longest leaves then as well, if that is longer than anybody is to wait: what is left of the crowd
// with which an overload began is in the way of all who come later.
func (t *turns) overloaded() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if !t.isOverload(now) {
		return false
	}
	if last := t.waiting.Back(); last != nil {
		if oldest, _ := last.Value.(*turn); now.Sub(oldest.since) > t.impatient { // nothing else is put there
			t.end(last, oldest, true)
		}
	}
	return true
}

// end ends a wait. It is called with mu held.
func (t *turns) end(element *list.Element, who *turn, refused bool) {
	t.waiting.Remove(element)
	who.ended, who.refused = true, refused
	close(who.over)
	if t.waiting.Len() == 0 {
		t.calm = time.Now()
	}
}

// giveUp ends a wait as refused; false says that it has ended meanwhile.
func (t *turns) giveUp(element *list.Element, mine *turn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if mine.ended {
		return false
	}
	t.end(element, mine, true)
	return true
}

// giveBack ends a turn: the next one is that of who came last.
func (t *turns) giveBack() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	next := t.waiting.Front()
	if next == nil {
		t.free++
		return
	}
	who, _ := next.Value.(*turn) // nothing else is put there
	t.end(next, who, false)
}
