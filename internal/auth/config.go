package auth

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
)

// Config says which tokens are good. Exactly one of HS256Secret, PublicKeyFile
// and JWKSURL is set.
type Config struct {
	// HS256Secret is the secret shared with the issuer, at least 32 bytes long.
	HS256Secret []byte

	// PublicKeyFile is the path of a PEM file with the issuer's public key
	// ("PUBLIC KEY") or certificate: RSA of 2048 to 8192 bits, ECDSA on P-256,
	// P-384 or P-521, or Ed25519. Of a certificate only the key is used; its
	// validity and chain are not looked at.
	PublicKeyFile string

	// JWKSURL is the address of the issuer's JSON Web Key Set (RFC 7517): https,
	// or http on loopback. Its symmetric keys are ignored.
	JWKSURL string

	// Algorithms pins the accepted values of a token's "alg". If it is empty, a
	// secret means HS256, a file the usual algorithm of its key (RS256, ES256,
	// ES384, ES512 or EdDSA), and a JWKS RS256, ES256 and EdDSA.
	Algorithms []string

	// Issuer and Audience are what a token's "iss" has to be and its "aud" has to
	// contain, byte by byte. Both are required.
	Issuer, Audience string

	// Looked, if it is not nil, is told of each token of the right form whether it was verified before and
	// is remembered.
	Looked func(known bool)
}

// Validate reports all faults of the configuration at once, joined, or nil. It
// reads PublicKeyFile. No error contains a secret, or an address, which could
// hold one.
func (c Config) Validate() error {
	_, err := c.load()
	return err
}

// A trust is a valid configuration, made ready for use.
type trust struct {
	algorithms []string
	key        any // []byte or a public key; nil for a JWKS
}

// load checks the configuration and returns what it stands for.
func (c Config) load() (trust, error) {
	var faults []error
	if c.Issuer == "" {
		faults = append(faults, errors.New("the issuer of tokens is required"))
	}
	if c.Audience == "" {
		faults = append(faults, errors.New("the audience of tokens is required"))
	}
	var sources int
	for _, set := range []bool{len(c.HS256Secret) > 0, c.PublicKeyFile != "", c.JWKSURL != ""} {
		if set {
			sources++
		}
	}
	if sources != 1 {
		faults = append(faults, fmt.Errorf(
			"exactly one of an HS256 secret, a public key file and a JWKS address is required, got %d", sources))
	}

	var t trust
	for _, source := range []struct {
		set  bool
		load func() (trust, error)
	}{
		{len(c.HS256Secret) > 0, c.loadSecret},
		{c.PublicKeyFile != "", c.loadPublicKey},
		{c.JWKSURL != "", c.loadJWKS},
	} {
		if !source.set {
			continue
		}
		var err error
		if t, err = source.load(); err != nil {
			faults = append(faults, err)
		}
	}
	return t, errors.Join(faults...)
}

func (c Config) loadSecret() (trust, error) {
	if len(c.HS256Secret) < minSecretBytes {
		return trust{}, fmt.Errorf("the HS256 secret has %d bytes, want at least %d", len(c.HS256Secret), minSecretBytes)
	}
	algorithms, err := c.pinned([]string{algHS256}, algHS256)
	if err != nil {
		return trust{}, fmt.Errorf("with an HS256 secret: %w", err)
	}
	return trust{algorithms, slices.Clone(c.HS256Secret)}, nil
}

func (c Config) loadPublicKey() (trust, error) {
	key, err := readPublicKey(c.PublicKeyFile)
	if err != nil {
		return trust{}, fmt.Errorf("public key file: %w", err)
	}
	able, err := algorithmsOf(key)
	if err != nil {
		return trust{}, fmt.Errorf("public key file: %w", err)
	}
	algorithms, err := c.pinned(able, able[0])
	if err != nil {
		return trust{}, fmt.Errorf("with this public key: %w", err)
	}
	return trust{algorithms, key}, nil
}

func (c Config) loadJWKS() (trust, error) {
	algorithms, algErr := c.pinned(asymmetricAlgorithms, defaultJWKSAlgorithms...)
	if algErr != nil {
		algErr = fmt.Errorf("with a JWKS: %w", algErr)
	}
	return trust{algorithms: algorithms}, errors.Join(checkJWKSURL(c.JWKSURL), algErr)
}

// pinned returns the algorithms to accept: those of the configuration, all of
// which have to be in able, or else the defaults.
func (c Config) pinned(able []string, defaults ...string) ([]string, error) {
	if len(c.Algorithms) == 0 {
		return defaults, nil
	}
	for _, alg := range c.Algorithms {
		if !slices.Contains(able, alg) {
			return nil, fmt.Errorf("algorithm %q is not possible, only %q", alg, able)
		}
	}
	return slices.Clone(c.Algorithms), nil
}

// checkJWKSURL refuses an address whose answer somebody on the way could have
// written, and one with a password, which would end up in logs.
func checkJWKSURL(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Hostname() == "":
		return errors.New("the JWKS address is not an absolute URL")
	case u.User != nil:
		return errors.New("the JWKS address holds a user name or password")
	case u.Fragment != "":
		return errors.New("the JWKS address has a fragment")
	case u.Scheme == "https", u.Scheme == "http" && IsLoopback(u.Hostname()):
		return nil
	}
	return errors.New("the JWKS address has to be https, or http on loopback")
}

// IsLoopback tells whether the host of an address is this machine itself: localhost, or a loopback address
// (RFC 6890, section 2.2.2).
func IsLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}
