package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
)

// gracefulServer is an HTTP server that loses no request at its end. [http.Server.Shutdown] by
// itself drops those whose header it reads after the call, though their connections were made
// before; here it is called only when no connection has, or is about to have, a request.
type gracefulServer struct {
	*http.Server

	listener net.Listener
	served   chan struct{} // closed when no more connections come

	mu   sync.Mutex
	busy map[net.Conn]struct{} // with a request, or new and so about to have one
	idle chan struct{}         // a value when nothing is busy any more
}

// newGracefulServer is a server that accepts from listener. It takes s's ConnState for itself.
func newGracefulServer(s *http.Server, listener net.Listener) *gracefulServer {
	g := &gracefulServer{
		Server: s, listener: listener, served: make(chan struct{}),
		busy: map[net.Conn]struct{}{}, idle: make(chan struct{}, 1),
	}
	s.ConnState = g.note
	return g
}

func (g *gracefulServer) note(conn net.Conn, state http.ConnState) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if state == http.StateNew || state == http.StateActive {
		g.busy[conn] = struct{}{}
		return
	}
	delete(g.busy, conn)
	if len(g.busy) == 0 {
		select {
		case g.idle <- struct{}{}:
		default:
		}
	}
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
