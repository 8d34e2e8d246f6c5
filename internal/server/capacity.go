package server

import (
	"context"
	"net/http"
	"sync/atomic"

	"github.com/runledger/runledger/internal/auth"
)

// errOverloaded is the answer to what comes while there is too much to do. It has no cause: a line
// in the log for each would add to the load.
var errOverloaded = &apiError{
	status: http.StatusServiceUnavailable, kind: "overloaded", title: "Overloaded",
	detail: "The service has more to do than it can; try again, and less often.",
	header: map[string]string{"Retry-After": "1"},
}

// capacity is how many requests may be answered at once: a great many, most of which may wait for a
// slow client, and few of those that are still worked on where the database has more to do than it can,
// since whatever is taken in then makes all the others wait. Streams of events leave it when they begin;
// there is another limit for them.
type capacity struct {
	most    int64
	busiest int64  // how many may be worked on in any overload
	turns   *turns // knows of an overload
	taken   atomic.Int64
	working atomic.Int64 // of them those that do not wait for their client
	weights *weights     // of their bodies
	refused func()       // counts a refusal
}

const (
	defaultMaxRequests = 2048
	// requestsPerTurn is how many requests there may be in any overload for each statement that the
	// database works on: one that it works on, and one whose answer is made, or whose
	// statement comes next. There may be more where they are answered soon all the same.
	requestsPerTurn = 2
	leastBusiest    = 16 // with however few connections: a moment's crowd
)

// enter takes a place, if there is one.
func (c *capacity) enter() bool {
	taken, working := c.taken.Add(1), c.working.Add(1)
	if taken > c.most || working > c.busiest && c.turns.overloaded(working) {
		c.taken.Add(-1)
		c.working.Add(-1)
		c.refused()
		return false
	}
	return true
}

// slots are places for what there may only be a certain number of at once.
type slots chan struct{}

// enter takes one, if there is one, and tells how to give it back.
func (s slots) enter() (leave func(), ok bool) {
	select {
	case s <- struct{}{}:
		return s.leave, true
	default:
		return nil, false
	}
}

// await takes one as soon as there is one. The error is that of ctx.
func (s slots) await(ctx context.Context) (leave func(), err error) {
	select {
	case s <- struct{}{}:
		return s.leave, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s slots) leave() { <-s }

// place is what one request has of the capacity, and of its subject's share of it.
type place struct {
	capacity *capacity
	shares   *shares[auth.Subject] // nil as long as it has none of one
	subject  auth.Subject
	weight   int  // bytes that its bodies have of the weights
	shared   int  // and of its subject's share of them alone
	waiting  bool // for its client
	left     bool
}

// share counts the place as one of the subject's, who may not have all of them.
func (p *place) share(s *shares[auth.Subject], subject auth.Subject) error {
	if err := s.take(subject, 1); err != nil {
		return err
	}
	p.shares, p.subject = s, subject
	return nil
}

// weigh counts a body of so many bytes, one that comes or one that is to be sent, until the place is
// left. The error is the answer where they are not to be had.
func (p *place) weigh(bytes int) error {
	if bytes < heavy {
		return nil
	}
	return p.hold(bytes)
}

// hold is weigh for a part of a body, however small.
func (p *place) hold(bytes int) error {
	if p.capacity == nil || p.left {
		return nil
	}
	if err := p.capacity.weights.take(p.subject, bytes); err != nil {
		return err
	}
	p.weight += bytes
	return nil
}

// holdShared is hold for what others hold as well, and has been counted in all.
func (p *place) holdShared(bytes int) error {
	if p.capacity == nil || p.left || bytes == 0 {
		return nil
	}
	if err := p.capacity.weights.shares.take(p.subject, bytes); err != nil {
		return err
	}
	p.shared += bytes
	return nil
}

// bear is weigh for the answer to what has been written, which is acknowledged whatever it weighs.
func (p *place) bear(bytes int) {
	if p.capacity == nil || p.left || bytes < heavy {
		return
	}
	p.capacity.weights.bear(p.subject, bytes)
	p.weight += bytes
}

// wait says that nothing is done for the request but to wait for its client, who has a body to send or an answer to
// read. It is in nobody's way then.
func (p *place) wait() {
	if p.capacity != nil && !p.waiting {
		p.waiting = true
		p.capacity.working.Add(-1)
	}
}

// work says that the request is worked on again.
func (p *place) work() {
	if p.capacity != nil && p.waiting && !p.left {
		p.waiting = false
		p.capacity.working.Add(1)
	}
}

// leave gives the place back; a second call does nothing.
func (p *place) leave() {
	if p.capacity == nil || p.left {
		return
	}
	p.wait()
	p.left = true
	p.capacity.taken.Add(-1)
	if p.shares != nil {
		p.shares.giveBack(p.subject, 1)
	}
	if p.weight > 0 {
		p.capacity.weights.giveBack(p.subject, p.weight)
	}
	if p.shared > 0 {
		p.capacity.weights.shares.giveBack(p.subject, p.shared)
	}
}

// limitRequests refuses at once what there is no place for, rather than let a queue grow.
func (s *Server) limitRequests(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isProbe(r) {
			next.ServeHTTP(w, r)
			return
		}
		if !s.capacity.enter() {
			requestOf(r).refused = true
			s.fail(w, r, errOverloaded)
			return
		}
		p := &requestOf(r).place
		p.capacity = s.capacity
		defer p.leave()
		next.ServeHTTP(w, r)
	})
}
