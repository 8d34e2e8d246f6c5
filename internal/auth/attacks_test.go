package auth_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/runledger/runledger/internal/auth"
)

// An attack is a token that the verifier for an algorithm has to refuse.
type attack struct{ name, alg, token string }

// refuse checks that a token is refused by an error that does not repeat it.
func refuse(tb testing.TB, v *auth.Verifier, token string) {
	tb.Helper()
	got, err := v.Verify(tb.Context(), token)
	if !errors.Is(err, auth.ErrInvalidToken) || got != "" {
		tb.Errorf("got %q, %v, want ErrInvalidToken", got, err)
		return
	}
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 8 && strings.Contains(err.Error(), part) {
			tb.Errorf("the error repeats the token: %.200s", err.Error())
		}
	}
	if strings.Contains(err.Error(), subject) || strings.Contains(err.Error(), string(secret)) {
		tb.Errorf("the error repeats a claim or the secret: %.200s", err.Error())
	}
}

func TestKnownAttacksAreRefused(t *testing.T) {
	t.Parallel()
	attacks := slices.Concat(
		algorithmAttacks(t), headerAttacks(t), claimAttacks(t), formAttacks(t), signatureAttacks(t))
	if len(attacks) < 40 {
		t.Errorf("only %d attacks", len(attacks))
	}
	for _, a := range attacks {
		t.Run(a.alg+" "+a.name, func(t *testing.T) {
			t.Parallel()
			refuse(t, verifierFor(t, a.alg), a.token)
		})
	}
}

// algorithmAttacks name another algorithm than the one that is pinned.
func algorithmAttacks(t *testing.T) []attack {
	t.Helper()
	var attacks []attack
	for _, none := range []string{"none", "None", "NONE", "nOnE", "none ", "", "null"} {
		unsigned := encode(headerText(none)) + "." + encode(claimsText()) + "."
		for _, alg := range []string{"HS256", "RS256", "ES256", "EdDSA"} {
			attacks = append(attacks,
				attack{"alg " + none + " without a signature", alg, unsigned},
				attack{"alg " + none + " with any signature", alg, unsigned + "AAAA"})
		}
	}
	// The public key is known to everybody, in all its encodings.
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		der := publicDER(t, alg)
		text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		for name, key := range map[string][]byte{
			"PEM": text, "PEM without its last line break": []byte(strings.TrimSpace(string(text))), "DER": der,
		} {
			for _, method := range []jwt.SigningMethod{jwt.SigningMethodHS256, jwt.SigningMethodHS384, jwt.SigningMethodHS512} {
				attacks = append(attacks, attack{
					method.Alg() + " with the public key as " + name, alg,
					forgeWith(t, method, key, headerText(method.Alg()), claimsText()),
				})
			}
			attacks = append(attacks, attack{
				"own alg but an HMAC with the public key as " + name, alg,
				forgeWith(t, jwt.SigningMethodHS256, key, headerText(alg), claimsText()),
			})
		}
	}
	for name, header := range map[string]string{
		"alg in lower case":        headerText("hs256"),
		"alg with a trailing NUL":  headerText("HS256", `alg="HS256\u0000"`),
		"alg of a longer hash":     headerText("HS512"),
		"alg missing":              headerText("HS256", "-alg"),
		"alg a number":             headerText("HS256", "alg=256"),
		"alg null":                 headerText("HS256", "alg=null"),
		"alg an array":             headerText("HS256", `alg=["HS256"]`),
		"alg unknown":              headerText("XS256"),
		"alg under a name in case": headerText("HS256", "-alg", `ALG="HS256"`),
	} {
		attacks = append(attacks, attack{name, "HS256", forge(t, "HS256", header, claimsText())})
	}
	return append(attacks,
		attack{"HMAC with an empty key", "HS256", forgeWith(t, jwt.SigningMethodHS256, []byte{}, headerText("HS256"), claimsText())},
		attack{"HMAC with a zero key", "HS256", forgeWith(t, jwt.SigningMethodHS256, make([]byte, 32), headerText("HS256"), claimsText())},
		attack{"HMAC with a prefix of the secret", "HS256", forgeWith(t, jwt.SigningMethodHS256, secret[:31], headerText("HS256"), claimsText())},
		attack{"PSS where PKCS #1 v1.5 is pinned", "RS256", forge(t, "PS256", headerText("PS256"), claimsText())},
		attack{"PSS under the name of RS256", "RS256", forge(t, "PS256", headerText("RS256"), claimsText())},
	)
}

