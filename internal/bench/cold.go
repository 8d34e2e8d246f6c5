package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	startBar    = 300 * time.Millisecond
	idleBar     = 40 << 20
	loadedBar   = 120 << 20
	binaryBar   = 30 << 20
	inFlight    = 500
	idleMoments = 3 * time.Second
)

// measureCold measures how quick the server is to be ready, and how much memory and disk it takes.
func measureCold(ctx context.Context, b *bench) (*table, error) {
	p, err := findPlace(ctx, b.url(b.middle))
	if err != nil {
		return nil, err
	}
	starts, cpu, idle, err := b.startOften(ctx, p)
	if err != nil {
		return nil, err
	}
	loaded, unanswered, err := b.crowd(ctx, p)
	if err != nil {
		return nil, err
	}
	binary, err := os.Stat(b.binary)
	if err != nil {
		return nil, err
	}
	t := &table{
		caption: fmt.Sprintf("Cold and small, on a migrated database of %d runs.", b.middle),
		keys:    1,
		head:    []string{"what", "measured", "bar"},
	}
	t.add("from exec to a 200 of /readyz, median of "+strconv.Itoa(len(starts)), milliseconds(starts[len(starts)/2]),
		bound(starts[len(starts)/2] <= startBar, milliseconds(startBar)))
	t.add("the slowest of them", milliseconds(starts[len(starts)-1]), bound(starts[len(starts)-1] <= startBar, milliseconds(startBar)))
	t.add("CPU time of a start, median", milliseconds(cpu[len(cpu)/2]), "")
	t.add("resident memory, idle", mebibytes(idle), bound(idle <= idleBar, mebibytes(idleBar)))
	t.add(fmt.Sprintf("most resident memory with %d requests in flight", inFlight), mebibytes(loaded), bound(loaded <= loadedBar, mebibytes(loadedBar)))
	t.add("the binary", mebibytes(binary.Size()), bound(binary.Size() <= binaryBar, mebibytes(binaryBar)))
	if unanswered > 0 {
		t.notes = append(t.notes, fmt.Sprintf("Of the requests of that crowd, %d were answered 503 for want of a connection in time.", unanswered))
	}
	return t, nil
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// startOften starts the server again and again and returns how long each start took, by the clock
// and of CPU time, both sorted, and the most memory that an idle server had.
func (b *bench) startOften(ctx context.Context, p place) (starts, cpu []time.Duration, idle int64, err error) {
	for i := range 20 {
		c, err := b.startServe(ctx, b.url(b.middle), p.subject)
		if err != nil {
			return nil, nil, 0, err
		}
		starts, cpu = append(starts, c.started), append(cpu, c.startedCPU)
		if i < 3 {
			time.Sleep(idleMoments)
			rss, err := memory(c.command.Process.Pid, "VmRSS")
			if err != nil {
				return nil, nil, 0, err
			}
			idle = max(idle, rss)
		}
		c.stop()
	}
	slices.Sort(starts)
	slices.Sort(cpu)
	return starts, cpu, idle, nil
}

// crowd keeps many requests in flight for a while and returns the most memory that the server had.
func (b *bench) crowd(ctx context.Context, p place) (most int64, unanswered int, err error) {
	c, err := b.startServe(ctx, b.url(b.middle), p.subject)
	if err != nil {
		return 0, 0, err
	}
	defer c.stop()
	c.path = p.runs() + "?limit=" + strconv.Itoa(b.pageSize)
	lasting, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	failures := make(chan int, inFlight)
	for range inFlight {
		go func() {
			failed := 0
			for lasting.Err() == nil {
				resp, err := c.ask(lasting, c.path)
				if err != nil {
					continue // the time is over
				}
				if resp.StatusCode != http.StatusOK {
					failed++
				}
				drain(resp)
			}
			failures <- failed
		}()
	}
	for range inFlight {
		unanswered += <-failures
	}
	most, err = memory(c.command.Process.Pid, "VmHWM")
	return most, unanswered, errors.Join(err, ctx.Err())
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
