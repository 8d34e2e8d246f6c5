package composed

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

// composition is what is under test, by its variables: RUNLEDGER_TEST_COMPOSED is the list of runs
// of a workspace, at the proxy; RUNLEDGER_TOKEN one of a member who may record; COMPOSE the command.
type composition struct {
	t       *testing.T
	runs    string
	token   string
	command []string
}

// compose runs a command of the composition.
func (c *composition) compose(args ...string) string {
	c.t.Helper()
	// Not the test's context, which ends before what has to be started again is.
	command := exec.Command(c.command[0], append(slices.Clone(c.command[1:]), args...)...)
	command.Dir = "../.."
	out, err := command.CombinedOutput()
	if err != nil {
		c.t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// awaitStates waits until the proxy says of servers what is wanted.
func (c *composition) awaitStates(want string, servers ...string) {
	c.t.Helper()
	const ask = `exec 3<>/dev/tcp/127.0.0.1/8404; printf 'GET /;csv HTTP/1.0\r\n\r\n' >&3; cat <&3`
	c.await("the proxy to see "+strings.Join(servers, " and ")+" "+want, func() bool {
		out := c.compose("exec", "-T", "proxy", "bash", "-c", ask)
		for _, server := range servers {
			line := out[max(strings.Index(out, "\nservers,"+server+","), 0):]
			line, _, _ = strings.Cut(strings.TrimPrefix(line, "\n"), "\n")
			if fields := strings.Split(line, ","); len(fields) < 18 || fields[17] != want {
				return false
			}
		}
		return true
	})
}

// await waits until something holds.
func (c *composition) await(what string, holds func() bool) {
	c.t.Helper()
	tick, late := time.NewTicker(50*time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-late:
			c.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// answer is what one request came to.
type answer struct {
	method     string
	begun      time.Time
	ended      time.Time
	status     int // 0 if there was none
	retryAfter string
	fault      string
	nameless   bool  // a fault that does not say by which id the request is to be found
	runID      int64 // of a run that was started
}

func (a *answer) good() bool { return a.status == http.StatusOK || a.status == http.StatusCreated }

// load asks through the proxy until it is stopped, and keeps what it got.
type load struct {
	c    *composition
	stop context.CancelFunc
	done sync.WaitGroup

	mu      sync.Mutex
	answers []answer
}

// workers ask at once; so many requests may be in flight when something is killed.
const workers = 8

func (c *composition) load() *load {
	ctx, stop := context.WithCancel(context.Background())
	l := &load{c: c, stop: stop}
	pace := rate.NewLimiter(200, workers)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}, Timeout: 30 * time.Second}
	for worker := range workers {
		l.done.Go(func() {
			for i := 0; pace.Wait(ctx) == nil; i++ {
				a := l.ask(client, fmt.Sprintf("%d-%d-%d", os.Getpid(), worker, i), i%3 == 0)
				l.mu.Lock()
				l.answers = append(l.answers, a)
				l.mu.Unlock()
			}
		})
	}
	c.t.Cleanup(func() {
		stop()
		l.done.Wait()
		client.CloseIdleConnections()
	})
	return l
}

// ask lists runs, or starts one.
func (l *load) ask(client *http.Client, key string, start bool) answer {
	a := answer{method: http.MethodGet, begun: time.Now()}
	var body io.Reader = http.NoBody
	if start {
		a.method = http.MethodPost
		body = strings.NewReader(`{"type":"inventory_sync","context":{"key":"` + key + `"}}`)
	}
	req, err := http.NewRequest(a.method, l.c.runs, body)
	if err != nil {
		panic(err)
	}
	req.Header.Set("Authorization", "Bearer "+l.c.token)
	if start {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", l.c.t.Name()+key)
	}
	resp, err := client.Do(req)
	if err == nil {
		var text []byte
		text, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		a.status, a.retryAfter = resp.StatusCode, resp.Header.Get("Retry-After")
		if start && a.status == http.StatusCreated {
			var run struct{ ID int64 }
			if err = json.NewDecoder(bytes.NewReader(text)).Decode(&run); err == nil {
				a.runID = run.ID
			}
		} else if !a.good() {
			a.fault = string(text)
			id := resp.Header.Get("X-Request-Id")
			a.nameless = id == "" || !strings.Contains(a.fault, strconv.Quote(id))
		}
	}
	if err != nil {
		a.status, a.fault = 0, err.Error()
	}
	a.ended = time.Now()
	return a
}

// since are the answers that ended after an instant.
func (l *load) since(at time.Time) []answer {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []answer
	for _, a := range l.answers {
		if a.ended.After(at) {
			found = append(found, a)
		}
	}
	return found
}

// awaitAnswers waits for as many answers as are wanted, from now on.
func (l *load) awaitAnswers(n int, wanted func(answer) bool) {
	l.c.t.Helper()
	from := time.Now()
	l.c.await(fmt.Sprintf("%d answers", n), func() bool {
		count := 0
		for _, a := range l.since(from) {
			if wanted(a) {
				count++
			}
		}
		return count >= n
	})
}

func anyAnswer(answer) bool { return true }

func newComposition(t *testing.T) *composition {
	t.Helper()
	runs := os.Getenv("RUNLEDGER_TEST_COMPOSED")
	if runs == "" {
		t.Skip("RUNLEDGER_TEST_COMPOSED does not name the runs of a workspace at a composition's proxy")
	}
	command := strings.Fields(os.Getenv("COMPOSE"))
	if len(command) == 0 {
		command = []string{"docker", "compose"}
	}
	return &composition{t: t, runs: runs, token: os.Getenv("RUNLEDGER_TOKEN"), command: command}
}

// acknowledged asks for every run that was said to be started.
func (l *load) acknowledged() {
	t := l.c.t
	t.Helper()
	client := &http.Client{Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	started, lost := 0, 0
	for _, a := range l.since(time.Time{}) {
		if a.runID == 0 {
			continue
		}
		started++
		req, err := http.NewRequest(http.MethodGet, fmt.Sprintf("%s/%d", l.c.runs, a.runID), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+l.c.token)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			lost++
		}
	}
	t.Logf("%d runs were started and acknowledged, %d of them are lost", started, lost)
	if started == 0 || lost > 0 {
		t.Error("what was acknowledged is to be there")
	}
}

func TestEitherServerMayBeKilledAndOnlyWhatItHadInHandFails(t *testing.T) {
	c := newComposition(t)
	c.awaitStates("UP", "server-a", "server-b")
	l := c.load()
	for _, server := range []string{"server-a", "server-b"} {
		l.awaitAnswers(500, anyAnswer)
		before := time.Now()
		c.compose("kill", server)
		dead := time.Now()
		l.awaitAnswers(1000, anyAnswer)
		c.compose("start", server)
		c.awaitStates("UP", "server-a", "server-b")
		l.awaitAnswers(300, anyAnswer)

		answers := l.since(before)
		failed := 0
		for _, a := range answers {
			if a.good() {
				continue
			}
			failed++
			t.Logf("%s begun %s before %s was dead: %d %s", a.method, dead.Sub(a.begun), server, a.status, a.fault)
			if a.nameless {
				t.Error("a fault without the id of its request")
			}
			if a.method == http.MethodGet {
				t.Error("a GET fails, which the other server could have answered")
			}
			if a.begun.After(dead) {
				t.Errorf("a request fails that was sent after %s was dead", server)
			}
		}
		t.Logf("%s was killed: of %d requests, %d failed", server, len(answers), failed)
		if failed > workers {
			t.Errorf("more fail than can have been in flight, %d", workers)
		}
	}
	l.stop()
	l.done.Wait()
	l.acknowledged()
}

func TestWhileTheDatabaseIsAwayThereIsOnly503AndThenAllIsWell(t *testing.T) {
	c := newComposition(t)
	c.awaitStates("UP", "server-a", "server-b")
	started := c.started()
	l := c.load()
	l.awaitAnswers(300, anyAnswer)
	before := time.Now()
	c.compose("kill", "postgres")
	l.awaitAnswers(500, func(a answer) bool { return a.status == http.StatusServiceUnavailable })
	c.awaitStates("DOWN", "server-a", "server-b")
	c.compose("start", "postgres")
	c.awaitStates("UP", "server-a", "server-b")
	back := time.Now()
	l.awaitAnswers(500, anyAnswer)

	counts := map[int]int{}
	for _, a := range l.since(before) {
		counts[a.status]++
		switch {
		case !a.good() && a.begun.After(back):
			t.Errorf("after all was back: %s %d %s", a.method, a.status, a.fault)
		case !a.good() && a.status != http.StatusServiceUnavailable:
			t.Errorf("%s: %d %s", a.method, a.status, a.fault)
		case a.status == http.StatusServiceUnavailable && a.retryAfter == "":
			t.Errorf("a 503 without Retry-After: %s", a.fault)
		case a.nameless:
			t.Errorf("a fault without the id of its request: %s", a.fault)
		}
	}
	t.Logf("the database was killed and started: answers by status %v", counts)
	if now := c.started(); now != started {
		t.Errorf("servers were started again: %s, before %s", now, started)
	}
	l.stop()
	l.done.Wait()
	l.acknowledged()
}

// started tells since when the servers run.
func (c *composition) started() string {
	c.t.Helper()
	ids := strings.Fields(c.compose("ps", "-q", "server-a") + " " + c.compose("ps", "-q", "server-b"))
	out, err := exec.Command("docker", append([]string{"inspect", "--format", "{{.State.StartedAt}}"}, ids...)...).Output()
	if err != nil || len(ids) != 2 {
		c.t.Fatalf("%v: %v", ids, err)
	}
	return string(out)
}
