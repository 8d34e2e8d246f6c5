package main

import (
	"context"
	"fmt"
	"time"
)

// memories are the resident memory of a process, second by second.
type memories []int64

// enough is how long memory is to have been watched for its growth to say anything: a server that has just
// been loaded fills its caches, and the collector's swings are as large as what grows in a minute.
const enough = 10 * time.Minute

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
// line of least squares.
func (m memories) slope() (perMinute float64) {
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
	return perMinute
}

// watched is for how long.
func (m memories) watched() time.Duration { return time.Duration(len(m)) * time.Second }

// growing is an error if the second half of the time, were it repeated, would leave the server with a tenth
// more than it had.
func (m memories) growing() error {
	const tenth = 0.1
	if m.watched() < enough {
		return nil
	}
	grown := m.slope() * m.watched().Minutes() / 2
	if grown > tenth*float64(m[len(m)/2]) {
		return fmt.Errorf("the server's memory grew by %s in the second half of the soak, from %s", mebibytes(int64(grown)), mebibytes(m[len(m)/2]))
	}
	return nil
}

// note is what the report says of the memory.
func (m memories) note() string {
	if len(m) == 0 {
		return "The server's memory could not be read."
	}
	said := fmt.Sprintf("Resident memory: %s at first, %s at last, a slope of %+.1f KiB a minute over the second half of the soak",
		mebibytes(m[0]), mebibytes(m[len(m)-1]), m.slope()/1024)
	if m.watched() < enough {
		return said + fmt.Sprintf("; whether it grows is not judged in less than %s.", enough)
	}
	return said + "."
}
