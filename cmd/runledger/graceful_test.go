package main

import (
	"bufio"
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
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })}, listener, 100)
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
	g := newGracefulServer(&http.Server{ReadHeaderTimeout: time.Minute}, listener, 100)
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
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })}, listener, 100)
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

// askAgain asks on a connection that is kept.
func askAgain(conn net.Conn) (int, error) {
	if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n")); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func TestOfTooManyConnectionsTheOneThatHasRestedLongestMakesRoom(t *testing.T) {
	t.Parallel()
	listener, err := listen(t.Context(), "ADDR", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const most = 3
	working, end := make(chan struct{}), make(chan struct{})
	g := newGracefulServer(&http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				working <- struct{}{}
				<-end
			}
			w.WriteHeader(http.StatusNoContent)
		})}, listener, most)
	served := make(chan error, 1)
	go func() { served <- g.serve() }()
	resting := func(n int) {
		t.Helper()
		for rest := -1; rest != n; runtime.Gosched() {
			g.mu.Lock()
			rest = len(g.resting)
			g.mu.Unlock()
		}
	}
	conns := make([]net.Conn, 0, most)
	for n := range most {
		conn := dial(t, listener)
		if status, err := askAgain(conn); status != http.StatusNoContent {
			t.Fatalf("status %d, %v", status, err)
		}
		resting(n + 1)
		conns = append(conns, conn)
	}
	if status, err := askAgain(conns[0]); status != http.StatusNoContent { // so that the second has rested longest
		t.Errorf("status %d, %v", status, err)
	}
	resting(most)
	more := dial(t, listener)
	if status, err := askAgain(more); status != http.StatusNoContent {
		t.Errorf("one more is answered %d, %v", status, err)
	}
	if _, err := askAgain(conns[1]); err == nil {
		t.Error("no room was made for it")
	}
	for _, conn := range []net.Conn{conns[0], conns[2], more} {
		if _, err := conn.Write([]byte("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		<-working
	}
	if _, err := askAgain(dial(t, listener)); err == nil {
		t.Error("where all have requests, one more is answered")
	}
	close(end)
	if err := g.shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
