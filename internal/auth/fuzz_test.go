package auth_test

import (
	"testing"

	"github.com/runledger/runledger/internal/auth"
)

// FuzzVerify looks for a token that is accepted though it was never signed, and
// for a panic.
func FuzzVerify(f *testing.F) {
	verifiers := make(map[string]*auth.Verifier)
	signed := make(map[string]bool)
	for _, alg := range []string{"HS256", "RS256", "ES256", "EdDSA"} {
		verifiers[alg] = verifierFor(f, alg)
		for _, claims := range []string{claimsText(), claimsText(`aud=["x","` + audience + `"]`), claimsText("-sub"), "null"} {
			token := forge(f, alg, headerText(alg, `kid="a"`), claims)
			signed[token] = true
			f.Add(token)
		}
	}
	f.Add(encode(headerText("none")) + "." + encode(claimsText()) + ".")
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		for alg, v := range verifiers {
			got, err := v.Verify(t.Context(), token)
			switch {
			case err == nil && !signed[token]:
				t.Errorf("%s: %q is accepted as %q", alg, token, got)
			case err == nil && got != subject:
				t.Errorf("%s: got subject %q", alg, got)
			}
		}
	})
}
