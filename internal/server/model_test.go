package server_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/runledger/runledger/internal/ledger"
)

// step is something that one of several clients does.
type step struct {
	Kind     string // what it does; see the model's do
	Client   int
	Identity int
	Run      int // counted back from the latest
	Status   string
	Outcome  string
	Counts   int // -1 for none
	Context  string
	Revision int // against the one the run has; -9 for no If-Match
}

var stepKinds = []string{"start", "start", "report", "report", "report", "end", "end", "again", "heartbeat", "cancel", "retry", "verdict"}

func drawStep(t *rapid.T) step {
	return step{
		Kind:     rapid.SampledFrom(stepKinds).Draw(t, "kind"),
		Client:   rapid.IntRange(0, 2).Draw(t, "client"),
		Identity: rapid.IntRange(0, 2).Draw(t, "identity"),
		Run:      rapid.SampledFrom([]int{0, 0, 0, 1, 1, 2, 3, 7}).Draw(t, "run"),
		Status:   rapid.SampledFrom([]string{"", "", "running", "running", "queued", "completed"}).Draw(t, "status"),
		Outcome:  rapid.SampledFrom([]string{"", "", "", "succeeded", "failed"}).Draw(t, "outcome"),
		Counts:   rapid.IntRange(-1, 1).Draw(t, "counts"),
		Context:  rapid.SampledFrom([]string{"", "", `{}`, `{"a":1}`, `{"a":{"b":2}}`, `{"a":null}`, `{"c":[]}`}).Draw(t, "context"),
		Revision: rapid.SampledFrom([]int{-9, -9, -9, -9, 0, -1, 1}).Draw(t, "revision"),
	}
}

// expectedRun is what a run should be.
type expectedRun struct {
	id               int64
	identity         int
	status, outcome  string
	counts           map[string]int64
	context          map[string]any
	stalled, cancels bool
	revision         int64
	attempt          int64
	retryOf          int64
	events           []string
	last             step // the report that ended it
}

// runModel is what a workspace should hold.
type runModel struct {
	runs []*expectedRun // in the order of their making
}

func (m *runModel) active(identity int) *expectedRun {
	for _, run := range m.runs {
		if run.identity == identity && ledger.Status(run.status).Active() {
			return run
		}
	}
	return nil
}

// pick is a run counted back from the latest, nil if there are not so many.
func (m *runModel) pick(back int) *expectedRun {
	if back >= len(m.runs) {
		return nil
	}
	return m.runs[len(m.runs)-1-back]
}

// start is the run that a start makes or finds.
func (m *runModel) start(identity int) (int, *expectedRun) {
	if run := m.active(identity); run != nil {
		return http.StatusOK, run
	}
	run := &expectedRun{
		identity: identity, status: "queued", outcome: "pending", counts: map[string]int64{}, context: map[string]any{},
		revision: 1, attempt: 1, events: []string{"created"},
	}
	m.runs = append(m.runs, run)
	return http.StatusCreated, run
}

func (m *runModel) retry(old *expectedRun) (int, *expectedRun) {
	if old.status != "completed" {
		return http.StatusConflict, old
	}
	status, run := m.start(old.identity)
	if status == http.StatusCreated {
		run.retryOf, run.attempt, run.context = old.id, old.attempt+1, maps.Clone(old.context)
	}
	return status, run
}

// report is the answer to a report, and what it makes of the run.
func (m *runModel) report(run *expectedRun, s step) int {
	if (s.Status == "completed") != (s.Outcome != "") {
		return http.StatusUnprocessableEntity
	}
	if s.Revision != -9 && s.Revision != 0 {
		return http.StatusPreconditionFailed
	}
	next := s.Status
	if next == "" {
		next = run.status
	}
	switch {
	case run.status == "completed" && !run.stalled:
		if m.saysNothingNew(run, s) {
			return http.StatusOK
		}
		return http.StatusConflict
	case run.status == "completed" && s.Status == "":
		next = "running"
	}
	other := m.active(run.identity)
	if next == "queued" && run.status != "queued" || next != "completed" && other != nil && other != run {
		return http.StatusConflict
	}
	switch next {
	case "completed":
		run.events = append(run.events, "completed")
		run.last = s
	case run.status:
		run.events = append(run.events, "reported")
	default:
		run.events = append(run.events, "started")
	}
	run.status, run.outcome, run.stalled = next, "pending", false
	if next == "completed" {
		run.outcome = s.Outcome
	}
	if s.Counts >= 0 {
		run.counts = map[string]int64{"n": int64(s.Counts)}
	}
	run.context = merged(run.context, s.Context)
	run.revision++
	return http.StatusOK
}

func (*runModel) saysNothingNew(run *expectedRun, s step) bool {
	return (s.Status == "" || s.Status == run.status && s.Outcome == run.outcome) &&
		(s.Counts < 0 || maps.Equal(run.counts, map[string]int64{"n": int64(s.Counts)})) &&
		reflect.DeepEqual(run.context, merged(run.context, s.Context))
}

// merged is a context after one of the patches that a step may have, in which no more than one
// level is merged.
func merged(context map[string]any, patch string) map[string]any {
	after := maps.Clone(context)
	var members map[string]any
	_ = json.Unmarshal([]byte(patch), &members)
	for name, value := range members {
		if value == nil {
			delete(after, name)
		} else {
			after[name] = value
		}
	}
	return after
}

