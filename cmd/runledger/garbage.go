package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// Garbage may grow to a few times the little memory that a server holds on to: a page is garbage
// once it is sent, and collecting after every few megabytes of them was a tenth of the CPU. A
// server that holds on to more, because hundreds of requests are under way, is given no more than
// Go's usual share of that.
const (
	usualGarbage = 100      // percent of what is held on to
	mostGarbage  = 400      // percent of it
	ampleGarbage = 32 << 20 // bytes beyond which there is no more than the usual
)

// tuneCollector bounds the garbage from now on. GOGC, where it is set, is left as it is.
func tuneCollector() {
	if _, given := os.LookupEnv("GOGC"); given {
		return
	}
	debug.SetGCPercent(mostGarbage)
	(&tuner{percent: mostGarbage, live: []metrics.Sample{{Name: "/gc/heap/live:bytes"}}}).afterNext()
}

// tuner looks after each collection at what is left.
type tuner struct {
	mu      sync.Mutex
	percent int
	live    []metrics.Sample
}

// afterNext has adjust called after the next collection, by an object that it is to find unused.
func (t *tuner) afterNext() {
	const size = 64 // bytes; tiny objects share their places, and live as long as their neighbours
	runtime.AddCleanup(new([size]byte), (*tuner).adjust, t)
}

func (t *tuner) adjust() {
	t.mu.Lock()
	defer t.mu.Unlock()
	metrics.Read(t.live)
	if percent := garbageFor(t.live[0].Value.Uint64()); percent != t.percent {
		t.percent = percent
		debug.SetGCPercent(percent)
	}
	t.afterNext()
}

// garbageFor is how much garbage there may be beside so many live bytes, in percent of them. It goes
// by steps, because to change it stops the world for a moment.
func garbageFor(live uint64) int {
	const step = 50
	percent := ampleGarbage * 100 / max(live, 1) / step * step
	return int(min(max(percent, usualGarbage), mostGarbage))
}
