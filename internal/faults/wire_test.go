package faults

import (
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// wire is a way to a TCP server that breaks on request.
type wire struct {
	listener net.Listener
	target   string
	group    sync.WaitGroup

	over chan struct{} // closed with the test

	mu    sync.Mutex
	conns map[net.Conn]bool // both ends of each connection
	held  chan struct{}     // closed when what is held back goes on; nil while nothing is held back

	swallow atomic.Int64 // how many answers are still to be lost
	lag     atomic.Int64 // nanoseconds that everything takes longer, each way
	oneIn   atomic.Int64 // of so many pieces one is lost, with its connection; none if 0

	cuts    atomic.Int64 // connections that were broken
	lost    atomic.Int64 // answers that were lost: their requests had arrived
	stopped atomic.Int64 // pieces that were held back
	lagged  atomic.Int64 // pieces that took longer
	dropped atomic.Int64 // pieces that were lost at random
}

// newWire listens on this machine and passes everything on to target.
func newWire(t testing.TB, target string) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: listener, target: target, over: make(chan struct{}), conns: map[net.Conn]bool{}}
	w.group.Go(w.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		close(w.over)
		w.cut()
		w.group.Wait()
	})
	return w
}

// addr is where clients connect to.
func (w *wire) addr() string { return w.listener.Addr().String() }

func (w *wire) accept() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", w.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		w.mu.Lock()
		w.conns[client], w.conns[server] = true, true
		w.mu.Unlock()
		w.group.Go(func() { w.pass(server, client, false) })
		w.group.Go(func() { w.pass(client, server, true) })
	}
}

// pass copies until an end of the connection fails, or an answer is to be lost.
func (w *wire) pass(to, from net.Conn, answers bool) {
	defer func() {
		_, _ = to.Close(), from.Close()
		w.mu.Lock()
		delete(w.conns, to)
		delete(w.conns, from)
		w.mu.Unlock()
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && answers && w.take() {
			w.lost.Add(1)
			return
		}
		if n > 0 && !w.carry() {
			return
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// take tells whether this answer is one to be lost.
func (w *wire) take() bool {
	for {
		left := w.swallow.Load()
		if left == 0 {
			return false
		}
		if w.swallow.CompareAndSwap(left, left-1) {
			return true
		}
	}
}

// cut breaks every connection at once.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for conn := range w.conns {
		_ = conn.Close()
	}
	w.cuts.Add(int64(len(w.conns) / 2))
}

// lose makes the next n answers be lost, each with its connection.
func (w *wire) lose(n int64) { w.swallow.Store(n) }

// carry does to a piece of data what the wire does to all at present; false says that it is lost.
func (w *wire) carry() bool {
	if n := w.oneIn.Load(); n > 0 && rand.Int64N(n) == 0 {
		w.dropped.Add(1)
		return false
	}
	if lag := w.lag.Load(); lag > 0 {
		w.lagged.Add(1)
		select {
		case <-time.After(time.Duration(lag)):
		case <-w.over:
		}
	}
	w.mu.Lock()
	held := w.held
	w.mu.Unlock()
	if held != nil {
		w.stopped.Add(1)
		select {
		case <-held:
		case <-w.over:
		}
	}
	return true
}

// hold holds everything back, of connections that are there and that come, as a network does that
// is cut in two: nobody is told, and what was sent arrives when it is whole again.
func (w *wire) hold() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held == nil {
		w.held = make(chan struct{})
	}
}

// resume ends hold.
func (w *wire) resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held != nil {
		close(w.held)
		w.held = nil
	}
}
