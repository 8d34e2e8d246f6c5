package auth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// signatureAttacks have a signature that a careless verifier could take.
func signatureAttacks(t *testing.T) []attack {
	t.Helper()
	with := func(alg string, signature []byte) string {
		return encode(headerText(alg)) + "." + encode(claimsText()) + "." + base64.RawURLEncoding.EncodeToString(signature)
	}
	order := elliptic.P256().Params().N
	one := make([]byte, 32)
	one[31] = 1
	n := order.FillBytes(make([]byte, 32))
	attacks := []attack{
		{"r and s zero", "ES256", with("ES256", make([]byte, 64))},
		{"r and s the order", "ES256", with("ES256", slices.Concat(n, n))},
		{"r one and s zero", "ES256", with("ES256", slices.Concat(one, make([]byte, 32)))},
		{"r and s one", "ES256", with("ES256", slices.Concat(one, one))},
		{"r and s zero", "ES384", with("ES384", make([]byte, 96))},
		{"r and s zero", "ES512", with("ES512", make([]byte, 132))},
		{"all bits set", "RS256", with("RS256", slices.Repeat([]byte{0xff}, 256))},
		{"zero", "RS256", with("RS256", make([]byte, 256))},
		{"one", "RS256", with("RS256", append(make([]byte, 255), 1))},
		{"zero", "EdDSA", with("EdDSA", make([]byte, 64))},
		{"neutral point", "EdDSA", with("EdDSA", slices.Concat([]byte{1}, make([]byte, 63)))},
	}

	text := encode(headerText("ES256")) + "." + encode(claimsText())
	digest := sha256.Sum256([]byte(text))
	der, err := ecdsa.SignASN1(rand.Reader, signingKey("ES256").(*ecdsa.PrivateKey), digest[:])
	if err != nil {
		t.Fatal(err)
	}
	attacks = append(attacks, attack{"signature in DER", "ES256", text + "." + base64.RawURLEncoding.EncodeToString(der)})

	for _, alg := range []string{"RS256", "ES256", "EdDSA", "HS256"} {
		good := forge(t, alg, headerText(alg), claimsText())
		text, signature := cutSignature(t, good)
		for name, bad := range map[string][]byte{
			"a zero before it":  append([]byte{0}, signature...),
			"a zero after it":   append(slices.Clone(signature), 0),
			"the last byte off": signature[:len(signature)-1],
			"the first one off": signature[1:],
			"the first half":    signature[:len(signature)/2],
			"twice":             slices.Repeat(signature, 2),
		} {
			attacks = append(attacks, attack{"signature: " + name, alg, text + base64.RawURLEncoding.EncodeToString(bad)})
		}
	}

	// s + L is as good as s to a verifier that forgets to check its range.
	text, signature := cutSignature(t, forge(t, "EdDSA", headerText("EdDSA"), claimsText()))
	attacks = append(attacks, attack{"s plus the group order", "EdDSA", text + base64.RawURLEncoding.EncodeToString(addGroupOrder(signature))})

	// A stranger's key of the same kind.
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return append(attacks, attack{
		"a stranger's key", "EdDSA",
		forgeWith(t, jwt.SigningMethodEdDSA, crypto.Signer(stranger), headerText("EdDSA"), claimsText()),
	})
}

// cutSignature splits a token after its second dot and decodes the rest.
func cutSignature(tb testing.TB, token string) (text string, signature []byte) {
	tb.Helper()
	i := strings.LastIndexByte(token, '.') + 1
	signature, err := base64.RawURLEncoding.DecodeString(token[i:])
	if err != nil {
		tb.Fatal(err)
	}
	return token[:i], signature
}

// addGroupOrder adds the order of the Ed25519 group (RFC 8032, section 5.1) to the
// second half of a signature.
func addGroupOrder(signature []byte) []byte {
	order, _ := new(big.Int).SetString("27742317777372353535851937790883648493", 10)
	order.Add(order, new(big.Int).Lsh(big.NewInt(1), 252))
	s := slices.Clone(signature[32:])
	slices.Reverse(s)
	sum := order.Add(order, new(big.Int).SetBytes(s)).FillBytes(make([]byte, 32))
	slices.Reverse(sum)
	return slices.Concat(signature[:32], sum)
}

func TestAFlippedBitAnywhereInASignatureIsRefused(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"HS256", "RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			v := verifierFor(t, alg)
			text, signature := cutSignature(t, forge(t, alg, headerText(alg), claimsText()))
			step := 1
			if alg == "PS256" || alg == "ES384" || alg == "ES512" {
				step = 9 // They are slow: one bit of each byte, and each bit in turn.
			}
			for bit := 0; bit < 8*len(signature); bit += step {
				signature[bit/8] ^= 1 << (bit % 8)
				refuse(t, v, text+base64.RawURLEncoding.EncodeToString(signature))
				signature[bit/8] ^= 1 << (bit % 8)
			}
		})
	}
}
