package server

import (
	"sync/atomic"

	"github.com/runledger/runledger/internal/auth"
)

// weights bounds the memory of large bodies, of those that come in and of those that are to be sent,
// over all requests: a client may take its time for either, and holds the whole of it until then.
// Bodies that are no larger than what the system's buffers take weigh nothing; that there are not too
// many of them is the capacity's business.
type weights struct {
	most    int64
	held    atomic.Int64
	shares  *shares[auth.Subject]
	refused func() // counts a refusal
}

const (
	heavy      = 16 << 10  // bytes from which a body weighs what it has
	mostWeight = 256 << 20 // bytes of all bodies at once
)

func newWeights(m *httpMetrics) *weights {
	share := quota{name: "bodies", holder: "subject", most: largestShare(mostWeight), what: "bytes of large bodies", unit: bytesAtOnce}
	return &weights{most: mostWeight, refused: m.refusal(refusedMemory), shares: newShares[auth.Subject](share, m.refusal(refusedShare))}
}

// take takes bytes for a subject. The error is the answer where they are not to be had.
func (w *weights) take(subject auth.Subject, bytes int) error {
	if err := w.shares.take(subject, bytes); err != nil {
		return err
	}
	if w.held.Add(int64(bytes)) > w.most {
		w.giveBack(subject, bytes)
		w.refused()
		return errOverloaded
	}
	return nil
}

// giveBack ends what a take began.
func (w *weights) giveBack(subject auth.Subject, bytes int) {
	w.held.Add(-int64(bytes))
	w.shares.giveBack(subject, bytes)
}
