package server

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/runledger/runledger/internal/workspace"
)

// Most requests ask again, with If-None-Match, for what has not changed since. They are answered
// without the query of the list or row where it is known that it would find the same, which is
// after the gate, or with its question: who may not see an answer is told so as ever.
//
// Of the last answer for an address its tag is remembered, with three things that were read before
// its query ran: the state of the database that the gate saw, how many writes to the workspace
// this server had ended, and the time. The tag is good for a later request
//
//   - if the gate of that request saw the same state. What the query saw is not older than the one
//     and not newer than the other, so it is both: the answer is the one that the query would give
//     now. Nothing is assumed of who writes, or how: a transaction that commits late, a server
//     elsewhere and a hand at psql all change the state.
//   - or if it was younger than the bound when it was used, and no write to the workspace through
//     this server has ended since or is under way. The query saw all that was committed before it
//     began, so the answer is behind by the bound at most; it is not behind at all for who has
//     written here and been answered, because a write counts from before it commits until after
//     its answer. Who hears of a change on a stream of this server finds it as well.
//   - or if its page is found to be made of the same versions of the same rows; see versions.go.
//
// A query that takes long makes its tag older, not wrong: everything was read before it. What is
// remembered depends on rows of the database and on the address alone, on no clock and no role.

// polls are the tags of the last answers. Make them with newPolls.
type polls struct {
	bound  time.Duration // how far an answer may be behind the commits of others, 0 for not at all
	clock  func() time.Time
	used   *atomic.Int64 // how many connections to the database have been used
	tags   *lru.Cache[address, tagged]
	writes [1024]writes // by the id of the workspace; those that share one only ask more often

	// latest is the state of the database that the gate saw last. A tag of an earlier one is of one that
	// has passed.
	latest atomic.Pointer[moment]

	mu      sync.Mutex
	running map[address]chan struct{} // queries for polls; closed when they end

	unchanged, recent, sameRows, queried func() // count polls by how they were answered
}

const (
	rememberedTags = 8192
	longestAddress = 1024 // in bytes; longer ones are not remembered
	ifNoneMatch    = "If-None-Match"
	pollUnchanged  = "unchanged"
	pollRecent     = "recent"
	pollSameRows   = "same_rows"
	pollQueried    = "queried"
)

// writes are the writes to workspaces through this server.
type writes struct{ running, ended atomic.Int64 }

// address is all of a request that its answer depends on. The id of the workspace stands in the
// path as well; that it is here, too, is so that no reading of paths can ever mix two workspaces.
type address struct {
	workspaceID                  int64
	path, escaped, query, accept string
}

// tagged is an answer with what was known before its query ran.
type tagged struct {
	tag    string
	link   string
	vary   []string
	moment moment
	ended  int64
	at     time.Time
	rows   versions // of its page
	steady bool     // whether the answer before was the same
}

// poll is a request whose answer may be remembered.
type poll struct {
	polls       *polls
	address     address
	moment      moment
	ended       int64
	at          time.Time
	connections int64

	again bool   // whether it has been asked for before
	last  tagged // what is remembered, if that is what the client has
	sum   uint64 // of the versions of the rows that its query found, 0 where they are not known
	over  func() // lets those go on who wait for the query; nil if nobody can
}

func newPolls(bound time.Duration, used *atomic.Int64, m *httpMetrics) *polls {
	tags, err := lru.New[address, tagged](rememberedTags)
	if err != nil {
		panic(err) // the size is positive
	}
	return &polls{
		bound: bound, clock: time.Now, used: used, tags: tags, running: map[address]chan struct{}{},
		unchanged: m.poll(pollUnchanged), recent: m.poll(pollRecent), sameRows: m.poll(pollSameRows), queried: m.poll(pollQueried),
	}
}

// remembered is the way to a list or row whose answer depends on rows of the database alone, and on
// nothing of the request but its address and the form that it accepts.
func (s *Server) remembered(h scopedHandler) scopedHandler {
	return func(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
		at, ok := addressOf(r, ws.ID())
		if !ok {
			return h(w, r, ws)
		}
		req := requestOf(r)
		var over func()
		conditions := r.Header[ifNoneMatch]
		if len(conditions) > 0 {
			if s.polls.answer(w, at, req.moment, conditions) {
				return nil
			}
			// Of those who ask the same at the same time one asks the database.
			if over = s.polls.begin(r, at); over != nil {
				defer over()
			} else if s.polls.answer(w, at, req.moment, conditions) {
				return nil
			}
		}
		req.poll = s.polls.poll(at, req.moment, conditions)
		if req.poll.over = over; over == nil {
			req.poll.last = tagged{} // all who come here from one wait read the page together, and no versions each
		}
		return h(w, r, ws)
	}
}

// read says that what the request asks of the database has been read: nobody is to wait until it is sent.
func (p *poll) read() {
	if p.over != nil {
		p.over()
	}
}

// addressOf is the address that a request is remembered by; false if it is not to be, because its
// answer may depend on more than that, as that of a replica does, or the address is long.
func addressOf(r *http.Request, workspaceID int64) (address, bool) {
	accept := r.Header["Accept"]
	a := address{workspaceID: workspaceID, path: r.URL.Path, escaped: r.URL.RawPath, query: r.URL.RawQuery}
	if len(accept) > 0 {
		a.accept = accept[0]
	}
	return a, len(accept) <= 1 && r.Header[positionHeader] == nil && len(a.path)+len(a.escaped)+len(a.query)+len(a.accept) <= longestAddress
}

