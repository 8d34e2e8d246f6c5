package server

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// turns lets as many statements run at once as there are connections, and keeps the others waiting:
// who came first goes first, until there is more to do than can be done. Then who came last goes
// first, because the first to have come are the first whose clients have given up, and a request that
// is half done is the one that comes back at once for its next statement. (Fail at Scale, ACM Queue
// 13.8, calls it adaptive LIFO.) One that has to wait too long is refused.
//
// It is an overload when somebody has been waiting for some time without a break, and there are more
// requests than can be answered in reasonable time. Then requests are refused at the door, and with
// each of them one that has waited for long, until there are as few as take no longer than usual: see
// capacity. It is over when nobody has had to wait or be refused for a moment. A crowd that comes at
// once is no overload: as long as nobody else comes, all of it is served.
type turns struct {
	patience time.Duration // the longest wait
	longest  int           // how many may wait
	refused  func()        // counts a refusal
	waited   func(float64) // is told how many seconds somebody has waited

	mu       sync.Mutex
	free     int
	waiting  list.List // of *turn, the last to have come at the front
	since    time.Time // when the waiting began, if somebody is or was waiting just now
	calm     time.Time // when nobody was waiting any more or refused instead, if nobody is waiting
	refusing bool      // whether requests have been refused since the waiting began
	answered int       // requests for whom a turn has ended since counted
	counted  time.Time
	rate     float64 // how many these were in a second, when they were last counted
	before   float64 // and when the overload began
}

// turn is somebody who waits for one.
type turn struct {
	since   time.Time
	over    chan struct{} // closed at the end of the wait
	refused bool          // how it has ended
	ended   bool
}

const (
	overloadBegins   = 50 * time.Millisecond  // how long somebody has to be waiting for it to be one
	overloadEnds     = 100 * time.Millisecond // and for how long nobody, for it to be none any more
	overloadPatience = 50 * time.Millisecond  // from when on a wait is ended in an overload to make room
	overloadLatency  = 50 * time.Millisecond  // it is none if those that there are can be answered within this
	leastCrowd       = 128                    // and how many they have to be, however long they take
	overloadTarget   = 20 * time.Millisecond  // how long they may take from then on, so that it is soon over
	overloadShare    = 0.25                   // of those answered before: if there are fewer, it is not for want of turns
	rateWindow       = 50 * time.Millisecond  // over how long it is counted how many are answered
	longestQueue     = 4096
)

func newTurns(places int, patience time.Duration, refused func(), waited func(seconds float64)) *turns {
	return &turns{free: places, patience: patience, longest: longestQueue, refused: refused, waited: waited}
}

// take waits for a turn. The error is errOverloaded or that of ctx.
func (t *turns) take(ctx context.Context) error {
	if t == nil {
		return nil
	}
	mine, element, ok := t.enter()
	if !ok {
		t.refused()
		return errOverloaded
	}
	if mine == nil {
		return nil
	}
	defer func() { t.waited(time.Since(mine.since).Seconds()) }()
	timer := time.NewTimer(t.patience)
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

// enter takes a free turn, for which there is none to wait, or joins those who wait; false says that
// too many do.
func (t *turns) enter() (mine *turn, element *list.Element, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.free > 0:
		t.free--
		return nil, nil, true
	case t.waiting.Len() >= t.longest:
		return nil, nil, false
	}
	now := time.Now()
	if t.waiting.Len() == 0 && now.Sub(t.calm) > overloadEnds {
		t.since, t.refusing = now, false
	}
	mine = &turn{since: now, over: make(chan struct{})}
	return mine, t.waiting.PushFront(mine), true
}

// isOverload tells whether somebody has been waiting for long. It is called with mu held.
func (t *turns) isOverload(now time.Time) bool {
	if t.waiting.Len() == 0 && now.Sub(t.calm) > overloadEnds {
		return false
	}
	return now.Sub(t.since) > overloadBegins
}

// overloaded tells whether it is an overload and so many requests are more than those answered lately
// say can be answered in time, so that whoever comes now had better not be taken in. The one who
// has waited longest leaves then as well, if that is for long: what is left of the crowd with which an
// overload began is in the way of all who come later.
func (t *turns) overloaded(requests int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if window := now.Sub(t.counted); window > rateWindow {
		t.rate, t.answered, t.counted = float64(t.answered)/window.Seconds(), 0, now
	}
	if !t.isOverload(now) {
		return false
	}
	most := t.rate * overloadTarget.Seconds()
	if !t.refusing {
		most = max(leastCrowd, t.rate*overloadLatency.Seconds())
	}
	if float64(requests) <= most {
		return false
	}
	if !t.refusing {
		t.refusing, t.before = true, t.rate
	}
	if t.free == 0 || t.rate > t.before*overloadShare {
		t.calm = now // whom it refuses would be waiting
	}
	if last := t.waiting.Back(); last != nil {
		if oldest, _ := last.Value.(*turn); now.Sub(oldest.since) > overloadPatience { // nothing else is put there
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

// shared counts further requests that a turn answers, besides the one that took it.
func (t *turns) shared(more int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answered += more
}

// giveBack ends a turn: the next one is that of who came first, in an overload of who came last.
func (t *turns) giveBack() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answered++
	next := t.waiting.Back()
	if t.refusing {
		next = t.waiting.Front()
	}
	if next == nil {
		t.free++
		return
	}
	who, _ := next.Value.(*turn) // nothing else is put there
	t.end(next, who, false)
}
