package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"
)

const (
	startBar    = 300 * time.Millisecond
	idleBar     = 40_000_000
	loadedBar   = 120_000_000
	binaryBar   = 30_000_000
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
	binary, err := os.Stat(b.binary)
	if err != nil {
		return nil, err
	}
	t := &table{
		caption: fmt.Sprintf("Cold and small, on a migrated database of %d runs. Memory is in millions of bytes.", b.middle),
		keys:    1,
		head:    []string{"what", "measured", "bar"},
	}
	t.add("from exec to a 200 of /readyz, median of "+strconv.Itoa(len(starts)), milliseconds(median(starts)),
		bound(median(starts) <= startBar, milliseconds(startBar)))
	t.add("the slowest of them", milliseconds(slices.Max(starts)), bound(slices.Max(starts) <= startBar, milliseconds(startBar)))
	t.add("CPU time of a start, median", milliseconds(median(cpu)), "")
	t.add(fmt.Sprintf("resident memory, idle, %v after the start", idleMoments), decimal(idle), bound(idle <= idleBar, decimal(idleBar)))
	if err := b.addCrowds(ctx, p, t); err != nil {
		return nil, err
	}
	t.add("the binary", decimal(binary.Size()), bound(binary.Size() <= binaryBar, decimal(binaryBar)))
	return t, nil
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// decimal is a size in millions of bytes.
func decimal(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// startOften starts the server again and again and returns how long each start took, by the clock
// and of CPU time, and the most memory that an idle server had.
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
	return starts, cpu, idle, nil
}
