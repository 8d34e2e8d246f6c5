package ledger

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
)

// Redacted is what stands for a value that was a secret.
const Redacted = "[redacted]"

// secretWords make a key the name of a secret, wherever they stand in it: client_secret, apiKey
// and X-Auth-Token are all found once case and punctuation are gone.
var secretWords = []string{
	"password", "passwd", "passphrase", "secret", "authorization", "apikey", "accesskey", "privatekey",
	"connectionstring", "credential", "sastoken", "sharedaccesssignature", "cookie",
}

// tokenPattern finds keys that name a token, but not counts of tokens or tokenizers.
var tokenPattern = regexp.MustCompile(`token$|^token(value)?$|^jwt$|^bearer$|^pwd$`)

// secretValue finds values that are secrets whatever their key: bearer tokens (RFC 6750), JSON Web
// Tokens and private keys in PEM (RFC 7468) up to their end, or to that of the text if they were
// cut off.
var secretValue = regexp.MustCompile(
	`(?i)\bbearer\s+[a-z0-9._~+/-]{16,}=*` +
		`|\beyJ[a-z0-9_-]{8,}\.[a-z0-9_-]{8,}\.[a-z0-9_-]*` +
		`|-----BEGIN [a-z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END [a-z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)`)

// mayHoldSecret is a cheap look at raw JSON that passes everything in which Redact could find
// something; what it lets go needs no parsing. An escape could hide any word.
var mayHoldSecret = regexp.MustCompile(
	`(?i)\\u|\\/|pass|secret|auth|key|conn|cred|token|sas|shared|cookie|jwt|bearer|pwd|eyJ|PRIVATE`)

// NamesSecret tells whether a value under that key is taken for a secret.
func NamesSecret(key string) bool {
	plain := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		default:
			return -1
		}
	}, key)
	for _, word := range secretWords {
		if strings.Contains(plain, word) {
			return true
		}
	}
	return tokenPattern.MatchString(plain)
}

// RedactText replaces secrets inside a text that people read.
func RedactText(s string) string { return secretValue.ReplaceAllString(s, Redacted) }

// Redact replaces in a JSON document, at any depth, values under keys that name a secret and
// strings that hold one. A null stays null, as there is nothing to hide and a merge patch means
// removal by it. A document without secrets comes back as it is, byte by byte.
func Redact(document json.RawMessage) (json.RawMessage, error) {
	if !mayHoldSecret.Match(document) {
		return document, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	var tree any
	if err := decoder.Decode(&tree); err != nil {
		return nil, err
	}
	clean, changed := redact(tree)
	if !changed {
		return document, nil
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(clean); err != nil {
		return nil, err
	}
	return bytes.TrimRight(out.Bytes(), "\n"), nil
}

// redact cleans a decoded value in place and tells whether it changed anything.
func redact(value any) (clean any, changed bool) {
	switch value := value.(type) {
	case map[string]any:
		for key, member := range value {
			if member != nil && NamesSecret(key) {
				if member != Redacted {
					value[key] = Redacted
					changed = true
				}
				continue
			}
			c, did := redact(member)
			if did {
				value[key] = c
				changed = true
			}
		}
	case []any:
		for i, element := range value {
			c, did := redact(element)
			if did {
				value[i] = c
				changed = true
			}
		}
	case string:
		if secretValue.MatchString(value) {
			return RedactText(value), true
		}
	}
	return value, changed
}