// headerAttacks are signed with the right key: whether the header is refused does
// not hang on the signature.
func headerAttacks(t *testing.T) []attack {
	t.Helper()
	forger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := json.Marshal(map[string]string{
		"kty": "RSA", "e": "AQAB", "n": base64.RawURLEncoding.EncodeToString(forger.N.Bytes()),
	})
	if err != nil {
		t.Fatal(err)
	}
	attacks := []attack{{
		"embedded jwk of the forger", "RS256",
		forgeWith(t, jwt.SigningMethodRS256, forger, headerText("RS256", "jwk="+string(jwk)), claimsText()),
	}}
	for name, edit := range map[string]string{
		"jwk":                        "jwk=" + string(jwk),
		"jwk null":                   "jwk=null",
		"jku":                        `jku="https://attacker.example/keys"`,
		"jku of our own issuer":      `jku="` + issuer + `/keys"`,
		"x5u":                        `x5u="https://attacker.example/cert"`,
		"x5c":                        `x5c=["MIIB"]`,
		"crit empty":                 "crit=[]",
		"crit of an unknown name":    `crit=["exp"]`,
		"crit b64":                   `crit=["b64"]`,
		"crit null":                  "crit=null",
		"typ of an ID token":         `typ="id_token"`,
		"typ of a logout token":      `typ="logout+jwt"`,
		"typ JOSE":                   `typ="JOSE"`,
		"typ empty":                  `typ=""`,
		"typ null":                   "typ=null",
		"typ a number":               "typ=1",
		"typ with two prefixes":      `typ="application/application/jwt"`,
		"typ of another media tree":  `typ="text/jwt"`,
		"kid a number":               "kid=1",
		"kid null":                   "kid=null",
		"kid an object":              `kid={"$ne":""}`,
		"kid empty":                  `kid=""`,
		"kid with NUL":               `kid="a\u0000b"`,
		"kid with a line break":      `kid="a\r\nX-Admin: 1"`,
		"kid very long":              `kid="` + strings.Repeat("k", 4096) + `"`,
		"kid with a lone surrogate":  `kid="\ud800"`,
		"duplicate alg, same value":  `+alg="HS256"`,
		"duplicate alg, none":        `+alg="none"`,
		"duplicate alg by escaping":  `+\u0061lg="none"`,
		"duplicate kid":              `kid="a","kid":"b"`,
		"duplicate member far down":  `x={"a":[{"b":1,"b":2}]}`,
		"deep nesting":               "x=" + strings.Repeat("[", 1000) + strings.Repeat("]", 1000),
		"invalid UTF-8":              "x=\"\xff\"",
		"an unpaired quotation mark": `x="`,
	} {
		attacks = append(attacks, attack{"header: " + name, "HS256", forge(t, "HS256", headerText("HS256", edit), claimsText())})
	}
	for name, key := range map[string]string{"../../../../dev/null": "", "/proc/sys/kernel/ns_last_pid": "1\n", "' UNION SELECT 'key' -- ": "key"} {
		header := headerText("HS256", `kid="`+name+`"`)
		attacks = append(attacks, attack{"kid " + name, "HS256", forgeWith(t, jwt.SigningMethodHS256, []byte(key), header, claimsText())})
	}
	for name, header := range map[string]string{
		"array": `["HS256"]`, "string": `"HS256"`, "null": "null", "number": "1", "empty": " ",
		"two objects": headerText("HS256") + headerText("HS256"), "trailing brace": headerText("HS256") + "}",
		"byte order mark": "\ufeff" + headerText("HS256"), "comment": "/**/" + headerText("HS256"),
		"single quotes": `{'alg':'HS256'}`, "trailing comma": `{"alg":"HS256",}`, "UTF-16": "\xff\xfe{\x00}\x00",
	} {
		attacks = append(attacks, attack{"header: " + name, "HS256", forge(t, "HS256", header, claimsText())})
	}
	return attacks
}