// body is a step's report as JSON.
func (s step) body() string {
	members := map[string]any{}
	if s.Status != "" {
		members["status"] = s.Status
	}
	if s.Outcome != "" {
		members["outcome"] = s.Outcome
	}
	if s.Counts >= 0 {
		members["summary_counts"] = map[string]int{"n": s.Counts}
	}
	if s.Context != "" {
		members["context"] = json.RawMessage(s.Context)
	}
	text, _ := json.Marshal(members)
	return string(text)
}

// do does a step to the model and says what to send. A method of "" is nothing to send.
func (m *runModel) do(s step) (method, rest, body string, header []string, status int, run *expectedRun) {
	if s.Kind == "start" {
		status, run = m.start(s.Identity)
		return http.MethodPost, "", fmt.Sprintf(`{"type":"inventory_sync","identity":%d}`, s.Identity), nil, status, run
	}
	if run = m.pick(s.Run); run == nil {
		return "", "", "", nil, 0, nil
	}
	rest = fmt.Sprintf("/%d", run.id)
	switch s.Kind {
	case "retry":
		status, after := m.retry(run)
		return http.MethodPost, rest + "/retry", "", nil, status, after
	case "heartbeat", "cancel":
		if run.status == "completed" {
			return http.MethodPost, rest + "/" + s.Kind, "", nil, http.StatusConflict, run
		}
		if s.Kind == "heartbeat" {
			run.events = append(run.events, "heartbeat")
		} else if !run.cancels {
			run.cancels = true
			run.revision++
			run.events = append(run.events, "cancel_requested")
		}
		return http.MethodPost, rest + "/" + s.Kind, "", nil, http.StatusOK, run
	case "end":
		s.Status, s.Outcome = "completed", "succeeded"
	case "again":
		if run.last.Kind == "" {
			return "", "", "", nil, 0, nil
		}
		s = run.last
		s.Revision = -9
	}
	if s.Revision != -9 {
		header = []string{"If-Match", fmt.Sprint(max(run.revision+int64(s.Revision), 1))}
		if run.revision+int64(s.Revision) < 1 {
			s.Revision = 0
		}
	}
	status = m.report(run, s)
	return http.MethodPatch, rest, s.body(), header, status, run
}

// differs is what is wrong with a run as it was answered, empty if nothing is.
func (r *expectedRun) differs(got runBody) string {
	var context map[string]any
	_ = json.Unmarshal(got.Context, &context)
	var retryOf int64
	if got.RetryOfID != nil {
		retryOf = *got.RetryOfID
	}
	is := fmt.Sprint(got.ID, got.Status, got.Outcome, got.SummaryCounts, context, got.Stalled != nil, got.CancelRequestedAt != nil, got.Revision,
		got.Attempt, retryOf, got.StartedAt != nil && got.CompletedAt != nil && got.CompletedAt.Before(*got.StartedAt))
	should := fmt.Sprint(r.id, r.status, r.outcome, r.counts, r.context, r.stalled, r.cancels, r.revision, r.attempt, r.retryOf, false)
	if is == should {
		return ""
	}
	return fmt.Sprintf("it is %s, and should be %s", is, should)
}

func TestTheServiceDoesWhatItsModelDoes(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	const checks = 100 // rapid's
	steps := scale(t, "RUNLEDGER_TEST_STEPS", 2000) / checks
	w := newWorker(t, h)
	w.client.Transport = w.plainTransport(t)
	tokens := []string{h.token(t, w.Owner.Subject), h.token(t, w.Manager.Subject), h.token(t, w.Operator.Subject)}
	taken := 0
	rapid.Check(t, func(rt *rapid.T) {
		w.empty(t)
		m := &runModel{}
		for _, s := range rapid.SliceOfN(rapid.Custom(drawStep), steps, steps).Draw(rt, "steps") {
			taken++
			if s.Kind == "verdict" {
				if run := m.pick(s.Run); run != nil && run.status == "running" {
					w.giveUp(t, run.id)
					run.status, run.outcome, run.stalled = "completed", "failed", true
					run.revision++
					run.events = append(run.events, "completed")
				}
				continue
			}
			method, rest, body, header, status, run := m.do(s)
			if method == "" {
				continue
			}
			got, err := w.send(method, w.path(rest), tokens[s.Client], body, header...)
			if err != nil || got.status != status {
				rt.Fatalf("%s %s %s %v: status %d, want %d: %v\n%s", method, rest, body, header, got.status, status, err, got.body)
			}
			var seen runBody
			switch status {
			case http.StatusUnprocessableEntity, http.StatusPreconditionFailed:
				continue
			case http.StatusConflict:
				seen = *decode[problemBody](t, got.body).OperationRun
			default:
				seen = decode[runBody](t, got.body)
			}
			if status == http.StatusCreated {
				run.id = seen.ID
			}
			if difference := run.differs(seen); difference != "" {
				rt.Fatalf("%s %s %s: %s", method, rest, body, difference)
			}
		}
		for _, run := range m.runs {
			if events := w.events(t, run.id); !slices.Equal(events, run.events) {
				rt.Fatalf("the events of run %d are %v, and should be %v", run.id, events, run.events)
			}
		}
	})
	t.Logf("%d steps", taken)
}

// empty removes the runs of the workspace.
func (w *worker) empty(t testing.TB) {
	t.Helper()
	w.exec(t, "DELETE FROM operation_run_events WHERE workspace_id = $1", w.ID)
	w.exec(t, "DELETE FROM operation_runs WHERE workspace_id = $1", w.ID)
}
