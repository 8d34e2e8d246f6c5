package main

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/dbtest"
)

// line is a way to a database that can be held up.
type line struct {
	address string // of the database, by this way
	held    sync.RWMutex
	stuck   chan struct{} // a value when something is held up
}

// newLine is a line to a database until the test ends.
func newLine(t *testing.T, databaseURL string) *line {
	t.Helper()
	address, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	database := address.Host
	address.Host = listener.Addr().String()
	l := &line{address: address.String(), stuck: make(chan struct{}, 1)}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", database)
			if err != nil {
				_ = client.Close()
				continue
			}
			go l.carry(server, client)
			go l.carry(client, server)
		}
	}()
	return l
}

// carry takes what comes from one end to the other, and closes both with the first of them.
func (l *line) carry(to, from net.Conn) {
	defer func() { _, _ = to.Close(), from.Close() }()
	const most = 64 << 10
	part := make([]byte, most)
	for {
		n, err := from.Read(part)
		if err != nil {
			return
		}
		if !l.held.TryRLock() {
			select {
			case l.stuck <- struct{}{}:
			default:
			}
			l.held.RLock()
		}
		_, err = to.Write(part[:n])
		l.held.RUnlock()
		if err != nil {
			return
		}
	}
}

func TestADatabaseThatHangsHoldsNoShutdownUp(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.Fresh(t)
	way := newLine(t, databaseURL)
	p := startServe(t, "RUNLEDGER_DATABASE_URL="+way.address, "RUNLEDGER_STATEMENT_TIMEOUT=1m", "RUNLEDGER_SWEEP_INTERVAL=0", "RUNLEDGER_SURVEY_INTERVAL=0")
	p.pool = dbtest.Connect(t, databaseURL)
	w, token := p.member(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://%s/workspaces/%d/operation-runs/events", p.addr, w.ID), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Close = true
	stream, err := http.DefaultClient.Do(req)
	if err != nil || stream.StatusCode != http.StatusOK {
		t.Fatalf("the stream: %v, %v", stream, err)
	}
	defer func() { _ = stream.Body.Close() }()
	way.held.Lock()
	release := sync.OnceFunc(way.held.Unlock)
	defer release()
	<-way.stuck // what reads the changes for all who follow asks every second
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.says(t, "shutting down")
	began := time.Now()
	p.says(t, "stopped")
	if took := time.Since(began); took > 30*time.Second { // of the minute that the statement may take
		t.Errorf("it stops after %s", took)
	}
	release()
	if err := p.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}
}
