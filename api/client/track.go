package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"
)

// TrackOption changes how [ClientWithResponses.Track] goes about it.
type TrackOption func(*tracking)

// HeartbeatEvery sets how often the run says that it lives and how far it is; 30 s if not given.
// It should be well below the time after which the run's type counts as stalled.
func HeartbeatEvery(interval time.Duration) TrackOption {
	return func(t *tracking) { t.interval = interval }
}

// Within sets for how long a start or an end is tried while the service cannot be reached; one
// minute if not given.
func Within(patience time.Duration) TrackOption {
	return func(t *tracking) { t.patience = patience }
}

// AlreadyActiveError says that a run of the same identity is active, so that nothing was started.
type AlreadyActiveError struct {
	Run Run // the active run
}

// Error names the run.
func (e *AlreadyActiveError) Error() string {
	return fmt.Sprintf("runledger: run %d of the same identity is %s already", e.Run.ID, e.Run.Status)
}

// RefusedNoteError says that the service could not store something that a tracked function noted in
// its [Report]. The run went on and is ended without it.
type RefusedNoteError struct {
	Err error // why the first of them was refused, an [*Error] if the service said so
}

// Error says why.
func (e *RefusedNoteError) Error() string {
	return "runledger: a note on the run was left out: " + e.Err.Error()
}

// Unwrap is why the first of them was refused.
func (e *RefusedNoteError) Unwrap() error { return e.Err }

// The causes, besides its parent's, for which the context of a tracked function is done (see
// [context.Cause]).
var (
	// ErrCancelRequested says that somebody asked for the run to stop.
	ErrCancelRequested = errors.New("runledger: the run was asked to stop")
	// ErrEndedElsewhere says that somebody else reported the end of the run, or that the service took it for
	// stalled and the same work was started anew.
	ErrEndedElsewhere = errors.New("runledger: somebody else ended the run")
)

// trackID is the member of a run's context by which Track knows its own run again.
const trackID = "track_id"

// Track does a piece of work as an operation run. It starts the run, calls fn, sends heartbeats
// and what fn notes in the [Report] meanwhile, and ends the run with the outcome of fn's error:
// succeeded for nil, that of an [OutcomeError], cancelled if fn was told to stop by a cancel
// request, else failed. A panic ends it as failed and goes on.
//
// The context of fn is done when ctx is and when the run is asked to stop. The end is reported
// even then. Requests that fail for reasons that pass are sent again, with growing, random pauses:
// starts carry an Idempotency-Key, and reports may be repeated by their nature. To know its run
// again, Track adds the member "track_id" to the context of the run.
//
// If a run of that identity is active, fn is not called and the error is an [*AlreadyActiveError].
// If the run cannot be started, fn is not called either. Else the error is that of fn. A
// [*RefusedNoteError] is joined with it if something that fn noted could not be stored, which says
// nothing of the end, and the one for which the end could not be reported, if it could not. The run
// is the last that is known of it, nil if none was started.
func (c *ClientWithResponses) Track(
	ctx context.Context, workspaceID int64, start StartRun,
	fn func(ctx context.Context, report *Report) error, options ...TrackOption,
) (*Run, error) {
	t := &tracking{client: c, workspaceID: workspaceID, interval: 30 * time.Second, patience: time.Minute}
	for _, option := range options {
		option(t)
	}
	if t.interval <= 0 {
		return nil, fmt.Errorf("heartbeat every %s: the interval is to be positive", t.interval)
	}
	run, err := t.start(ctx, start)
	if err != nil {
		return nil, err
	}
	return t.do(ctx, run, fn)
}

// tracking is one run under way.
type tracking struct {
	client      *ClientWithResponses
	workspaceID int64
	id          int64 // of the run
	interval    time.Duration
	patience    time.Duration
	report      Report
	refused     error // why the first note that cannot be stored was left out; nil if none was
}

