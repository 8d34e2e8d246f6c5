package auth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/auth"
)

// An identityProvider serves a JWKS.
type identityProvider struct {
	url  string
	hits atomic.Int64
	hit  chan struct{} // says that there was one

	mu   sync.Mutex
	body string // an empty one is a 503
}

func newIdentityProvider(t *testing.T, body string) *identityProvider {
	t.Helper()
	p := &identityProvider{body: body, hit: make(chan struct{}, 1)}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.hits.Add(1)
		select {
		case p.hit <- struct{}{}:
		default:
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.body == "" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, p.body)
	}))
	t.Cleanup(s.Close)
	p.url = s.URL + "/keys"
	return p
}

func (p *identityProvider) serve(body string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.body = body
}

// jwk returns the public JSON Web Key for an algorithm with more members.
func jwk(tb testing.TB, alg string, more ...string) string {
	tb.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	members := map[string]string{}
	switch key := signingKey(alg).(crypto.Signer).Public().(type) {
	case *rsa.PublicKey:
		members = map[string]string{"kty": "RSA", "n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes())}
	case *ecdsa.PublicKey:
		point, err := key.Bytes()
		if err != nil {
			tb.Fatal(err)
		}
		half := len(point) / 2
		members = map[string]string{"kty": "EC", "crv": key.Params().Name, "x": b64(point[1 : 1+half]), "y": b64(point[1+half:])}
	case ed25519.PublicKey:
		members = map[string]string{"kty": "OKP", "crv": "Ed25519", "x": b64(key)}
	}
	text, err := json.Marshal(members)
	if err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSuffix(string(text), "}") + "," + strings.TrimPrefix(object(more), "{")
}

func keySet(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }

func jwksConfig(url string, algorithms ...string) auth.Config {
	return auth.Config{JWKSURL: url, Algorithms: algorithms, Issuer: issuer, Audience: audience}
}

// withKid returns a good token of an algorithm that names a key.
func withKid(tb testing.TB, alg, kid string) string {
	tb.Helper()
	return forge(tb, alg, headerText(alg, `kid="`+kid+`"`), claimsText())
}

func accept(tb testing.TB, v *auth.Verifier, token string) {
	tb.Helper()
	if got, err := v.Verify(tb.Context(), token); err != nil || got != subject {
		tb.Errorf("got %q, %v, want %q", got, err, subject)
	}
}

func TestAJWKSVerifiesEveryAlgorithm(t *testing.T) {
	t.Parallel()
	all := algorithms[1:]
	p := newIdentityProvider(t, keySet(
		jwk(t, "RS256", `kid="RS256"`), jwk(t, "ES256", `kid="ES256"`), jwk(t, "ES384", `kid="ES384"`),
		jwk(t, "ES512", `kid="ES512"`), jwk(t, "EdDSA", `kid="EdDSA"`)))
	v := newVerifier(t, jwksConfig(p.url, all...))
	for _, alg := range all {
		kid := alg
		if strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS") {
			kid = "RS256"
		}
		accept(t, v, withKid(t, alg, kid))
		accept(t, v, forge(t, alg, headerText(alg), claimsText()))
	}
	if n := p.hits.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

func TestAJWKSWithoutAPinTakesTheUsualAlgorithmsOnly(t *testing.T) {
	t.Parallel()
	p := newIdentityProvider(t, keySet(
		jwk(t, "RS256", `kid="r"`), jwk(t, "ES256", `kid="e"`), jwk(t, "EdDSA", `kid="d"`), jwk(t, "ES384", `kid="f"`)))
	v := newVerifier(t, jwksConfig(p.url))
	accept(t, v, withKid(t, "RS256", "r"))
	accept(t, v, withKid(t, "ES256", "e"))
	accept(t, v, withKid(t, "EdDSA", "d"))
	refuse(t, v, withKid(t, "PS256", "r"))
	refuse(t, v, withKid(t, "RS512", "r"))
	refuse(t, v, withKid(t, "ES384", "f"))
}

func TestKeysOfAJWKSThatAreNotForTokensAreIgnored(t *testing.T) {
	t.Parallel()
	oct := `{"kty":"oct","kid":"oct","k":"` + encode(string(secret)) + `"}`
	p := newIdentityProvider(t, keySet(
		oct,
		jwk(t, "RS256", `kid="other alg"`, `alg="PS256"`),
		jwk(t, "RS256", `kid="encryption"`, `use="enc"`),
		jwk(t, "RS256", `kid="unknown use"`, `use="tls"`),
		jwk(t, "RS256", `kid="operations"`, `key_ops=["encrypt"]`),
		`{"kty":"RSA","kid":"weak","e":"AQAB","n":"`+encode(strings.Repeat("\xff", 128))+`"}`,
		`{"kty":"EC","crv":"secp256k1","kid":"curve","x":"AA","y":"AA"}`,
		`{"kty":"AKP","kid":"future","alg":"ML-DSA-44","pub":"AA"}`,
		jwk(t, "ES256", `kid="good"`, `use="sig"`, `alg="ES256"`, `key_ops=["verify"]`),
	))
	v := newVerifier(t, jwksConfig(p.url, "RS256", "ES256"))
	accept(t, v, withKid(t, "ES256", "good"))
	refuse(t, v, withKid(t, "HS256", "oct"))
	for _, kid := range []string{"other alg", "encryption", "unknown use", "operations", "weak", "curve", "future"} {
		refuse(t, v, withKid(t, "RS256", kid))
	}
	refuse(t, v, forge(t, "RS256", headerText("RS256"), claimsText()))
}

func TestTheKeyIDSelectsTheKey(t *testing.T) {
	t.Parallel()
	p := newIdentityProvider(t, keySet(
		jwk(t, "ES256", `kid="same"`), jwk(t, "EdDSA", `kid="same"`),
		jwk(t, "RS256", `kid="rsa"`), jwk(t, "RS256", `kid="rsa 2"`)))
	v := newVerifier(t, jwksConfig(p.url))
	// RFC 7517, section 4.5: keys of different types may share an id.
	accept(t, v, withKid(t, "ES256", "same"))
	accept(t, v, withKid(t, "EdDSA", "same"))
	accept(t, v, withKid(t, "RS256", "rsa 2"))
	refuse(t, v, withKid(t, "RS256", "same"))
	refuse(t, v, withKid(t, "ES256", "rsa"))
	// Without an id, one key fits ES256, but two fit RS256.
	accept(t, v, forge(t, "ES256", headerText("ES256"), claimsText()))
	refuse(t, v, forge(t, "RS256", headerText("RS256"), claimsText()))
	for _, kid := range []string{"../keys", "' OR 1=1 --", "SAME", "same ", "http://attacker.example/keys", "%s%n"} {
		refuse(t, v, withKid(t, "ES256", kid))
	}
}

func TestANewKeyIsFetchedWhenATokenNamesIt(t *testing.T) {
	t.Parallel()
	p := newIdentityProvider(t, keySet(jwk(t, "ES256", `kid="old"`)))
	v := newVerifier(t, jwksConfig(p.url))
	accept(t, v, withKid(t, "ES256", "old"))
	refuse(t, v, withKid(t, "HS256", "new"))
	if n := p.hits.Load(); n != 1 {
		t.Error("an algorithm that is not pinned set off a fetch")
	}

	p.serve(keySet(jwk(t, "EdDSA", `kid="new"`)))
	accept(t, v, withKid(t, "EdDSA", "new"))
	refuse(t, v, withKid(t, "ES256", "old"))
}

func TestRandomKeyIDsDoNotHammerTheSource(t *testing.T) {
	t.Parallel()
	p := newIdentityProvider(t, keySet(jwk(t, "ES256", `kid="good"`)))
	v := newVerifier(t, jwksConfig(p.url))
	accept(t, v, withKid(t, "ES256", "good"))
	begin := time.Now()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			for j := range 50 {
				refuse(t, v, withKid(t, "ES256", fmt.Sprintf("%d-%d", i, j)))
			}
		})
	}
	wg.Wait()
	// The first fetch, one on demand at once, and one for every ten seconds since.
	if n, most := p.hits.Load(), 2+int64(time.Since(begin)/(10*time.Second)); n > most {
		t.Errorf("%d fetches, want at most %d", n, most)
	}
}

