package faults

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// watch asks a server all the time how it is, as whoever runs it does.
type watch struct {
	stop    context.CancelFunc
	working sync.WaitGroup

	mu     sync.Mutex
	alive  int      // answers of /livez that were 200
	dead   []string // and those that were not
	states []state  // the answers of /readyz
}

// state is an answer of /readyz.
type state struct {
	at    time.Time
	ready bool
}

func newWatch(t *testing.T, s *system) *watch {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	w := &watch{stop: stop}
	w.ask(ctx, s.addr, "/livez", func(status int, err error) {
		if err != nil || status != http.StatusOK {
			w.dead = append(w.dead, fmt.Sprint(status, " ", err))
			return
		}
		w.alive++
	})
	w.ask(ctx, s.addr, "/readyz", func(status int, err error) {
		w.states = append(w.states, state{time.Now(), err == nil && status == http.StatusOK})
	})
	t.Cleanup(w.end)
	return w
}

// ask asks every few milliseconds until ctx ends.
func (w *watch) ask(ctx context.Context, addr, path string, tell func(status int, err error)) {
	w.working.Go(func() {
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		client := &http.Client{Transport: transport, Timeout: time.Minute}
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for {
			status, _, err := fetch(ctx, client, "http://"+addr+path)
			if ctx.Err() != nil {
				return
			}
			w.mu.Lock()
			tell(status, err)
			w.mu.Unlock()
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
}

func (w *watch) end() {
	w.stop()
	w.working.Wait()
}

// turned is when readiness was first told to be this after an instant; false if it was not.
func (w *watch) turned(ready bool, after time.Time) (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.states {
		if s.at.After(after) && s.ready == ready {
			return s.at, true
		}
	}
	return time.Time{}, false
}

// wantAlive fails the test if /livez ever answered anything but 200.
func (w *watch) wantAlive(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.dead) > 0 || w.alive == 0 {
		t.Errorf("/livez answered 200 %d times, and %d times something else, such as %.300v", w.alive, len(w.dead), w.dead)
	}
}

func fetch(ctx context.Context, client *http.Client, address string) (status int, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// holdings are what a server holds on to.
type holdings struct {
	goroutines  int
	heap        int // bytes that are in use after a collection
	connections int // to the database
}

// holdings asks the server itself, and the database for the connections.
func (s *system) holdings(t *testing.T) (h holdings) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	client := &http.Client{Transport: transport}
	ask := func(path, line string) (n int) {
		t.Helper()
		_, text, err := fetch(t.Context(), client, "http://"+s.admin+path)
		if err != nil {
			t.Fatal(err)
		}
		for l := range strings.Lines(text) {
			if value, ok := strings.CutPrefix(l, line); ok {
				if n, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
		t.Fatalf("%s says nothing of %s", path, line)
		return 0
	}
	h.goroutines = ask("/metrics", "go_goroutines ")
	h.heap = ask("/debug/pprof/heap?gc=1&debug=1", "# HeapAlloc = ")
	pool := s.pool(t)
	defer pool.Close()
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'runledger%'").Scan(&h.connections); err != nil {
		t.Fatal(err)
	}
	return h
}

// within tells whether a server holds no more than before, but for what it may be doing at the
// moment of asking.
func (h holdings) within(before holdings) bool {
	const goroutines, heap = 5, 4 << 20
	return h.goroutines <= before.goroutines+goroutines && h.heap <= before.heap+before.heap/2+heap && h.connections <= connectionsAtMost
}

// connectionsAtMost are those of the pool, as it is unless configured, and one each for the checks,
// the sweep and the survey.
const connectionsAtMost = poolSize + 3

const poolSize = 8

// awaitHoldings waits until the server holds no more than before, and fails the test if it does
// not within a minute.
func (s *system) awaitHoldings(t *testing.T, before holdings) {
	t.Helper()
	var now holdings
	await(t, "the server to let go of what it held", func() bool {
		now = s.holdings(t)
		return now.within(before)
	})
	t.Logf("before %+v, after %+v", before, now)
}

// await waits until a condition holds, and fails the test if it does not within a minute.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	const patience = time.Minute
	late := time.NewTimer(patience)
	defer late.Stop()
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
