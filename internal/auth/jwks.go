package auth

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
	"golang.org/x/time/rate"
)

const (
	// fetchTimeout bounds one fetch of a JWKS, and with it how long a token with
	// a new key id can wait.
	fetchTimeout = 5 * time.Second

	// refreshInterval is how old a JWKS becomes before it is fetched again.
	refreshInterval = 10 * time.Minute

	// demandInterval is the least time between two fetches that tokens without a
	// fitting key set off, however many there are.
	demandInterval = 10 * time.Second

	// After a failed fetch the next one follows after minRetryDelay, then after
	// twice as long each time up to maxRetryDelay.
	minRetryDelay = time.Second
	maxRetryDelay = time.Minute

	// mostWaiting is how many tokens wait for a fetch at once: an eighth of the
	// requests that are answered at once.
	mostWaiting = 256

	// maxRedirects is how many redirects one fetch follows.
	maxRedirects = 3

	// maxJWKSBytes is the length of the longest JWKS that is read.
	maxJWKSBytes = 1 << 20

	// maxLoggedIDs is how many key ids one line of the log has at most.
	maxLoggedIDs = 10
)

// A jwks holds the keys of a JSON Web Key Set and keeps them fresh. The keys last
// fetched stay in use, however old, until other ones take their place.
type jwks struct {
	algorithms []string
	fetch      fetchFunc
	log        *slog.Logger
	demands    *rate.Limiter
	keys       atomic.Pointer[keySet] // nil before the first fetch that succeeds

	wake    chan struct{} // ends the wait for the next fetch
	stopped chan struct{} // closed when there will be no further fetch

	mu      sync.Mutex
	waiting int           // tokens that wait for the fetch
	pending bool          // a fetch is going on or about to begin
	fetched chan struct{} // closed at the end of that fetch or else the next one
}

// A fetchFunc gets the keys from their source.
type fetchFunc func(context.Context) ([]jwkset.JWK, error)

// newJWKS returns a jwks that knows no keys before run is called.
func newJWKS(algorithms []string, fetch fetchFunc, log *slog.Logger) *jwks {
	return &jwks{
		algorithms: algorithms,
		fetch:      fetch,
		log:        log,
		demands:    rate.NewLimiter(rate.Every(demandInterval), 1),
		wake:       make(chan struct{}, 1),
		stopped:    make(chan struct{}),
		pending:    true, // run begins with a fetch
		fetched:    make(chan struct{}),
	}
}

// fetchJWKS returns a fetchFunc for an address. Only single keys are left to jwkset:
// its own fetch gives up the whole set for one malformed key, and its refreshing
// would replace good keys by an empty set, let each caller with an unknown key id
// fetch on its own, and give up a fetch with the request that asked for it.
func fetchJWKS(address string, log *slog.Logger) fetchFunc {
	return func(ctx context.Context) ([]jwkset.JWK, error) {
		body, err := download(ctx, address)
		if err != nil {
			// A url.Error repeats the address, whose query could be a secret.
			if inner, ok := errors.AsType[*url.Error](err); ok {
				err = inner.Err
			}
			return nil, fmt.Errorf("fetch JWKS: %w", err)
		}
		var set struct {
			Keys []json.RawMessage `json:"keys"`
		}
		if err := json.Unmarshal(body, &set); err != nil {
			return nil, fmt.Errorf("read JWKS: %w", err)
		}
		return parseKeys(ctx, set.Keys, log), nil
	}
}

// client follows redirects, but only to where the configuration could have pointed.
var client = &http.Client{
	CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return fmt.Errorf("more than %d redirects", maxRedirects)
		}
		if err := checkJWKSURL(req.URL.String()); err != nil {
			return fmt.Errorf("redirect: %w", err)
		}
		if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" { // to something on this machine
			return errors.New("redirect: it leads from https to http")
		}
		return nil
	},
}

// download gets what is at an address, if that is not longer than maxJWKSBytes.
func download(ctx context.Context, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxJWKSBytes+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxJWKSBytes {
		return nil, fmt.Errorf("longer than %d bytes", maxJWKSBytes)
	}
	return body, nil
}

// parseKeys decodes the keys that are well formed and understood, and leaves out the
// others (RFC 7517, section 5). It logs which ones are malformed, but not why: what
// the library says of a key could repeat a part of it.
func parseKeys(ctx context.Context, raw []json.RawMessage, log *slog.Logger) []jwkset.JWK {
	keys := make([]jwkset.JWK, 0, len(raw))
	var malformed int
	var ids []string
	for _, text := range raw {
		// A key with an unknown "use" would be refused. What can be used is
		// decided by newKeySet.
		key, err := jwkset.NewJWKFromRawJSON(text, jwkset.JWKMarshalOptions{Private: true}, jwkset.JWKValidateOptions{SkipAll: true})
		switch {
		case err == nil:
			keys = append(keys, key)
		case !errors.Is(err, jwkset.ErrUnsupportedKey):
			malformed++
			var named struct {
				ID string `json:"kid"`
			}
			if json.Unmarshal(text, &named) == nil && isKeyID(named.ID) && len(ids) < maxLoggedIDs {
				ids = append(ids, named.ID)
			}
		}
	}
	if malformed > 0 {
		log.WarnContext(ctx, "the JWKS has malformed keys; they are ignored",
			slog.Int("keys", malformed), slog.Any("kids", ids))
	}
	return keys
}

