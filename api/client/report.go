package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
)

// The codes of failures that [ClientWithResponses.Track] reports by itself.
const (
	CodeWorkerError = "worker_error"       // fn returned an error that names no code
	CodeInterrupted = "worker_interrupted" // the context of the worker was done before the work was
	CodePanicked    = "worker_panicked"    // fn panicked; what with is not reported, it may hold anything
)

// OutcomeError is an error that names the outcome of a run. Make one with [Failed],
// [PartiallySucceeded] or [Blocked].
type OutcomeError struct {
	Outcome ReportRunOutcome
	Code    string // of the failure; it has 1 to 128 characters
	Err     error  // what happened; its text is the message of the failure
}

// Error is the text of what happened.
func (e *OutcomeError) Error() string {
	if e.Err == nil {
		return e.Code
	}
	return e.Err.Error()
}

// Unwrap is what happened.
func (e *OutcomeError) Unwrap() error { return e.Err }

// Failed is err with a code, for a run that failed.
func Failed(code string, err error) error {
	return &OutcomeError{Outcome: ReportRunOutcomeFailed, Code: code, Err: err}
}

// PartiallySucceeded is err with a code, for a run that did a part of its work.
func PartiallySucceeded(code string, err error) error {
	return &OutcomeError{Outcome: ReportRunOutcomePartiallySucceeded, Code: code, Err: err}
}

// Blocked is err with a code, for a run that could not begin, such as for want of a permission.
func Blocked(code string, err error) error {
	return &OutcomeError{Outcome: ReportRunOutcomeBlocked, Code: code, Err: err}
}

// The bounds of what a report may hold.
const (
	maxFailures    = 100
	maxFailureCode = 128  // characters
	maxMessage     = 4000 // characters
)

// Report is where a tracked function notes how far it is. What it notes is sent with the next
// heartbeat, and at the latest with the end. What the service cannot store, such as a negative count
// or a context beyond 64 KiB, is left out, which the error of [ClientWithResponses.Track] then says
// ([*RefusedNoteError]). It may be used from several goroutines.
type Report struct {
	mu       sync.Mutex
	run      Run
	counts   SummaryCounts // nil if there is nothing new
	context  map[string]any
	failures []Failure
	fresh    bool // failures has something new
}

// Run is the run as it was when the service last spoke of it.
func (r *Report) Run() Run {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.run
}

// SetCounts sets the summary counts, all of them: whole numbers, none negative.
func (r *Report) SetCounts(counts map[string]int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts = maps.Clone(counts)
}

// AddFailure notes something that failed. Of more than a hundred the latest replaces the last.
func (r *Report) AddFailure(code, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = withFailure(r.failures, failureOf(code, message))
	r.fresh = true
}

// SetContext merges members into the run's context (RFC 7396): nil removes one. They are copied, and
// may be changed by the caller afterwards. What is set between two reports is sent as one patch, so that
// an object which is to take the place of a nil or of another value that was set just before joins the
// object that the service has.
func (r *Report) SetContext(members map[string]any) {
	copied := make(map[string]any, len(members))
	for name, value := range members {
		copied[name] = copyOf(value)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.context == nil {
		r.context = map[string]any{}
	}
	merge(r.context, copied)
}

// unmarshalable stands for a value that JSON cannot hold, which is said when it is sent.
type unmarshalable struct{ err error }

// MarshalJSON says why.
func (u unmarshalable) MarshalJSON() ([]byte, error) { return nil, u.err }

// copyOf is a value as JSON has it.
func copyOf(value any) any {
	text, err := json.Marshal(value)
	if err != nil {
		return unmarshalable{err}
	}
	in := json.NewDecoder(bytes.NewReader(text))
	in.UseNumber()
	var copied any
	if err := in.Decode(&copied); err != nil {
		return unmarshalable{err}
	}
	return copied
}

// merge adds to a merge patch what next does. Where next has an object for what was none, two patches
// would be more exact.
func merge(patch, next map[string]any) {
	for name, value := range next {
		members, isObject := value.(map[string]any)
		if before, wasObject := patch[name].(map[string]any); isObject && wasObject {
			merge(before, members)
			continue
		}
		patch[name] = value
	}
}

func (r *Report) note(run *Run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.run = *run
}

// take is what was noted since it was last taken; ok is false if that is nothing.
func (r *Report) take() (report ReportRun, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts != nil {
		counts := r.counts
		report.SummaryCounts = &counts
	}
	if r.context != nil {
		context := r.context
		report.Context = &context
	}
	if r.fresh {
		failures := slices.Clone(r.failures)
		report.FailureSummary = &failures
	}
	ok = r.counts != nil || r.context != nil || r.fresh
	r.counts, r.context, r.fresh = nil, nil, false
	return report, ok
}

// giveBack puts back what could not be sent, behind what was noted meanwhile.
func (r *Report) giveBack(report ReportRun) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts == nil && report.SummaryCounts != nil {
		r.counts = *report.SummaryCounts
	}
	if report.Context != nil {
		merge(*report.Context, r.context)
		r.context = *report.Context
	}
	r.fresh = r.fresh || report.FailureSummary != nil
}

