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
	if err := w.hold(bytes); err != nil {
		w.shares.giveBack(subject, bytes)
		return err
	}
	return nil
}

// hold takes bytes for nobody. The error is the answer where they are not to be had.
func (w *weights) hold(bytes int) error {
	if w.held.Add(int64(bytes)) > w.most {
		w.release(bytes)
		w.refused()
		return errOverloaded
	}
	return nil
}

// release ends what a hold began.
func (w *weights) release(bytes int) { w.held.Add(-int64(bytes)) }

// bear takes bytes for a subject that are there, whether they are to be had or not: others have less then.
func (w *weights) bear(subject auth.Subject, bytes int) {
	w.held.Add(int64(bytes))
	w.shares.bear(subject, bytes)
}

// giveBack ends what a take or bear began.
func (w *weights) giveBack(subject auth.Subject, bytes int) {
	w.release(bytes)
	w.shares.giveBack(subject, bytes)
}
