package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// drain reads a body to its end, so that its connection can be used again.
func drain(resp *http.Response) {
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
}

// hangUp asks n times with so many clients, each of which hangs up within two milliseconds.
func (c *contender) hangUp(ctx context.Context, clients, n int) {
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			for range n / clients {
				patience := time.Duration(rand.IntN(2000)) * time.Microsecond
				impatient, stop := context.WithTimeout(ctx, patience)
				if resp, err := c.ask(impatient, c.path); err == nil {
					drain(resp)
				}
				stop()
			}
		})
	}
	group.Wait()
}

// measureHangups counts the pooled connections that outlive clients which hang up while their
// request is being answered.
func measureHangups(ctx context.Context, b *bench) (*table, error) {
	const clients, hangups, pool = 16, 2000, 16
	p, err := findPlace(ctx, b.url(b.middle))
	if err != nil {
		return nil, err
	}
	full, err := b.startServe(ctx, b.url(b.middle), p.subject, "RUNLEDGER_DATABASE_MAX_CONNS="+strconv.Itoa(pool), "RUNLEDGER_DATABASE_ACQUIRE_TIMEOUT=30s")
	if err != nil {
		return nil, err
	}
	defer full.stop()
	bare, err := startBare(ctx, b.url(b.middle), append(bareEnvironment(p, b.pageSize), "BENCH_POOL="+strconv.Itoa(pool))...)
	if err != nil {
		return nil, err
	}
	defer bare.stop()
	full.path, bare.path = p.runs()+"?limit=200", "/runs"
	t := &table{
		caption: fmt.Sprintf("%d clients hang up %d times, each a moment after it has asked: what is left of a pool of %d connections.", clients, hangups, pool),
		keys:    1,
		head:    []string{"server", "connections before", "of these left", "opened meanwhile"},
	}
	for _, c := range []*contender{bare, full} {
		if err := c.load(ctx, 2*pool, 40*pool); err != nil {
			return nil, err
		}
		before, err := c.backends(ctx)
		if err != nil {
			return nil, err
		}
		c.hangUp(ctx, clients, hangups)
		after, err := c.backends(ctx)
		if err != nil {
			return nil, err
		}
		left := 0
		for _, pid := range before {
			if slices.Contains(after, pid) {
				left++
			}
		}
		t.add(strings.TrimSpace(c.name), strconv.Itoa(len(before)), strconv.Itoa(left), strconv.Itoa(len(after)-left))
	}
	return t, nil
}
