package ledger_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/runledger/runledger/internal/ledger"
)

// These are made up.
const (
	bearerToken = "Bearer mF_9.B5f-4.1JqM+x/y~z=="
	webToken    = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
	privateKey  = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA0Z3VS5JJcds3xfn\n-----END RSA PRIVATE KEY-----\n"
)

func redact(t testing.TB, document string) string {
	t.Helper()
	clean, err := ledger.Redact(json.RawMessage(document))
	if err != nil {
		t.Fatalf("%s: %v", document, err)
	}
	return string(clean)
}

func TestKeysThatNameASecretAreKnownInEverySpelling(t *testing.T) {
	t.Parallel()
	for _, key := range []string{
		"password", "Password", "PASSWORD", "db_password", "passwordHash", "passwd", "pwd", "passphrase",
		"secret", "client_secret", "clientSecret", "Client-Secret", "secrets", "app.secret.value",
		"token", "access_token", "accessToken", "refresh-token", "id_token", "x-auth-token", "access_token_value", "sas_token", "p-a.s s_w\tord",
		"authorization", "Authorization", "proxy-authorization", "api_key", "apiKey", "API-KEY", "x-api-key", "apikey",
		"connection_string", "connectionString", "ConnectionStrings", "private_key", "privateKeyPem", "access_key",
		"credential", "credentials", "cookie", "Set-Cookie", "jwt", "bearer", "shared_access_signature",
	} {
		if !ledger.NamesSecret(key) {
			t.Errorf("%s names no secret", key)
		}
		document := fmt.Sprintf(`{"a":[{"b":{%q:"hunter2"}}]}`, key)
		if got := redact(t, document); strings.Contains(got, "hunter2") {
			t.Errorf("%s passed", got)
		}
	}
	for _, key := range []string{
		"", "name", "key", "keys", "tokens_used", "token_count", "tokenizer", "max_tokens", "author", "authored_by", "compass",
		"passed", "pass_count", "backup_schedule_id", "policy_type", "connection", "keyword", "monkey", "public_key_id", "ключ",
	} {
		if ledger.NamesSecret(key) {
			t.Errorf("%s names a secret", key)
		}
	}
}

func TestSecretsAreRedactedWhereverTheyAre(t *testing.T) {
	t.Parallel()
	quote := func(s string) string { text, _ := json.Marshal(s); return string(text) }
	for document, want := range map[string]string{
		`{"password": "x"}`:                                                        `{"password":"[redacted]"}`,
		`{"password": 12345}`:                                                      `{"password":"[redacted]"}`,
		`{"credentials": {"user": "a", "pin": "b"}}`:                               `{"credentials":"[redacted]"}`,
		`{"secrets": ["a", "b"]}`:                                                  `{"secrets":"[redacted]"}`,
		`{"token": true}`:                                                          `{"token":"[redacted]"}`,
		`{"pass\u0077ord": "x"}`:                                                   `{"password":"[redacted]"}`,
		`{"a": {"password": null, "token": "x"}}`:                                  `{"a":{"password":null,"token":"[redacted]"}}`,
		`[[[{"apiKey": "x"}]]]`:                                                    `[[[{"apiKey":"[redacted]"}]]]`,
		`{"header": ` + quote("sent "+bearerToken+" along") + `}`:                  `{"header":"sent [redacted] along"}`,
		`{"header": "bearer\tmF_9.B5f-4.1JqM\/xyz"}`:                               `{"header":"[redacted]"}`,
		`{"seen": ` + quote("at="+webToken+"&x=1") + `}`:                           `{"seen":"at=[redacted]&x=1"}`,
		`{"pem": ` + quote("here: "+privateKey+"there") + `}`:                      `{"pem":"here: [redacted]\nthere"}`,
		`{"pem": ` + quote(privateKey[:50]) + `}`:                                  `{"pem":"[redacted]"}`,
		`{"pem": ` + quote(privateKey+"and "+privateKey) + `}`:                     `{"pem":"[redacted]\nand [redacted]\n"}`,
		`{"pem": ` + quote(strings.ReplaceAll(privateKey, "RSA", "OPENSSH")) + `}`: `{"pem":"[redacted]\n"}`,
		`{"pem": ` + quote(strings.ReplaceAll(privateKey, "RSA ", "")) + `}`:       `{"pem":"[redacted]\n"}`,
		`{"pgp": "-----BEGIN PGP PRIVATE KEY BLOCK-----\nlQVYBF\n"}`:               `{"pgp":"[redacted]"}`,
		`{"pem": "\u002d\u002d---BEGIN PRIVATE KEY-----\nMIIE"}`:                   `{"pem":"[redacted]"}`,
		`{"n": 12345678901234567890.10, "token": 1}`:                               `{"n":12345678901234567890.10,"token":"[redacted]"}`,
		`{"html": "<&>", "token": 1}`:                                              `{"html":"<&>","token":"[redacted]"}`,
		`{"pem": "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----"}`:    `{"pem": "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----"}`,
		`{"text": "Bearer of news", "tokens_used": 5, "password": null}`:           `{"text": "Bearer of news", "tokens_used": 5, "password": null}`,
		`{"password": "[redacted]", "b": 1}`:                                       `{"password": "[redacted]", "b": 1}`,
		`{ "b" : 1.0, "a" : [ ] , "b" : 2 }`:                                       `{ "b" : 1.0, "a" : [ ] , "b" : 2 }`,
	} {
		if got := redact(t, document); got != want {
			t.Errorf("%s becomes %s, want %s", document, got, want)
		}
	}
	if got := ledger.RedactText("401 for " + bearerToken + ": expired"); got != "401 for [redacted]: expired" {
		t.Errorf("a text becomes %s", got)
	}
}

