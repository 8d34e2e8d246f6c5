package server

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/runledger/runledger/internal/workspace"
)

// gatherer does the starts of many requests in few statements, as a database gathers commits: a
// start goes at once where few are under way, and else together with all others that wait. A
// statement costs nearly as much for one start as for ten.
type gatherer struct {
	do func(ctx context.Context, ws workspace.Scope, items []start) []result

	mu    sync.Mutex
	lines map[workspace.Scope]*line
}

// line is the starts of one member in one workspace, as long as there are any.
type line struct {
	running int // statements under way
	waiting []*waiter
}

// waiter is a start that waits for its result, or for its turn to do those of others as well.
type waiter struct {
	item   start
	ready  chan struct{} // closed when either of the next two is there
	result result
	group  []*waiter // what it is to do, itself included
}

const (
	// maxGathering is how many statements of a line are under way before starts are gathered: one
	// that the database works on, and one on its way.
	maxGathering = 2
	// gatherPatience is how long a start waits for others. Those under way may be held up by a row
	// that somebody has locked.
	gatherPatience = 20 * time.Millisecond
)

var errAbandoned = errors.New("the start was abandoned by the request that was to do it")

// start does one start, maybe with others.
func (g *gatherer) start(ctx context.Context, ws workspace.Scope, item start) result {
	self := &waiter{item: item, ready: make(chan struct{})}
	group := g.enter(ws, self)
	if group == nil {
		patience := time.NewTimer(gatherPatience)
		defer patience.Stop()
		select {
		case <-self.ready:
		case <-patience.C:
			if group = g.takeWith(ws, self); group == nil {
				<-self.ready
			}
		}
		if self.group != nil {
			group = self.group
		}
	}
	if group != nil {
		g.lead(ctx, ws, self, group)
	}
	return self.result
}

// enter joins the line. It returns what to do at once, nil if that is to wait.
func (g *gatherer) enter(ws workspace.Scope, self *waiter) []*waiter {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.lines[ws]
	if l == nil {
		l = &line{}
		g.lines[ws] = l
	}
	l.waiting = append(l.waiting, self)
	if l.running >= maxGathering {
		return nil
	}
	return l.take()
}

// takeWith is what all do who wait together with self, nil if self does not wait any more.
func (g *gatherer) takeWith(ws workspace.Scope, self *waiter) []*waiter {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l := g.lines[ws]; l != nil && slices.Contains(l.waiting, self) {
		return l.take()
	}
	return nil
}

// take begins a statement for all who wait.
func (l *line) take() []*waiter {
	group := l.waiting
	l.waiting = nil
	l.running++
	return group
}

// lead does the starts of a group, of which self is one. That its own client hangs up is nothing to
// the others.
func (g *gatherer) lead(ctx context.Context, ws workspace.Scope, self *waiter, group []*waiter) {
	items := make([]start, len(group))
	for i, w := range group {
		items[i] = w.item
		w.result.err = errAbandoned // if do panics
	}
	defer func() {
		for _, w := range group {
			if w != self {
				close(w.ready)
			}
		}
		g.leave(ws)
	}()
	for i, r := range g.do(context.WithoutCancel(ctx), ws, items) {
		group[i].result = r
	}
}

// leave ends a statement, and lets one of those who wait do the next.
func (g *gatherer) leave(ws workspace.Scope) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.lines[ws]
	l.running--
	switch {
	case len(l.waiting) > 0 && l.running < maxGathering:
		group := l.take()
		group[0].group = group
		close(group[0].ready)
	case len(l.waiting) == 0 && l.running == 0:
		delete(g.lines, ws)
	}
}

// startGathered does starts that came at the same moment, in any order. Of two that want the same
// and have no key the second one finds the run of the first.
func (s *Server) startGathered(ctx context.Context, ws workspace.Scope, items []start) []result {
	type wish struct {
		identity identity
		runType  string
	}
	operations, subjects := make([]operation, len(items)), make([][]subject, len(items))
	first, same := map[wish]int{}, map[int]int{}
	for i := range items {
		item := &items[i]
		operations[i].start = item
		if item.idempotencyKey == "" && item.retryOfID == 0 {
			if earlier, ok := first[wish{item.identity(), item.runType}]; ok {
				same[i] = earlier
				continue
			}
			first[wish{item.identity(), item.runType}] = i
		}
		subjects[i] = item.subjects()
	}
	results := make([]result, len(items))
	for _, wave := range waves(subjects) {
		s.doWave(ctx, ws, operations, wave, results)
	}
	for i, earlier := range same {
		if results[i] = results[earlier]; results[i].err != nil {
			results[i] = s.startMany(ctx, ws, items[i:i+1])[0] // it may have been the other one's fault
			continue
		}
		results[i].status = http.StatusOK
	}
	return results
}
