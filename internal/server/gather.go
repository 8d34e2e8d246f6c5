package server

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// gatherer does what many requests ask for in few statements, as a database gathers commits: an item
// goes at once where few statements are under way, and else together with all others that wait. A
// statement costs nearly as much for one item as for ten. Every statement begins after all of its
// items have come. Items are gathered in lines, each with a key.
type gatherer[Key comparable, Item, Result any] struct {
	do        func(ctx context.Context, key Key, items []Item) []Result
	most      int    // how many statements of a line are under way before items are gathered
	abandoned Result // of items whose statement came to no end

	mu    sync.Mutex
	lines map[Key]*line[Item, Result]
}

// newGatherer makes a gatherer that does items with do, which returns a result for each, in at most
// so many statements of a line at once as long as none is held up. If do panics, the request that it
// ran for panics, and the results of the others are abandoned.
func newGatherer[Key comparable, Item, Result any](
	most int, abandoned Result, do func(ctx context.Context, key Key, items []Item) []Result,
) *gatherer[Key, Item, Result] {
	return &gatherer[Key, Item, Result]{do: do, most: most, abandoned: abandoned, lines: map[Key]*line[Item, Result]{}}
}

// line is the items of one key, as long as there are any.
type line[Item, Result any] struct {
	running int // statements under way
	waiting []*waiter[Item, Result]
}

// waiter is an item that waits for its result, or for its turn to do those of others as well.
type waiter[Item, Result any] struct {
	item   Item
	ready  chan struct{} // closed when either of the next two is there
	result Result
	group  []*waiter[Item, Result] // what it is to do, itself included
}

// gatherPatience is how long an item waits for others. Those under way may be held up by a row that
// somebody has locked.
const gatherPatience = 20 * time.Millisecond

var errAbandoned = errors.New("abandoned by the request that was to do it for this one as well")

// ask does one item, maybe with others.
func (g *gatherer[Key, Item, Result]) ask(ctx context.Context, key Key, item Item) Result {
	self := &waiter[Item, Result]{item: item, ready: make(chan struct{})}
	group := g.enter(key, self)
	if group == nil {
		patience := time.NewTimer(gatherPatience)
		defer patience.Stop()
		select {
		case <-self.ready:
		case <-patience.C:
			if group = g.takeWith(key, self); group == nil {
				<-self.ready
			}
		}
		if self.group != nil {
			group = self.group
		}
	}
	if group != nil {
		g.lead(ctx, key, self, group)
	}
	return self.result
}

// enterEmpty takes the line for what is done without it, if nobody is in it. Who comes while it is done
// waits for its end, which leave tells.
func (g *gatherer[Key, Item, Result]) enterEmpty(key Key) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lines[key] != nil {
		return false
	}
	g.lines[key] = &line[Item, Result]{running: 1}
	return true
}

// enter joins the line. It returns what to do at once, nil if that is to wait.
func (g *gatherer[Key, Item, Result]) enter(key Key, self *waiter[Item, Result]) []*waiter[Item, Result] {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.lines[key]
	if l == nil {
		l = &line[Item, Result]{}
		g.lines[key] = l
	}
	l.waiting = append(l.waiting, self)
	if l.running >= g.most {
		return nil
	}
	return l.take()
}

// takeWith is what all do who wait together with self, nil if self does not wait any more.
func (g *gatherer[Key, Item, Result]) takeWith(key Key, self *waiter[Item, Result]) []*waiter[Item, Result] {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l := g.lines[key]; l != nil && slices.Contains(l.waiting, self) {
		return l.take()
	}
	return nil
}

// take begins a statement for all who wait.
func (l *line[Item, Result]) take() []*waiter[Item, Result] {
	group := l.waiting
	l.waiting = nil
	l.running++
	return group
}

// lead does the items of a group, of which self is one. That its own client hangs up is nothing to
// the others.
func (g *gatherer[Key, Item, Result]) lead(
	ctx context.Context, key Key, self *waiter[Item, Result], group []*waiter[Item, Result],
) {
	items := make([]Item, len(group))
	for i, w := range group {
		items[i] = w.item
		w.result = g.abandoned // if do panics
	}
	defer func() {
		for _, w := range group {
			if w != self {
				close(w.ready)
			}
		}
		g.leave(key)
	}()
	for i, r := range g.do(context.WithoutCancel(ctx), key, items) {
		group[i].result = r
	}
}

// leave ends a statement, and lets one of those who wait do the next.
func (g *gatherer[Key, Item, Result]) leave(key Key) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.lines[key]
	l.running--
	switch {
	case len(l.waiting) > 0 && l.running < g.most:
		group := l.take()
		group[0].group = group
		close(group[0].ready)
	case len(l.waiting) == 0 && l.running == 0:
		delete(g.lines, key)
	}
}
