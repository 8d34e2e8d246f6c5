package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
)

const (
	// algHS256 is the one symmetric algorithm. It never stands in a list with
	// others, so a public key can never be taken for an HMAC secret.
	algHS256 = "HS256"

	// minSecretBytes is the size of an HS256 secret by RFC 7518, section 3.2.
	minSecretBytes = 32

	// minRSABits is the size of an RSA key by RFC 7518, section 3.3. The maximum
	// keeps one verification from costing a noticeable time.
	minRSABits = 2048
	maxRSABits = 8192
)

// asymmetricAlgorithms are the names that a configuration may pin for a public
// key or a JWKS (RFC 7518, section 3.1, and RFC 8037, section 3.1).
var asymmetricAlgorithms = []string{
	"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

// defaultJWKSAlgorithms are accepted from a JWKS when nothing is pinned.
var defaultJWKSAlgorithms = []string{"RS256", "ES256", "EdDSA"}

// algorithmsOf lists the algorithms that a public key can verify, the usual one
// first. An error says that the key is of no use here.
func algorithmsOf(key crypto.PublicKey) ([]string, error) {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, fmt.Errorf("RSA key has %d bits, want %d to %d", bits, minRSABits, maxRSABits)
		}
		if key.E < 3 || key.E%2 == 0 {
			return nil, errors.New("RSA key has an unfit public exponent")
		}
		return []string{"RS256", "PS256", "RS384", "RS512", "PS384", "PS512"}, nil
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return []string{"ES256"}, nil
		case elliptic.P384():
			return []string{"ES384"}, nil
		case elliptic.P521():
			return []string{"ES512"}, nil
		}
		return nil, errors.New("ECDSA key is on another curve than P-256, P-384 and P-521")
	case ed25519.PublicKey:
		return []string{"EdDSA"}, nil
	}
	return nil, fmt.Errorf("key is a %T, want RSA, ECDSA or Ed25519", key)
}
