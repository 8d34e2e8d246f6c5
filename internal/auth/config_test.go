package auth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/auth"
)

func TestEveryFaultOfAConfigurationIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	err := auth.Config{HS256Secret: []byte("too-short-secret"), JWKSURL: "http://user:password@keys.example"}.Validate()
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, want := range []string{"issuer", "audience", "exactly one", "16 bytes", "password"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	for _, secret := range []string{"too-short-secret", "user:password", "keys.example"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%q is in: %v", secret, err)
		}
	}
}

func TestConfigurationsThatCannotBeMeantAreRefused(t *testing.T) {
	t.Parallel()
	weak, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // weak on purpose
	if err != nil {
		t.Fatal(err)
	}
	odd, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkix := func(key crypto.Signer) string {
		return writePEM(t, "PUBLIC KEY", must(x509.MarshalPKIXPublicKey(key.Public())))
	}
	rsaOf := func(bits uint, e int) string {
		n := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), bits), big.NewInt(1))
		return writePEM(t, "PUBLIC KEY", must(x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n, E: e})))
	}
	private, err := x509.MarshalPKCS8PrivateKey(keys()["ES256"])
	if err != nil {
		t.Fatal(err)
	}
	rsaKey := writePEM(t, "PUBLIC KEY", publicDER(t, "RS256"))
	for name, c := range map[string]auth.Config{
		"no key":                        {},
		"a secret of 31 bytes":          {HS256Secret: secret[:31]},
		"a secret for a public key alg": {HS256Secret: secret, Algorithms: []string{"RS256"}},
		"a secret for a mixture":        {HS256Secret: secret, Algorithms: []string{"HS256", "RS256"}},
		"a secret for none":             {HS256Secret: secret, Algorithms: []string{"none"}},
		"a public key for HS256":        {PublicKeyFile: rsaKey, Algorithms: []string{"RS256", "HS256"}},
		"an RSA key for ES256":          {PublicKeyFile: rsaKey, Algorithms: []string{"ES256"}},
		"a weak RSA key":                {PublicKeyFile: pkix(weak)},
		"an RSA key of 8,193 bits":      {PublicKeyFile: rsaOf(8193, 65537)},
		"an RSA exponent of 1":          {PublicKeyFile: rsaOf(2048, 1)},
		"an even RSA exponent":          {PublicKeyFile: rsaOf(2048, 65536)},
		"an odd curve":                  {PublicKeyFile: pkix(odd)},
		"a file that is not there":      {PublicKeyFile: t.TempDir() + "/none.pem"},
		"a file that is not PEM":        {PublicKeyFile: writeFile(t, []byte("ssh-ed25519 AAAA"))},
		"a broken public key":           {PublicKeyFile: writePEM(t, "PUBLIC KEY", []byte("x"))},
		"a broken certificate":          {PublicKeyFile: writePEM(t, "CERTIFICATE", []byte("x"))},
		"another kind of PEM":           {PublicKeyFile: writePEM(t, "PGP MESSAGE", []byte("x"))},
		"a private key":                 {PublicKeyFile: writePEM(t, "PRIVATE KEY", private)},
		"a JWKS for HS256":              {JWKSURL: "https://keys.example", Algorithms: []string{"HS256"}},
		"a JWKS for an unknown alg":     {JWKSURL: "https://keys.example", Algorithms: []string{"rs256"}},
		"a JWKS by http":                {JWKSURL: "http://keys.example/"},
		"a JWKS by http on a neighbour": {JWKSURL: "http://127.0.0.1.keys.example/"},
		"a JWKS in a file":              {JWKSURL: "file:///etc/keys"},
		"a JWKS at a relative address":  {JWKSURL: "/keys"},
		"a JWKS without a host":         {JWKSURL: "https:///keys"},
		"a JWKS with a user":            {JWKSURL: "https://me@keys.example"},
		"a JWKS with a fragment":        {JWKSURL: "https://keys.example/#a"},
		"a JWKS that is not a URL":      {JWKSURL: "https://keys.example/\x7f"},
		"two sources":                   {HS256Secret: secret, JWKSURL: "https://keys.example"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.Issuer, c.Audience = issuer, audience
			err := c.Validate()
			if err == nil {
				t.Fatal("no fault found")
			}
			if strings.Contains(err.Error(), string(secret[:16])) || strings.Contains(err.Error(), "keys.example") {
				t.Errorf("a secret or an address is in: %v", err)
			}
			if v, err := auth.NewVerifier(t.Context(), c, slog.New(slog.DiscardHandler)); err == nil || v != nil {
				t.Errorf("NewVerifier: got %v, %v", v, err)
			}
		})
	}
}

func TestConfigurationsThatAreMeantAreTaken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]auth.Config{
		"a secret":                  {HS256Secret: secret},
		"a pinned secret":           {HS256Secret: secret, Algorithms: []string{"HS256"}},
		"a JWKS":                    {JWKSURL: "https://keys.example/a?b=c"},
		"a JWKS by http on IPv4":    {JWKSURL: "http://127.9.9.9:8080/"},
		"a JWKS by http on IPv6":    {JWKSURL: "http://[::1]/"},
		"a JWKS by http, localhost": {JWKSURL: "http://localhost/"},
		"a JWKS with a pin":         {JWKSURL: "https://keys.example", Algorithms: []string{"PS512", "ES384"}},
		"two algs of one RSA key":   {PublicKeyFile: writePEM(t, "PUBLIC KEY", publicDER(t, "RS256")), Algorithms: []string{"RS256", "PS256"}},
	} {
		c.Issuer, c.Audience = issuer, audience
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestACertificateStandsForItsKey(t *testing.T) {
	t.Parallel()
	key := keys()["EdDSA"]
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(-time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	v := newVerifier(t, auth.Config{PublicKeyFile: writePEM(t, "CERTIFICATE", der), Issuer: issuer, Audience: audience})
	accept(t, v, forge(t, "EdDSA", headerText("EdDSA"), claimsText()))
}

func TestChangingASecretAfterwardsChangesNothing(t *testing.T) {
	t.Parallel()
	c := configFor(t, "HS256")
	c.HS256Secret = append([]byte(nil), secret...)
	v := newVerifier(t, c)
	clear(c.HS256Secret)
	accept(t, v, forge(t, "HS256", headerText("HS256"), claimsText()))
}

func TestAFileWithECParametersIsRead(t *testing.T) {
	t.Parallel()
	der, err := x509.MarshalECPrivateKey(keys()["ES256"].(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	file := append(
		pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8}}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})...)
	if _, err := auth.NewFileSigner(writeFile(t, file)); err != nil {
		t.Error(err)
	}
}
