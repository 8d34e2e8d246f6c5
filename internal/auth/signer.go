package auth

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// A Signer makes tokens that a [Verifier] with the matching key accepts. It is
// meant for development, tests and operators at a command line; in production
// tokens come from an identity provider. It is safe for concurrent use.
type Signer struct {
	method jwt.SigningMethod
	key    any
}

// NewSecretSigner returns a Signer that signs with HS256 and a secret of at least
// 32 bytes.
func NewSecretSigner(secret []byte) (*Signer, error) {
	if len(secret) < minSecretBytes {
		return nil, fmt.Errorf("the HS256 secret has %d bytes, want at least %d", len(secret), minSecretBytes)
	}
	return &Signer{jwt.SigningMethodHS256, slices.Clone(secret)}, nil
}

// NewFileSigner returns a Signer for the private key in a PEM file: RSA (RS256),
// ECDSA on P-256, P-384 or P-521 (ES256, ES384, ES512) or Ed25519 (EdDSA), in
// PKCS #8, PKCS #1 or SEC 1, not encrypted. No error says anything of the key.
func NewFileSigner(path string) (*Signer, error) {
	key, err := readPrivateKey(path)
	if err != nil {
		return nil, fmt.Errorf("private key file: %w", err)
	}
	algorithms, err := algorithmsOf(key.Public())
	if err != nil {
		return nil, fmt.Errorf("private key file: %s: %w", path, err)
	}
	return &Signer{jwt.GetSigningMethod(algorithms[0]), key}, nil
}

// Sign returns a token for a subject that is good from now for ttl, both counted
// in whole seconds, with an id ("jti") of its own. It is an error if subject is
// not a [Subject], if issuer or audience is empty, or if ttl is under a second.
func (s *Signer) Sign(subject, issuer, audience string, ttl time.Duration, now time.Time) (string, error) {
	if _, err := ParseSubject(subject); err != nil {
		return "", err
	}
	if issuer == "" || audience == "" {
		return "", errors.New("issuer and audience are required")
	}
	if ttl < time.Second {
		return "", errors.New("the lifetime of a token is at least a second")
	}
	token, err := jwt.NewWithClaims(s.method, jwt.RegisteredClaims{
		Issuer:    issuer,
		Subject:   subject,
		Audience:  jwt.ClaimStrings{audience},
		ExpiresAt: jwt.NewNumericDate(now.Add(ttl)),
		NotBefore: jwt.NewNumericDate(now),
		IssuedAt:  jwt.NewNumericDate(now),
		ID:        rand.Text(),
	}).SignedString(s.key)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return token, nil
}