// claimAttacks are signed with the right key.
func claimAttacks(t *testing.T) []attack {
	t.Helper()
	now := time.Now().Unix()
	var attacks []attack
	for name, edits := range map[string][]string{
		"expired":                          {fmt.Sprintf("exp=%d", now-31)},
		"expired a second after issue":     {"exp=1", "iat=0", "nbf=0"},
		"not yet valid":                    {fmt.Sprintf("nbf=%d", now+300)},
		"issued in the future":             {fmt.Sprintf("iat=%d", now+300)},
		"exp missing":                      {"-exp"},
		"exp null":                         {"exp=null"},
		"exp a string":                     {fmt.Sprintf(`exp="%d"`, now+3600)},
		"exp an empty string":              {`exp=""`},
		"exp NaN":                          {"exp=NaN"},
		"exp NaN in a string":              {`exp="NaN"`},
		"exp Infinity":                     {"exp=Infinity"},
		"exp 1e308":                        {"exp=1e308"},
		"exp 1e400":                        {"exp=1e400"},
		"exp of 64 bits":                   {"exp=18446744073709551615"},
		"exp that overflows to a good one": {fmt.Sprintf("exp=%s", new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 64), big.NewInt(now+3600)))},
		"exp in microseconds":              {fmt.Sprintf("exp=%d000000", now+3600)},
		"exp negative":                     {fmt.Sprintf("exp=-%d", now+3600)},
		"exp zero":                         {"exp=0"},
		"exp true":                         {"exp=true"},
		"exp an array":                     {fmt.Sprintf("exp=[%d]", now+3600)},
		"exp in hexadecimal":               {"exp=0xffffffff"},
		"exp with a leading zero":          {fmt.Sprintf("exp=0%d", now+3600)},
		"exp under a name in capitals":     {"-exp", fmt.Sprintf("EXP=%d", now+3600)},
		"nbf a string":                     {`nbf="0"`},
		"nbf negative":                     {"nbf=-1"},
		"iat a string":                     {`iat="0"`},
		"iat null":                         {"iat=null"},
		"iss of another":                   {`iss="https://attacker.example"`},
		"iss with a slash more":            {`iss="` + issuer + `/"`},
		"iss in capitals":                  {`iss="` + strings.ToUpper(issuer) + `"`},
		"iss missing":                      {"-iss"},
		"iss empty":                        {`iss=""`},
		"iss null":                         {"iss=null"},
		"iss an array with ours":           {`iss=["` + issuer + `"]`},
		"iss under a name in capitals":     {"-iss", `ISS="` + issuer + `"`},
		"aud of another":                   {`aud="other"`},
		"aud of which ours is a prefix":    {`aud="` + audience + `-admin"`},
		"aud missing":                      {"-aud"},
		"aud empty":                        {`aud=""`},
		"aud null":                         {"aud=null"},
		"aud an empty array":               {"aud=[]"},
		"aud an array without ours":        {`aud=["other","more"]`},
		"aud an array with a number":       {`aud=["` + audience + `",1]`},
		"aud an array in an array":         {`aud=[["` + audience + `"]]`},
		"aud an object":                    {`aud={"` + audience + `":true}`},
		"sub missing":                      {"-sub"},
		"sub empty":                        {`sub=""`},
		"sub null":                         {"sub=null"},
		"sub a number":                     {"sub=7"},
		"sub an array":                     {`sub=["` + subject + `"]`},
		"sub with NUL":                     {`sub="user-7\u0000"`},
		"sub with a line break":            {`sub="user-7\n"`},
		"sub with a lone surrogate":        {`sub="user-7\udfff"`},
		"sub with invalid UTF-8":           {"sub=\"user-7\xff\""},
		"sub of 256 characters":            {`sub="` + strings.Repeat("x", 256) + `"`},
		"sub under a name in capitals":     {"-sub", `SUB="` + subject + `"`},
		"duplicate sub":                    {`+sub="admin"`},
		"duplicate sub, same value":        {`+sub="` + subject + `"`},
		"duplicate sub by escaping":        {`+\u0073ub="admin"`},
		"duplicate exp":                    {fmt.Sprintf("+exp=%d", now+7200)},
		"duplicate aud":                    {`+aud="` + audience + `"`},
		"duplicate with quotation marks":   {`x="\\"`, `+x="\":"`},
		"duplicate unknown claim":          {"+x=1", "+x=2"},
		"duplicate member far down":        {`x=[{"a":{"b":1,"b":2}}]`},
		"deep nesting":                     {"x=" + strings.Repeat(`{"a":`, 500) + "1" + strings.Repeat("}", 500)},
	} {
		attacks = append(attacks, attack{"claims: " + name, "HS256", forge(t, "HS256", headerText("HS256"), claimsText(edits...))})
	}
	nested := forge(t, "HS256", headerText("HS256"), claimsText())
	for name, claims := range map[string]string{
		"null": "null", "array": "[" + claimsText() + "]", "string": `"x"`, "number": "1", "white space": " ",
		"empty object": "{}", "two objects": claimsText() + claimsText(), "trailing garbage": claimsText() + "x",
		"a token in the token": nested, "a token in a string": `"` + nested + `"`, "cut off": claimsText()[:40],
		"byte order mark": "\ufeff" + claimsText(), "NUL at the end": claimsText() + "\x00",
	} {
		attacks = append(attacks, attack{"claims: " + name, "HS256", forge(t, "HS256", headerText("HS256"), claims)})
	}
	return attacks
}

