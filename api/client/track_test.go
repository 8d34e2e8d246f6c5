package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/api/client"
	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/sweep"
)

// often is a heartbeat interval for tests.
const often = 10 * time.Millisecond

// tracked is a workspace with a client that records runs in it.
type tracked struct {
	dbtest.Workspace
	*client.ClientWithResponses
	pool *pgxpool.Pool
}

func newTracked(t *testing.T) tracked {
	t.Helper()
	return newTrackedOn(t, dbtest.Pool(t))
}

func newTrackedOn(t *testing.T, pool *pgxpool.Pool) tracked {
	t.Helper()
	ws := dbtest.NewWorkspace(t, pool)
	return tracked{ws, clientOf(t, service(t, pool), ws.Operator.Subject), pool}
}

// stored is what the service says of a run.
func (w tracked) stored(t *testing.T, id int64) client.Run {
	t.Helper()
	got, err := w.GetOperationRunWithResponse(context.WithoutCancel(t.Context()), w.ID, id, nil)
	if err != nil || got.JSON200 == nil {
		t.Fatalf("run %d: %s, error %v", id, got.Body, err)
	}
	return *got.JSON200
}

func TestTrackEndsTheRunWithTheOutcomeOfTheError(t *testing.T) {
	t.Parallel()
	w := newTracked(t)
	broken := errors.New("the disk is \x00 full")
	for name, try := range map[string]struct {
		err           error
		outcome, code string
	}{
		"no error":  {nil, "succeeded", ""},
		"an error":  {broken, "failed", client.CodeWorkerError},
		"a code":    {client.Failed("disk_full", broken), "failed", "disk_full"},
		"in part":   {client.PartiallySucceeded("some_failed", broken), "partially_succeeded", "some_failed"},
		"blocked":   {client.Blocked("no_consent", broken), "blocked", "no_consent"},
		"cancelled": {context.Canceled, "failed", client.CodeWorkerError}, // nobody asked for it
	} {
		during := client.Run{}
		run, err := w.Track(t.Context(), w.ID, client.StartRun{Type: "inventory_sync"}, func(_ context.Context, report *client.Report) error {
			during = w.stored(t, report.Run().ID)
			report.SetCounts(map[string]int64{"total": 3})
			report.SetContext(map[string]any{"phase": "upload"})
			return try.err
		})
		if !errors.Is(err, try.err) || run == nil {
			t.Fatalf("%s: run %v, error %v", name, run, err)
		}
		got := w.stored(t, run.ID)
		if during.Status != "running" || got.Status != "completed" || got.Outcome != try.outcome || run.Outcome != try.outcome {
			t.Errorf("%s: %s, then %s with %s, want %s", name, during.Status, got.Status, got.Outcome, try.outcome)
		}
		if failures := string(got.FailureSummary); try.code == "" && failures != "[]" || !strings.Contains(failures, try.code) {
			t.Errorf("%s: failures %s", name, failures)
		}
		if string(got.SummaryCounts) != `{"total": 3}` || !strings.Contains(string(got.Context), `"phase": "upload"`) {
			t.Errorf("%s: counts %s, context %s", name, got.SummaryCounts, got.Context)
		}
	}
}

