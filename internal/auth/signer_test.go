package auth_test

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runledger/runledger/internal/auth"
)

// privateKeyFiles are the private keys of the tests in every format they come in.
func privateKeyFiles(t *testing.T) map[string]struct{ alg, path string } {
	t.Helper()
	files := make(map[string]struct{ alg, path string })
	for alg, key := range keys() {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		files[alg+" in PKCS #8"] = struct{ alg, path string }{alg, writePEM(t, "PRIVATE KEY", der)}
		switch key := key.(type) {
		case *rsa.PrivateKey:
			der := x509.MarshalPKCS1PrivateKey(key)
			files[alg+" in PKCS #1"] = struct{ alg, path string }{alg, writePEM(t, "RSA PRIVATE KEY", der)}
		case *ecdsa.PrivateKey:
			der, err := x509.MarshalECPrivateKey(key)
			if err != nil {
				t.Fatal(err)
			}
			files[alg+" in SEC 1"] = struct{ alg, path string }{alg, writePEM(t, "EC PRIVATE KEY", der)}
		}
	}
	return files
}

func TestWhatASignerSignsTheVerifierAccepts(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, s *auth.Signer, c auth.Config) {
		t.Helper()
		c.Algorithms = nil // The defaults of both sides have to agree.
		v := newVerifier(t, c)
		token, err := s.Sign(subject, issuer, audience, time.Minute, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		accept(t, v, token)
	}
	t.Run("HS256", func(t *testing.T) {
		t.Parallel()
		s, err := auth.NewSecretSigner(secret)
		if err != nil {
			t.Fatal(err)
		}
		check(t, s, configFor(t, "HS256"))
	})
	for name, file := range privateKeyFiles(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := auth.NewFileSigner(file.path)
			if err != nil {
				t.Fatal(err)
			}
			check(t, s, configFor(t, file.alg))
		})
	}
}

func TestASignedTokenEndsWithItsLifetime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, err := auth.NewSecretSigner(secret)
		if err != nil {
			t.Fatal(err)
		}
		v := verifierFor(t, "HS256")
		token, err := s.Sign(subject, issuer, audience, time.Minute, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute + 29*time.Second)
		accept(t, v, token)
		time.Sleep(time.Second)
		refuse(t, v, token)
	})
}

func TestASignedTokenHasAllItsClaims(t *testing.T) {
	t.Parallel()
	s, err := auth.NewSecretSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 7, 1, 12, 0, 0, 999, time.FixedZone("", 3600))
	ids := make(map[string]bool)
	for range 2 {
		token, err := s.Sign(subject, issuer, audience, time.Hour, now)
		if err != nil {
			t.Fatal(err)
		}
		data, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Iss, Sub, Jti string
			Aud           []string
			Iat, Nbf, Exp int64
		}
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		if got.Iss != issuer || got.Sub != subject || len(got.Aud) != 1 || got.Aud[0] != audience ||
			got.Iat != now.Unix() || got.Nbf != now.Unix() || got.Exp != now.Unix()+3600 || got.Jti == "" {
			t.Errorf("got %+v", got)
		}
		ids[got.Jti] = true
	}
	if len(ids) != 2 {
		t.Error("two tokens have the same id")
	}
}

func TestASignerRefusesWhatNoVerifierWouldTake(t *testing.T) {
	t.Parallel()
	s, err := auth.NewSecretSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	for name, sign := range map[string]func() (string, error){
		"no subject":  func() (string, error) { return s.Sign("", issuer, audience, time.Hour, time.Now()) },
		"a bad one":   func() (string, error) { return s.Sign("a\x00", issuer, audience, time.Hour, time.Now()) },
		"no issuer":   func() (string, error) { return s.Sign(subject, "", audience, time.Hour, time.Now()) },
		"no audience": func() (string, error) { return s.Sign(subject, issuer, "", time.Hour, time.Now()) },
		"no lifetime": func() (string, error) { return s.Sign(subject, issuer, audience, 0, time.Now()) },
		"one too long": func() (string, error) {
			return s.Sign(strings.Repeat("x", 256), issuer, audience, time.Hour, time.Now())
		},
	} {
		if token, err := sign(); err == nil || token != "" {
			t.Errorf("%s: got %q, %v", name, token, err)
		}
	}
	if _, err := auth.NewSecretSigner(secret[:31]); err == nil || strings.Contains(err.Error(), string(secret[:31])) {
		t.Errorf("a secret of 31 bytes: got %v", err)
	}
	encrypted := pem.EncodeToMemory(&pem.Block{
		Type: "RSA PRIVATE KEY", Headers: map[string]string{"DEK-Info": "AES-256-CBC,00"}, Bytes: []byte("x"),
	})
	for name, path := range map[string]string{
		"a public key":            writePEM(t, "PUBLIC KEY", publicDER(t, "ES256")),
		"an encrypted key":        writePEM(t, "ENCRYPTED PRIVATE KEY", []byte("x")),
		"one encrypted as of old": writeFile(t, encrypted),
		"a broken key":            writePEM(t, "PRIVATE KEY", []byte("x")),
		"no file":                 t.TempDir() + "/none.pem",
	} {
		if _, err := auth.NewFileSigner(path); err == nil {
			t.Errorf("%s is taken for a private key", name)
		}
	}
}