// formAttacks are a good token, written differently or with something added.
func formAttacks(t *testing.T) []attack {
	t.Helper()
	good := forge(t, "HS256", headerText("HS256"), claimsText())
	parts := strings.Split(good, ".")
	header, claims, signature := parts[0], parts[1], parts[2]
	var attacks []attack
	for name, token := range map[string]string{
		"empty":                    "",
		"one dot":                  ".",
		"two dots":                 "..",
		"100,000 dots":             strings.Repeat(".", 100_000),
		"8,192 dots":               strings.Repeat(".", 8192),
		"a megabyte":               strings.Repeat("A", 1<<20),
		"a megabyte of signature":  good + strings.Repeat("A", 1<<20),
		"no signature":             header + "." + claims,
		"empty signature":          header + "." + claims + ".",
		"empty claims":             header + ".." + signature,
		"empty header":             "." + claims + "." + signature,
		"a dot at the end":         good + ".",
		"a dot at the start":       "." + good,
		"a fourth part":            good + "." + signature,
		"five parts, as of a JWE":  good + "." + claims + "." + signature,
		"a space at the start":     " " + good,
		"a space at the end":       good + " ",
		"a line break at the end":  good + "\n",
		"CR LF at the end":         good + "\r\n",
		"a line break in a part":   good[:10] + "\n" + good[10:],
		"CR in the signature":      good[:len(good)-5] + "\r" + good[len(good)-5:],
		"NUL at the end":           good + "\x00",
		"the scheme before it":     "Bearer " + good,
		"two tokens":               good + "," + good,
		"quotation marks":          `"` + good + `"`,
		"padded header":            pad(header) + "." + claims + "." + signature,
		"padded claims":            header + "." + pad(claims) + "." + signature,
		"padded signature":         header + "." + claims + "." + pad(signature),
		"percent-encoded dots":     strings.ReplaceAll(good, ".", "%2E"),
		"full-width dots":          strings.ReplaceAll(good, ".", "．"),
		"parts in another order":   claims + "." + header + "." + signature,
		"flattened JSON":           `{"protected":"` + header + `","payload":"` + claims + `","signature":"` + signature + `"}`,
		"general JSON":             `{"payload":"` + claims + `","signatures":[{"protected":"` + header + `","signature":"` + signature + `"}]}`,
		"signature cut by a byte":  good[:len(good)-2],
		"signature of a prefix":    header + "." + claims[:len(claims)-4] + "." + signature,
		"signature of another one": header + "." + claims + "." + strings.Split(forge(t, "HS256", headerText("HS256"), claimsText(`sub="x"`)), ".")[2],
	} {
		attacks = append(attacks, attack{name, "HS256", token})
	}
	// 32 bytes leave two bits of the last character unused, which have to be zero.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, good[len(good)-1])
	for bits := 1; bits < 4; bits++ {
		attacks = append(attacks, attack{fmt.Sprintf("unused bits %02b", bits), "HS256", good[:len(good)-1] + string(alphabet[last|bits])})
	}
	// The other alphabet of base64.
	standard := strings.NewReplacer("-", "+", "_", "/")
	for i := 0; ; i++ {
		token := forge(t, "HS256", headerText("HS256"), claimsText(fmt.Sprintf("x=%d", i)))
		if other := standard.Replace(token); other != token {
			return append(attacks, attack{"standard base64", "HS256", other})
		}
	}
}

func pad(segment string) string { return segment + strings.Repeat("=", 4-len(segment)%4) }

func TestAnotherCharacterAnywhereInATokenIsRefused(t *testing.T) {
	t.Parallel()
	v := verifierFor(t, "HS256")
	good := []byte(forge(t, "HS256", headerText("HS256"), claimsText()))
	for i, was := range good {
		for _, b := range []byte("AB_-.=+/ \n\x00\xff") {
			if b != was {
				good[i] = b
				refuse(t, v, string(good))
			}
		}
		good[i] = was
	}
}