// start starts the run and reports that it is running.
func (t *tracking) start(ctx context.Context, start StartRun) (*Run, error) {
	ctx, stop := context.WithTimeout(ctx, t.patience)
	defer stop()
	key := rand.Text()
	with := Context{trackID: key}
	if start.Context != nil {
		maps.Copy(with, *start.Context)
		with[trackID] = key
	}
	start.Context = &with
	run, err := persist(ctx, func(ctx context.Context) (*Run, *http.Response, []byte, error) {
		got, err := sending(func(sent RequestEditorFn) (*StartOperationRunResponse, error) {
			return t.client.StartOperationRunWithResponse(ctx, t.workspaceID, &StartOperationRunParams{IdempotencyKey: &key}, start, sent)
		})
		if err != nil {
			return nil, nil, nil, err
		}
		if got.JSON201 != nil {
			return got.JSON201, got.HTTPResponse, got.Body, nil
		}
		return got.JSON200, got.HTTPResponse, got.Body, nil
	})
	if err != nil {
		return nil, fmt.Errorf("start a run: %w", err)
	}
	// A 200 may be the answer to a start whose first answer was lost.
	if !carries(run.Context, key) {
		return nil, &AlreadyActiveError{Run: *run}
	}
	t.id = run.ID
	t.report.note(run)
	running := ReportRunStatusRunning
	run, err = t.insist(ctx, ReportRun{Status: &running})
	if err != nil {
		// What was started and never runs is not to stand in the way of others.
		_, _ = t.end(ctx, ctx, Failed(CodeInterrupted, errors.New("the worker gave up before it began")))
		return nil, fmt.Errorf("report that run %d is running: %w", t.id, err)
	}
	return run, nil
}

// do calls fn and sees the run to its end.
func (t *tracking) do(
	ctx context.Context, run *Run, fn func(ctx context.Context, report *Report) error,
) (ended *Run, err error) {
	working, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t.heed(run, cancel)
	beating, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.beat(beating, cancel)
	}()
	returned := false
	defer func() {
		stop()
		<-done
		if returned {
			ended, err = t.end(ctx, working, err)
			return
		}
		// A panic or a runtime.Goexit passes through here and goes on.
		broken := &OutcomeError{Outcome: ReportRunOutcomeFailed, Code: CodePanicked, Err: errors.New("the worker panicked")}
		_, _ = t.end(ctx, working, broken)
	}()
	err = fn(working, &t.report)
	returned = true
	return nil, err
}

// beat says that the run lives, and how far it is, until ctx is done.
func (t *tracking) beat(ctx context.Context, cancel context.CancelCauseFunc) {
	ticker := time.NewTicker(t.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		// One that fails is made up for by the next.
		once, stop := context.WithTimeout(ctx, max(t.interval, time.Second))
		run, err := t.pulse(once)
		stop()
		if failed, ok := errors.AsType[*Error](err); ok && failed.StatusCode == http.StatusConflict {
			run = failed.Problem.run()
		}
		t.heed(run, cancel)
		if errors.Is(err, errReplaced) {
			cancel(ErrEndedElsewhere)
		}
	}
}

// errReplaced says that the service took the run for stalled, and that another of the same identity is active.
var errReplaced = errors.New("another run of the same work is active")

// pulse sends what there is to say, or else a heartbeat.
func (t *tracking) pulse(ctx context.Context) (*Run, error) {
	report, ok := t.report.take()
	if !ok {
		return t.live(ctx)
	}
	run, err := t.tell(ctx, report)
	if !unstorable(err) {
		if err != nil {
			t.report.giveBack(report)
		}
		return run, err
	}
	// It would be refused with every pulse, and a run of which nothing is heard counts as stalled.
	t.leaveOut(err)
	for _, note := range apart(report) {
		if _, err := t.tell(ctx, note); err != nil && !unstorable(err) {
			t.report.giveBack(note)
		}
	}
	return t.live(ctx)
}

// live says that the run lives, and nothing else.
func (t *tracking) live(ctx context.Context) (*Run, error) {
	if t.givenUp() {
		// A report also overrules the verdict of the service that the run has stalled.
		return t.tell(ctx, ReportRun{})
	}
	got, err := t.client.HeartbeatOperationRunWithResponse(ctx, t.workspaceID, t.id, nil)
	if err != nil {
		return nil, err
	}
	if got.JSON200 == nil {
		return nil, errorOf(got.HTTPResponse, got.Body)
	}
	return got.JSON200, nil
}

