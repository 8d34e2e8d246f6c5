package auth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/runledger/runledger/internal/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	issuer   = "https://issuer.example"
	audience = "runledger"
	subject  = "user-7"
)

// secret is the HS256 secret of the tests.
var secret = []byte("0123456789abcdef0123456789abcdef")

// keys are private keys of every kind, made once.
var keys = sync.OnceValue(func() map[string]crypto.Signer {
	made := make(map[string]crypto.Signer)
	for name, generate := range map[string]func() (crypto.Signer, error){
		"RS256": func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) },
		"ES256": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
		"ES384": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) },
		"ES512": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P521(), rand.Reader) },
		"EdDSA": func() (crypto.Signer, error) {
			_, key, err := ed25519.GenerateKey(rand.Reader)
			return key, err
		},
	} {
		key, err := generate()
		if err != nil {
			panic(err)
		}
		made[name] = key
	}
	return made
})

// signingKey returns what the library signs with for an algorithm.
func signingKey(alg string) any {
	switch alg {
	case "HS256":
		return secret
	case "RS384", "RS512", "PS256", "PS384", "PS512":
		return keys()["RS256"]
	}
	return keys()[alg]
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// writePEM writes one PEM block and returns the path of its file.
func writePEM(tb testing.TB, kind string, der []byte) string {
	tb.Helper()
	return writeFile(tb, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func writeFile(tb testing.TB, content []byte) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "key.pem")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// publicDER returns the PKIX encoding of the public key of an algorithm.
func publicDER(tb testing.TB, alg string) []byte {
	tb.Helper()
	der, err := x509.MarshalPKIXPublicKey(signingKey(alg).(crypto.Signer).Public())
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

// configFor returns a configuration that pins one algorithm.
func configFor(tb testing.TB, alg string) auth.Config {
	tb.Helper()
	c := auth.Config{Algorithms: []string{alg}, Issuer: issuer, Audience: audience}
	if alg == "HS256" {
		c.HS256Secret = secret
	} else {
		c.PublicKeyFile = writePEM(tb, "PUBLIC KEY", publicDER(tb, alg))
	}
	return c
}

func newVerifier(tb testing.TB, c auth.Config) *auth.Verifier {
	tb.Helper()
	v, err := auth.NewVerifier(tb.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func verifierFor(tb testing.TB, alg string) *auth.Verifier {
	tb.Helper()
	return newVerifier(tb, configFor(tb, alg))
}

// object edits the members of a JSON object and returns its text: "name=value"
// sets a member to a raw JSON value, "-name" removes one, "+name=value" adds one
// even if it is there.
func object(members []string, edits ...string) string {
	members = append([]string(nil), members...)
	for _, edit := range edits {
		op, edit := edit[0], strings.TrimLeft(edit, "+-")
		name, _, _ := strings.Cut(edit, "=")
		if op != '+' {
			kept := members[:0]
			for _, m := range members {
				if !strings.HasPrefix(m, name+"=") {
					kept = append(kept, m)
				}
			}
			members = kept
		}
		if op != '-' {
			members = append(members, edit)
		}
	}
	for i, m := range members {
		name, value, _ := strings.Cut(m, "=")
		members[i] = `"` + name + `":` + value
	}
	return "{" + strings.Join(members, ",") + "}"
}

func headerText(alg string, edits ...string) string {
	return object([]string{`alg="` + alg + `"`, `typ="JWT"`}, edits...)
}

func claimsText(edits ...string) string {
	now := time.Now().Unix()
	return object([]string{
		`iss="` + issuer + `"`, `aud="` + audience + `"`, `sub="` + subject + `"`,
		fmt.Sprintf("exp=%d", now+3600), fmt.Sprintf("nbf=%d", now), fmt.Sprintf("iat=%d", now),
	}, edits...)
}

func encode(data string) string { return base64.RawURLEncoding.EncodeToString([]byte(data)) }

// forge returns a token with any header and claims, rightly signed for alg.
func forge(tb testing.TB, alg, header, claims string) string {
	tb.Helper()
	return forgeWith(tb, jwt.GetSigningMethod(alg), signingKey(alg), header, claims)
}

func forgeWith(tb testing.TB, method jwt.SigningMethod, key any, header, claims string) string {
	tb.Helper()
	text := encode(header) + "." + encode(claims)
	signature, err := method.Sign(text, key)
	if err != nil {
		tb.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// A syncWriter lets a test read what goroutines log.
type syncWriter struct {
	mu sync.Mutex
	sb strings.Builder
}

func (w *syncWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sb.Write(p)
}

func (w *syncWriter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sb.String()
}
