package faults

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// others are whoever asks for anything else while the workers of a load record their runs: pages and rows,
// again with the tag of the last answer, batches and heartbeats, and the stream of all changes, which goes on
// where it broke off.
type others struct {
	load      *load
	client    *client
	rest      context.CancelFunc // ends the asking
	hangUp    context.CancelFunc // ends everything
	asking    sync.WaitGroup
	listening sync.WaitGroup

	mu       sync.Mutex
	good     map[string]time.Time // when each request was last answered well
	told     map[int64]bool       // the runs that the stream has told of
	repeated []string             // positions that it has told of twice
}

// errand is one thing that they ask for, below the workspace.
type errand struct{ name, method, path, body string }

// errands are all of them, around a run that lives.
func errands(run int64) []errand {
	const get, post = http.MethodGet, http.MethodPost
	one := fmt.Sprintf("/operation-runs/%d", run)
	const noTenant = `"tenant_id":null`
	return []errand{
		{"the workspace", get, "", ""},
		{"the types", get, "/operation-types", ""},
		{"runs", get, "/operation-runs", ""},
		{"runs of a status", get, "/operation-runs?status=queued,running&order=updated_at", ""},
		{"a count", get, "/operation-runs/count?type=inventory_sync", ""},
		{"statistics", get, "/operation-runs/stats", ""},
		{"changes", get, "/operation-runs/changes?after=now", ""},
		{"a run", get, one, ""},
		{"a timeline", get, one + "/events", ""},
		{"what rests on a run", get, one + "/dependents", ""},
		{"findings", get, "/findings", ""},
		{"inventory items", get, "/inventory-items", ""},
		{"tenants", get, "/tenants", ""},
		{"schedules", get, "/backup-schedules", ""},
		{"a heartbeat", post, one + "/heartbeat", ""},
		{"a batch of runs", post, "/operation-runs/batch", `{"operations":[{"start":{"type":"inventory_sync"}},{"start":{"type":"inventory_sync"}}]}`},
		{"a batch of findings", post, "/findings/batch", `{"findings":[{` + noTenant + `,"finding_type":"drift","fingerprint":"f","severity":"low","subject_type":"policy","subject_external_id":"p"}]}`},
		{"a batch of items", post, "/inventory-items/batch", fmt.Sprintf(`{"operation_run_id":%d,"items":[{`+noTenant+`,"policy_type":"p","external_id":"e"}]}`, run)},
	}
}

// newOthers begins to listen, and returns when the stream is open. addr is the server's or that of the way to it.
func newOthers(t *testing.T, s *system, addr string) *others {
	t.Helper()
	ctx, hangUp := context.WithCancel(context.Background())
	a := &others{client: newClient(t, s), rest: func() {}, hangUp: hangUp, good: map[string]time.Time{}, told: map[int64]bool{}}
	a.client.addr = addr
	t.Cleanup(a.end)
	var begun atomic.Bool
	a.listening.Go(func() { a.follow(ctx, &begun) })
	await(t, "the stream to begin", begun.Load)
	return a
}

// join begins to ask, beside a load that has begun after the stream, so that the stream is to tell of all of it.
func (a *others) join(t *testing.T, l *load) {
	t.Helper()
	a.load = l
	status, run, err := a.client.send(http.MethodPost, "", `{"type":"entra_group_sync"}`)
	if err != nil || status != http.StatusCreated {
		t.Fatalf("the run of the others: status %d, %v", status, err)
	}
	ctx, rest := context.WithCancel(context.Background())
	a.rest = rest
	a.asking.Go(func() { a.ask(ctx, errands(run.ID)) })
}

// ask goes through the errands until ctx ends, and notes what is answered well.
func (a *others) ask(ctx context.Context, all []errand) {
	tags := map[string]string{}
	for {
		for _, e := range all {
			status, got, err := a.client.fetch(ctx, e.method, e.path, e.body, tags[e.name])
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				a.load.cut.Add(1)
				continue
			}
			if status >= http.StatusMultipleChoices && status != http.StatusNotModified {
				if status < http.StatusInternalServerError {
					a.client.tellBroken("%s %s: %d %.1000s", e.method, e.path, status, got.body) // nothing is wrong with the request
				}
				continue
			}
			if e.method == http.MethodGet && status == http.StatusOK {
				tags[e.name] = got.header.Get("ETag")
			}
			a.keep(e.name, got.body, status)
		}
	}
}