// tell reports once that the run is running, and what was noted.
func (t *tracking) tell(ctx context.Context, report ReportRun) (*Run, error) {
	running := ReportRunStatusRunning
	report.Status = &running
	run, response, body, err := t.send(ctx, report)
	if err == nil && run == nil {
		err = errorOf(response, body)
	}
	// A report overrules the verdict that the run has stalled, unless somebody does the work again by now.
	if failed, ok := errors.AsType[*Error](err); ok && failed.StatusCode == http.StatusConflict {
		if now := failed.Problem.run(); now != nil && isGivenUp(now) {
			err = fmt.Errorf("%w: %w", errReplaced, err)
		}
	}
	return run, err
}

// leaveOut keeps why a note is left out. The first is kept, for others may be without number.
func (t *tracking) leaveOut(refused error) {
	if t.refused == nil {
		t.refused = refused
	}
}

// unstorable tells whether a report was refused for what it says, so that it would be again. A 400
// is for what JSON can hold and the service cannot, such as U+0000; what JSON cannot hold does not
// reach the service.
func unstorable(err error) bool {
	if failed, ok := errors.AsType[*Error](err); ok {
		switch failed.StatusCode {
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
			return true
		default:
			return false
		}
	}
	_, isType := errors.AsType[*json.UnsupportedTypeError](err)
	_, isValue := errors.AsType[*json.UnsupportedValueError](err)
	_, isMarshaler := errors.AsType[*json.MarshalerError](err)
	return isType || isValue || isMarshaler
}

// silent is how a run is stalled of which nothing is heard.
const silent = "no_heartbeat"

// givenUp tells whether the service has ended the run because it heard nothing of it.
func (t *tracking) givenUp() bool {
	run := t.report.Run()
	return isGivenUp(&run)
}

func isGivenUp(run *Run) bool {
	return run.Status == string(RunStatusCompleted) && run.Stalled != nil && *run.Stalled == silent
}

// heed takes note of the run as it is now, nil if that is not known, and tells fn to stop if it
// is to.
func (t *tracking) heed(run *Run, cancel context.CancelCauseFunc) {
	if run == nil {
		return
	}
	t.report.note(run)
	switch {
	case run.Status == string(RunStatusCompleted) && !t.givenUp():
		cancel(ErrEndedElsewhere)
	case run.CancelRequestedAt != nil:
		cancel(ErrCancelRequested)
	}
}

// end reports how the work ended, whether or not ctx is done.
func (t *tracking) end(ctx, working context.Context, err error) (*Run, error) {
	outcome, failure := outcomeOf(err, context.Cause(working))
	report := t.report.last(outcome, failure)
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), t.patience)
	defer stop()
	run, untold := t.insist(ctx, report)
	if unstorable(untold) {
		refused := untold
		if run, untold = t.endWithout(ctx, report, failure); untold == nil {
			t.leaveOut(refused)
		}
	}
	if run != nil {
		t.report.note(run)
	}
	last := t.report.Run()
	if t.refused != nil {
		err = errors.Join(err, &RefusedNoteError{Err: t.refused})
	}
	if untold != nil {
		err = errors.Join(err, fmt.Errorf("report the end of run %d: %w", t.id, untold))
	}
	return &last, err
}

// endWithout reports an end with which something was noted that cannot be stored. How it ended
// matters more, and what can be stored goes before it.
func (t *tracking) endWithout(ctx context.Context, report ReportRun, failure *Failure) (*Run, error) {
	end := ReportRun{Status: report.Status, Outcome: report.Outcome}
	if failure != nil {
		end.FailureSummary = &[]Failure{*failure}
	}
	running := ReportRunStatusRunning
	for _, note := range apart(report) {
		note.Status = &running
		if _, err := t.insist(ctx, note); err == nil && note.FailureSummary != nil {
			end.FailureSummary = nil // they hold this one, too
		}
	}
	return t.insist(ctx, end)
}

// insist sends one report until it is answered.
func (t *tracking) insist(ctx context.Context, report ReportRun) (*Run, error) {
	return persist(ctx, func(ctx context.Context) (*Run, *http.Response, []byte, error) { return t.send(ctx, report) })
}

// send sends one report.
func (t *tracking) send(ctx context.Context, report ReportRun) (*Run, *http.Response, []byte, error) {
	got, err := sending(func(sent RequestEditorFn) (*ReportOperationRunResponse, error) {
		return t.client.ReportOperationRunWithResponse(ctx, t.workspaceID, t.id, nil, report, sent)
	})
	if err != nil {
		return nil, nil, nil, err
	}
	return got.JSON200, got.HTTPResponse, got.Body, nil
}
