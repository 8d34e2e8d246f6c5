package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

// Forget makes a verifier forget the tokens that it knows.
func (v *Verifier) Forget() { v.known.bySum.Purge() }

// newKnowing returns a verifier of HS256, what signs for it, and how often it has looked for a key,
// which it does not for a token that it knows.
func newKnowing(t *testing.T) (v *Verifier, sign func(ttl time.Duration, now time.Time) string, verified *int) {
	t.Helper()
	secret := []byte(strings.Repeat("x", minSecretBytes))
	v, err := NewVerifier(t.Context(), Config{HS256Secret: secret, Issuer: "i", Audience: "a"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	verified = new(int)
	find := v.findKey
	v.findKey = func(ctx context.Context, h header) (any, *keySet, error) {
		*verified++
		return find(ctx, h)
	}
	signer, err := NewSecretSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	return v, func(ttl time.Duration, now time.Time) string {
		token, err := signer.Sign("ada", "i", "a", ttl, now)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}, verified
}

// mustVerify holds what a verifier says of a token against what it should say.
func mustVerify(t *testing.T, v *Verifier, token string, want error) {
	t.Helper()
	if subject, err := v.Verify(t.Context(), token); !errors.Is(err, want) || (want == nil) != (subject == "ada") {
		t.Errorf("got %q, %v; want %v", subject, err, want)
	}
}

func TestATokenThatIsKnownIsVerifiedOnceAndGoodUntilItExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v, sign, verified := newKnowing(t)
		token := sign(time.Minute, time.Now())
		mustVerify(t, v, token, nil)
		time.Sleep(time.Minute + leeway - time.Second)
		mustVerify(t, v, token, nil)
		if *verified != 1 {
			t.Errorf("it was verified %d times", *verified)
		}
		time.Sleep(time.Second)
		mustVerify(t, v, token, ErrInvalidToken)
		mustVerify(t, v, token, ErrInvalidToken)
		if v.known.bySum.Len() > 0 {
			t.Error("it is remembered although it has expired")
		}
	})
}

func TestATokenIsNotKnownBeforeItIsGood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v, sign, _ := newKnowing(t)
		early := sign(time.Hour, time.Now().Add(time.Minute))
		mustVerify(t, v, early, ErrInvalidToken)
		if v.known.bySum.Len() > 0 {
			t.Error("a token is remembered that is not good yet")
		}
		time.Sleep(time.Minute - leeway)
		mustVerify(t, v, early, nil)
		good := sign(time.Hour, time.Now())
		mustVerify(t, v, good, nil)
		mustVerify(t, v, good[:len(good)-1], ErrInvalidToken)
		mustVerify(t, v, good+"A", ErrInvalidToken)
	})
}

func TestATokenIsNotKnownForLongerThanItsKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		key, err := jwkset.NewJWKFromKey(private.Public(), jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: "a"}})
		if err != nil {
			t.Fatal(err)
		}
		s := &source{keys: []jwkset.JWK{key}}
		j := startJWKS(t, s)
		v, _, _ := newKnowing(t)
		v.algorithms, v.findKey, v.known.keysInUse = []string{"ES256"}, j.find, j.keys.Load
		v.parser = jwt.NewParser(jwt.WithValidMethods(v.algorithms))
		unsigned := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
			"sub": "ada", "iss": "i", "aud": "a", "exp": time.Now().Add(24 * time.Hour).Unix(),
		})
		unsigned.Header["kid"] = "a"
		token, err := unsigned.SignedString(private)
		if err != nil {
			t.Fatal(err)
		}
		mustVerify(t, v, token, nil)
		s.set([]jwkset.JWK{newKey(t, "b")}, nil)
		time.Sleep(refreshInterval - time.Second)
		mustVerify(t, v, token, nil)
		time.Sleep(time.Second)
		synctest.Wait()
		mustVerify(t, v, token, ErrInvalidToken)
		// Another key under the same id is another key.
		s.set([]jwkset.JWK{key}, nil)
		time.Sleep(refreshInterval)
		synctest.Wait()
		mustVerify(t, v, token, nil)
		s.set([]jwkset.JWK{newKey(t, "a")}, nil)
		time.Sleep(refreshInterval)
		synctest.Wait()
		mustVerify(t, v, token, ErrInvalidToken)
	})
}

func TestFewTokensAreRemembered(t *testing.T) {
	t.Parallel()
	v, sign, _ := newKnowing(t)
	for range maxKnownTokens + 10 {
		mustVerify(t, v, sign(time.Hour, time.Now()), nil)
	}
	if n := v.known.bySum.Len(); n != maxKnownTokens {
		t.Errorf("%d tokens are remembered", n)
	}
}