func TestTrackDoesNothingWhereARunOfTheIdentityIsActive(t *testing.T) {
	t.Parallel()
	w := newTracked(t)
	identity := client.FreeJSON(`{"selection":"all"}`)
	start := client.StartRun{Type: "inventory_sync", Identity: &identity}
	_, err := w.Track(t.Context(), w.ID, start, func(ctx context.Context, report *client.Report) error {
		run, err := w.Track(ctx, w.ID, start, func(context.Context, *client.Report) error {
			t.Error("the function was called")
			return nil
		})
		active, ok := errors.AsType[*client.AlreadyActiveError](err)
		if run != nil || !ok || active.Run.ID != report.Run().ID {
			t.Errorf("run %v, error %v; want run %d as the active one", run, err, report.Run().ID)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestARunThatIsAskedToStopIsCancelled(t *testing.T) {
	t.Parallel()
	w := newTracked(t)
	run, err := w.Track(t.Context(), w.ID, client.StartRun{Type: "inventory_sync"}, func(ctx context.Context, report *client.Report) error {
		// Not with ctx: a heartbeat may learn of it before the answer is here.
		if _, err := w.CancelOperationRunWithResponse(t.Context(), w.ID, report.Run().ID, nil); err != nil {
			return err
		}
		<-ctx.Done()
		if !errors.Is(context.Cause(ctx), client.ErrCancelRequested) {
			t.Errorf("the cause is %v", context.Cause(ctx))
		}
		return ctx.Err()
	}, client.HeartbeatEvery(often))
	if !errors.Is(err, context.Canceled) || run.Outcome != "cancelled" || w.stored(t, run.ID).Outcome != "cancelled" {
		t.Errorf("the run is %+v, error %v", run, err)
	}
}

func TestWhatIsNotedIsSeenBeforeTheEnd(t *testing.T) {
	t.Parallel()
	w := newTracked(t)
	_, err := w.Track(t.Context(), w.ID, client.StartRun{Type: "inventory_sync"}, func(ctx context.Context, report *client.Report) error {
		report.SetCounts(map[string]int64{"processed": 7})
		report.AddFailure("odd", "Bearer abcdefghijklmnopqrstuvwxyz")
		waitFor(t, "the counts", func() bool { return string(report.Run().SummaryCounts) == `{"processed": 7}` || ctx.Err() != nil })
		if got := string(report.Run().FailureSummary); !strings.Contains(got, "odd") || !strings.Contains(got, "[redacted]") {
			t.Errorf("failures %s", got)
		}
		before := report.Run().HeartbeatAt
		waitFor(t, "another heartbeat", func() bool { return ctx.Err() != nil || !report.Run().HeartbeatAt.Equal(*before) })
		return nil
	}, client.HeartbeatEvery(often))
	if err != nil {
		t.Error(err)
	}
}

func TestWhatIsNotedInTheContextIsMergedAsIfItWereSentAtOnce(t *testing.T) {
	t.Parallel()
	w := newTracked(t)
	start := client.StartRun{Type: "inventory_sync", Context: &client.Context{"old": map[string]any{"a": 1, "b": 2}}}
	run, err := w.Track(t.Context(), w.ID, start, func(_ context.Context, report *client.Report) error {
		steps := map[string]any{"first": int64(1<<62 + 1)}
		report.SetContext(map[string]any{"steps": steps, "phase": "one"})
		report.SetContext(map[string]any{"old": map[string]any{"a": nil}})
		report.SetContext(map[string]any{"steps": map[string]any{"second": true}, "phase": nil})
		delete(steps, "first")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]json.RawMessage
	if err := json.Unmarshal(w.stored(t, run.ID).Context, &got); err != nil {
		t.Fatal(err)
	}
	if steps := string(got["steps"]); steps != `{"first": 4611686018427387905, "second": true}` || string(got["old"]) != `{"b": 2}` || got["phase"] != nil {
		t.Errorf("the context is %s", got)
	}
}

func TestANoteWhoseReportIsLostIsSentWithTheNext(t *testing.T) {
	t.Parallel()
	w := newTracked(t)
	over := &swallowing{base: http.DefaultTransport, text: "it_is_odd"}
	c, err := client.New(service(t, w.pool), client.StaticToken(tokenOf(t, w.Operator.Subject)), client.WithHTTPClient(&http.Client{Transport: over}))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Track(t.Context(), w.ID, client.StartRun{Type: "inventory_sync"}, func(ctx context.Context, report *client.Report) error {
		report.AddFailure("it_is_odd", "")
		report.SetCounts(map[string]int64{"total": 3})
		report.SetContext(map[string]any{"phase": map[string]any{"at": 1}})
		waitFor(t, "the report", func() bool { return over.tries.Load() > 0 || ctx.Err() != nil })
		report.SetContext(map[string]any{"phase": map[string]any{"of": 2}})
		waitFor(t, "the next", func() bool {
			run := report.Run()
			return ctx.Err() != nil || strings.Contains(string(run.FailureSummary), "it_is_odd") && string(run.SummaryCounts) == `{"total": 3}` &&
				strings.Contains(string(run.Context), `{"at": 1, "of": 2}`)
		})
		return nil
	}, client.HeartbeatEvery(often))
	if err != nil {
		t.Error(err)
	}
}

// unstorable are notes that the service refuses, each in a way of its own.
func unstorable() map[string]func(*client.Report) {
	context := func(value any) func(*client.Report) {
		return func(report *client.Report) { report.SetContext(map[string]any{"note": value}) }
	}
	return map[string]func(*client.Report){
		"a negative count":   func(report *client.Report) { report.SetCounts(map[string]int64{"total": -1}) },
		"a large context":    context(strings.Repeat("x", 64<<10)),
		"a larger body":      context(strings.Repeat("x", 1<<20)),
		"a text with U+0000": context("a\x00b"),
		"what no JSON holds": context(math.Inf(1)),
	}
}

func TestANoteThatCannotBeStoredStopsNoHeartbeat(t *testing.T) {
	t.Parallel()
	for name, note := range unstorable() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTracked(t)
			run, err := w.Track(t.Context(), w.ID, client.StartRun{Type: "inventory_sync"}, func(_ context.Context, report *client.Report) error {
				note(report)
				report.AddFailure("odd", "It is odd.")
				waitFor(t, "the failure", func() bool { return strings.Contains(string(report.Run().FailureSummary), "odd") })
				note(report) // and by itself
				before := report.Run().HeartbeatAt
				waitFor(t, "a heartbeat", func() bool { return !report.Run().HeartbeatAt.Equal(*before) })
				report.SetCounts(map[string]int64{"total": 3})
				waitFor(t, "the counts", func() bool { return string(report.Run().SummaryCounts) == `{"total": 3}` })
				return nil
			}, client.HeartbeatEvery(often))
			if _, ok := errors.AsType[*client.RefusedNoteError](err); !ok {
				t.Errorf("error %v, want that of the note", err)
			}
			if run == nil || run.Outcome != "succeeded" || w.stored(t, run.ID).Outcome != "succeeded" {
				t.Errorf("the run is %+v", run)
			}
		})
	}
}

func TestAnEndIsStoredWithoutTheNotesThatCannotBe(t *testing.T) {
	t.Parallel()
	w := newTracked(t)
	broken := errors.New("the disk is full")
	for name, note := range unstorable() {
		run, err := w.Track(t.Context(), w.ID, client.StartRun{Type: "inventory_sync"}, func(_ context.Context, report *client.Report) error {
			note(report)
			report.AddFailure("odd", "It is odd.")
			return client.PartiallySucceeded("disk_full", broken)
		})
		if _, ok := errors.AsType[*client.RefusedNoteError](err); !ok || !errors.Is(err, broken) || strings.Contains(err.Error(), "report the end") {
			t.Errorf("%s: error %v, want those of the work and the note", name, err)
		}
		got := w.stored(t, run.ID)
		if failures := string(got.FailureSummary); run.Outcome != "partially_succeeded" || got.Outcome != run.Outcome ||
			!strings.Contains(failures, "odd") || !strings.Contains(failures, "disk_full") {
			t.Errorf("%s: the run ended as %s with %s", name, got.Outcome, failures)
		}
	}
}

func TestAnEndThatCannotBeStoredIsNoNoteThatCannotBe(t *testing.T) {
	t.Parallel()
	w := newTracked(t)
	run, err := w.Track(t.Context(), w.ID, client.StartRun{Type: "inventory_sync"}, func(context.Context, *client.Report) error {
		return &client.OutcomeError{Outcome: "odd", Code: "odd"}
	})
	if _, ok := errors.AsType[*client.RefusedNoteError](err); ok || !strings.Contains(err.Error(), "report the end") || run.Status != "running" {
		t.Errorf("the run is %s, error %v", run.Status, err)
	}
}

func TestTheEndIsReportedThoughTheWorkerIsToStop(t *testing.T) {
	t.Parallel()
	w := newTracked(t)
	ctx, cancel := context.WithCancel(t.Context())
	run, err := w.Track(ctx, w.ID, client.StartRun{Type: "inventory_sync"}, func(ctx context.Context, _ *client.Report) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	})
	got := w.stored(t, run.ID)
	if !errors.Is(err, context.Canceled) || got.Outcome != "failed" || !strings.Contains(string(got.FailureSummary), client.CodeInterrupted) {
		t.Errorf("the run ended as %s with %s, error %v", got.Outcome, got.FailureSummary, err)
	}
}

func TestAPanicEndsTheRunAsFailedAndGoesOn(t *testing.T) {
	t.Parallel()
	w := newTracked(t)
	var id int64
	func() {
		defer func() {
			if recover() != "boom" {
				t.Error("the panic did not come through")
			}
		}()
		_, _ = w.Track(t.Context(), w.ID, client.StartRun{Type: "inventory_sync"}, func(_ context.Context, report *client.Report) error {
			id = report.Run().ID
			panic("boom")
		})
	}()
	if got := w.stored(t, id); got.Outcome != "failed" || !strings.Contains(string(got.FailureSummary), client.CodePanicked) {
		t.Errorf("the run ended as %s with %s", got.Outcome, got.FailureSummary)
	}
}

// unreliable passes each request on and loses the first answers to each method and path.
type unreliable struct {
	base   http.RoundTripper
	lost   atomic.Int64
	waited atomic.Int64 // nanoseconds between the 429 and the next request
	since  time.Time    // the 429
}

func (u *unreliable) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := u.base.RoundTrip(request)
	if err != nil || request.Method == http.MethodGet {
		return response, err
	}
	switch u.lost.Add(1) {
	case 1, 4: // the answer to the start, and that to the end
		_ = response.Body.Close()
		return nil, io.ErrUnexpectedEOF
	case 2:
		_ = response.Body.Close()
		busy := httptest.NewRecorder()
		busy.Header().Set("Retry-After", "1")
		busy.WriteHeader(http.StatusTooManyRequests)
		u.since = time.Now()
		return busy.Result(), nil
	case 3:
		u.waited.Store(int64(time.Since(u.since)))
	}
	return response, nil
}

