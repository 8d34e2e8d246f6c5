package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	inFlight    = 500
	crowdLasts  = 10 * time.Second
	restAfterIt = 30 * time.Second // until a server that was loaded counts as idle again
)

// crowded is what came of many requests in flight at once.
type crowded struct {
	most     int64 // of the server's resident memory
	after    int64 // what it was when nobody had asked for a while
	backends int64 // the most that PostgreSQL's backends took of the machine's memory

	answered, refused, failed atomic.Int64 // 200, 503 and 429, anything else
}

// tell says what was answered.
func (c *crowded) tell() string {
	all := c.answered.Load() + c.refused.Load() + c.failed.Load()
	return fmt.Sprintf("%d of %d requests were answered 503 or 429, and %d failed", c.refused.Load(), all, c.failed.Load())
}

// addCrowds measures the server's memory beside a crowd that wants one page, and beside one that wants
// a page each. The bar is for the larger.
func (b *bench) addCrowds(ctx context.Context, p place, t *table) error {
	together, err := b.crowd(ctx, p, oneForAll)
	if err != nil {
		return err
	}
	apart, err := b.crowd(ctx, p, oneEach)
	if err != nil {
		return err
	}
	for _, c := range []struct {
		what string
		*crowded
	}{{"one page for all", together}, {"a page each", apart}} {
		bar := ""
		if c.most == max(together.most, apart.most) {
			bar = bound(c.most <= loadedBar, decimal(loadedBar))
		}
		t.add(fmt.Sprintf("most resident memory with %d requests in flight, %s", inFlight, c.what), decimal(c.most), bar)
		t.add("PostgreSQL's backends meanwhile, "+c.what, decimal(c.backends), "")
		t.add(fmt.Sprintf("resident memory, idle for %v after that", b.rest()), decimal(c.after), "")
		t.notes = append(t.notes, fmt.Sprintf("With %s, %s.", c.what, c.tell()))
	}
	t.notes = append(t.notes, "The memory of the backends is what they have to themselves and their share of what they have in common, PostgreSQL's buffers most of all (`Pss`).")
	return nil
}

// rest is how long a server is left alone after a load.
func (b *bench) rest() time.Duration {
	if b.quick {
		return idleMoments
	}
	return restAfterIt
}

// oneForAll has all clients of a contender ask for one page.
func oneForAll(c *contender) { c.together = true }

// oneEach has each client ask for a page in words of its own, so that nothing is shared.
func oneEach(c *contender) { c.together = false }

// crowd keeps many requests in flight at a new server for a while.
func (b *bench) crowd(ctx context.Context, p place, ask func(*contender)) (*crowded, error) {
	c, err := b.startServe(ctx, b.url(b.middle), p.subject)
	if err != nil {
		return nil, err
	}
	defer c.stop()
	c.path = p.runs() + fmt.Sprintf("?limit=%d", b.pageSize)
	ask(c)
	came := &crowded{}
	lasting, stop := context.WithTimeout(ctx, crowdLasts)
	defer stop()
	var clients sync.WaitGroup
	for i := range inFlight {
		clients.Go(func() { c.keepAsking(lasting, i, came) })
	}
	err = c.watchBackends(lasting, came)
	clients.Wait()
	if err := errors.Join(err, ctx.Err()); err != nil {
		return nil, err
	}
	if came.most, err = memory(c.command.Process.Pid, "VmHWM"); err != nil {
		return nil, err
	}
	time.Sleep(b.rest())
	came.after, err = memory(c.command.Process.Pid, "VmRSS")
	return came, err
}

// keepAsking asks again as soon as there is an answer, until ctx ends.
func (c *contender) keepAsking(ctx context.Context, number int, came *crowded) {
	var l *loader
	hangUp := func() {
		if l != nil {
			_ = l.conn.Close()
		}
		l = nil
	}
	defer hangUp()
	for ctx.Err() == nil {
		var err error
		if l == nil {
			if l, err = c.newLoader(ctx, number); err != nil {
				if ctx.Err() == nil {
					came.failed.Add(1)
				}
				continue
			}
		}
		answer, err := l.exchange()
		switch {
		case err == nil && answer.status == http.StatusOK:
			came.answered.Add(1)
		case err == nil && (answer.status == http.StatusServiceUnavailable || answer.status == http.StatusTooManyRequests):
			came.refused.Add(1)
		default:
			came.failed.Add(1)
		}
		if err != nil || answer.closing {
			hangUp()
		}
	}
}

// watchBackends looks every second, until ctx ends, how much memory the contender's backends take.
func (c *contender) watchBackends(ctx context.Context, came *crowded) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		backends, err := c.backends(context.WithoutCancel(ctx))
		if err != nil {
			return err
		}
		var sum int64
		for _, pid := range backends {
			pss, err := proportionalMemory(pid)
			if errors.Is(err, os.ErrNotExist) {
				continue // it has just ended
			}
			if err != nil {
				return err
			}
			sum += pss
		}
		came.backends = max(came.backends, sum)
	}
}
