package server

import (
	"container/list"
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// errOverloaded is the answer to what comes while there is too much to do. It has no cause: a line
// in the log for each would add to the load.
var errOverloaded = &apiError{
	status: http.StatusServiceUnavailable, kind: "overloaded", title: "Overloaded",
	detail: "The service has more to do than it can; try again, and less often.",
	header: map[string]string{"Retry-After": "1"},
}

// capacity is how many requests may be answered at once. Streams of events leave it when they
// begin; there is another limit for them.
type capacity struct {
	most    int64
	taken   atomic.Int64
	refused func() // counts a refusal
}

const defaultMaxRequests = 2048

// place is what one request has of the capacity.
type place struct {
	capacity *capacity
	left     atomic.Bool
}

// leave gives the place back; a second call does nothing.
func (p *place) leave() {
	if p.capacity != nil && p.left.CompareAndSwap(false, true) {
		p.capacity.taken.Add(-1)
	}
}

// limitRequests refuses at once what there is no place for, rather than let a queue grow.
func (s *Server) limitRequests(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isProbe(r) {
			next.ServeHTTP(w, r)
			return
		}
		c := s.capacity
		if c.taken.Add(1) > c.most {
			c.taken.Add(-1)
			c.refused()
			s.fail(w, r, errOverloaded)
			return
		}
		p := &requestOf(r).place
		p.capacity = c
		defer p.leave()
		next.ServeHTTP(w, r)
	})
}

// turns lets as many statements run at once as there are connections, and keeps the others waiting
// in an order that serves people under load: who came last goes first, because the first to have
// come are the first whose clients have given up, and a request that is half done is the one that
// comes back at once for its next statement. (Fail at Scale, ACM Queue 13.8, calls it adaptive
// LIFO.) One that has to wait too long is refused; that is much sooner when somebody has been
// waiting without a break for long, which is an overload and no crowd that came at once.
type turns struct {
	patience  time.Duration // the longest wait in a crowd, and how long a crowd takes to be an overload
	impatient time.Duration // the longest wait in an overload
	longest   int           // how many may wait
	refused   func()        // counts a refusal

	mu      sync.Mutex
	free    int
	waiting list.List // of chan struct{}, the last to have come at the front
	calm    time.Time // when nobody was waiting last, if somebody is
}

const (
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
	turn, element, patience := t.enter()
	if turn == nil {
		if patience == 0 {
			t.refused()
			return errOverloaded
		}
		return nil
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-turn:
		return nil
	case <-timer.C:
		if t.giveUp(element) {
			t.refused()
			return errOverloaded
		}
	case <-ctx.Done():
		if t.giveUp(element) {
			return ctx.Err()
		}
	}
	return nil // the turn came at the same moment
}

// enter takes a free turn, or joins those who wait. There is no turn to wait for where it was
// taken, with some patience, or where too many wait, with none.
func (t *turns) enter() (turn chan struct{}, element *list.Element, patience time.Duration) {
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
	if t.waiting.Len() == 0 {
		t.calm = now
	}
	patience = t.patience
	if now.Sub(t.calm) > t.patience {
		patience = t.impatient
	}
	turn = make(chan struct{})
	return turn, t.waiting.PushFront(turn), patience
}

// giveUp ends a wait; false says that the turn has come meanwhile.
func (t *turns) giveUp(element *list.Element) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if element.Value == nil {
		return false
	}
	t.waiting.Remove(element)
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
	turn, _ := next.Value.(chan struct{}) // nothing else is put there
	t.waiting.Remove(next)
	next.Value = nil
	close(turn)
}
