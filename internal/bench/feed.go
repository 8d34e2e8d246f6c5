package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// post is a request that starts runs, sent while the workspace has so many subscribers.
type post struct {
	w           *writeWorld
	rest, body  string
	status      int
	each        int // runs that it starts
	subscribers int
}

// turn sends the request often over all connections and tells what runs cost. Every subscriber must
// have heard of each of them by then, so that their share of the cost is in it.
func (p post) turn(ctx context.Context) (sample, error) {
	w, n := p.w, p.w.perWriter(p.each)*writers
	request := w.request(http.MethodPost, p.rest, p.body)
	followers, err := w.follow(ctx, p.subscribers)
	defer followers.leave()
	if err != nil {
		return sample{}, err
	}
	const first = 5 * writers // statements are prepared, the feed looks
	if _, err := w.send(ctx, request, p.status, first); err != nil {
		return sample{}, err
	}
	if err := followers.await(ctx, first*p.each); err != nil {
		return sample{}, err
	}
	before, err := w.server.spent(ctx)
	if err != nil {
		return sample{}, err
	}
	took, err := w.send(ctx, request, p.status, n)
	if err != nil {
		return sample{}, err
	}
	if err := followers.await(ctx, (first+n)*p.each); err != nil {
		return sample{}, err
	}
	after, err := w.server.spent(ctx)
	return sample{after.less(before).perThousand(n), float64(n) / took.Seconds()}.ofEach(p.each), err
}

// follower is a subscriber of the workspace's feed.
type follower struct {
	conn   net.Conn
	events atomic.Int64 // that have come
	ended  chan error   // has what ended the stream, if it ends
}

type followers []*follower

// follow has so many follow the feed. Each stream has begun when it returns.
func (w *writeWorld) follow(ctx context.Context, subscribers int) (all followers, err error) {
	request := w.request(http.MethodGet, "/events", "")
	for range subscribers {
		conn, err := w.dial(ctx)
		if err != nil {
			return all, err
		}
		f := &follower{conn: conn, ended: make(chan error, 1)}
		all = append(all, f)
		if _, err := conn.Write(request); err != nil {
			return all, err
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil) //nolint:bodyclose // the stream ends with its connection
		if err != nil {
			return all, err
		}
		if kind := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || kind != "text/event-stream" {
			return all, fmt.Errorf("the feed is answered %s in %q", resp.Status, kind)
		}
		go f.read(resp.Body)
	}
	return all, nil
}

// read counts the events of the stream.
func (f *follower) read(stream io.Reader) {
	lines := bufio.NewReader(stream)
	start := true // of a line
	for {
		line, err := lines.ReadSlice('\n')
		if start && strings.HasPrefix(string(line), "data: ") {
			f.events.Add(1)
		}
		start = err == nil
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			f.ended <- err
			return
		}
	}
}

// await waits until each follower has so many events.
func (all followers) await(ctx context.Context, events int) error {
	const patience, often = 10 * time.Second, time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, f := range all {
		for f.events.Load() < int64(events) {
			select {
			case err := <-f.ended:
				return fmt.Errorf("the feed ended after %d events of %d: %w", f.events.Load(), events, err)
			case <-ctx.Done():
				return fmt.Errorf("the feed has told a subscriber of %d events of %d: %w", f.events.Load(), events, ctx.Err())
			case <-time.After(often):
			}
		}
	}
	return nil
}

func (all followers) leave() {
	for _, f := range all {
		_ = f.conn.Close()
	}
}

func (w *writeWorld) dial(ctx context.Context) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(w.server.base, "http://"))
}

// request is a request as it goes over the wire.
func (w *writeWorld) request(method, rest, body string) []byte {
	return fmt.Appendf(nil, "%s /workspaces/%d/operation-runs%s HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", method, w.workspaceID, rest, w.server.token, len(body), body)
}

// send sends the request n times over all connections, and returns how long that took. It is its
// own client, since net/http's would take as much of the machine as the server.
func (w *writeWorld) send(ctx context.Context, request []byte, status, n int) (time.Duration, error) {
	var sent atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	for range writers {
		group.Go(func() error {
			conn, err := w.dial(ctx)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			answers := bufio.NewReader(conn)
			for sent.Add(1) <= int64(n) {
				if _, err := conn.Write(request); err != nil {
					return err
				}
				resp, err := http.ReadResponse(answers, nil)
				if err != nil {
					return err
				}
				text, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || resp.StatusCode != status {
					return errors.Join(err, fmt.Errorf("the server answers %s: %.300s", resp.Status, text))
				}
			}
			return nil
		})
	}
	err := group.Wait()
	return time.Since(start), err
}
