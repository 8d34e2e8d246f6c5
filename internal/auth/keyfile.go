package auth

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
)

// readPublicKey reads the first public key or certificate of a PEM file. An error
// says nothing of what is in the file beyond the kind of its first block.
func readPublicKey(path string) (crypto.PublicKey, error) {
	block, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	switch {
	case block.Type == "PUBLIC KEY":
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return key, nil
	case block.Type == "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return cert.PublicKey, nil
	case strings.HasSuffix(block.Type, "PRIVATE KEY"):
		return nil, fmt.Errorf("%s: holds a private key; give its public key (openssl pkey -pubout)", path)
	}
	return nil, fmt.Errorf("%s: holds a PEM block %q, want PUBLIC KEY or CERTIFICATE", path, block.Type)
}

// readPrivateKey reads the first private key of a PEM file, in PKCS #8 (any
// algorithm), PKCS #1 (RSA) or SEC 1 (ECDSA).
func readPrivateKey(path string) (crypto.Signer, error) {
	block, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	var key any
	switch {
	case block.Type == "ENCRYPTED PRIVATE KEY", block.Headers["DEK-Info"] != "":
		return nil, fmt.Errorf("%s: the private key is encrypted; decrypt it first (openssl pkey)", path)
	case block.Type == "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case block.Type == "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case block.Type == "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("%s: holds a PEM block %q, want PRIVATE KEY", path, block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: a %T cannot sign", path, key)
	}
	return signer, nil
}

// readPEM returns the first block of a PEM file that is not "EC PARAMETERS",
// which OpenSSL writes ahead of a key and which says nothing the key does not.
func readPEM(path string) (*pem.Block, error) {
	rest, err := os.ReadFile(path)
	if err != nil {
		return nil, err //nolint:wrapcheck // It is an *fs.PathError and says everything.
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, fmt.Errorf("%s: %w", path, errNotPEM)
		}
		if block.Type != "EC PARAMETERS" {
			return block, nil
		}
	}
}

var errNotPEM = errors.New("not a PEM file")
