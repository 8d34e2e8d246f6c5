// Package feed brings the committed changes of runs, and what is found out about backup schedules, to
// those who follow a workspace, each change once and in one order for everybody, whichever server
// they follow it on.
//
// Changes are rows of operation_run_events and of backup_schedule_events, which share one sequence,
// so that no two have one id. Their ids are no order to read them in: a transaction
// may commit after another one whose ids are higher, and a reader that has passed those would
// never see its changes. The order is (transaction, id), and a change counts when it is settled:
// every transaction up to its own has ended, so that none can come before it any more. A
// transaction of the same database that stays open after it has written anything holds back what
// others write.
//
// One goroutine of a server reads the changes for all its subscribers. Nothing is lost if it reads
// late; a [Feed.Hint] hurries it.
package feed

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/runledger/runledger/internal/dbsqlc"
)

// Feed is what subscribers of a server read from. Make one with New.
type Feed struct {
	db    dbsqlc.DBTX
	frame Frame
	log   *slog.Logger
	wake  chan struct{} // asks the poller for a round
	done  chan struct{} // closed by End

	metrics *metrics

	mu      sync.Mutex
	topics  map[int64]*topic   // by workspace
	stop    context.CancelFunc // of the poller, nil before the first subscriber
	stopped sync.WaitGroup     // the poller
	closed  bool
}

// Frame makes of a change what subscribers get. It is called once for all
// who follow, and once more for each who is further behind than the Feed remembers.
type Frame func(workspaceID int64, change *dbsqlc.ListChangesRow) []byte

// New makes a Feed. It does nothing until somebody subscribes.
func New(db dbsqlc.DBTX, frame Frame, log *slog.Logger) *Feed {
	return &Feed{
		db: db, frame: frame, log: log, topics: map[int64]*topic{},
		wake: make(chan struct{}, 1), done: make(chan struct{}), metrics: newMetrics(),
	}
}

var (
	// ErrClosed says that the server is closing; another one goes on from the same position.
	ErrClosed = errors.New("the feed is closed")
	// ErrMoved says that the database has become another one meanwhile. Whoever subscribes again
	// learns where to go on.
	ErrMoved = errors.New("the history of the workspace is another one")
)

// Subscription is one reader of a workspace's changes. It is for one goroutine, which closes it.
type Subscription struct {
	feed  *Feed
	topic *topic
	at    Position
	alone bool // whether nobody else has what Next returned
	leave func()
}

// Subscribe follows a workspace from behind a position that its reader has, or from behind the
// last settled change if after is nil. The error is ErrClosed, ErrGone or one of the database.
func (f *Feed) Subscribe(ctx context.Context, workspaceID int64, after *Position) (*Subscription, error) {
	asked := Position{}
	if after != nil {
		asked = *after
	}
	place, err := settle(ctx, f.db, workspaceID, asked)
	if err != nil {
		return nil, err
	}
	at := place.last()
	if after != nil {
		if at, err = place.now(asked); err != nil {
			return nil, err
		}
	}
	topic, err := f.join(workspaceID, place)
	if err != nil {
		return nil, err
	}
	return &Subscription{feed: f, topic: topic, at: at, leave: sync.OnceFunc(func() { f.leave(topic) })}, nil
}

// join counts a subscriber of a workspace. If it is the first, its topic starts with the last
// change at place; if it is the first of all, the poller starts.
func (f *Feed) join(workspaceID int64, p place) (*topic, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, ErrClosed
	}
	t := f.topics[workspaceID]
	if t == nil {
		t = newTopic(workspaceID, p)
		f.topics[workspaceID] = t
	}
	t.subscribers++
	if len(f.topics) == 1 && t.subscribers == 1 {
		f.metrics.round.Store(time.Now().UnixNano()) // nobody was behind before
	}
	if f.stop == nil {
		ctx, stop := context.WithCancel(context.Background())
		f.stop = stop
		f.stopped.Go(func() { (&poller{feed: f}).run(ctx) })
	}
	f.hurry()
	return t, nil
}

