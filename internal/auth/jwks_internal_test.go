package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/MicahParks/jwkset"
)

// A source is a JWKS whose answers a test decides.
type source struct {
	mu      sync.Mutex
	fetches []time.Duration // since the start
	start   time.Time
	takes   time.Duration
	keys    []jwkset.JWK
	err     error
}

func (s *source) fetch(ctx context.Context) ([]jwkset.JWK, error) {
	s.mu.Lock()
	s.fetches = append(s.fetches, time.Since(s.start))
	keys, err := s.keys, s.err
	s.mu.Unlock()
	select {
	case <-time.After(s.takes):
		return keys, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *source) set(keys []jwkset.JWK, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys, s.err = keys, err
}

// times returns when the source was asked, once everything has come to rest.
func (s *source) times() []time.Duration {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.fetches)
}

func newKey(t *testing.T, kid string) jwkset.JWK {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := jwkset.NewJWKFromKey(private.Public(), jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: kid}})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// startJWKS runs a jwks on a source until the test ends.
func startJWKS(t *testing.T, s *source) *jwks {
	t.Helper()
	s.start = time.Now()
	j := newJWKS([]string{"ES256"}, s.fetch, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() {
		cancel()
		<-j.stopped
	})
	go j.run(ctx)
	return j
}

func mustFind(t *testing.T, j *jwks, kid string) {
	t.Helper()
	if _, _, err := j.find(t.Context(), header{"ES256", kid}); err != nil {
		t.Errorf("kid %q: %v", kid, err)
	}
}

func mustNotFind(t *testing.T, j *jwks, kid string, want error) {
	t.Helper()
	if _, _, err := j.find(t.Context(), header{"ES256", kid}); !errors.Is(err, want) {
		t.Errorf("kid %q: got %v, want %v", kid, err, want)
	}
}

var errDown = errors.New("down")

func TestUnknownKeyIDsSetOffOneFetchInTenSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{keys: []jwkset.JWK{newKey(t, "a")}}
		j := startJWKS(t, s)
		mustFind(t, j, "a")
		for i := range 600 { // a minute
			mustNotFind(t, j, strconv.Itoa(i), ErrInvalidToken)
			time.Sleep(100 * time.Millisecond)
		}
		if times := s.times(); len(times) != 1+6 {
			t.Errorf("fetches in a minute at %v, want 7", times)
		}
		mustFind(t, j, "a")
		if len(s.times()) != 1+6 {
			t.Error("a known key id set off a fetch")
		}
	})
}

func TestTokensWithTheSameNewKeyIDShareOneFetch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{keys: []jwkset.JWK{newKey(t, "a")}, takes: 2 * time.Second}
		j := startJWKS(t, s)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { mustFind(t, j, "a") }) // joins the first fetch
		}
		wg.Wait()
		s.set([]jwkset.JWK{newKey(t, "b")}, nil)
		for range 100 {
			wg.Go(func() { mustFind(t, j, "b") })
		}
		wg.Wait()
		if times := s.times(); len(times) != 2 {
			t.Errorf("fetches at %v, want 2", times)
		}
		mustNotFind(t, j, "a", ErrInvalidToken)
	})
}

func TestATokenWaitsForAFetchThatAnotherAskedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{keys: []jwkset.JWK{newKey(t, "a")}}
		j := newJWKS([]string{"ES256"}, s.fetch, slog.New(slog.DiscardHandler))
		if err := j.load(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.set([]jwkset.JWK{newKey(t, "b")}, nil)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { mustFind(t, j, "b") })
			synctest.Wait() // It has asked, and nothing has begun yet.
		}
		if err := j.load(t.Context()); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
	})
}

func TestKeysAreRefreshedEveryTenMinutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{keys: []jwkset.JWK{newKey(t, "a")}}
		j := startJWKS(t, s)
		mustFind(t, j, "a")
		s.set([]jwkset.JWK{newKey(t, "b")}, nil)
		time.Sleep(refreshInterval + time.Second)
		mustFind(t, j, "b")
		mustNotFind(t, j, "a", ErrInvalidToken)
		time.Sleep(time.Hour + time.Second)
		if times := s.times(); len(times) != 2+1+6 { // as above, then for "a", then an hour of them
			t.Errorf("fetches at %v, want 9", times)
		}
	})
}

func TestASourceThatFailsIsTriedAgainMoreAndMoreSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{err: errDown}
		j := startJWKS(t, s)
		time.Sleep(5*time.Minute + time.Second)
		want := []time.Duration{0, 1, 3, 7, 15, 31, 63, 123, 183, 243} // then each minute
		times := s.times()
		for i, at := range want {
			if times[i] != at*time.Second {
				t.Errorf("fetch %d at %v, want %v", i, times[i], at*time.Second)
			}
		}
		mustNotFind(t, j, "a", ErrKeysUnavailable)
		s.set([]jwkset.JWK{newKey(t, "a")}, nil)
		time.Sleep(maxRetryDelay)
		mustFind(t, j, "a")

		s.set(nil, errDown)
		n := len(s.times())
		time.Sleep(refreshInterval + 2*minRetryDelay)
		if times := s.times(); times[n+1]-times[n] != minRetryDelay {
			t.Errorf("after a success the delays do not begin anew: %v", times[n:])
		}
		time.Sleep(24 * time.Hour)
		mustFind(t, j, "a")
	})
}

func TestNobodyWaitsLongerThanFiveSecondsForAFetch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := startJWKS(t, &source{takes: time.Hour})
		begin := time.Now()
		mustNotFind(t, j, "a", ErrKeysUnavailable)
		if waited := time.Since(begin); waited > fetchTimeout {
			t.Errorf("waited %v", waited)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin = time.Now()
		_, _, err := j.find(ctx, header{"ES256", "a"})
		if waited := time.Since(begin); waited > time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waited %v, got %v", waited, err)
		}
	})
}

func TestKeysStillVerifyAfterTheRefreshingHasEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{keys: []jwkset.JWK{newKey(t, "a")}, start: time.Now()}
		j := newJWKS([]string{"ES256"}, s.fetch, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		go j.run(ctx)
		mustFind(t, j, "a")
		cancel()
		<-j.stopped
		mustFind(t, j, "a")
		mustNotFind(t, j, "b", ErrInvalidToken)
	})
}

func TestTheFirstOfTwoKeysWithTheSameIDCounts(t *testing.T) {
	t.Parallel()
	first, second := newKey(t, "a"), newKey(t, "a")
	set := newKeySet([]jwkset.JWK{first, second}, []string{"ES256"})
	if key, ok := set.find(header{"ES256", "a"}); !ok || key != first.Key() {
		t.Errorf("got %v, %t", key, ok)
	}
}
