package server

import (
	"fmt"
	"net/http"
	"sync"

	"github.com/runledger/runledger/internal/auth"
)

// shares bounds how much one holder, a subject or a workspace, has at once of what there is a certain amount
// of. Whoever has a token, of whatever workspace or none, may send and read as slowly as the timeouts
// allow; so nobody can hold all of it.
type shares[Holder comparable] struct {
	quota
	refuse func() // counts a refusal

	mu   sync.Mutex
	held map[Holder]int // without those that hold nothing
}

// quota is how much one holder may have at once.
type quota struct {
	name   string // in the headers
	holder string // what it is
	most   int
	what   string // there is most of, in the plural
	unit   string // of most
}

// The units of quotas (draft-ietf-httpapi-ratelimit-headers-10, section 2.3).
const (
	requestsAtOnce = "concurrent-requests"
	bytesAtOnce    = "content-bytes"
)

// largestShare is what one subject may hold of so many: a quarter, or 128 where that is less.
func largestShare(of int) int {
	const parts, least = 4, 128
	return max(of/parts, min(of, least))
}

// newShares makes shares of which a holder may have its quota.
func newShares[Holder comparable](q quota, refuse func()) *shares[Holder] {
	return &shares[Holder]{quota: q, refuse: refuse, held: map[Holder]int{}}
}

// newSubjectShares makes shares of most of what is counted, under that name, for a subject.
func newSubjectShares(name string, most int, refuse func()) *shares[auth.Subject] {
	return newShares[auth.Subject](quota{name: name, holder: "subject", most: most, what: name, unit: requestsAtOnce}, refuse)
}

// take takes so much more for a holder. The error is the answer where that would be more than it may have,
// with the fields RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10).
func (s *shares[Holder]) take(holder Holder, amount int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[holder]+amount > s.most {
		s.refuse()
		return &apiError{
			status: http.StatusTooManyRequests, kind: "too-many-requests", title: "Too many requests",
			detail: fmt.Sprintf("One %s may have %d %s at once; wait until some of them have ended.", s.holder, s.most, s.what),
			header: map[string]string{
				"Retry-After":      "1",
				"RateLimit":        fmt.Sprintf("%q;r=0;t=1", s.name),
				"RateLimit-Policy": fmt.Sprintf("%q;q=%d;qu=%q", s.name, s.most, s.unit),
			},
		}
	}
	s.held[holder] += amount
	return nil
}

// bear takes so much more for a holder, whether it may have that or not.
func (s *shares[Holder]) bear(holder Holder, amount int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[holder] += amount
}

// giveBack ends what a take or bear began.
func (s *shares[Holder]) giveBack(holder Holder, amount int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[holder] -= amount; s.held[holder] <= 0 {
		delete(s.held, holder)
	}
}
