package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// client asks the system over HTTP.
type client struct {
	t       *testing.T
	system  *system
	addr    string // of the server, or of the front
	http    *http.Client
	broken  atomic.Int64 // answers that there are to be none of, such as a 5xx that is no 503 with Retry-After
	refused atomic.Int64 // answers of 503
}

func newClient(t *testing.T, s *system) *client {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 1}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{t: t, system: s, addr: s.front.addr(), http: &http.Client{Transport: transport, Timeout: 30 * time.Second}}
}

// ask sends a request. sent is false if it certainly has not arrived anywhere.
func (c *client) ask(in request) (out reply, sent bool) {
	method, path, body := http.MethodPost, "", fmt.Sprintf(`{"type":"inventory_sync","identity":%q,"context":{"op":%q}}`, in.identity, in.op)
	if in.kind == "end" {
		method, path = http.MethodPatch, fmt.Sprintf("/%d", in.id)
		body = fmt.Sprintf(`{"status":"completed","outcome":"succeeded","context":{"by":%q}}`, in.token)
	}
	status, run, err := c.send(method, path, body)
	if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" {
		return reply{verdict: unknown}, false
	}
	if err != nil {
		return reply{verdict: unknown}, true
	}
	switch {
	case status == http.StatusCreated:
		return reply{verdict: created, id: run.ID}, true
	case status == http.StatusOK && in.kind == "start":
		return reply{verdict: found, id: run.ID}, true
	case status == http.StatusOK && run.ID == in.id && run.Status == "completed" && run.Context.By == in.token:
		return reply{verdict: done}, true
	case status == http.StatusConflict:
		return reply{verdict: refused}, true
	case status >= http.StatusInternalServerError:
		return reply{verdict: unknown, id: int64(status)}, true
	default:
		c.tellBroken("%s %s: %d, run %d is %s by %q", method, path, status, run.ID, run.Status, run.Context.By)
		return reply{verdict: missing, id: int64(status)}, true
	}
}

// runAnswer is what the clients read of a run.
type runAnswer struct {
	ID      int64  `json:"id"`
	Status  string `json:"status"`
	Context struct {
		By string `json:"by"`
	} `json:"context"`
}

// send sends a request for the workspace's runs, and reads the run that it is answered with.
func (c *client) send(method, path, body string) (int, runAnswer, error) {
	var run runAnswer
	status, got, err := c.fetch(context.Background(), method, "/operation-runs"+path, body, "")
	if err != nil || status >= http.StatusMultipleChoices { // a problem
		return status, run, err
	}
	return status, run, json.Unmarshal(got.body, &run)
}

// answer is what a client got.
type answer struct {
	header http.Header
	body   []byte
}

// fetch sends a request below the workspace, and counts the answer if it is one of 5xx. tag is that of an
// answer that the client has; empty for none.
func (c *client) fetch(ctx context.Context, method, path, body, tag string) (status int, got answer, err error) {
	header := http.Header{}
	if tag != "" {
		header.Set("If-None-Match", tag)
	}
	resp, err := c.open(ctx, method, path, body, header)
	if err != nil {
		return 0, got, err
	}
	defer func() { _ = resp.Body.Close() }()
	got.header = resp.Header
	got.body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, got, err
}

// open sends a request below the workspace, whose answer is for the caller to read and close, and counts it if
// it is one of 5xx.
func (c *client) open(ctx context.Context, method, path, body string, header http.Header) (*http.Response, error) {
	address := fmt.Sprintf("http://%s/workspaces/%d%s", c.addr, c.system.workspace.ID, path)
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = header
	req.Header.Set("Authorization", "Bearer "+c.system.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	switch {
	case resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "":
		c.refused.Add(1)
	case resp.StatusCode >= http.StatusInternalServerError:
		c.tellBroken("%s %s: %d", method, path, resp.StatusCode)
	}
	return resp, nil
}

// tellBroken counts an answer that there is to be none of, and tells which it was.
func (c *client) tellBroken(format string, args ...any) {
	c.broken.Add(1)
	c.t.Logf("an answer that there is to be none of: "+format, args...)
}
