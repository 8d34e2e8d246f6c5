package faults

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// wire is a way to a TCP server that breaks on request.
type wire struct {
	listener net.Listener
	target   string
	group    sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool // both ends of each connection

	swallow atomic.Int64 // how many answers are still to be lost
	cuts    atomic.Int64 // connections that were broken
	lost    atomic.Int64 // answers that were lost: their requests had arrived
}

// newWire listens on this machine and passes everything on to target.
func newWire(t testing.TB, target string) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: listener, target: target, conns: map[net.Conn]bool{}}
	w.group.Go(w.accept)
	t.Cleanup(func() {
		_ = listener.Close()
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