// leave uncounts a subscriber. A topic without any is given up.
func (f *Feed) leave(t *topic) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t.subscribers--
	if t.subscribers == 0 && f.topics[t.workspaceID] == t {
		delete(f.topics, t.workspaceID)
	}
}

// end gives up a topic whose history is another one; its subscribers get ErrMoved.
func (f *Feed) end(t *topic) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.topics[t.workspaceID] == t {
		delete(f.topics, t.workspaceID)
		close(t.ended)
	}
}

// followed are the topics that have subscribers, in no particular order.
func (f *Feed) followed() []*topic {
	f.mu.Lock()
	defer f.mu.Unlock()
	topics := make([]*topic, 0, len(f.topics))
	for _, t := range f.topics {
		topics = append(topics, t)
	}
	return topics
}

// Hint says that something was just committed in a workspace, so that its subscribers need not
// wait for the next look. It costs next to nothing, and nothing depends on it.
func (f *Feed) Hint(workspaceID int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.topics[workspaceID] != nil {
		f.hurry()
	}
}

func (f *Feed) hurry() {
	select {
	case f.wake <- struct{}{}:
	default: // somebody else has asked already
	}
}

// End ends every subscription, and tells the poller to end. Subscribe fails from now on. It does not wait,
// since the poller's statement may be one that a database in trouble lets wait.
func (f *Feed) End() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.closed = true
	close(f.done)
	if f.stop != nil {
		f.stop()
	}
}

// Close is End, and waits until the poller has ended.
func (f *Feed) Close() {
	f.End()
	f.stopped.Wait()
}

// Done is closed when the Feed has ended.
func (f *Feed) Done() <-chan struct{} { return f.done }

// At is the position of the last change that Next returned.
func (s *Subscription) At() Position { return s.at }

// Alone tells whether the changes that Next returned last are in memory for this subscriber alone, who is
// further behind than the Feed remembers.
func (s *Subscription) Alone() bool { return s.alone }

// Close ends the subscription. A second call does nothing.
func (s *Subscription) Close() { s.leave() }

const (
	// pageSize is how many changes are read from the database at once.
	pageSize = 500
	// mostChanges is how many changes Next returns at once. It is also how many a subscriber that
	// is far behind reads at once, so that many of them do not hold much memory.
	mostChanges = 100
)

// Next waits for changes and returns up to a hundred, in order: those behind the ones that it
// returned before. The error is that of ctx, ErrClosed, ErrMoved or one of the database.
func (s *Subscription) Next(ctx context.Context) ([]Change, error) {
	for {
		g := s.topic.since(s.at)
		s.alone = g.behind
		if g.behind {
			changes, _, err := s.feed.read(ctx, s.topic.workspaceID, s.at, g.horizon, mostChanges)
			if s.topic.isOver() { // what was read may be another history's
				return nil, ErrMoved
			}
			if err != nil {
				return nil, err
			}
			if len(changes) == 0 { // what was before the tail is deleted
				s.at = g.tail
			}
			g.changes = changes
		}
		if len(g.changes) > 0 {
			changes := g.changes[:min(len(g.changes), mostChanges)]
			s.at = changes[len(changes)-1].Position
			return changes, nil
		}
		if g.behind {
			continue
		}
		select {
		case <-g.moved:
		case <-s.topic.ended:
			return nil, ErrMoved
		case <-s.feed.done:
			return nil, ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// read is the page of changes behind a position, of transactions below the horizon; more may follow.
func (f *Feed) read(ctx context.Context, workspaceID int64, after Position, horizon int64, limit int32) (changes []Change, more bool, err error) {
	rows, more, err := list(ctx, f.db, workspaceID, after, horizon, limit)
	if err != nil {
		return nil, false, err
	}
	changes = make([]Change, 0, len(rows))
	for i := range rows {
		changes = append(changes, Change{positionOf(&rows[i]), slices.Clip(f.frame(workspaceID, &rows[i])), rows[i].At.Time})
	}
	return changes, more, nil
}
