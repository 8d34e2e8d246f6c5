package auth

import (
	"crypto/sha256"

	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"
)

// maxKnownTokens bounds how many tokens are remembered; those used longest ago are
// forgotten first.
const maxKnownTokens = 4096

// knownTokens are tokens that were verified not long ago, so that what cannot have
// changed need not be verified again: whether the signature is that of the key, and
// who issued the token to whom. Whether it is good at this moment is asked each time.
// Of a token itself nothing is kept but its SHA-256, from which nobody can make it.
type knownTokens struct {
	bySum *lru.Cache[[sha256.Size]byte, knownToken]
	times *jwt.Validator
	// keysInUse are the keys that tokens have to be signed with now. A set never changes,
	// and another one takes its place at each refresh, so that no token is known for
	// longer than its key.
	keysInUse func() *keySet
}

// A knownToken is what is remembered of a token: its subject, its times, and the set
// of keys by which it was verified.
type knownToken struct {
	claims claims
	keys   *keySet
}

func newKnownTokens(times *jwt.Validator, keysInUse func() *keySet) *knownTokens {
	bySum, err := lru.New[[sha256.Size]byte, knownToken](maxKnownTokens)
	if err != nil {
		panic(err) // the size is positive
	}
	return &knownTokens{bySum: bySum, times: times, keysInUse: keysInUse}
}

func sumOf(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }

// subject returns the subject of a token that is known and good now.
func (k *knownTokens) subject(sum [sha256.Size]byte) (Subject, bool) {
	token, ok := k.bySum.Get(sum)
	if !ok {
		return "", false
	}
	if token.keys != k.keysInUse() || k.times.Validate(&token.claims) != nil {
		k.bySum.Remove(sum)
		return "", false
	}
	return token.claims.subject, true
}

// remember notes a token that is good, verified by one of keys.
func (k *knownTokens) remember(sum [sha256.Size]byte, c *claims, keys *keySet) {
	k.bySum.Add(sum, knownToken{
		claims: claims{subject: c.subject, expiresAt: c.expiresAt, notBefore: c.notBefore, issuedAt: c.issuedAt},
		keys:   keys,
	})
}