func TestKeysStayInUseWhileTheirSourceIsBroken(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"unavailable":     "",
		"a web page":      "<!doctype html>",
		"no keys":         keySet(),
		"another object":  "{}",
		"cut off":         `{"keys":[{"kty":`,
		"only symmetric":  keySet(`{"kty":"oct","kid":"good","k":"` + encode(string(secret)) + `"}`),
		"off the curve":   keySet(`{"kty":"EC","crv":"P-256","kid":"good","x":"AQ","y":"AQ"}`),
		"other types":     keySet(jwk(t, "RS256", `kid="good"`)),
		"keys not a list": `{"keys":{}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newIdentityProvider(t, keySet(jwk(t, "ES256", `kid="good"`)))
			v := newVerifier(t, jwksConfig(p.url, "ES256"))
			accept(t, v, withKid(t, "ES256", "good"))
			p.serve(body)
			refuse(t, v, withKid(t, "ES256", "unknown")) // has the broken set fetched
			if n := p.hits.Load(); n < 2 {               // it tries again by itself
				t.Errorf("%d fetches, want 2", n)
			}
			accept(t, v, withKid(t, "ES256", "good"))
		})
	}
}

func TestASourceThatIsDownAtTheStartIsUsedOnceItAnswers(t *testing.T) {
	t.Parallel()
	p := newIdentityProvider(t, "")
	v := newVerifier(t, jwksConfig(p.url))
	token := withKid(t, "ES256", "good")
	if _, err := v.Verify(t.Context(), token); !errors.Is(err, auth.ErrKeysUnavailable) || errors.Is(err, auth.ErrInvalidToken) {
		t.Errorf("while the source is down: got %v, want ErrKeysUnavailable", err)
	}
	if err := v.HaveKeys(); !errors.Is(err, auth.ErrKeysUnavailable) {
		t.Errorf("while the source is down: there are keys: %v", err)
	}
	p.serve(keySet(jwk(t, "ES256", `kid="good"`)))
	// It is retried at once for a token, if none has asked for that yet, and by
	// itself a second later.
	for {
		_, err := v.Verify(t.Context(), token)
		if err == nil {
			break
		}
		if !errors.Is(err, auth.ErrKeysUnavailable) {
			t.Fatal(err)
		}
		<-p.hit
	}
	if err := v.HaveKeys(); err != nil {
		t.Error(err)
	}
	p.serve("")
	refuse(t, v, withKid(t, "ES256", "unknown"))
	if err := v.HaveKeys(); err != nil {
		t.Errorf("after a failed refresh: %v", err)
	}
}

// newHangingVerifier is a verifier whose source of keys takes every request and answers none.
func newHangingVerifier(t *testing.T) *auth.Verifier {
	t.Helper()
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(release) })
	return newVerifier(t, jwksConfig(s.URL))
}

func TestAHangingSourceDoesNotOutlastTheRequest(t *testing.T) {
	t.Parallel()
	v := newHangingVerifier(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := v.Verify(ctx, withKid(t, "ES256", "any"))
	if !errors.Is(err, context.Canceled) || errors.Is(err, auth.ErrInvalidToken) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

// Anybody can make a token that no key fits.
func TestFewTokensWaitForAHangingSource(t *testing.T) {
	t.Parallel()
	v := newHangingVerifier(t)
	const n, mayWait = 400, 256
	ctx, cancel := context.WithCancel(t.Context())
	answers := make(chan error, n)
	for i := range n {
		token := withKid(t, "ES256", fmt.Sprint(i))
		go func() {
			_, err := v.Verify(ctx, token)
			answers <- err
		}()
	}
	for range n - mayWait {
		if err := <-answers; !errors.Is(err, auth.ErrTooManyWait) {
			t.Errorf("one that may not wait: %v", err)
		}
	}
	cancel()
	for range mayWait {
		if err := <-answers; !errors.Is(err, context.Canceled) {
			t.Errorf("one that waited: %v", err)
		}
	}
}

func TestTheAddressOfAJWKSIsNotLogged(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	address := s.URL + "/keys?code=hidden"
	s.Close()
	var log syncWriter
	v, err := auth.NewVerifier(t.Context(), jwksConfig(address), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Verify(t.Context(), withKid(t, "ES256", "any"))
	if !errors.Is(err, auth.ErrKeysUnavailable) || strings.Contains(err.Error(), "hidden") {
		t.Errorf("got %v", err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !strings.Contains(log.String(), "cannot refresh the JWKS") {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("nothing is logged")
		}
	}
	if strings.Contains(log.String(), "hidden") {
		t.Errorf("the log has the address: %s", log.String())
	}
}

func TestAMalformedKeyDoesNotCostTheOthers(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]string{
		"RSA without n":              `{"kty":"RSA","kid":"bad","e":"AQAB"}`,
		"x5c that is no certificate": strings.TrimSuffix(jwk(t, "RS256", `kid="bad"`, `use="enc"`), "}") + `,"x5c":["AAAA"]}`,
		"oct without k":              `{"kty":"oct","kid":"bad"}`,
		"off its curve":              `{"kty":"EC","crv":"P-256","kid":"bad","x":"AQ","y":"AQ"}`,
		"n that is no string":        `{"kty":"RSA","kid":"bad","e":"AQAB","n":7}`,
		"kid that is no string":      `{"kty":"RSA","kid":7,"e":"AQAB"}`,
		"no object":                  `"bad"`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newIdentityProvider(t, keySet(bad, jwk(t, "ES256", `kid="good"`), bad))
			v := newVerifier(t, jwksConfig(p.url))
			accept(t, v, withKid(t, "ES256", "good"))
			refuse(t, v, withKid(t, "RS256", "bad"))
		})
	}
}

func TestMalformedKeysAreLoggedOnceAFetchWithoutTheirMaterial(t *testing.T) {
	t.Parallel()
	p := newIdentityProvider(t, keySet(
		`{"kty":"EC","crv":"P-256","kid":"first","x":"hidden","y":"hidden","d":"hidden"}`,
		`{"kty":"oct","kid":"second","k":"hidden!"}`,
		`{"kty":"AKP","kid":"future","alg":"ML-DSA-44","pub":"AA"}`,
		jwk(t, "ES256", `kid="good"`)))
	var log syncWriter
	v, err := auth.NewVerifier(t.Context(), jwksConfig(p.url), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	accept(t, v, withKid(t, "ES256", "good"))
	got := log.String()
	if strings.Count(got, "\n") != 1 || !strings.Contains(got, `keys=2 kids="[first second]"`) {
		t.Errorf("got %s", got)
	}
	if strings.Contains(got, "hidden") || strings.Contains(got, "future") {
		t.Errorf("the log says too much: %s", got)
	}
}

func TestARedirectLeadsOnlyWhereTheConfigurationMay(t *testing.T) {
	t.Parallel()
	p := newIdentityProvider(t, keySet(jwk(t, "ES256", `kid="good"`)))
	for name, c := range map[string]struct {
		to   string
		good bool
	}{
		"loopback":   {p.url, true},
		"plain http": {strings.Replace(p.url, "127.0.0.1", "0.0.0.0", 1), false},
		"a password": {strings.Replace(p.url, "127.0.0.1", "user:hidden@127.0.0.1", 1), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(http.RedirectHandler(c.to, http.StatusFound))
			t.Cleanup(s.Close)
			_, err := newVerifier(t, jwksConfig(s.URL)).Verify(t.Context(), withKid(t, "ES256", "good"))
			if c.good && err != nil || !c.good && !errors.Is(err, auth.ErrKeysUnavailable) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestRedirectsWithoutEndAreNotFollowed(t *testing.T) {
	t.Parallel()
	var hits atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		http.Redirect(w, r, "/again", http.StatusFound)
	}))
	t.Cleanup(s.Close)
	v := newVerifier(t, jwksConfig(s.URL))
	if _, err := v.Verify(t.Context(), withKid(t, "ES256", "any")); !errors.Is(err, auth.ErrKeysUnavailable) {
		t.Errorf("got %v, want ErrKeysUnavailable", err)
	}
	// The first fetch, and at most one more that the token asked for.
	if n := hits.Load(); n > 2*4 {
		t.Errorf("%d requests, want at most 4 a fetch", n)
	}
}

func TestAJWKSLongerThanAMebibyteIsRefused(t *testing.T) {
	t.Parallel()
	set := keySet(jwk(t, "ES256", `kid="good"`))
	for length, want := range map[int]error{1 << 20: nil, 1<<20 + 1: auth.ErrKeysUnavailable} {
		p := newIdentityProvider(t, set+strings.Repeat(" ", length-len(set)))
		_, err := newVerifier(t, jwksConfig(p.url)).Verify(t.Context(), withKid(t, "ES256", "good"))
		if !errors.Is(err, want) {
			t.Errorf("%d bytes: got %v, want %v", length, err, want)
		}
	}
}

func TestANewKeyIsFetchedForATokenWithoutAKeyID(t *testing.T) {
	t.Parallel()
	p := newIdentityProvider(t, keySet(jwk(t, "ES256", `use="sig"`)))
	v := newVerifier(t, jwksConfig(p.url))
	accept(t, v, forge(t, "ES256", headerText("ES256"), claimsText()))
	p.serve(keySet(jwk(t, "EdDSA", `use="sig"`)))
	accept(t, v, forge(t, "EdDSA", headerText("EdDSA"), claimsText()))
	for range 20 {
		refuse(t, v, forge(t, "ES256", headerText("ES256"), claimsText()))
	}
	if n := p.hits.Load(); n != 2 {
		t.Errorf("%d fetches, want 2", n)
	}
}

func TestANewKeyIsFetchedForAKeyIDThatIsKnownForAnotherAlgorithm(t *testing.T) {
	t.Parallel()
	p := newIdentityProvider(t, keySet(jwk(t, "ES256", `kid="same"`)))
	v := newVerifier(t, jwksConfig(p.url))
	accept(t, v, withKid(t, "ES256", "same"))
	p.serve(keySet(jwk(t, "ES256", `kid="same"`), jwk(t, "EdDSA", `kid="same"`)))
	accept(t, v, withKid(t, "EdDSA", "same"))
}