func TestWhatCannotBeReadIsNoDocument(t *testing.T) {
	t.Parallel()
	if clean, err := ledger.Redact(json.RawMessage(`{"token": `)); err == nil {
		t.Errorf("it became %s", clean)
	}
}

// planted draws JSON documents that hold the secret at random places, where the rule finds it.
func planted(secret string) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		return drawValue(t, secret, rapid.IntRange(0, 5).Draw(t, "depth"))
	})
}

func drawValue(t *rapid.T, secret string, depth int) any {
	kinds := 6
	if depth > 0 {
		kinds = 9
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "bool")
	case 2:
		return rapid.Int32().Draw(t, "number")
	case 3:
		return "see Bearer " + secret + rapid.StringMatching(`[ ,"\n]?`).Draw(t, "rest")
	case 4:
		return "-----BEGIN EC PRIVATE KEY-----\n" + secret
	case 5:
		return rapid.String().Draw(t, "text")
	case 6:
		list := make([]any, rapid.IntRange(0, 4).Draw(t, "length"))
		for i := range list {
			list[i] = drawValue(t, secret, depth-1)
		}
		return list
	default:
		object := map[string]any{}
		for range rapid.IntRange(0, 4).Draw(t, "members") {
			object[rapid.StringN(0, 8, -1).Draw(t, "name")] = drawValue(t, secret, depth-1)
		}
		if rapid.Bool().Draw(t, "secret") {
			key := rapid.SampledFrom([]string{"password", "Client-Secret", "apiKey", "access_token", "Authorization", "connection_string"}).Draw(t, "key")
			object[key] = rapid.SampledFrom([]any{secret, []any{secret}, map[string]any{"deep": secret}}).Draw(t, "value")
		}
		return object
	}
}

func TestNoPlantedSecretIsEverLeftAndASecondTimeChangesNothing(t *testing.T) {
	t.Parallel()
	const secret = "hunter2hunter2hunter2"
	rapid.Check(t, func(rt *rapid.T) {
		document, err := json.Marshal(planted(secret).Draw(rt, "document"))
		if err != nil {
			rt.Fatal(err)
		}
		once := redact(t, string(document))
		if strings.Contains(once, secret) {
			rt.Fatalf("%s becomes %s", document, once)
		}
		if twice := redact(t, once); twice != once {
			rt.Fatalf("%s becomes %s", once, twice)
		}
	})
}

func TestWhateverNamesASecretIsFoundInItsDocument(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		key := ""
		for _, c := range rapid.SampledFrom([]string{"password", "apikey", "mytoken", "jwt", "tokenvalue", "sastoken"}).Draw(rt, "word") {
			key += string(c) + rapid.StringMatching(`[ _.\t"\\ü]{0,2}`).Draw(rt, "between")
			if rapid.Bool().Draw(rt, "upper") {
				key = strings.ToUpper(key)
			}
		}
		document, err := json.Marshal(map[string]string{key: "hunter2"})
		if err != nil {
			rt.Fatal(err)
		}
		if got := redact(t, string(document)); !ledger.NamesSecret(key) || strings.Contains(got, "hunter2") {
			rt.Fatalf("%s becomes %s", document, got)
		}
	})
}

func TestADocumentWithoutSecretsComesBackByteByByte(t *testing.T) {
	t.Parallel()
	names := rapid.SampledFrom([]string{"name", "policy", "tokens_used", "author", "count", "ключ", "key", "passed"})
	rapid.Check(t, func(rt *rapid.T) {
		members := rapid.MapOf(names, rapid.StringMatching(`[a-zA-Z0-9 .:/\\"äß😀-]{0,20}`)).Draw(rt, "members")
		document, err := json.MarshalIndent(members, " ", "\t")
		if err != nil {
			rt.Fatal(err)
		}
		if got := redact(t, string(document)); got != string(document) {
			rt.Fatalf("%s becomes %s", document, got)
		}
	})
}

// bigContext is a context of 64 KiB, with a secret in it or without.
func bigContext(secret bool) json.RawMessage {
	var b bytes.Buffer
	b.WriteString(`{"items":[`)
	for i := 0; b.Len() < 64<<10-120; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":%d,"name":"Configuration %d","state":"unchanged","size":%d}`, i, i, i*7)
	}
	b.WriteString(`]`)
	if secret {
		b.WriteString(`,"client_secret":"hunter2"`)
	}
	b.WriteString(`}`)
	return b.Bytes()
}

func BenchmarkRedact(b *testing.B) {
	for name, document := range map[string]json.RawMessage{"without": bigContext(false), "with": bigContext(true)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(document)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ledger.Redact(document); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
