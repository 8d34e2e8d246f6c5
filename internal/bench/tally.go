package main

import (
	"slices"
	"sync"
	"time"
)

// kind is how a request ended.
type kind int

const (
	good    kind = iota // 2xx
	refused             // 429 or 503, as it is to be in an overload
	other               // anything else
)

// tally is what came of a load.
type tally struct {
	began, ended time.Time

	mu     sync.Mutex
	took   [3][]time.Duration // from when a request was due to the last byte of its answer
	late   []time.Duration    // by how much the generator itself was late, of what found a client free
	busy   int                // requests that found none free
	others map[string]int

	cores  string // how many were busy
	inside string // within what time the server answered 99 % by its own clock
}

func newTally() *tally { return &tally{began: time.Now(), others: map[string]int{}} }

// sending notes that a client has taken a request up.
func (t *tally) sending(e errand) {
	late := e.put.Sub(e.due)
	if e.free {
		late = time.Since(e.due)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.late = append(t.late, late)
	if !e.free {
		t.busy++
	}
}

// note notes how a request ended.
func (t *tally) note(k kind, took time.Duration, what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.took[k] = append(t.took[k], took)
	if k == other {
		t.others[what]++
	}
}

// asked is how many requests there were.
func (t *tally) asked() int {
	n := 0
	for _, took := range t.took {
		n += len(took)
	}
	return n
}

// rate is how many good answers came in a second.
func (t *tally) rate() float64 { return float64(len(t.took[good])) / t.ended.Sub(t.began).Seconds() }

// percentile is how long the quickest share of the requests of a kind took at most.
func (t *tally) percentile(k kind, share float64) time.Duration { return percentile(t.took[k], share) }

// percentile sorts all and returns the one that is no less than a share of them.
func percentile(all []time.Duration, share float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[int(share*float64(len(all)-1))]
}