// trackOver has a run tracked by a client whose requests go through a transport, and returns the
// database and the workspace of the run, which must succeed though its function is called once.
func trackOver(t *testing.T, over func(base http.RoundTripper) http.RoundTripper) (*pgxpool.Pool, int64) {
	t.Helper()
	pool := dbtest.Pool(t)
	ws := dbtest.NewWorkspace(t, pool)
	base := &http.Transport{}
	t.Cleanup(base.CloseIdleConnections)
	c, err := client.New(service(t, pool), client.StaticToken(tokenOf(t, ws.Operator.Subject)), client.WithHTTPClient(&http.Client{Transport: over(base)}))
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	run, err := c.Track(t.Context(), ws.ID, client.StartRun{Type: "inventory_sync"}, func(context.Context, *client.Report) error {
		calls++
		return nil
	})
	if err != nil || calls != 1 || run.Outcome != "succeeded" {
		t.Fatalf("%d calls, run %+v, error %v", calls, run, err)
	}
	return pool, ws.ID
}

func TestTrackSurvivesAnswersThatAreLost(t *testing.T) {
	t.Parallel()
	u := &unreliable{}
	pool, workspaceID := trackOver(t, func(base http.RoundTripper) http.RoundTripper {
		u.base = base
		return u
	})
	runs, events := 0, 0
	err := pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM operation_runs WHERE workspace_id = $1),
		(SELECT count(*) FROM operation_run_events WHERE workspace_id = $1 AND kind = 'completed')`, workspaceID).Scan(&runs, &events)
	if err != nil || runs != 1 || events != 1 || u.lost.Load() < 6 {
		t.Errorf("%d runs, %d ends, %d requests, error %v", runs, events, u.lost.Load(), err)
	}
	if waited := time.Duration(u.waited.Load()); waited < time.Second {
		t.Errorf("%s behind a Retry-After of a second", waited)
	}
}

// swallowing passes each request on but the first that has text in its body: to that nobody says anything.
type swallowing struct {
	base  http.RoundTripper
	text  string
	tries atomic.Int64
}

func (s *swallowing) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Body != nil {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return nil, err
		}
		request.Body = io.NopCloser(bytes.NewReader(body))
		if bytes.Contains(body, []byte(s.text)) && s.tries.Add(1) == 1 {
			<-request.Context().Done()
			return nil, request.Context().Err()
		}
	}
	return s.base.RoundTrip(request)
}

func TestTrackSurvivesAServerThatIsGoneWithoutAWord(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"inventory_sync", "succeeded"} { // the start, and the end
		w := newTracked(t)
		s := &swallowing{base: http.DefaultTransport, text: text}
		c, err := client.New(service(t, w.pool), client.StaticToken(tokenOf(t, w.Operator.Subject)), client.WithHTTPClient(&http.Client{Transport: s}))
		if err != nil {
			t.Fatal(err)
		}
		run, err := c.Track(t.Context(), w.ID, client.StartRun{Type: "inventory_sync"}, func(context.Context, *client.Report) error { return nil }, client.Within(10*time.Second))
		if err != nil || run.Outcome != "succeeded" || s.tries.Load() < 2 {
			t.Errorf("%q: %d tries, %+v, %v", text, s.tries.Load(), run, err)
		}
	}
}

// A worker of which the service heard nothing for long may find that somebody does its work again.
func TestAWorkerWhoseWorkIsDoneAnewIsTold(t *testing.T) {
	t.Parallel()
	w := newTracked(t)
	identity := client.FreeJSON(`"nightly"`)
	start := client.StartRun{Type: "inventory_sync", Identity: &identity}
	_, err := w.Track(t.Context(), w.ID, start, func(ctx context.Context, r *client.Report) error {
		if _, err := w.pool.Exec(ctx, `UPDATE operation_runs SET status = 'completed', outcome = 'failed', completed_at = now(), stalled = 'no_heartbeat',
			stalled_at = now(), revision = revision + 1 WHERE workspace_id = $1 AND id = $2`, w.ID, r.Run().ID); err != nil {
			return err
		}
		_, err := w.Track(t.Context(), w.ID, start, func(context.Context, *client.Report) error {
			select {
			case <-ctx.Done(): // the first worker's
				return nil
			case <-time.After(time.Minute):
				return errors.New("both do the same work")
			}
		}, client.HeartbeatEvery(often))
		if err != nil {
			t.Error(err)
		}
		return context.Cause(ctx)
	}, client.HeartbeatEvery(often), client.Within(2*time.Second))
	if !errors.Is(err, client.ErrEndedElsewhere) {
		t.Errorf("the first worker was told %v", err)
	}
}

// cutting passes each request on and breaks every other answer off in the middle of its body.
type cutting struct {
	base    http.RoundTripper
	answers atomic.Int64
}

func (c *cutting) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := c.base.RoundTrip(request)
	if err != nil || c.answers.Add(1)%2 == 0 {
		return response, err
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil {
		return nil, err
	}
	half := io.MultiReader(bytes.NewReader(body[:len(body)/2]), iotest.ErrReader(io.ErrUnexpectedEOF))
	response.Body = io.NopCloser(half)
	return response, nil
}

func TestTrackSurvivesAnswersThatBreakOff(t *testing.T) {
	t.Parallel()
	cut := &cutting{}
	trackOver(t, func(base http.RoundTripper) http.RoundTripper {
		cut.base = base
		return cut
	})
	if answers := cut.answers.Load(); answers != 6 {
		t.Errorf("%d answers, want those to the start, the report and the end, each twice", answers)
	}
}

func TestATokenThatCannotBeHadIsNotAskedForAgain(t *testing.T) {
	t.Parallel()
	refused := &url.Error{Op: "Post", URL: "https://login.example/token", Err: io.ErrUnexpectedEOF} // as an issuer's client gives it
	asked := 0
	c, err := client.New("http://127.0.0.1:1", func(context.Context) (string, error) {
		asked++
		return "", refused
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Track(t.Context(), 1, client.StartRun{Type: "inventory_sync"}, nil, client.Within(5*time.Second))
	if !errors.Is(err, refused) || asked != 1 {
		t.Errorf("asked %d times, error %v", asked, err)
	}
}

func TestATokenThatTakesTooLongIsAskedForAgain(t *testing.T) {
	t.Parallel()
	w := newTracked(t)
	asked := 0
	c, err := client.New(service(t, w.pool), func(ctx context.Context) (string, error) {
		if asked++; asked == 1 {
			<-ctx.Done()
			return "", ctx.Err()
		}
		return tokenOf(t, w.Operator.Subject), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Track(t.Context(), w.ID, client.StartRun{Type: "inventory_sync"}, func(context.Context, *client.Report) error { return nil }, client.Within(10*time.Second))
	if err != nil || asked < 2 {
		t.Errorf("asked %d times, error %v", asked, err)
	}
}

// tokenOf is a token that signs in as subject.
func tokenOf(t *testing.T, subject string) string {
	t.Helper()
	signer, err := auth.NewSecretSigner([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	token, err := signer.Sign(subject, issuer, audience, time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// waitFor waits until done.
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	const patience = time.Minute
	deadline, tick := time.After(patience), time.NewTicker(often)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("no sign of %s within %s", what, patience)
		}
	}
}

// TestWorkerProcess is no test but the worker that TestAWorkerThatDiesIsSweptUp kills.
func TestWorkerProcess(t *testing.T) {
	url, workspace := os.Getenv("TRACK_TEST_URL"), os.Getenv("TRACK_TEST_WORKSPACE")
	if url == "" {
		t.SkipNow() // it is the test that runs this as a process of its own
	}
	id, err := strconv.ParseInt(workspace, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(url, client.StaticToken(os.Getenv("TRACK_TEST_TOKEN")))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Track(t.Context(), id, client.StartRun{Type: "inventory_sync"}, func(ctx context.Context, report *client.Report) error {
		report.SetCounts(map[string]int64{"processed": 7})
		<-ctx.Done()
		return ctx.Err()
	}, client.HeartbeatEvery(often))
	t.Fatal(err)
}

func TestAWorkerThatDiesIsSweptUp(t *testing.T) {
	t.Parallel()
	pool := dbtest.Connect(t, dbtest.Fresh(t)) // a database of its own, so that the sweeper finds nothing else
	w := newTrackedOn(t, pool)
	worker := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWorkerProcess$")
	worker.Env = append(os.Environ(), "TRACK_TEST_URL="+service(t, pool), "TRACK_TEST_WORKSPACE="+strconv.FormatInt(w.ID, 10),
		"TRACK_TEST_TOKEN="+tokenOf(t, w.Operator.Subject))
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	id, events := int64(0), []string(nil)
	timeline := func() []string {
		err := pool.QueryRow(t.Context(), `SELECT coalesce(max(run_id), 0), coalesce(array_agg(kind || ' by ' || actor ORDER BY id), '{}')
			FROM operation_run_events WHERE workspace_id = $1`, w.ID).Scan(&id, &events)
		if err != nil {
			t.Fatal(err)
		}
		return events
	}
	beat, reported := "heartbeat by "+w.Operator.Name, "reported by "+w.Operator.Name
	waitFor(t, "two heartbeats and the counts", func() bool {
		all := timeline()
		return slices.Contains(all, reported) && strings.Count(strings.Join(all, "\n"), beat) >= 2
	})
	if err := worker.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = worker.Wait() // how it ended is looked at below
	if how, ok := worker.ProcessState.Sys().(syscall.WaitStatus); !ok || !how.Signaled() || how.Signal() != syscall.SIGKILL {
		t.Fatalf("the worker was not killed: %s", worker.ProcessState)
	}
	if got := w.stored(t, id); got.Status != "running" || got.HeartbeatAt == nil || got.StalledAt != nil {
		t.Errorf("before anybody has looked, the run is %+v", got)
	}
	before := len(timeline())
	sweepUp(t, pool)
	// Nobody waits for an hour to pass: it is the run that is made an hour older, twice. A heartbeat may have been on
	// its way when the worker died.
	age := func(column string) {
		if _, err := pool.Exec(t.Context(), "UPDATE operation_runs SET "+column+" = now() - interval '1 hour' WHERE id = $1 AND "+column+" > now() - interval '30 min'", id); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "the mark", func() bool {
		age("heartbeat_at")
		return w.stored(t, id).StalledAt != nil
	})
	if got := w.stored(t, id); got.Status != "running" || got.Stalled == nil || *got.Stalled != "no_heartbeat" || string(got.FailureSummary) != "[]" {
		t.Errorf("marked, the run is %+v with failures %s", got, got.FailureSummary)
	}
	waitFor(t, "the end", func() bool {
		age("stalled_at")
		return w.stored(t, id).Status == "completed"
	})
	code := client.FailureCode("run_stalled")
	listed, err := w.ListOperationRunsWithResponse(t.Context(), w.ID, &client.ListOperationRunsParams{FailureCode: &code})
	if err != nil || listed.JSON200 == nil || len(listed.JSON200.Data) != 1 {
		t.Fatalf("the runs that were given up are %s, error %v", listed.Body, err)
	}
	for _, got := range []client.Run{w.stored(t, id), listed.JSON200.Data[0]} {
		if got.ID != id || got.Status != "completed" || got.Outcome != "failed" || got.CompletedAt == nil || got.Stalled == nil || *got.Stalled != "no_heartbeat" ||
			!strings.Contains(string(got.FailureSummary), `"run_stalled"`) || string(got.SummaryCounts) != `{"processed": 7}` {
			t.Errorf("in the end the run is %+v with failures %s and counts %s", got, got.FailureSummary, got.SummaryCounts)
		}
	}
	swept := timeline()[before:]
	for len(swept) > 0 && swept[0] == beat {
		swept = swept[1:] // it was on its way when the worker died
	}
	if !slices.Equal(swept, []string{"stalled by runledger", "completed by runledger"}) {
		t.Errorf("what came after the worker's death is %v", swept)
	}
}

// sweepUp looks for stalled runs until the test ends.
func sweepUp(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	sweeper, err := sweep.New(sweep.Options{
		Config: pool.Config().ConnConfig, Interval: often, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Registry: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		sweeper.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-swept
	})
}
