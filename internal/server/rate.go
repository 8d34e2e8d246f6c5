package server

import (
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// Rate is how many requests somebody may make: PerSecond in the long run, Burst at once. The zero
// Rate is no limit.
type Rate struct {
	PerSecond float64
	Burst     int
}

// rememberedKeys is how many buckets of one kind are kept. Who has not asked for longest is
// forgotten first, and begins with a full bucket.
const rememberedKeys = 16384

// buckets are the token buckets of one kind of key.
type buckets[Key comparable] struct {
	name   string // of the policy, as it is told to whom it stops
	rate   Rate
	byKey  *lru.Cache[Key, *rate.Limiter]
	clock  func() time.Time
	refuse func() // counts a refusal
}

// newBuckets makes buckets that are full; nil for the rate that is no limit.
func newBuckets[Key comparable](name string, r Rate, refuse func()) *buckets[Key] {
	if r.PerSecond <= 0 {
		return nil
	}
	r.Burst = max(r.Burst, 1)
	byKey, err := lru.New[Key, *rate.Limiter](rememberedKeys)
	if err != nil {
		panic(err) // the size is positive
	}
	return &buckets[Key]{name: name, rate: r, byKey: byKey, clock: time.Now, refuse: refuse}
}

// take takes a token out of a key's bucket; the error is the answer where there is none.
func (b *buckets[Key]) take(key Key) error {
	if b == nil {
		return nil
	}
	bucket, known := b.byKey.Get(key)
	if !known {
		bucket = rate.NewLimiter(rate.Limit(b.rate.PerSecond), b.rate.Burst)
		if earlier, raced, _ := b.byKey.PeekOrAdd(key, bucket); raced {
			bucket = earlier
		}
	}
	now := b.clock()
	if bucket.AllowN(now, 1) {
		return nil
	}
	b.refuse()
	missing := 1 - bucket.TokensAt(now)
	return b.refusal(time.Duration(missing / b.rate.PerSecond * float64(time.Second)))
}

// refusal is the answer to one request too many, with the fields RateLimit and RateLimit-Policy
// (draft-ietf-httpapi-ratelimit-headers-10). The policy is told in full bursts: as many requests,
// in as many seconds as it takes for them to come back.
func (b *buckets[Key]) refusal(wait time.Duration) error {
	seconds := strconv.Itoa(max(1, int(math.Ceil(wait.Seconds()))))
	window := max(1, int(math.Ceil(float64(b.rate.Burst)/b.rate.PerSecond)))
	return &apiError{
		status: http.StatusTooManyRequests, kind: "too-many-requests", title: "Too many requests",
		detail: "You ask more often than this service lets one " + b.name + " ask; wait as long as Retry-After says.",
		header: map[string]string{
			"Retry-After":      seconds,
			"RateLimit":        fmt.Sprintf("%q;r=0;t=%s", b.name, seconds),
			"RateLimit-Policy": fmt.Sprintf("%q;q=%d;w=%d", b.name, b.rate.Burst, window),
		},
	}
}

// limitAddresses takes a token out of the bucket of the address that a request comes from, before
// anything else is known of it.
func (s *Server) limitAddresses(next http.Handler) http.Handler {
	if s.addresses == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isProbe(r) {
			if err := s.addresses.take(bucketAddress(s.clientAddress(r))); err != nil {
				s.fail(w, r, err)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// bucketAddress is what an address is counted by: itself, or the /64 that one customer usually has
// of IPv6, all of whose addresses are at the disposal of a single machine.
func bucketAddress(a netip.Addr) netip.Addr {
	const customer = 64
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if prefix, err := a.Prefix(customer); err == nil {
			return prefix.Addr()
		}
	}
	return a
}

// clientAddress is where a request comes from: the other end of its connection or, where that is
// one of the trusted proxies, what the last of them says. Anybody can write the header, so that
// only what trusted proxies have added, from its end, counts.
func (s *Server) clientAddress(r *http.Request) netip.Addr {
	remote, _ := netip.ParseAddrPort(r.RemoteAddr) // net/http writes nothing else
	address := remote.Addr().Unmap()
	if len(s.proxies) == 0 {
		return address
	}
	chain := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(chain) - 1; i >= 0 && s.trusts(address); i-- {
		before, err := netip.ParseAddr(strings.TrimSpace(chain[i]))
		if err != nil {
			break
		}
		address = before.Unmap()
	}
	return address
}

// trusts tells whether an address is a trusted proxy's.
func (s *Server) trusts(a netip.Addr) bool {
	for _, proxies := range s.proxies {
		if proxies.Contains(a) {
			return true
		}
	}
	return false
}

// isProbe tells whether a request asks how the server is, which is to be answered however busy it
// is.
func isProbe(r *http.Request) bool {
	return isReading(r) && (r.URL.Path == "/livez" || r.URL.Path == "/readyz" || r.URL.Path == "/healthz")
}
