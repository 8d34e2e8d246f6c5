package main

import (
	"container/list"
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
)

// gracefulServer is an HTTP server that loses no request at its end. [http.Server.Shutdown] by
// itself drops those whose header it reads after the call, though their connections were made
// before; here it is called only when no connection has, or is about to have, a request.
//
// It keeps so many connections open at most. Where there is one more, that which has waited longest for
// its next request is closed, so that nobody can have all of them by being connected, and the new one if all
// have requests.
type gracefulServer struct {
	*http.Server

	listener net.Listener
	served   chan struct{} // closed when no more connections come
	most     int           // open connections

	mu      sync.Mutex
	busy    map[net.Conn]struct{}      // with a request, or new and so about to have one
	resting map[net.Conn]*list.Element // between two requests
	order   list.List                  // of those, who has rested longest at the front
	idle    chan struct{}              // a value when nothing is busy any more
}

// newGracefulServer is a server that accepts from listener and keeps so many connections at most. It takes
// s's ConnState for itself.
func newGracefulServer(s *http.Server, listener net.Listener, most int) *gracefulServer {
	g := &gracefulServer{
		Server: s, listener: listener, served: make(chan struct{}), most: most,
		busy: map[net.Conn]struct{}{}, resting: map[net.Conn]*list.Element{}, idle: make(chan struct{}, 1),
	}
	s.ConnState = g.note
	return g
}

func (g *gracefulServer) note(conn net.Conn, state http.ConnState) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if element := g.resting[conn]; element != nil {
		g.order.Remove(element)
		delete(g.resting, conn)
	}
	switch state {
	case http.StateNew:
		if len(g.busy)+len(g.resting) >= g.most {
			g.makeRoom(conn)
		}
		g.busy[conn] = struct{}{}
		return
	case http.StateActive:
		g.busy[conn] = struct{}{}
		return
	case http.StateIdle:
		g.resting[conn] = g.order.PushBack(conn)
	case http.StateHijacked, http.StateClosed:
	}
	delete(g.busy, conn)
	if len(g.busy) == 0 {
		select {
		case g.idle <- struct{}{}:
		default:
		}
	}
}

// makeRoom closes a connection for a new one, or the new one. Whose it was hears of it when net/http does.
func (g *gracefulServer) makeRoom(newest net.Conn) {
	if oldest := g.order.Front(); oldest != nil {
		conn, _ := oldest.Value.(net.Conn)
		g.order.Remove(oldest)
		delete(g.resting, conn)
		newest = conn
	}
	_ = newest.Close()
}

func (g *gracefulServer) anyBusy() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.busy) > 0
}

// serve answers until shutdown.
func (g *gracefulServer) serve() error {
	defer close(g.served)
	if err := g.Serve(g.listener); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// shutdown takes no more connections, lets every request on those that are there be answered, and
// closes them. If ctx ends before, it cuts off what is left and returns ctx's error.
func (g *gracefulServer) shutdown(ctx context.Context) error {
	_ = g.listener.Close()
	<-g.served
	for g.anyBusy() {
		select {
		case <-g.idle:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), g.Close())
		}
	}
	return g.Shutdown(ctx)
}