// keep notes a good answer, and what it promises.
func (a *others) keep(name string, body []byte, status int) {
	whole := true
	if status == http.StatusMultiStatus {
		whole = a.keepResults(body)
	}
	if whole {
		a.mu.Lock()
		a.good[name] = time.Now()
		a.mu.Unlock()
	}
}

// keepResults notes the runs that a batch has started, and tells whether all of it went well.
func (a *others) keepResults(body []byte) (whole bool) {
	var answer struct {
		Results []struct {
			Status int       `json:"status"`
			Run    runAnswer `json:"operation_run"`
		} `json:"results"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		a.client.tellBroken("a batch: %v: %.300s", err, body)
		return false
	}
	whole = true
	for _, result := range answer.Results {
		switch {
		case result.Status == http.StatusServiceUnavailable:
			whole = false
		case result.Status >= http.StatusMultipleChoices:
			a.client.tellBroken("a part of a batch: %.1000s", body)
		case result.Run.ID != 0:
			a.load.note(reply{verdict: created, id: result.Run.ID}, true, result.Run.ID, "")
		}
	}
	return whole
}

// follow reads the stream until ctx ends, and opens it again behind the last event where it ends.
func (a *others) follow(ctx context.Context, begun *atomic.Bool) {
	lastID := ""
	seen := map[string]bool{}
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for ; ctx.Err() == nil; <-tick.C {
		resp, err := a.client.open(ctx, http.MethodGet, "/operation-runs/events", "", http.Header{"Last-Event-Id": {lastID}})
		if err != nil {
			continue
		}
		if resp.StatusCode != http.StatusOK && resp.StatusCode < http.StatusInternalServerError {
			a.client.tellBroken("the stream after %q: %d", lastID, resp.StatusCode) // it may be followed, and its position has not gone
		}
		lines := bufio.NewScanner(resp.Body)
		for resp.StatusCode == http.StatusOK && lines.Scan() {
			begun.Store(true)
			line := lines.Text()
			if id, ok := strings.CutPrefix(line, "id: "); ok {
				lastID = id
			}
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				a.heard(data, seen)
			}
		}
		_ = resp.Body.Close()
	}
}

// heard notes an event of the stream.
func (a *others) heard(data string, seen map[string]bool) {
	var event struct {
		ID    int64 `json:"id"`
		RunID int64 `json:"run_id"`
	}
	if err := json.Unmarshal([]byte(data), &event); err != nil {
		a.client.tellBroken("the stream: %v: %.300s", err, data)
		return
	}
	name := fmt.Sprintf("%d of run %d", event.ID, event.RunID)
	a.mu.Lock()
	defer a.mu.Unlock()
	if seen[name] {
		a.repeated = append(a.repeated, name)
	}
	seen[name] = true
	a.told[event.RunID] = true
}

// servedSince tells whether each errand has been answered well after an instant.
func (a *others) servedSince(after time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.good) < len(errands(0)) {
		return false
	}
	for at := range maps.Values(a.good) {
		if !at.After(after) {
			return false
		}
	}
	return true
}

// end stops asking and listening.
func (a *others) end() {
	a.rest()
	a.asking.Wait()
	a.hangUp()
	a.listening.Wait()
	a.client.http.CloseIdleConnections()
}

// wantServed ends them when the stream has told of every run that was acknowledged since it began, and fails
// the test if it has told of an event twice, or one was answered by anything but what was asked for and 503 with
// Retry-After. The load has ended.
func (a *others) wantServed(t *testing.T) {
	t.Helper()
	a.rest()
	a.asking.Wait()
	await(t, "the stream to tell of every run", func() bool {
		a.load.mu.Lock()
		defer a.load.mu.Unlock()
		a.mu.Lock()
		defer a.mu.Unlock()
		for id := range a.load.promised {
			if !a.told[id] {
				return false
			}
		}
		return true
	})
	a.end()
	if len(a.repeated) > 0 {
		t.Errorf("the stream has told twice of %.300v", a.repeated)
	}
	if n := a.client.broken.Load(); n > 0 {
		t.Errorf("%d other requests, or parts of batches, were answered by something that is neither good nor 503 with Retry-After", n)
	}
}
