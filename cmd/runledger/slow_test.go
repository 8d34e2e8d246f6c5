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
	"testing"
	"time"

	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/dbtest"
)

// Timeouts that are short enough to see them pass, and which a slow client is far beyond: it sends a
// byte in every tick and would be done after minutes.
const (
	shortTimeout = 400 * time.Millisecond
	drip         = 20 * time.Millisecond
)

// startShort starts a server with short timeouts, and returns it with a member's token.
func startShort(t *testing.T) (p *process, w dbtest.Workspace, token string) {
	t.Helper()
	p = startServe(
		t, "RUNLEDGER_HEADER_TIMEOUT="+shortTimeout.String(), "RUNLEDGER_READ_TIMEOUT="+(2*shortTimeout).String(),
		"RUNLEDGER_WRITE_TIMEOUT="+(4*shortTimeout).String(), "RUNLEDGER_IDLE_TIMEOUT="+shortTimeout.String(),
	)
	w, token = p.member(t)
	return p, w, token
}

// member makes a workspace, with the token of a member.
func (p *process) member(t *testing.T) (w dbtest.Workspace, token string) {
	t.Helper()
	w = dbtest.NewWorkspace(t, p.pool)
	signer, err := auth.NewSecretSigner([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	if token, err = signer.Sign(w.Owner.Subject, "i", "a", time.Hour, time.Now()); err != nil {
		t.Fatal(err)
	}
	return w, token
}

// dial connects to the server. What is read or written fails after a minute, in which every timeout
// has passed many times over.
func (p *process) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// dripped writes text byte by byte until it is written or the other end has gone, and tells which.
func dripped(conn net.Conn, text string) (whole bool) {
	tick := time.NewTicker(drip)
	defer tick.Stop()
	for i := range len(text) {
		if _, err := conn.Write([]byte{text[i]}); err != nil {
			return false
		}
		<-tick.C
	}
	return true
}

// ended reads what a connection still says, and fails the test if it does not end by the server.
func ended(t *testing.T, conn net.Conn) string {
	t.Helper()
	text, err := io.ReadAll(conn)
	if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() {
		t.Error("the server keeps the connection for a minute and more")
	}
	return string(text)
}

func TestASlowClientCannotStretchATimeout(t *testing.T) {
	t.Parallel()
	p, w, token := startShort(t)
	request := func(method, path, more string) string {
		return fmt.Sprintf("%s /workspaces/%d%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s\r\n", method, w.ID, path, token, more)
	}
	t.Run("nothing", func(t *testing.T) {
		t.Parallel()
		if text := ended(t, p.dial(t)); text != "" {
			t.Errorf("the server answers %q to nothing", text)
		}
	})
	t.Run("a header byte by byte", func(t *testing.T) {
		t.Parallel()
		conn := p.dial(t)
		if dripped(conn, request(http.MethodGet, "/operation-runs", "X-Slow: "+strings.Repeat("a", 3000)+"\r\n")) {
			t.Error("a header that takes a minute is taken")
		}
		if text := ended(t, conn); strings.HasPrefix(text, "HTTP/1.1 2") || strings.HasPrefix(text, "HTTP/1.1 5") {
			t.Errorf("the answer is %.100q", text)
		}
	})
	t.Run("a body byte by byte", func(t *testing.T) {
		t.Parallel()
		body := `{"type":"inventory_sync","context":{"a":"` + strings.Repeat("a", 3000) + `"}}`
		conn := p.dial(t)
		if _, err := io.WriteString(conn, request(http.MethodPost, "/operation-runs", fmt.Sprintf("Content-Type: application/json\r\nContent-Length: %d\r\n", len(body)))); err != nil {
			t.Fatal(err)
		}
		if dripped(conn, body) {
			t.Error("a body that takes a minute is taken")
		}
		if text := ended(t, conn); text != "" && !strings.HasPrefix(text, "HTTP/1.1 4") {
			t.Errorf("the answer is %.100q", text)
		}
	})
	t.Run("chunks of a byte", func(t *testing.T) {
		t.Parallel()
		conn := p.dial(t)
		if _, err := io.WriteString(conn, request(http.MethodPost, "/operation-runs", "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n")); err != nil {
			t.Fatal(err)
		}
		if dripped(conn, strings.Repeat("1\r\n \r\n", 500)) {
			t.Error("a body that takes a minute is taken")
		}
		if text := ended(t, conn); text != "" && !strings.HasPrefix(text, "HTTP/1.1 4") {
			t.Errorf("the answer is %.100q", text)
		}
	})
	t.Run("answers that nobody reads", func(t *testing.T) {
		t.Parallel()
		conn := p.dial(t)
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetReadBuffer(4096)
		}
		// The client goes on asking and reads nothing. A server that waited for it would take no more
		// requests from some point on, and the writes would fail by the deadline only.
		var err error
		for err == nil {
			_, err = io.WriteString(conn, request(http.MethodGet, "", "X-Long: "+strings.Repeat("a", 4000)+"\r\n")+"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
		}
		if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() {
			t.Error("the server waits for a client that reads nothing for a minute and more")
		}
	})
	t.Run("no next request", func(t *testing.T) {
		t.Parallel()
		conn := p.dial(t)
		if _, err := io.WriteString(conn, request(http.MethodGet, "/operation-runs", "")); err != nil {
			t.Fatal(err)
		}
		if text := ended(t, conn); !strings.HasPrefix(text, "HTTP/1.1 200") {
			t.Errorf("the answer is %.100q", text)
		}
	})
}

func TestSlowClientsKeepNobodyOut(t *testing.T) {
	t.Parallel()
	p := startServe(t)
	w, token := p.member(t)
	slow, stop := context.WithCancel(t.Context())
	defer stop()
	const crowd = 300
	begun := make(chan struct{}, crowd)
	for range crowd {
		conn := p.dial(t)
		go func() {
			_, _ = fmt.Fprintf(conn, "POST /workspaces/%d/operation-runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{", w.ID, token)
			begun <- struct{}{}
			<-slow.Done()
		}()
	}
	for range crowd {
		<-begun
	}
	for _, path := range []string{"/livez", "/readyz", fmt.Sprintf("/workspaces/%d/operation-runs", w.ID)} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.addr+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Close = true
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s is %d while %d clients are slow", path, resp.StatusCode, crowd)
		}
	}
}

func TestAStreamOutlastsTheTimeoutsOfAnswers(t *testing.T) {
	t.Parallel()
	p, w, token := startShort(t)
	conn := p.dial(t)
	path := fmt.Sprintf("/workspaces/%d/operation-runs", w.ID)
	if _, err := fmt.Fprintf(conn, "GET %s/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", path, token); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(conn)
	if !lines.Scan() || lines.Text() != "HTTP/1.1 200 OK" {
		t.Fatalf("the stream begins with %q", lines.Text())
	}
	// All timeouts pass, one after another, and then something happens.
	<-time.After(6 * shortTimeout)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+p.addr+path, strings.NewReader(`{"type":"inventory_sync"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("a start is %d", resp.StatusCode)
	}
	for lines.Scan() {
		if strings.Contains(lines.Text(), `"kind":"created"`) {
			return
		}
	}
	t.Fatalf("the stream ended before the change came: %v", lines.Err())
}
