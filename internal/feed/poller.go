package feed

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runledger/runledger/internal/dbsqlc"
)

// How often the poller looks.
const (
	activePause = 100 * time.Millisecond // while there are changes, and activeFor after them
	idlePause   = time.Second            // otherwise, and while the database is away
	shortest    = 50 * time.Millisecond  // between two looks, however many hints there are
	activeFor   = 5 * time.Second
	heldBack    = 10 * time.Second // how long the horizon may stand still before that is logged
)

// poller reads the changes of all topics of a Feed. It asks for the horizon first, which costs no
// access to a table: where that stands still, there is nothing new anywhere.
type poller struct {
	feed    *Feed
	horizon int64     // every topic that is not stale was read up to here
	beyond  int64     // above all transactions that had begun then
	since   time.Time // when the horizon was first seen
	warned  bool      // that it stands still
	active  time.Time // when there was last something to do
	broken  bool      // the last round failed
}

// run makes rounds until ctx ends.
func (p *poller) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-p.feed.wake:
			p.active = time.Now()
		}
		err := p.round(ctx)
		if ctx.Err() != nil {
			return
		}
		p.report(err)
		if !sleep(ctx, shortest) {
			return
		}
		timer.Reset(p.pause())
	}
}

// pause is how long to wait for the next round if nobody hurries it.
func (p *poller) pause() time.Duration {
	if !p.broken && time.Since(p.active) < activeFor {
		return activePause
	}
	return idlePause
}

// round reads what is new in every topic.
func (p *poller) round(ctx context.Context) error {
	topics := p.feed.followed()
	if len(topics) == 0 {
		p.moves() // nobody looks whether it does
		return nil
	}
	snapshot, err := dbsqlc.New().GetFeedHorizon(ctx, p.feed.db)
	if err != nil {
		return err
	}
	p.watch(ctx, snapshot)
	if p.broken || snapshot.Beyond < p.beyond {
		// The database may have become another one meanwhile.
		p.horizon = 0
		if err := p.verify(ctx, topics); err != nil {
			return err
		}
	}
	for _, t := range topics {
		if !t.stale && snapshot.Horizon <= p.horizon {
			continue
		}
		t.stale = true // until it is read
		switch err := p.advance(ctx, t, snapshot.Horizon); {
		case err == nil:
			t.stale, t.refused = false, false
		case !p.passesOver(t, err):
			return err
		}
	}
	// A transaction of another database may count for a moment, while it ends.
	p.horizon, p.beyond = max(snapshot.Horizon, p.horizon), snapshot.Beyond
	return nil
}

// passesOver tells whether the database refuses one topic, and may let the others be read.
func (p *poller) passesOver(t *topic, err error) bool {
	const queryCanceled, operatorIntervention = "57014", "57"
	refused, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || refused.Code != queryCanceled && slices.Contains([]string{"08", "25", "53", operatorIntervention}, refused.Code[:2]) {
		return false
	}
	p.feed.metrics.failures.Inc()
	if !t.refused {
		p.feed.log.Warn("the feed of changes of a workspace cannot be read", slog.Int64("workspace_id", t.workspaceID), slog.Any("error", err))
	}
	t.refused = true
	return true
}

// advance reads a topic up to the horizon.
func (p *poller) advance(ctx context.Context, t *topic, horizon int64) error {
	for {
		changes, more, err := p.feed.read(ctx, t.workspaceID, t.last(), horizon, pageSize)
		if err != nil {
			return err
		}
		if len(changes) > 0 {
			t.add(changes, horizon)
			for i := range changes {
				p.feed.metrics.delay.Observe(max(time.Since(changes[i].at), 0).Seconds())
			}
			p.active = time.Now()
		}
		if !more {
			return nil
		}
	}
}

// verify gives up the topics whose head is no longer where it was.
func (p *poller) verify(ctx context.Context, topics []*topic) error {
	for _, t := range topics {
		head := t.last()
		place, err := settle(ctx, p.feed.db, t.workspaceID, head)
		if err != nil {
			if t.stale = true; p.passesOver(t, err) {
				continue
			}
			return err
		}
		if at, err := place.now(head); err != nil || at != head {
			p.feed.end(t)
		}
		t.stale = true
	}
	return nil
}

// watch logs when one transaction holds all changes back for long.
func (p *poller) watch(ctx context.Context, snapshot dbsqlc.GetFeedHorizonRow) {
	if snapshot.Horizon > p.horizon || snapshot.Horizon == snapshot.Beyond {
		p.moves()
		return
	}
	p.feed.metrics.held.Store(p.since.UnixNano())
	if stood := time.Since(p.since); stood > heldBack && !p.warned {
		p.warned = true
		p.feed.log.WarnContext(ctx, "a transaction that stays open holds back the feed of changes",
			slog.Int64("transaction", snapshot.Horizon), slog.String("for", stood.Round(time.Second).String()))
	}
}

// moves says that the horizon does not stand still.
func (p *poller) moves() {
	p.since, p.warned = time.Now(), false
	p.feed.metrics.held.Store(0)
}

// report logs when reading begins to fail, and when it works again.
func (p *poller) report(err error) {
	if err == nil {
		p.feed.metrics.round.Store(time.Now().UnixNano())
	} else {
		p.feed.metrics.failures.Inc()
	}
	switch broken := err != nil; {
	case broken && !p.broken:
		p.feed.log.Warn("the feed of changes cannot read", slog.Any("error", err))
	case !broken && p.broken:
		p.feed.log.Info("the feed of changes reads again")
	}
	p.broken = err != nil
}

// sleep waits; it returns false if ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
