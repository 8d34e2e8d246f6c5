package server

import (
	"context"
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
	scope  workspace.Scope // once the gate has let it in
}

// workspaceID is the id of the workspace whose rows the visitor asks for.
func (v *visitor) workspaceID() int64 { return v.claim.WorkspaceID() }

// admitted tells whether the gate has let the visitor in.
func (v *visitor) admitted() bool { return v.scope != workspace.Scope{} }

// admit asks the gate, unless it has let the visitor in already.
func (v *visitor) admit(ctx context.Context) (workspace.Scope, error) {
	if v.admitted() {
		return v.scope, nil
	}
	question := v.claim.Question()
	ws, _, err := v.server.resolve(ctx, auth.Subject(question.Subject), question.WorkspaceID)
	if errors.Is(err, errNotFound) {
		v.server.met.Remove(question)
	}
	v.scope = ws
	return ws, err
}

// narrow narrows a statement to what the visitor may see. Where the question would make its plan a
// worse one, the gate is asked: one that is planned anew each time would be planned with the question
// as well, each of several branches would ask it, and PostgreSQL leaves out no join beside it, though
// no column of the joined table is wanted.
func (v *visitor) narrow(ctx context.Context, n *narrowed, show selection) error {
	if !v.admitted() && (n.planning() == planForValues || len(n.filter.choices) > 0 || n.joins && show.part) {
		if _, err := v.admit(ctx); err != nil {
			return err
		}
	}
	if !v.admitted() {
		sql, args := v.claim.Condition()
		n.claimed = []condition{{sql: sql, args: args}}
	}
	return nil
}

// missing is why there is no such list, for a list without rows: that it is not for the visitor
// comes before what else may be.
func (v *visitor) missing(ctx context.Context, otherwise func() error) func() error {
	return func() error {
		if _, err := v.admit(ctx); err != nil || otherwise == nil {
			return err
		}
		return otherwise()
	}
}

// visitors are those whom the gate has let in to a list, by what was asked.
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
	asked := s.gated(s.remembered(func(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
		claim := ws.Claim()
		s.met.Add(claim.Question(), claim)
		return h(w, r, &visitor{server: s, claim: claim, scope: ws})
	}))
	return s.signedIn(func(w http.ResponseWriter, r *http.Request, subject auth.Subject) error {
		claim, met := s.met.Get(workspace.Question{Subject: string(subject), WorkspaceID: workspaceOf(r)})
		// A poll may need no more than the gate's answer, and a replica may have older ones.
		if !met || r.Header[ifNoneMatch] != nil || s.replica != nil {
			return asked(w, r, subject)
		}
		v := &visitor{server: s, claim: claim}
		req := requestOf(r)
		if at, ok := addressOf(r, claim.WorkspaceID()); ok {
			req.poll = s.polls.poll(at, moment{})
		}
		err := h(w, r, v)
		if err != nil {
			if _, refused := v.admit(r.Context()); refused != nil {
				return refused
			}
		}
		req.claim(claim)
		return err
	})
}
