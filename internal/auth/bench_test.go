package auth_test

import "testing"

// BenchmarkVerify verifies tokens that come for the first time.
func BenchmarkVerify(b *testing.B) {
	for _, alg := range []string{"HS256", "RS256", "ES256", "EdDSA"} {
		b.Run(alg, func(b *testing.B) {
			v := verifierFor(b, alg)
			token := forge(b, alg, headerText(alg), claimsText())
			b.ReportAllocs()
			for b.Loop() {
				v.Forget()
				if _, err := v.Verify(b.Context(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkVerifyKnown verifies a token that comes again.
func BenchmarkVerifyKnown(b *testing.B) {
	v := verifierFor(b, "RS256")
	token := forge(b, "RS256", headerText("RS256"), claimsText())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}
