package faults

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// request is what a client asked for. All of one identity are one history.
type request struct {
	identity string
	op       string // names a start, in what it makes
	kind     string // "start", "end", or "read" for what the database holds at last
	id       int64  // the run to end
	token    string // who ends it: the same end twice has the same
}

// reply is what came back.
type reply struct {
	verdict string // see the constants
	id      int64  // the run that was started, or found; the one that is active at last
	ended   string // the ended runs at last, as ledgerState has them
}

const (
	unknown = "unknown" // no answer: it may happen at any later time, or never
	created = "created"
	found   = "found"
	done    = "done"
	refused = "refused"
	missing = "missing" // a run that was acknowledged and is not there
)

// ledgerState is what the record may hold of one identity.
type ledgerState struct {
	active int64  // the active run; 0 for none, someRun for one whose id nobody has seen
	ended  string // "id=token" of every run that has ended, sorted
}

const someRun = -1

func (s ledgerState) with(id int64, token string) ledgerState {
	entries := append(strings.Fields(s.ended), fmt.Sprintf("%020d=%s", id, token))
	slices.Sort(entries)
	return ledgerState{0, strings.Join(entries, " ")}
}

// endedBy is who ended the run, empty if it has not ended.
func (s ledgerState) endedBy(id int64) string {
	prefix := fmt.Sprintf("%020d=", id)
	for entry := range strings.FieldsSeq(s.ended) {
		if token, ok := strings.CutPrefix(entry, prefix); ok {
			return token
		}
	}
	return ""
}

// step tells whether the reply is right in that state, and what the state is after it.
func (s ledgerState) step(in request, out reply) (bool, ledgerState) {
	switch in.kind {
	case "start":
		return s.start(out)
	case "end":
		return s.end(in, out)
	default:
		return s.ended == out.ended && (s.active == out.id || s.active == someRun && out.id != 0), s
	}
}

func (s ledgerState) start(out reply) (bool, ledgerState) {
	switch out.verdict {
	case unknown:
		if s.active == 0 {
			s.active = someRun
		}
		return true, s
	case created:
		return s.active == 0 && s.endedBy(out.id) == "", ledgerState{out.id, s.ended}
	case found:
		right := s.active == out.id || s.active == someRun && s.endedBy(out.id) == ""
		return right, ledgerState{out.id, s.ended}
	default:
		return false, s
	}
}

func (s ledgerState) end(in request, out reply) (bool, ledgerState) {
	switch by := s.endedBy(in.id); {
	case out.verdict == unknown && s.active == in.id, out.verdict == done && s.active == in.id:
		return true, s.with(in.id, in.token)
	case out.verdict == unknown:
		return true, s
	case out.verdict == done:
		return by == in.token, s
	case out.verdict == refused:
		return by != "" && by != in.token, s
	default:
		return false, s
	}
}

// model is the whole record: each identity for itself.
var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := map[string][]porcupine.Operation{}
		for _, operation := range history {
			identity := operation.Input.(request).identity
			parts[identity] = append(parts[identity], operation)
		}
		var all [][]porcupine.Operation
		for _, part := range parts {
			all = append(all, part)
		}
		return all
	},
	Init: func() any { return ledgerState{} },
	Step: func(state, input, output any) (bool, any) {
		return state.(ledgerState).step(input.(request), output.(reply))
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

// history is what many clients asked and were told.
type history struct {
	began time.Time
	mu    sync.Mutex
	list  []porcupine.Operation
}

func newHistory() *history { return &history{began: time.Now()} }

// record asks and keeps what came back. What has no answer may happen at any time from then on.
func (h *history) record(client int, in request, ask func(request) (reply, bool)) reply {
	call := time.Since(h.began).Nanoseconds()
	out, sent := ask(in)
	if !sent {
		return out
	}
	back := time.Since(h.began).Nanoseconds()
	if out.verdict == unknown {
		back = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = append(h.list, porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: back})
	return out
}

// len is how many operations there are, and how many of them have no answer.
func (h *history) len() (operations, unanswered int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, operation := range h.list {
		if operation.Output.(reply).verdict == unknown {
			unanswered++
		}
	}
	return len(h.list), unanswered
}

// settle gives operations without an answer the one that the database holds: which start made a
// run, and whose end it has. Those that left nothing are left out, which makes the check stricter,
// since what they did and was lost again has no explanation any more, and spares it from trying
// every subset of them.
func (h *history) settle(madeBy map[string]int64, endedBy map[int64]string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = slices.DeleteFunc(h.list, func(o porcupine.Operation) bool {
		in := o.Input.(request)
		return o.Output.(reply).verdict == unknown &&
			(in.kind == "start" && madeBy[in.op] == 0 || in.kind == "end" && endedBy[in.id] != in.token)
	})
	for i, o := range h.list {
		if in := o.Input.(request); in.kind == "start" && o.Output.(reply).verdict == unknown {
			h.list[i].Output = reply{verdict: created, id: madeBy[in.op]}
		}
	}
}

// check tells whether the history is linearizable.
func (h *history) check(t testing.TB) bool {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	result, _ := porcupine.CheckOperationsVerbose(model, h.list, 5*time.Minute)
	if result == porcupine.Unknown {
		t.Fatal("the checker did not come to an end")
	}
	return result == porcupine.Ok
}

// explain logs the shortest histories of single identities that are not linearizable.
func (h *history) explain(t testing.TB) {
	t.Helper()
	for _, part := range model.Partition(h.list) {
		if porcupine.CheckOperations(model, part) {
			continue
		}
		slices.SortFunc(part, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
		for _, o := range part {
			t.Logf("client %2d %12d..%-20d %s", o.ClientId, o.Call, o.Return, model.DescribeOperation(o.Input, o.Output))
		}
		return
	}
}
