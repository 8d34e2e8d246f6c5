package main

import (
	"context"
	"time"
)

// memories are the resident memory of a process, second by second.
type memories []int64

// watchMemory looks at the server's memory until ctx ends.
func (w *soakWorld) watchMemory(ctx context.Context) <-chan memories {
	all := make(chan memories, 1)
	go func() {
		var m memories
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			if rss, err := memory(w.server.command.Process.Pid, "VmRSS"); err == nil {
				m = append(m, rss)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				all <- m
				return
			}
		}
	}()
	return all
}

// slope is by how many bytes the memory grew in a minute, over the second half of the time: the
// line of least squares. first and last are what there was.
func (m memories) slope() (perMinute float64, first, last int64) {
	if len(m) == 0 {
		return 0, 0, 0
	}
	half := m[len(m)/2:]
	var sumX, sumY, sumXX, sumXY float64
	for i, y := range half {
		x := float64(i)
		sumX, sumY, sumXX, sumXY = sumX+x, sumY+float64(y), sumXX+x*x, sumXY+x*float64(y)
	}
	n := float64(len(half))
	if d := n*sumXX - sumX*sumX; d > 0 {
		perMinute = (n*sumXY - sumX*sumY) / d * 60
	}
	return perMinute, m[0], m[len(m)-1]
}
