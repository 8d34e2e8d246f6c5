package server

import (
	"errors"
	"net/http"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/workspace"
)

// A page of a list costs little more than its one statement, so that a round trip for the gate's
// question is felt. Whom the gate has let in before reads a list without asking it again: the
// list's own statement asks whether they are still a member, of what the gate asks (the view
// workspace_members), and gives no row if they are not. Where that leaves anything open, because
// there is no row or something is wrong with the request, the gate is asked after all before a
// word is said. Strangers always stand at the gate, as before any other endpoint.

// listHandler is an endpoint that lists rows of a workspace. What it reads before the visitor is
// admitted, it reads by statements that the visitor narrows.
type listHandler func(w http.ResponseWriter, r *http.Request, v *visitor) error

// visitor is who asks for a list.
type visitor struct {
	server *Server
	claim  workspace.Claim
	alone  bool            // whether more was read than the page, so that nobody else can have it
	asked  bool            // whether the gate has been asked
	scope  workspace.Scope // what it said
	moment moment
	err    error
}

// workspaceID is the id of the workspace whose rows the visitor asks for.
func (v *visitor) workspaceID() int64 { return v.claim.WorkspaceID() }

// admitted tells whether the gate has let the visitor in.
func (v *visitor) admitted() bool { return v.asked && v.err == nil }

// admit asks the gate, once.
func (v *visitor) admit(r *http.Request) (workspace.Scope, error) {
	if v.asked {
		return v.scope, v.err
	}
	v.asked = true
	question := v.claim.Question()
	v.scope, v.moment, v.err = v.server.resolve(r.Context(), auth.Subject(question.Subject), question.WorkspaceID)
	if v.err != nil {
		v.server.met.Remove(question)
		requestOf(r).identify(workspace.Claim{})
		return v.scope, v.err
	}
	v.claim = v.scope.Claim()
	requestOf(r).identify(v.claim)
	return v.scope, nil
}

// narrow narrows a statement to what the visitor may see. Where the question would make its plan a
// worse one, the gate is asked: one that is planned anew each time would be planned with the question
// as well, each of several branches would ask it, and PostgreSQL leaves out no join beside it, though
// no column of the joined table is wanted.
func (v *visitor) narrow(r *http.Request, n *narrowed, show selection) error {
	if !v.asked && (n.planning() == planForValues || len(n.filter.choices)+len(n.filter.untimely) > 0 || len(n.joined) > 0 && show.part) {
		if _, err := v.admit(r); err != nil {
			return err
		}
		requestOf(r).poll.moment = v.moment // of the query that has not begun
	}
	n.claimed = nil
	if !v.admitted() {
		sql, args := v.claim.Condition()
		n.claimed = []condition{{sql: sql, args: args}}
	}
	return nil
}

// read reads a list that read narrows: once more, if it has no rows and the visitor turns out to be
// a member, because they may have become one since.
func (v *visitor) read(r *http.Request, read func() (rows int, err error)) error {
	rows, err := read()
	if err == nil && rows == 0 && !v.asked {
		if _, err := v.admit(r); err != nil {
			return err
		}
		requestOf(r).poll.moment = v.moment // of the query that begins now
		_, err = read()
	}
	return err
}

// found notes how many rows a list had. Who finds some need not ask the gate the next time.
func (v *visitor) found(rows int) {
	switch {
	case rows == 0:
		v.server.met.Remove(v.claim.Question())
	case v.admitted():
		v.server.met.Add(v.claim.Question(), v.claim)
	}
}

// excuse is what a visitor is told where the list has failed. What is wrong with a request is nobody's business
// but a member's; nor is what is wrong with the server, where strangers are told by the gate that they are.
func (v *visitor) excuse(r *http.Request, failed error) error {
	if failed == nil || errors.Is(failed, errNoConnection) && !errors.Is(failed, errOverloaded) {
		return failed // the gate would be as long in finding out that it cannot ask either
	}
	_, refused := v.admit(r)
	if refused != nil && (errors.Is(refused, errNotFound) || answerFor(failed).status < http.StatusInternalServerError) {
		return refused
	}
	return failed
}

// visitors are those who found rows in a list, by what the gate was asked.
type visitors = lru.Cache[workspace.Question, workspace.Claim]

const rememberedVisitors = 4096

func newVisitors() *visitors {
	met, err := lru.New[workspace.Question, workspace.Claim](rememberedVisitors)
	if err != nil {
		panic(err) // the size is positive
	}
	return met
}

// listed is the way to a list.
func (s *Server) listed(h listHandler) http.HandlerFunc {
	gated := s.gated(s.remembered(func(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
		return h(w, r, &visitor{server: s, claim: ws.Claim(), asked: true, scope: ws})
	}))
	return s.signedIn(func(w http.ResponseWriter, r *http.Request, subject auth.Subject) error {
		if s.replica != nil { // which may have older answers than the gate
			return gated(w, r, subject)
		}
		claim, met := s.met.Get(workspace.Question{Subject: string(subject), WorkspaceID: workspaceOf(r)})
		at, ok := addressOf(r, claim.WorkspaceID())
		conditions := r.Header[ifNoneMatch]
		var over func()
		if conditions != nil && met && ok {
			if over = s.polls.beginAhead(at, conditions); over != nil {
				defer over()
			}
		}
		if conditions != nil && over == nil { // the gate's answer may do
			return gated(w, r, subject)
		}
		if s.metrics.visitors.Count(met); !met {
			return gated(w, r, subject)
		}
		req := requestOf(r)
		req.identify(claim)
		if ok {
			req.poll = s.polls.poll(at, s.polls.seen(), conditions)
			req.poll.over = over
		}
		v := &visitor{server: s, claim: claim}
		return v.excuse(r, h(w, r, v))
	})
}
