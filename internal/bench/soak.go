package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// What a soak is made of.
const (
	listShare, writeShare = 70, 25 // per cent; the rest are heartbeats
	soakConnections       = 8      // as many as the server's pool has
	fleetClients          = 256    // of an offered load
	overloadFactor        = 5      // times what the server can sustain
	openRuns              = 200    // runs that have not ended, at which an end is as likely as a start
)

// soakWorld is where a soak happens: a copy of the database with a million runs, and a server on it.
type soakWorld struct {
	*bench

	place    place
	server   *contender
	fleet    *fleet
	answered atomic.Int64 // requests, whatever the answer was

	mu      sync.Mutex
	open    []int64 // runs that have been started here and have not ended
	cursors []string
}

// newSoakWorld makes the copy, so that the kept data stays as it was seeded.
func (b *bench) newSoakWorld(ctx context.Context) (*soakWorld, error) {
	const name = "soak"
	for _, statement := range []string{"DROP DATABASE IF EXISTS " + name + " WITH (FORCE)", "CREATE DATABASE " + name + " TEMPLATE " + databaseName(b.middle) + " STRATEGY FILE_COPY"} {
		if err := b.administer(ctx, statement); err != nil {
			return nil, err
		}
	}
	w := &soakWorld{bench: b}
	databaseURL := b.databaseURL(name)
	var err error
	if w.place, err = findPlace(ctx, databaseURL); err != nil {
		return nil, err
	}
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := conn.QueryRow(ctx, `SELECT u.subject FROM workspace_memberships AS m JOIN users AS u ON u.id = m.user_id
		WHERE m.workspace_id = $1 AND m.role <> 'readonly' AND u.subject IS NOT NULL ORDER BY u.id LIMIT 1`, w.place.workspaceID).Scan(&w.place.subject); err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "UPDATE workspaces SET archived_at = NULL WHERE id = $1", w.place.workspaceID); err != nil {
		return nil, err
	}
	if w.server, err = b.startServe(ctx, databaseURL, w.place.subject); err != nil {
		return nil, err
	}
	w.fleet = newFleet(w.server, fleetClients)
	return w, nil
}

func (w *soakWorld) close() error {
	w.fleet.close()
	w.server.stop()
	return w.administer(context.Background(), "DROP DATABASE soak WITH (FORCE)")
}

// soak loads a server with a realistic mix for as long as the options say and then with five times
// what it can take, and fails if it does not hold.
func (b *bench) soak(ctx context.Context) (err error) {
	w, err := b.newSoakWorld(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	report, err := w.loads(ctx)
	if err != nil {
		return err
	}
	fmt.Println(report.table().markdown())
	return report.verdict()
}

// loads puts one load after the other on the server.
func (w *soakWorld) loads(ctx context.Context) (*soakReport, error) {
	const finding = 10 * time.Second
	r := &soakReport{runs: w.middle, soakFor: w.soakFor, overloadFor: w.overloadFor}
	note("finding the rate that the server can sustain")
	if _, err := w.closed(ctx, finding); err != nil { // statements are prepared, caches warm, some runs open
		return nil, err
	}
	var err error
	if r.most, err = w.closed(ctx, finding); err != nil {
		return nil, err
	}
	sustainable := r.most.rate()
	note("soaking for %s at half of %.0f requests a second", w.soakFor, sustainable)
	watching, stop := context.WithCancel(ctx)
	memories := w.watchMemory(watching)
	go w.tellProgress(watching)
	r.normal, err = w.offered(ctx, sustainable/2, w.soakFor)
	stop()
	r.memories = <-memories
	if err != nil {
		return nil, err
	}
	note("asking for five times the sustainable rate for %s", w.overloadFor)
	if r.over, err = w.offered(ctx, overloadFactor*sustainable, w.overloadFor); err != nil {
		return nil, err
	}
	r.after, err = w.offered(ctx, sustainable/2, finding)
	return r, err
}

// tellProgress tells now and then how far the soak has come, until ctx ends.
func (w *soakWorld) tellProgress(ctx context.Context) {
	const often, seldom = 30 * time.Second, 5 * time.Minute
	every := min(max(w.soakFor/20, often), seldom)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for began := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			rss, err := memory(w.server.command.Process.Pid, "VmRSS")
			if err != nil {
				note("the server's memory: %v", err)
			}
			note("%s of %s: %d answers, resident memory %s", time.Since(began).Round(time.Second), w.soakFor, w.answered.Load(), mebibytes(rss))
		}
	}
}

// watched is a load with what the server said of itself meanwhile.
func (w *soakWorld) watched(ctx context.Context, load func() *tally) (*tally, error) {
	before, err := w.look(ctx)
	if err != nil {
		return nil, err
	}
	t := load()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	after, err := w.look(ctx)
	if err != nil {
		return nil, err
	}
	t.cores, t.inside = after.cores(before), after.slowest(before, 0.99)
	return t, nil
}

// closed asks with as many clients as the server has connections, each as soon as it has its answer.
func (w *soakWorld) closed(ctx context.Context, long time.Duration) (*tally, error) {
	return w.watched(ctx, func() *tally {
		t := newTally()
		var working sync.WaitGroup
		for _, c := range w.fleet.callers[:soakConnections] {
			working.Go(func() {
				for time.Since(t.began) < long && ctx.Err() == nil {
					request{in: w, by: c, due: time.Now(), tally: t}.send(ctx)
				}
			})
		}
		working.Wait()
		t.ended = time.Now()
		return t
	})
}

// offered asks at a rate, whatever comes back.
func (w *soakWorld) offered(ctx context.Context, rate float64, long time.Duration) (*tally, error) {
	if err := w.fleet.connect(ctx); err != nil {
		return nil, err
	}
	return w.watched(ctx, func() *tally {
		t := newTally()
		w.fleet.offer(ctx, rate, long, t, func(by *caller, e errand) { request{in: w, by: by, due: e.due, tally: t}.send(ctx) })
		return t
	})
}
