package main

import (
	"bufio"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// fleet is the clients of a load: so many, each with a connection that it keeps, as the clients of a
// service have, or the proxy before it. Requests are due at times that do not depend on any answer,
// and the time that one takes counts from when it was due: neither a slow answer nor a lack of free
// clients lets the load off.
type fleet struct {
	callers []*caller
	free    atomic.Int64 // clients that wait for something to do
}

// errand is a request of a load.
type errand struct {
	due  time.Time
	put  time.Time // when the generator came to it
	free bool      // whether a client was free for it then
}

// newFleet is so many clients of a server. They connect when they are first needed.
func newFleet(c *contender, clients int) *fleet {
	f := &fleet{}
	for range clients {
		f.callers = append(f.callers, &caller{addr: strings.TrimPrefix(c.base, "http://"), token: c.token})
	}
	return f
}

// connect gives every client a new connection, on which it has asked for something before: a server
// does not wait for long on one where nobody has.
func (f *fleet) connect(ctx context.Context) error {
	for _, c := range f.callers {
		c.hangUp()
		if _, err := c.ask(ctx, http.MethodGet, "/livez", "", false); err != nil {
			return err
		}
	}
	return nil
}

func (f *fleet) close() {
	for _, c := range f.callers {
		c.hangUp()
	}
}

// offer asks at a rate, whatever comes back: as strangers do who do not know of each other, so that
// the gaps between requests are exponentially distributed. do is one request.
func (f *fleet) offer(ctx context.Context, rate float64, long time.Duration, t *tally, do func(by *caller, e errand)) {
	const queued = 1 << 16 // beyond that the generator is late, which is told
	errands := make(chan errand, queued)
	var working sync.WaitGroup
	for _, c := range f.callers {
		working.Go(func() {
			for {
				f.free.Add(1)
				e, ok := <-errands
				f.free.Add(-1)
				if !ok {
					return
				}
				t.sending(e)
				do(c, e)
			}
		})
	}
	working.Go(func() {
		defer close(errands)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for due := t.began; due.Sub(t.began) < long && ctx.Err() == nil; due = due.Add(time.Duration(rand.ExpFloat64() / rate * float64(time.Second))) {
			if wait := time.Until(due); wait > 0 {
				pause(wait)
			}
			errands <- errand{due: due, put: time.Now(), free: f.free.Load() > int64(len(errands))}
		}
		t.ended = time.Now()
	})
	working.Wait()
}

// caller is one client. It does little for a request, because it runs on the machine that it loads.
type caller struct {
	addr, token string

	conn    net.Conn
	read    *bufio.Reader
	request []byte
}

// reply is an answer.
type reply struct {
	status     int
	retryAfter bool
	body       []byte // nil unless it was asked for, or is an error's that tells more than to come again
}

func (c *caller) connect(ctx context.Context) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return err
	}
	const buffer = 8 << 10
	c.conn, c.read = conn, bufio.NewReaderSize(conn, buffer)
	return nil
}

func (c *caller) hangUp() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// ask sends a request and reads the answer to its end; keep says whether the body is wanted.
func (c *caller) ask(ctx context.Context, method, path, body string, keep bool) (_ reply, err error) {
	if c.conn == nil {
		if err := c.connect(ctx); err != nil {
			return reply{}, err
		}
	}
	closing := true
	defer func() {
		if closing {
			c.hangUp()
		}
	}()
	c.request = append(c.request[:0], method...)
	c.request = append(append(c.request, ' '), path...)
	c.request = append(append(c.request, " HTTP/1.1\r\nHost: "...), c.addr...)
	c.request = append(append(c.request, "\r\nAuthorization: Bearer "...), c.token...)
	if body != "" {
		c.request = append(c.request, "\r\nContent-Type: application/json"...)
	}
	if method != http.MethodGet {
		c.request = strconv.AppendInt(append(c.request, "\r\nContent-Length: "...), int64(len(body)), 10)
	}
	c.request = append(append(c.request, "\r\n\r\n"...), body...)
	const longestWait = time.Minute
	if err := c.conn.SetDeadline(time.Now().Add(longestWait)); err != nil {
		return reply{}, err
	}
	if _, err := c.conn.Write(c.request); err != nil {
		return reply{}, err
	}
	answer, err := readHead(c.read)
	if err != nil {
		return reply{}, err
	}
	got := reply{status: answer.status, retryAfter: answer.retryAfter}
	if keep || got.status >= http.StatusBadRequest && !got.retryAfter {
		got.body = make([]byte, answer.length)
		_, err = io.ReadFull(c.read, got.body)
	} else {
		_, err = c.read.Discard(answer.length)
	}
	closing = err != nil || answer.closing
	return got, err
}
