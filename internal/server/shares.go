package server

import (
	"fmt"
	"net/http"
	"sync"

	"github.com/runledger/runledger/internal/auth"
)

// shares bounds how much one subject holds at once of what there is a certain number of. Whoever has
// a token, of whatever workspace or none, may send and read as slowly as the timeouts allow; so
// nobody can hold all of it.
type shares struct {
	what   string // it is, in the plural
	most   int    // that one subject may hold
	refuse func() // counts a refusal

	mu   sync.Mutex
	held map[auth.Subject]int // without those that hold nothing
}

// largestShare is what one subject may hold of so many: a quarter, or 128 where that is less.
func largestShare(of int) int {
	const parts, least = 4, 128
	return max(of/parts, min(of, least))
}

// newShares makes shares of what, of which one subject may hold most.
func newShares(what string, most int, refuse func()) *shares {
	return &shares{what: what, most: most, refuse: refuse, held: map[auth.Subject]int{}}
}

// take takes one more for a subject. The error is the answer where it holds as many as it may, with
// the fields RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10).
func (s *shares) take(subject auth.Subject) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[subject] >= s.most {
		s.refuse()
		return &apiError{
			status: http.StatusTooManyRequests, kind: "too-many-requests", title: "Too many requests",
			detail: fmt.Sprintf("You have %d %s at once, as many as this service lets one subject have; wait until some of them have ended.", s.most, s.what),
			header: map[string]string{
				"Retry-After":      "1",
				"RateLimit":        fmt.Sprintf("%q;r=0;t=1", s.what),
				"RateLimit-Policy": fmt.Sprintf("%q;q=%d;qu=\"concurrent-requests\"", s.what, s.most),
			},
		}
	}
	s.held[subject]++
	return nil
}

// giveBack ends what a take began.
func (s *shares) giveBack(subject auth.Subject) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[subject]--; s.held[subject] <= 0 {
		delete(s.held, subject)
	}
}
