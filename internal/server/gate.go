package server

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/workspace"
)

// handler is an endpoint: it writes an answer of the 2xx or 3xx, or returns the error that says
// what the answer is.
type handler func(w http.ResponseWriter, r *http.Request) error

// signedInHandler is an endpoint for whoever has a valid token.
type signedInHandler func(w http.ResponseWriter, r *http.Request, subject auth.Subject) error

// scopedHandler is an endpoint below a workspace. It cannot be called without a Scope, and a
// Scope is to be had from the gate alone.
type scopedHandler func(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error

// open is the way to an endpoint that anybody may use.
func (s *Server) open(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			s.fail(w, r, err)
		}
	}
}

// signedIn is the way to an endpoint that needs a valid token and no workspace.
func (s *Server) signedIn(h signedInHandler) http.HandlerFunc {
	return s.open(func(w http.ResponseWriter, r *http.Request) error {
		subject, err := s.authenticate(r)
		if err != nil {
			return err
		}
		// Whatever the workspace, and before anything is known of it.
		if err := s.subjects.take(subject); err != nil {
			return err
		}
		req := requestOf(r)
		if err := req.place.share(s.shares, subject); err != nil {
			return err
		}
		req.subject = subject
		return h(w, r, subject)
	})
}

// scoped is the gate: in comes a request, out goes a Scope or the one answer for strangers.
func (s *Server) scoped(h scopedHandler) http.HandlerFunc {
	return s.signedIn(s.gated(h))
}

// gated is the gate behind the door.
func (s *Server) gated(h scopedHandler) signedInHandler {
	return func(w http.ResponseWriter, r *http.Request, subject auth.Subject) error {
		req := requestOf(r)
		writes := !isReading(r)
		if writes {
			// However long the client takes to send it, what the gate says afterwards is true of now.
			req.body = receive(w, r)
		}
		ws, now, err := s.resolve(r.Context(), subject, workspaceOf(r))
		if err != nil {
			return err
		}
		req.identify(ws.Claim())
		req.moment = now
		if writes {
			end := s.polls.write(ws.ID())
			defer func() {
				end()
				s.feed.Hint(ws.ID())
			}()
			w = s.positioning(w, r)
		}
		return h(w, r, ws)
	}
}

// moment is the state of the database that the gate saw. No connection survives a crash, so that
// there was none between two moments that are told with the same connections in use; see
// workspace.Moment.
type moment struct {
	seen        workspace.Moment
	connections int64 // how many have been used so far
}

// is tells whether two moments are known to be one state of the database.
func (m moment) is(other moment) bool {
	return m.connections == other.connections && m.seen.Is(other.seen)
}

// isKnown tells whether the gate was told the state.
func (m moment) isKnown() bool { return m.is(m) }

// maxQuestions is how many questions of the gate are under way at once: while the database answers
// one, the server sends the answers of the one before.
const maxQuestions = 1

// membership is what the database says to a request at the gate.
type membership struct {
	answer workspace.Answer
	moment moment
	err    error
}

// resolve asks whether subject is a member of the workspace now. Requests that come while the
// database is being asked go together, members and strangers of whatever workspaces alike; it is
// asked after each of them has come. The error is errNotFound where the answer is no.
func (s *Server) resolve(ctx context.Context, subject auth.Subject, workspaceID int64) (workspace.Scope, moment, error) {
	found := s.members.ask(ctx, struct{}{}, workspace.Question{Subject: string(subject), WorkspaceID: workspaceID})
	if found.err != nil {
		return workspace.Scope{}, moment{}, found.err
	}
	ws, err := found.answer.Scope()
	if errors.Is(err, workspace.ErrNotMember) {
		err = errNotFound
	}
	return ws, found.moment, err
}

// resolveGathered asks for all who wait at the gate. They do not queue for a connection with
// everybody else: they are few statements, and many requests.
func (s *Server) resolveGathered(ctx context.Context, _ struct{}, questions []workspace.Question) []membership {
	before := s.gate.used.Load()
	answers, err := workspace.Resolve(withPlanning(ctx, planForAll), s.gate, questions...)
	after := s.gate.used.Load()
	memberships := make([]membership, len(questions))
	for i := range memberships {
		if err != nil {
			memberships[i].err = err
			continue
		}
		memberships[i].answer = answers[i]
		if before == after {
			memberships[i].moment = moment{seen: answers[i].Moment(), connections: after}
			if _, refused := answers[i].Scope(); refused == nil { // strangers are told nothing
				s.polls.saw(memberships[i].moment)
			}
		}
	}
	return memberships
}

// unrouted answers requests that no route takes. Below a workspace it stands behind the gate
// like everything else, so that strangers cannot tell routes from what is none.
func (s *Server) unrouted(answer error) http.HandlerFunc {
	below := s.scoped(func(http.ResponseWriter, *http.Request, workspace.Scope) error { return answer })
	above := s.open(func(http.ResponseWriter, *http.Request) error { return answer })
	list := s.signedIn(func(http.ResponseWriter, *http.Request, auth.Subject) error { return answer })
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/workspaces":
			list(w, r)
		case strings.HasPrefix(r.URL.Path, "/workspaces/"):
			below(w, r)
		default:
			above(w, r)
		}
	}
}

// authenticate tells whose token the request carries, or errTokenMissing, errTokenInvalid or, while no keys
// can be had, errUnavailable.
func (s *Server) authenticate(r *http.Request) (auth.Subject, error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return "", errTokenMissing
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.TrimLeft(token, " ") // RFC 9110 section 11.4: one space or more
	switch {
	case len(values) > 1:
		return "", errTokenInvalid
	case !strings.EqualFold(scheme, "Bearer"):
		return "", errTokenMissing // RFC 6750 section 3.1: no error where another way of signing in was tried
	case token == "":
		return "", errTokenInvalid
	}
	subject, err := s.verify(r.Context(), token)
	if errors.Is(err, auth.ErrKeysUnavailable) {
		return "", errUnavailable.because(err) // no token can be told good from bad yet
	}
	if errors.Is(err, auth.ErrTooManyWait) {
		return "", errUnavailable // anybody can bring it about: no line of the log for each
	}
	if err != nil {
		return "", errTokenInvalid.because(err)
	}
	return subject, nil
}

// workspaceOf is the id of the workspace in the path. A malformed id is id 0, which no workspace
// has: it costs and answers the same.
func workspaceOf(r *http.Request) int64 {
	id, _ := parseID(workspaceSegment(r))
	return id
}

// workspaceSegment is the path's segment that names the workspace.
func workspaceSegment(r *http.Request) string {
	if id := chi.URLParam(r, "workspace_id"); id != "" {
		return id
	}
	segment, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/workspaces/"), "/")
	return segment
}

// rowID is the id in the path. An id that no row can have is errNotFound, like one that none has.
func rowID(r *http.Request) (int64, error) {
	id, ok := parseID(chi.URLParam(r, "id"))
	if !ok {
		return 0, errNotFound
	}
	return id, nil
}

// parseID reads an id as this interface writes it: decimal digits without a sign or leading zeros.
func parseID(s string) (int64, bool) {
	id, err := strconv.ParseInt(s, 10, 64)
	if err != nil || id < 1 || s[0] < '1' || s[0] > '9' {
		return 0, false
	}
	return id, true
}
