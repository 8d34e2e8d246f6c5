package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"
)

// ask sends a request on conn, and returns the status of the answer.
func ask(conn net.Conn) (int, error) {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	}}
	resp, err := client.Get("http://" + conn.RemoteAddr().String())
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func dial(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestWhoIsConnectedWhenTheServerEndsIsAnswered(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux lets the clients be taken in whom nobody has accepted yet")
	}
	listener, err := listen(t.Context(), "ADDR", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := newGracefulServer(&http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })}, listener)
	var conns []net.Conn
	const clients = 3
	for range clients { // nobody accepts yet
		conns = append(conns, dial(t, listener))
	}
	if err := listener.Close(); err != nil { // as shutdown does, but before anybody is accepted
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- g.serve() }()
	ended := make(chan error, 1)
	go func() { ended <- g.shutdown(t.Context()) }()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		t.Fatalf("the server ended before %d clients were answered: %v", clients, err)
	default:
	}
	for _, conn := range conns {
		if status, err := ask(conn); status != http.StatusNoContent {
			t.Errorf("status %d, %v", status, err)
		}
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestWhoSaysNothingHoldsTheEndNoLongerThanItsGrace(t *testing.T) {
	t.Parallel()
	listener, err := listen(t.Context(), "ADDR", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := newGracefulServer(&http.Server{ReadHeaderTimeout: time.Minute}, listener)
	served := make(chan error, 1)
	go func() { served <- g.serve() }()
	dial(t, listener)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("the grace is over"))
	defer cancel()
	if err := g.shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown returns %v", err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestWhoConnectsWhileTheServerEndsIsAnsweredOrRefused(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux can turn clients away before the listener closes")
	}
	for range 40 {
		listener, err := listen(t.Context(), "ADDR", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		g := newGracefulServer(&http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })}, listener)
		served := make(chan error, 1)
		go func() { served <- g.serve() }()
		var clients sync.WaitGroup
		answered := make(chan struct{}, 1)
		stop, cancel := context.WithCancel(t.Context())
		for range 8 {
			clients.Go(func() {
				var dialer net.Dialer
				for {
					conn, err := dialer.DialContext(stop, "tcp", listener.Addr().String())
					if err != nil {
						return // refused, or still waiting when the server has ended
					}
					if status, err := ask(conn); status != http.StatusNoContent {
						t.Errorf("somebody who was connected is answered %d, %v", status, err)
						return
					}
					select {
					case answered <- struct{}{}:
					default:
					}
				}
			})
		}
		<-answered
		if err := errors.Join(g.shutdown(t.Context()), <-served); err != nil {
			t.Error(err)
		}
		cancel()
		clients.Wait()
	}
}
