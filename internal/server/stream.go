package server

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/klauspost/compress/gzhttp"

	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/feed"
	"github.com/runledger/runledger/internal/workspace"
)

// streamLimits bounds the streams of a server.
type streamLimits struct {
	slots  slots // for each open stream one
	shares *shares[auth.Subject]
	// pulse is how often a stream without events shows that it lives, and how often it is checked
	// whether the reader still may read.
	pulse time.Duration
	// patience is how long a client may take for the events that are sent at once. An event goes
	// out at most pulse and patience after a check.
	patience time.Duration
}

// streamPattern is the route of the streams of events.
const streamPattern = "/workspaces/{workspace_id}/operation-runs/events"

const (
	defaultMaxStreams = 4096
	streamPulse       = 12 * time.Second
	streamPatience    = 15 * time.Second
	// streamRetry is what clients are told to wait before they connect again, in milliseconds.
	streamRetry = "2000"
)

func newStreamLimits(streams int, m *httpMetrics) streamLimits {
	if streams == 0 {
		streams = defaultMaxStreams
	}
	return streamLimits{
		slots: make(slots, streams), shares: newSubjectShares("streams", largestShare(streams), m.refusal(refusedShare)),
		pulse: streamPulse, patience: streamPatience,
	}
}

// errPositionGone is the answer for positions of a history that the database no longer has.
var errPositionGone = &apiError{
	status: http.StatusGone, kind: "position-gone", title: "Position gone",
	detail: "The database was set back to a state before this position. Read the runs anew, and follow the changes from now on.",
}

// changesFailed is the answer for what a Feed returned.
func changesFailed(err error) error {
	switch {
	case errors.Is(err, feed.ErrGone):
		return errPositionGone.because(err)
	case errors.Is(err, feed.ErrClosed):
		return errUnavailable.because(err)
	default:
		return err
	}
}

// streamChanges sends what happens to the workspace's runs, as it happens, as server-sent events
// (the HTML standard, section 9.2).
func (s *Server) streamChanges(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	after, err := s.lastEventID(r, ws)
	if err != nil {
		return err
	}
	leave, ok := s.streams.slots.enter()
	if !ok {
		s.metrics.refusal(refusedStreams)()
		return errOverloaded
	}
	defer leave()
	subject := requestOf(r).subject
	if err := s.streams.shares.take(subject, 1); err != nil {
		return err
	}
	defer s.streams.shares.giveBack(subject, 1)
	// The streams have a limit of their own. All of them may come back at once, to whom a refusal at the door
	// would be the end: browsers do not connect again to a server that answers 503.
	requestOf(r).place.leave()
	subscription, err := s.feed.Subscribe(r.Context(), ws.ID(), after)
	if err != nil {
		return changesFailed(err)
	}
	defer subscription.Close()

	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	varyByToken(h)
	h.Set(gzhttp.HeaderNoCompression, "stream") // which would hold events back; it is not sent
	h.Set("X-Accel-Buffering", "no")            // a proxy that collects the answer would hold the events back
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	st := &stream{
		server: s, request: r, workspaceID: ws.ID(), subscription: subscription,
		w: w, connection: http.NewResponseController(w), checked: time.Now(),
	}
	// The end of the answer leaves when this has returned; net/http sets another deadline for the next request.
	defer func() { _ = st.connection.SetWriteDeadline(time.Now().Add(s.streams.patience)) }()
	st.run()
	return nil
}

// lastEventID is the position behind which a stream is to begin, nil for now. The header is what
// clients send when they connect again, so it is newer than what stands in the address.
func (s *Server) lastEventID(r *http.Request, ws workspace.Scope) (*feed.Position, error) {
	const parameter, header = "last_event_id", "Last-Event-ID"
	p := parseParams(r)
	sealed, given := p.text(parameter)
	wrong := fault{Parameter: parameter, Detail: noChangesPosition}
	if again := strings.Join(r.Header.Values(header), ", "); again != "" {
		sealed, given = again, true
		wrong = fault{Header: header, Detail: noChangesPosition}
	}
	if err := s.cursors.load(r.Context(), s.db, s.queries); err != nil {
		return nil, err
	}
	var after *feed.Position
	if given {
		at, ok := s.changesPosition(sealed, ws)
		if !ok {
			p.faults = append(p.faults, wrong)
		}
		after = &at
	}
	return after, p.done()
}

