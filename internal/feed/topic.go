package feed

import (
	"sort"
	"sync"
	"time"
)

// How much of what was last read a topic keeps, for subscribers to read without the database.
const (
	recentChanges = 1024
	recentBytes   = 512 << 10
)

// Change is a change as subscribers get it.
type Change struct {
	Position Position
	Frame    []byte // made once for all subscribers: not to be written to

	at time.Time // when its transaction began
}

// topic is a workspace that somebody follows: how far the poller has read its changes, and the
// last of them.
type topic struct {
	workspaceID int64
	stale       bool // it is to be read whether or not the horizon moved; only the poller uses it, and
	refused     bool // whether it could not be read the last time

	mu          sync.Mutex
	subscribers int           // guarded by the mutex of the Feed
	tail        Position      // recent holds everything behind it,
	head        Position      // up to here
	horizon     int64         // below which every transaction had ended when head was read
	recent      []Change      // its elements never change, so parts of it may be handed out
	bytes       int           // of recent
	moved       chan struct{} // closed when head moves
	ended       chan struct{} // closed when the history is another one
}

func newTopic(workspaceID int64, p place) *topic {
	return &topic{
		workspaceID: workspaceID, stale: true, tail: p.last(), head: p.last(), horizon: p.Horizon,
		moved: make(chan struct{}), ended: make(chan struct{}),
	}
}

// last is how far the topic was read.
func (t *topic) last() Position {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.head
}

// isOver tells whether the history is another one.
func (t *topic) isOver() bool {
	select {
	case <-t.ended:
		return true
	default:
		return false
	}
}

// add appends changes that follow the head, of transactions below the horizon.
func (t *topic) add(changes []Change, horizon int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, change := range changes {
		t.bytes += len(change.Frame)
	}
	t.recent = append(t.recent, changes...)
	t.head, t.horizon = changes[len(changes)-1].Position, horizon
	t.forget()
	close(t.moved)
	t.moved = make(chan struct{})
}

// forget drops the older half of what is kept when it has become too much.
func (t *topic) forget() {
	dropped := 0
	for len(t.recent)-dropped > recentChanges || t.bytes > recentBytes {
		for range (len(t.recent) - dropped + 1) / 2 {
			t.bytes -= len(t.recent[dropped].Frame)
			dropped++
		}
	}
	if dropped > 0 {
		t.tail = t.recent[dropped-1].Position
		t.recent = append([]Change(nil), t.recent[dropped:]...) // so that the memory of the others goes
	}
}

// glance is what a topic has for a reader.
type glance struct {
	changes []Change        // what follows the reader's position
	tail    Position        // behind which changes would be known
	horizon int64           // below which the changes before the tail are
	behind  bool            // the reader's position is before the tail
	moved   <-chan struct{} // closed when there is more
}

// since looks for what follows a position.
func (t *topic) since(at Position) glance {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := glance{tail: t.tail, horizon: t.horizon, moved: t.moved, behind: at.Compare(t.tail) < 0}
	if !g.behind {
		first := sort.Search(len(t.recent), func(i int) bool { return t.recent[i].Position.Compare(at) > 0 })
		g.changes = t.recent[first:len(t.recent):len(t.recent)]
	}
	return g
}
