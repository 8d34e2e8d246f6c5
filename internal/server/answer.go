package server

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// buffers are the bodies of answers, used again.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// largestKeptBuffer keeps one huge answer from holding its memory for ever.
const largestKeptBuffer = 1 << 20

// withBuffer lends an empty buffer to fill, which returns it filled for write.
func withBuffer(fill func(b []byte) []byte, write func(b []byte) error) error {
	kept := buffers.Get().(*[]byte)
	b := fill((*kept)[:0])
	err := write(b)
	if cap(b) <= largestKeptBuffer {
		*kept = b
		buffers.Put(kept)
	}
	return err
}

// answerJSON writes the body that fill makes, or 304 if the client has it already.
func answerJSON(w http.ResponseWriter, r *http.Request, fill func(b []byte) []byte) error {
	return withBuffer(fill, func(body []byte) error {
		tag := entityTag(body)
		h := w.Header()
		h.Set("Cache-Control", "private, no-cache")
		h.Set("Vary", "Authorization")
		h.Set("ETag", tag)
		if matchesTag(r.Header.Values("If-None-Match"), tag) {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write(body) // a client that hung up is nobody to report to
		return nil
	})
}

// entityTag is the weak tag of a body: equal for equal data, whichever server made it.
func entityTag(body []byte) string {
	const size = 16
	sum := sha256.Sum256(body)
	return `W/"` + base64.RawURLEncoding.EncodeToString(sum[:size]) + `"`
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
