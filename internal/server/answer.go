package server

import (
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"

	"github.com/runledger/runledger/internal/dbsqlc"
)

// buffers are the bodies of answers, used again.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// largestKeptBuffer keeps one huge answer from holding its memory for ever, and small ones that take its
// buffer from holding more than they weigh. A page of fifty runs has half of it.
const largestKeptBuffer = 128 << 10

// buffer is a body while it is made. Make it with borrowBuffer, and give it back.
type buffer struct {
	body []byte
	kept *[]byte
}

func borrowBuffer() buffer {
	kept, _ := buffers.Get().(*[]byte) // the pool holds nothing else
	return buffer{body: (*kept)[:0], kept: kept}
}

// giveBack ends the use of the body; of a buffer that was not borrowed there is none.
func (b *buffer) giveBack() {
	if b.kept != nil && cap(b.body) <= largestKeptBuffer {
		*b.kept = b.body
		buffers.Put(b.kept)
	}
}

// answerJSON writes the body that fill makes, or 304 if the client has it already.
func answerJSON(w http.ResponseWriter, r *http.Request, fill func(b []byte) []byte) error {
	return answerTagged(w, r, http.StatusOK, "", fill)
}

// answerRun writes a run. Its tag begins with its revision, which If-Match compares.
func answerRun(w http.ResponseWriter, r *http.Request, status int, run *dbsqlc.OperationRun) error {
	return answerTagged(w, r, status, revisionMark(run.Revision),
		func(b []byte) []byte { return appendRun(b, run) })
}

// answerTagged writes the body that fill makes with a tag that begins with mark.
func answerTagged(
	w http.ResponseWriter, r *http.Request, status int, mark string, fill func(b []byte) []byte,
) error {
	b := borrowBuffer()
	defer b.giveBack()
	b.body = fill(b.body)
	return answerBody(w, r, status, entityTag(mark, b.body), b.body)
}

// answerBody writes a body with its tag, or 304 if the client has it already.
func answerBody(w http.ResponseWriter, r *http.Request, status int, tag string, body []byte) error {
	p := &requestOf(r).place
	switch {
	case !isReading(r):
		p.bear(len(body))
	case !matchesTag(r.Header.Values(ifNoneMatch), tag):
		if err := p.weigh(len(body)); err != nil {
			return err
		}
	}
	return answerWeighed(w, r, status, tag, body)
}

// isReading tells whether a request changes nothing.
func isReading(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead
}

// answerWeighed is answerBody for a body that has been weighed. vary names further headers on which the answer
// depends.
func answerWeighed(w http.ResponseWriter, r *http.Request, status int, tag string, body []byte, vary ...string) error {
	h, req := w.Header(), requestOf(r)
	req.place.wait()
	tagHeaders(h, tag, vary)
	req.poll.remember(h, tag, vary)
	if isReading(r) && matchesTag(r.Header.Values(ifNoneMatch), tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	limitCompressing(h, r, len(body))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that hung up is nobody to report to
	return nil
}

// part is the answer to one part of a batch: its row or, where that had no room, the row's id, or why it
// has none.
type part struct {
	status int
	row    func(b []byte) []byte
	id     int64 // where there is no row
	err    error

	replayed bool // what the start's key was answered with before
}

// answerParts writes the answers of a batch to each of its n parts: a 207 in the manner of RFC 4918
// section 13. Rows stand under name. It is sent as it is made.
func (s *Server) answerParts(w http.ResponseWriter, r *http.Request, name string, n int, partAt func(i int) part) error {
	requestOf(r).place.wait()
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	limitCompressing(h, r, worthCompressing) // it may be more
	w.WriteHeader(http.StatusMultiStatus)
	requestID := requestOf(r).id
	causes := map[string]*apiError{} // each is logged once
	b := borrowBuffer()
	defer b.giveBack()
	b.body = append(b.body, `{"results":[`...)
	for i := range n {
		b.body = append(separated(b.body, i), '{')
		if part := partAt(i); part.err != nil {
			answer := answerFor(part.err)
			if answer.cause != nil {
				causes[answer.cause.Error()] = answer
			}
			b.body = appendInt(b.body, "status", int64(answer.status))
			b.body = appendJSON(b.body, "problem", answer.problem(requestID))
		} else {
			b.body = appendInt(b.body, "status", int64(part.status))
			if part.replayed {
				b.body = appendBool(b.body, "idempotency_replayed", true)
			}
			if part.row != nil {
				b.body = part.row(appendKey(b.body, name))
			} else {
				b.body = appendInt(b.body, name+"_id", part.id)
			}
		}
		b.body = append(b.body, '}')
		if len(b.body) >= largestKeptBuffer/2 { // the rows are in memory as they are
			_, _ = w.Write(b.body)
			b.body = b.body[:0]
		}
	}
	for _, answer := range causes {
		if r.Context().Err() != nil {
			answer = errHungUp.because(answer.cause)
		}
		s.logCause(r.Context(), requestID, answer)
	}
	b.body = append(b.body, `]}`...)
	_, _ = w.Write(b.body) // a client that hung up is nobody to report to
	return nil
}

// cacheControl lets nobody but the client keep an answer, and the client ask again each time.
var cacheControl = []string{"private, no-cache"}

// tagHeaders sets the headers of an answer with a tag, which those of its 304 have as well.
func tagHeaders(h http.Header, tag string, vary []string) {
	h["Cache-Control"] = cacheControl
	varyByToken(h)
	for _, name := range vary {
		h.Add("Vary", name)
	}
	h.Set("ETag", tag)
}

// revisionMark is how the tag of a row with a revision begins.
func revisionMark(revision int64) string { return strconv.FormatInt(revision, 10) + "." }

const ifMatch = "If-Match"

// wantedRevision is the revision that a request's If-Match names, 0 if any will do. It takes the
// tag of an earlier answer or the bare revision; ok is false for what names no revision. Of several
// (RFC 9110 section 13.1.1) the newest counts: a row is at that one, or beyond all of them.
func wantedRevision(r *http.Request) (revision int64, ok bool) {
	given := r.Header.Values(ifMatch)
	if len(given) == 0 {
		return 0, true
	}
	for value := range strings.SplitSeq(strings.Join(given, ","), ",") {
		value = strings.TrimSpace(value)
		if value == "*" {
			return 0, true
		}
		number, _, _ := strings.Cut(strings.Trim(strings.TrimPrefix(value, "W/"), `"`), ".")
		if named, is := parseID(number); is {
			revision, ok = max(revision, named), true
		}
	}
	return revision, ok
}

// entityTag is the weak tag of a body: equal for equal data, whichever server made it.
func entityTag(mark string, body []byte) string {
	return `W/"` + mark + strconv.FormatUint(xxhash.Sum64(body), 36) + "-" + strconv.Itoa(len(body)) + `"`
}

// matchesTag tells whether an If-None-Match names tag, by the weak comparison of RFC 9110
// section 8.8.3.2.
func matchesTag(conditions []string, tag string) bool {
	opaque := strings.TrimPrefix(tag, "W/")
	for _, condition := range conditions {
		for candidate := range strings.SplitSeq(condition, ",") {
			candidate = strings.TrimSpace(candidate)
			if candidate == "*" || strings.TrimPrefix(candidate, "W/") == opaque {
				return true
			}
		}
	}
	return false
}