// run fetches the keys, and again when they have become old or are asked for,
// until ctx is done.
func (j *jwks) run(ctx context.Context) {
	defer close(j.stopped)
	delay := minRetryDelay
	for {
		err := j.load(ctx)
		if ctx.Err() != nil {
			return
		}
		wait := refreshInterval
		if err == nil {
			delay = minRetryDelay
		} else {
			wait, delay = delay, min(2*delay, maxRetryDelay)
			j.log.WarnContext(ctx, "cannot refresh the JWKS; the keys known so far stay in use",
				slog.Any("error", err), slog.String("retry_in", wait.String()))
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-j.wake:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// load fetches the keys once and tells those who wait for that.
func (j *jwks) load(ctx context.Context) error {
	j.mu.Lock()
	j.pending = true
	select {
	case <-j.wake: // What was asked for begins now.
	default:
	}
	j.mu.Unlock()

	err := j.replaceKeys(ctx)

	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending = false
	close(j.fetched)
	j.fetched = make(chan struct{})
	return err
}

func (j *jwks) replaceKeys(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	fetched, err := j.fetch(ctx)
	if err != nil {
		return err
	}
	keys := newKeySet(fetched, j.algorithms)
	if keys.usable == 0 {
		// No issuer means this; a broken one would shut everybody out.
		return fmt.Errorf("none of the %d keys in the JWKS can verify %q", len(fetched), j.algorithms)
	}
	keys.loaded = time.Now()
	j.keys.Store(keys)
	return nil
}

// find is a [keyFinder]. A token that no key fits has the keys fetched again, if that
// did not happen just before: whether it names a key or not, an issuer may have
// published a new one since.
func (j *jwks) find(ctx context.Context, h header) (any, *keySet, error) {
	keys := j.keys.Load()
	key, ok := keys.find(h)
	if !ok {
		if err := j.awaitFetch(ctx); err != nil {
			return nil, nil, err
		}
		keys = j.keys.Load()
		key, ok = keys.find(h)
	}
	switch {
	case ok:
		return key, keys, nil
	case keys == nil:
		return nil, nil, ErrKeysUnavailable
	}
	return nil, nil, invalid(errors.New("header: no key of the JWKS has this kid and alg"))
}

// awaitFetch waits for the fetch that is going on, or for one that it sets off if
// the last that a token set off was long enough ago, or not at all. That the fetch fails is not an
// error; [ErrTooManyWait] is, where as many wait already as may: anybody can
// make a token that no key fits, and those who wait are in the way of others.
func (j *jwks) awaitFetch(ctx context.Context) error {
	j.mu.Lock()
	if j.waiting >= mostWaiting {
		j.mu.Unlock()
		return ErrTooManyWait
	}
	fetched := j.fetched
	if !j.pending {
		if !j.demands.Allow() {
			j.mu.Unlock()
			return nil
		}
		j.pending = true
		select {
		case j.wake <- struct{}{}:
		default:
		}
	}
	j.waiting++
	j.mu.Unlock()
	defer func() {
		j.mu.Lock()
		j.waiting--
		j.mu.Unlock()
	}()

	select {
	case <-fetched:
		return nil
	case <-j.stopped:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the JWKS: %w", context.Cause(ctx))
	}
}

// A keySet is an immutable set of public keys.
type keySet struct {
	loaded time.Time
	keys   map[header]any
	usable int // how many can verify, also those that no token clearly means
}

// newKeySet picks the keys that can verify one of the algorithms. Symmetric keys,
// keys for encryption and weak keys are left out; of private keys published by
// mistake the public part is used. Of several keys with the same id the first one
// for an algorithm counts.
func newKeySet(fetched []jwkset.JWK, algorithms []string) *keySet {
	set := &keySet{keys: make(map[header]any)}
	usable := make(map[string]int)
	for _, jwk := range fetched {
		key := jwk.Key()
		if private, ok := key.(interface{ Public() crypto.PublicKey }); ok {
			key = private.Public()
		}
		params := jwk.Marshal()
		able, err := algorithmsOf(key)
		if err != nil || !isForVerification(params) {
			continue
		}
		for _, alg := range able {
			if !slices.Contains(algorithms, alg) || params.ALG != "" && params.ALG.String() != alg {
				continue
			}
			usable[alg]++
			set.usable++
			set.add(header{alg, params.KID}, key)
			set.add(header{alg, ""}, key)
		}
	}
	// A token without a key id is clear only if there is one key that it can mean.
	for alg, n := range usable {
		if n > 1 {
			delete(set.keys, header{alg, ""})
		}
	}
	return set
}

func (s *keySet) add(h header, key any) {
	if _, taken := s.keys[h]; !taken {
		s.keys[h] = key
	}
}

// isForVerification respects a key's "use" and "key_ops" (RFC 7517, sections 4.2
// and 4.3).
func isForVerification(params jwkset.JWKMarshal) bool {
	return (params.USE == "" || params.USE == jwkset.UseSig) &&
		(len(params.KEYOPS) == 0 || slices.Contains(params.KEYOPS, jwkset.KeyOpsVerify))
}

// find returns the key for a token. No set, nil, has none.
func (s *keySet) find(h header) (any, bool) {
	if s == nil {
		return nil, false
	}
	key, ok := s.keys[h]
	return key, ok
}