// stream is one client that follows a workspace.
type stream struct {
	server       *Server
	request      *http.Request
	workspaceID  int64
	subscription *feed.Subscription
	w            http.ResponseWriter
	connection   *http.ResponseController
	checked      time.Time // when the reader was last known to be a member
}

// run sends events until the client leaves, stops taking them or may no longer have them, or the
// server ends. The client connects again with the id of the last event that it has.
func (st *stream) run() {
	// An id without data makes no event, but the client keeps it: should the connection break
	// before there is an event, it goes on from here.
	start := "retry: " + streamRetry + "\nid: " + st.server.sealChanges(st.subscription.At(), st.workspaceID) + "\n\n"
	err := st.send([]byte(start))
	for err == nil {
		err = st.step()
	}
}

// step sends what there is, or waits for it until the next pulse.
func (st *stream) step() error {
	ctx := st.request.Context()
	pulse := st.server.streams.pulse
	if time.Since(st.checked) >= pulse {
		if err := st.check(); err != nil {
			return st.outlast(err) // nothing is sent while nothing is known of the reader
		}
	}
	waiting, cancel := context.WithDeadline(ctx, st.checked.Add(pulse))
	defer cancel()
	changes, err := st.subscription.Next(waiting)
	switch {
	case err == nil:
		return st.sendChanges(changes)
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return st.send(keepAlive)
	default:
		return st.outlast(err)
	}
}

// outlast waits where err says that the database is away, and otherwise returns it: browsers do
// not connect again to a server that answers 503.
func (st *stream) outlast(err error) error {
	if !isOutage(err) {
		return err
	}
	if err := st.send(keepAlive); err != nil { // to find that out took time already
		return err
	}
	if !wait(st.request.Context(), st.server.feed.Done(), st.server.streams.pulse/2) { //nolint:mnd // and so does the next time
		return err
	}
	return st.send(keepAlive)
}

// check asks whether the reader's token is valid and the reader a member, as at the gate.
func (st *stream) check() error {
	if err := st.server.mayRead(st.request, st.workspaceID); err != nil {
		return err
	}
	st.checked = time.Now()
	return nil
}

// mayRead asks whether the token of a request that goes on for long is still valid and its subject
// still a member, as at the gate.
func (s *Server) mayRead(r *http.Request, workspaceID int64) error {
	subject, err := s.authenticate(r)
	if err != nil {
		return err
	}
	_, _, err = s.resolve(r.Context(), subject, workspaceID)
	return err
}

// sendChanges sends changes as events. Those that are in memory for this client alone weigh what they have: many
// who are far behind, and read slowly, are not to have all of it. Who is given up connects again.
func (st *stream) sendChanges(changes []feed.Change) error {
	frames := make([][]byte, 0, len(changes))
	bytes := 0
	for _, change := range changes {
		frames = append(frames, change.Frame)
		bytes += len(change.Frame)
	}
	if st.subscription.Alone() {
		weights, subject := st.server.capacity.weights, requestOf(st.request).subject
		if err := weights.take(subject, bytes); err != nil {
			return err
		}
		defer weights.giveBack(subject, bytes)
	}
	return st.send(frames...)
}

// send writes frames and sees that they leave. The client has its time to take them, however long
// the whole answer becomes; one that takes longer is given up.
func (st *stream) send(frames ...[]byte) error {
	if err := st.connection.SetWriteDeadline(time.Now().Add(st.server.streams.patience)); err != nil {
		return err
	}
	for _, frame := range frames {
		if _, err := st.w.Write(frame); err != nil {
			return err
		}
	}
	return st.connection.Flush()
}

// keepAlive is a comment, which shows clients and proxies that the stream lives.
var keepAlive = []byte(":\n\n")

// wait waits for d; it returns false if ctx or done ended before.
func wait(ctx context.Context, done <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-done:
		return false
	case <-timer.C:
		return true
	}
}

// frame is a change as an event of a stream. Who hears of it is to find it in the lists.
func (s *Server) frame(workspaceID int64, change *dbsqlc.ListChangesRow) []byte {
	s.polls.heard(workspaceID)
	id := s.sealChanges(feed.Position{Transaction: change.Transaction, ID: change.ID}, workspaceID)
	b := append([]byte("id: "), id...)
	if !strings.ContainsAny(change.Kind, "\r\n") {
		b = append(b, "\nevent: "...)
		b = append(b, change.Kind...)
	}
	b = append(b, "\ndata: "...)
	b = appendChange(b, change) // one line: JSON of this package and of jsonb has no line breaks
	return append(b, "\n\n"...)
}
