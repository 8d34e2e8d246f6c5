package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runledger/runledger/internal/dbtest"
)

// process is the built binary at work.
type process struct {
	*exec.Cmd
	log   *bufio.Scanner
	addr  string
	admin string        // the address for operators
	pool  *pgxpool.Pool // of its database
}

// builtBinary is where the command is built.
var builtBinary = filepath.Join(os.TempDir(), fmt.Sprintf("runledger-command-%d", os.Getpid()))

// build builds the command, once.
var build = sync.OnceValue(func() error {
	if out, err := exec.Command("go", "build", "-o", builtBinary, ".").CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
})

// startServe builds the binary, starts its server on the tests' database and waits until it is
// serving. It has not ended when this returns; the test ends it. More environment comes last.
func startServe(t *testing.T, environ ...string) *process {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	databaseURL := dbtest.Fresh(t)
	p := &process{Cmd: exec.Command(builtBinary, "serve"), addr: listener.Addr().String(), pool: dbtest.Connect(t, databaseURL)}
	_ = listener.Close()
	p.Env = []string{
		"RUNLEDGER_DATABASE_URL=" + databaseURL, "RUNLEDGER_ADDR=" + p.addr, "RUNLEDGER_ADMIN_ADDR=127.0.0.1:0", "RUNLEDGER_SHUTDOWN_DELAY=0s",
		"RUNLEDGER_JWT_HS256_SECRET=" + secret, "RUNLEDGER_JWT_ISSUER=i", "RUNLEDGER_JWT_AUDIENCE=a",
	}
	p.Env = append(p.Env, environ...)
	stderr, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill(); _ = p.Wait() })
	p.log = bufio.NewScanner(stderr)
	var serving struct {
		Admin string `json:"admin_addr"`
	}
	if err := json.Unmarshal([]byte(p.says(t, `"serving"`)), &serving); err != nil {
		t.Fatal(err)
	}
	p.admin = serving.Admin
	return p
}

// says waits for a line of the log, and returns it.
func (p *process) says(t *testing.T, what string) string {
	t.Helper()
	for p.log.Scan() {
		if strings.Contains(p.log.Text(), what) {
			return p.log.Text()
		}
	}
	t.Fatalf("the log ends without %s", what)
	return ""
}

// holdARequest starts a request that takes until release is called. Its answer's status comes out
// of answered, 0 if there is none.
func (p *process) holdARequest(t *testing.T) (release func(), answered <-chan int) {
	t.Helper()
	w, token := p.member(t)
	lock, err := p.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Exec(t.Context(), "LOCK TABLE operation_runs IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	status := make(chan int, 1)
	go func() {
		defer close(status)
		req, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://%s/workspaces/%d/operation-runs", p.addr, w.ID), http.NoBody)
		if err != nil {
			return
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Close = true
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
			status <- resp.StatusCode
		}
	}()
	dbtest.Await(t, p.pool, `EXISTS (SELECT FROM pg_stat_activity
		WHERE application_name = 'runledger' AND datname = current_database() AND wait_event_type = 'Lock')`)
	return func() { _ = lock.Rollback(context.WithoutCancel(t.Context())) }, status
}

func TestSIGTERMLetsARequestFinishAndExitsWith0(t *testing.T) {
	t.Parallel()
	p := startServe(t)
	release, answered := p.holdARequest(t)
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.says(t, "shutting down")
	release()
	if status := <-answered; status != http.StatusOK {
		t.Errorf("a request that was running gets %d", status)
	}
	p.says(t, "stopped")
	if err := p.Wait(); err != nil {
		t.Errorf("the server exits with %v", err)
	}
}

func TestAProfileUnderWayIsNoReasonToFailAtTheEnd(t *testing.T) {
	t.Parallel()
	p := startServe(t, "RUNLEDGER_SHUTDOWN_GRACE=100ms")
	conn, err := net.Dial("tcp", p.admin)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprint(conn, "GET /debug/pprof/trace?seconds=600 HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil { // it has begun
		t.Fatal(err)
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.says(t, "cut off")
	p.says(t, "stopped")
	if err := p.Wait(); err != nil {
		t.Errorf("the server exits with %v", err)
	}
}

func TestARequestThatOutlastsTheGraceDoesNotKeepTheServer(t *testing.T) {
	t.Parallel()
	p := startServe(t, "RUNLEDGER_SHUTDOWN_GRACE=100ms")
	w, token := p.member(t)
	conn := p.dial(t)
	if _, err := fmt.Fprintf(conn, "POST /workspaces/%d/operation-runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n{", w.ID, token); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil { // it says that it reads the body, which never comes
		t.Fatal(err)
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	select {
	case err := <-ended:
		if code := p.ProcessState.ExitCode(); code != exitFailure {
			t.Errorf("it ends with %d: %v", code, err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the server goes on")
	}
}

func TestASecondSignalEndsTheServerAtOnce(t *testing.T) {
	t.Parallel()
	p := startServe(t)
	release, answered := p.holdARequest(t)
	defer release()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.says(t, "shutting down")
	// The first signal's end is announced a moment before the second one has its default effect, so
	// the second is sent until it has.
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var err error
	for running := true; running; {
		select {
		case err = <-ended:
			running = false
		case <-tick.C:
			_ = p.Process.Signal(syscall.SIGTERM)
		}
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		t.Fatal("the server ends as if nothing was running")
	}
	if status, _ := exit.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGTERM {
		t.Errorf("the server ends with %v, not by the signal", exit)
	}
	if status := <-answered; status != 0 {
		t.Errorf("the request that was running gets %d", status)
	}
}

func TestKeysAreFetchedWhileTheServerShutsDown(t *testing.T) {
	t.Parallel()
	fetched := make(chan struct{}, 10)
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"old","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`)
		fetched <- struct{}{}
	}))
	t.Cleanup(issuer.Close)
	p := startServe(t, "RUNLEDGER_JWT_HS256_SECRET=", "RUNLEDGER_JWT_JWKS_URL="+issuer.URL, "RUNLEDGER_SHUTDOWN_DELAY=1m")
	<-fetched
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.says(t, "shutting down")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.addr+"/workspaces", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	req.Header.Set("Authorization", "Bearer "+encode([]byte(`{"alg":"EdDSA","kid":"new"}`))+"."+encode([]byte(`{}`))+".AAAA")
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	// The server has waited for the fetch that the new key id set off before it answered.
	select {
	case <-fetched:
	default:
		t.Errorf("a token with a new key id gets %d without a fetch", resp.StatusCode)
	}
}
