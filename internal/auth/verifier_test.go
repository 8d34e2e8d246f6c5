package auth_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runledger/runledger/internal/auth"
)

var algorithms = []string{
	"HS256", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

func TestEveryAlgorithmVerifiesItsOwnTokensAndNoOthers(t *testing.T) {
	t.Parallel()
	for _, configured := range algorithms {
		t.Run(configured, func(t *testing.T) {
			t.Parallel()
			v := verifierFor(t, configured)
			for _, alg := range algorithms {
				got, err := v.Verify(t.Context(), forge(t, alg, headerText(alg), claimsText()))
				switch {
				case alg == configured && (err != nil || got != subject):
					t.Errorf("%s token: got %q, %v", alg, got, err)
				case alg != configured && !errors.Is(err, auth.ErrInvalidToken):
					t.Errorf("%s token: got %q, %v, want ErrInvalidToken", alg, got, err)
				}
			}
		})
	}
}

func TestGoodTokensInUnusualFormsAreAccepted(t *testing.T) {
	t.Parallel()
	v := verifierFor(t, "HS256")
	header := func(edits ...string) [2]string { return [2]string{headerText("HS256", edits...), claimsText()} }
	claims := func(edits ...string) [2]string { return [2]string{headerText("HS256"), claimsText(edits...)} }
	now := time.Now().Unix()
	for name, token := range map[string][2]string{
		"no typ":                      header("-typ"),
		"typ in lower case":           header(`typ="jwt"`),
		"typ of an access token":      header(`typ="at+jwt"`),
		"typ as a media type":         header(`typ="application/AT+JWT"`),
		"typ with prefix in capitals": header(`typ="APPLICATION/jwt"`),
		"kid where none is needed":    header(`kid="2026-07"`),
		"unknown header parameter":    header(`note="x"`),
		"audience in an array":        claims(`aud=["` + audience + `"]`),
		"audience among others":       claims(`aud=["other","` + audience + `"]`),
		"no nbf and no iat":           claims("-nbf", "-iat"),
		"fraction of a second":        claims(fmt.Sprintf("exp=%d.75", now+60)),
		"exponent in a date":          claims("exp=2.5e11"),
		"unknown claims":              claims(`roles=["a",{"b":null}]`, `name="é"`),
		"escaped quotation marks":     claims(`x="\":\"\\"`, `y=":"`),
		"escaped name of a claim":     claims("-sub", `\u0073ub="`+subject+`"`),
		"white space in the JSON":     {" {\n\"alg\" : \"HS256\" } ", claimsText() + "\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := v.Verify(t.Context(), forge(t, "HS256", token[0], token[1]))
			if err != nil || got != subject {
				t.Errorf("got %q, %v, want %q", got, err, subject)
			}
		})
	}
}

func TestClocksMayDifferByThirtySecondsAndNoMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := verifierFor(t, "HS256")
		now := time.Now().Unix()
		for _, tc := range []struct {
			claim  string
			offset int64
			good   bool
		}{
			{"exp", 1, true},
			{"exp", -29, true},
			{"exp", -30, false},
			{"nbf", 30, true},
			{"nbf", 31, false},
			{"iat", 30, true},
			{"iat", 31, false},
		} {
			token := forge(t, "HS256", headerText("HS256"), claimsText(fmt.Sprintf("%s=%d", tc.claim, now+tc.offset)))
			if _, err := v.Verify(t.Context(), token); (err == nil) != tc.good {
				t.Errorf("%s %+d s from now: got %v, want good %t", tc.claim, tc.offset, err, tc.good)
			}
		}
	})
}

func TestTokensUpToEightKiBAreRead(t *testing.T) {
	t.Parallel()
	v := verifierFor(t, "HS256")
	const limit = 8 << 10
	token := func(padding int) string {
		return forge(t, "HS256", headerText("HS256"), claimsText(`x="`+strings.Repeat("x", padding)+`"`))
	}
	// Padding grows a token by four characters for three bytes.
	padding := 3 * (limit - len(token(0)) - 4) / 4
	for ; len(token(padding+1)) <= limit; padding++ {
	}
	if _, err := v.Verify(t.Context(), token(padding)); err != nil {
		t.Errorf("token of %d bytes: %v", len(token(padding)), err)
	}
	if _, err := v.Verify(t.Context(), token(padding+3)); !errors.Is(err, auth.ErrInvalidToken) {
		t.Errorf("token of %d bytes: got %v, want ErrInvalidToken", len(token(padding+3)), err)
	}
}

func TestParseSubjectTakesNamesAndNothingElse(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"a", "auth0|5f7c", "system:serviceaccount:ns:name", "Zoë 🙂", strings.Repeat("é", 255)} {
		if got, err := auth.ParseSubject(s); err != nil || string(got) != s {
			t.Errorf("%q: got %q, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "a\x00b", "a\nb", "\u0085", "\x7f", "a\xffb", "\ufffd", strings.Repeat("é", 256)} {
		_, err := auth.ParseSubject(s)
		if err == nil {
			t.Errorf("%q is a subject", s)
		}
	}
}