// apart are the notes of a report, each in a report of its own; none if there is but one, which
// would be the same again.
func apart(report ReportRun) []ReportRun {
	var notes []ReportRun
	if report.SummaryCounts != nil {
		notes = append(notes, ReportRun{SummaryCounts: report.SummaryCounts})
	}
	if report.Context != nil {
		notes = append(notes, ReportRun{Context: report.Context})
	}
	if report.FailureSummary != nil {
		notes = append(notes, ReportRun{FailureSummary: report.FailureSummary})
	}
	if len(notes) == 1 {
		return nil
	}
	return notes
}

// last is the report of the end, with everything that was not sent before.
func (r *Report) last(outcome ReportRunOutcome, failure *Failure) ReportRun {
	if failure != nil {
		r.mu.Lock()
		r.failures = withFailure(r.failures, *failure)
		r.fresh = true
		r.mu.Unlock()
	}
	report, _ := r.take()
	status := ReportRunStatusCompleted
	report.Status, report.Outcome = &status, &outcome
	return report
}

// outcomeOf is how a run ended whose work returned err in a context that is done for cause, which
// is nil if it is not done.
func outcomeOf(err, cause error) (ReportRunOutcome, *Failure) {
	if err == nil {
		return ReportRunOutcomeSucceeded, nil
	}
	outcome, code := ReportRunOutcomeFailed, CodeWorkerError
	named, isNamed := errors.AsType[*OutcomeError](err)
	stopped := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || cause != nil && errors.Is(err, cause)
	switch {
	case errors.Is(cause, ErrCancelRequested) && stopped:
		return ReportRunOutcomeCancelled, nil
	case errors.Is(cause, ErrCancelRequested):
		outcome = ReportRunOutcomeCancelled // and what went wrong while it stopped
	case cause != nil && stopped:
		code = CodeInterrupted
	}
	if isNamed {
		code = named.Code
		if outcome != ReportRunOutcomeCancelled {
			outcome = named.Outcome
		}
	}
	failure := failureOf(code, err.Error())
	return outcome, &failure
}

// withFailure adds a failure, in the place of the last if there are too many.
func withFailure(failures []Failure, failure Failure) []Failure {
	if len(failures) == maxFailures {
		failures = slices.Clone(failures[:maxFailures-1])
	}
	return append(failures, failure)
}

// failureOf is a failure that the service can store.
func failureOf(code, message string) Failure {
	failure := Failure{Code: storable(code, maxFailureCode)}
	if failure.Code == "" {
		failure.Code = CodeWorkerError
	}
	if message = storable(message, maxMessage); message != "" {
		failure.Message = &message
	}
	return failure
}

// storable is the beginning of a text without what the service cannot store.
func storable(text string, longest int) string {
	runes := []rune(strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", ""))
	return string(runes[:min(len(runes), longest)])
}

// carries tells whether a run's context has the key that Track gave it.
func carries(document json.RawMessage, key string) bool {
	var members map[string]any
	return json.Unmarshal(document, &members) == nil && members[trackID] == key
}

// run is the run that a problem carries; nil if it carries none.
func (p *Problem) run() *Run {
	if p == nil {
		return nil
	}
	return p.OperationRun
}