// answer answers 304 if one of conditions names the tag that is remembered, and it is good.
func (p *polls) answer(w http.ResponseWriter, at address, now moment, conditions []string) bool {
	last, known := p.had(at, conditions)
	switch {
	case !known:
		return false
	case now.is(last.moment):
		p.unchanged()
	case p.isRecent(at.workspaceID, last):
		p.recent()
	default:
		return false
	}
	last.answer(w)
	return true
}

// had is the tag that is remembered, if it is one that the client has.
func (p *polls) had(at address, conditions []string) (tagged, bool) {
	if len(conditions) == 0 {
		return tagged{}, false
	}
	last, known := p.tags.Get(at)
	if !known || !matchesTag(conditions, last.tag) {
		return tagged{}, false
	}
	return last, true
}

// answer answers 304.
func (t *tagged) answer(w http.ResponseWriter) {
	h := w.Header()
	if t.link != "" {
		h.Set("Link", t.link)
	}
	tagHeaders(h, t.tag, t.vary)
	w.WriteHeader(http.StatusNotModified)
}

// isRecent tells whether a tag is younger than the bound and no write here has ended since or is
// under way. The order matters: a write that is no longer under way has ended by then.
func (p *polls) isRecent(workspaceID int64, last tagged) bool {
	here := p.of(workspaceID)
	return here.running.Load() == 0 && here.ended.Load() == last.ended && elapsed(last.at, p.clock()) < p.bound
}

// elapsed is how long ago an instant was: by the clock on the wall where that says longer, as the other one
// stands still while the machine is suspended.
func elapsed(at, now time.Time) time.Duration {
	return max(now.Sub(at), now.Round(0).Sub(at.Round(0)))
}

// saw notes which state of the database the gate has seen, as it tells a member. A database that tells
// none is another one than told of its states before.
func (p *polls) saw(now moment) {
	if p.seen() != now {
		p.latest.Store(&now)
	}
}

// seen is the state that the gate saw last, the zero one if it has seen none.
func (p *polls) seen() moment {
	if latest := p.latest.Load(); latest != nil {
		return *latest
	}
	return moment{}
}

// poll is what is known of a request before its query runs. Of the moments that the gate saw, any
// before that will do.
func (p *polls) poll(at address, seen moment, conditions []string) poll {
	last, _ := p.had(at, conditions)
	return poll{
		polls: p, address: at, moment: seen, ended: p.of(at.workspaceID).ended.Load(), at: p.clock(), connections: p.used.Load(),
		again: len(conditions) > 0, last: last,
	}
}

// beginAhead is the way of a poll for whose answer the gate's would not do, because what is remembered
// is not what the client has, or is of a state that has passed: it begins without the gate. If another
// one is about to ask for the same address, or the gate might do, it returns nil.
func (p *polls) beginAhead(at address, conditions []string) (end func()) {
	if last, known := p.had(at, conditions); known {
		if now := p.seen(); !now.isKnown() || now.is(last.moment) || p.isRecent(at.workspaceID, last) {
			return nil
		}
	}
	end, _ = p.tryBegin(at)
	return end
}

// mayCompare tells whether the versions of the rows are worth reading: the client has asked before, and
// the database is one that tells its states.
func (p *poll) mayCompare() bool { return p.again && p.moment.isKnown() }

// same answers that the page is the one that is remembered: it was found to be, after all that is known of p.
func (p *poll) same(w http.ResponseWriter) {
	now := p.last
	now.moment, now.ended, now.at = p.moment, p.ended, p.at
	now.rows.at = p.at
	p.polls.tags.Add(p.address, now)
	p.polls.sameRows()
	p.read()
	now.answer(w)
}

// remember keeps the tag of a request's answer, if it is one whose answer is remembered.
func (p *poll) remember(h http.Header, tag string, vary []string) {
	if p.polls == nil {
		return
	}
	now := tagged{
		tag: tag, link: h.Get("Link"), vary: vary, moment: p.moment, ended: p.ended, at: p.at,
		rows: versions{sum: p.sum, connections: p.connections, at: p.at},
	}
	if before, known := p.polls.tags.Peek(p.address); known && before.tag == tag {
		now.steady = true
		if p.sum == 0 {
			now.rows = before.rows // whose answer would be the same again
		}
	}
	p.polls.tags.Add(p.address, now)
	if p.again {
		p.polls.queried()
	}
	p.read()
}

// begin says that the request will ask the database, and returns how to say that it has. If
// another one is about to for the same address, it waits for its end and returns nil.
func (p *polls) begin(r *http.Request, at address) (end func()) {
	end, other := p.tryBegin(at)
	if end == nil {
		select {
		case <-other:
		case <-r.Context().Done():
		}
	}
	return end
}

// tryBegin is begin without the wait: if there is another one, it returns what tells its end.
func (p *polls) tryBegin(at address) (end func(), other <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if other := p.running[at]; other != nil {
		return nil, other
	}
	done := make(chan struct{})
	p.running[at] = done
	return sync.OnceFunc(func() {
		p.mu.Lock()
		delete(p.running, at)
		p.mu.Unlock()
		close(done)
	}), nil
}

// write says that a write to a workspace begins, and returns how to say that it has been answered.
func (p *polls) write(workspaceID int64) (end func()) {
	here := p.of(workspaceID)
	here.running.Add(1)
	return func() {
		here.ended.Add(1)
		here.running.Add(-1)
	}
}

// heard says that somebody is about to hear of a change in a workspace, whoever made it.
func (p *polls) heard(workspaceID int64) { p.of(workspaceID).ended.Add(1) }

func (p *polls) of(workspaceID int64) *writes {
	return &p.writes[uint64(workspaceID)%uint64(len(p.writes))] //nolint:gosec // bits are bits
}
