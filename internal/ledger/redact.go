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

// secretValue finds values that are secrets whatever their key: bearer tokens (RFC 6750), JSON Web
// Tokens and private keys in PEM (RFC 7468) up to their end, or to that of the text if they were
// cut off.
var secretValue = regexp.MustCompile(
	`(?i)\bbearer\s+[a-z0-9._~+/-]{16,}=*` +
		`|\beyJ[a-z0-9_-]{8,}\.[a-z0-9_-]{8,}\.[a-z0-9_-]*` +
		`|-----BEGIN [a-z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END [a-z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)`)

// signs are what every secret that Redact could find shows, its key or its value. An escape could
// hide any of them.
var signs = newWords(append([]string{"token", "jwt", "pwd", "bearer", "eyj", "privatekey", `\`}, secretWords...))

// valueSigns are what every text shows that secretValue finds.
var valueSigns = newWords([]string{"bearer", "eyj", "privatekey"})

// words are looked for all at once: those that begin with a byte are at its place.
type words [256][]string

func newWords(list []string) *words {
	var w words
	for _, word := range list {
		first := word[0]
		w[first] = append(w[first], word)
		if upper := bytes.ToUpper([]byte{first})[0]; upper != first {
			w[upper] = append(w[upper], word)
		}
	}
	return &w
}

// in tells whether one of the words is in the text, whatever its case and the punctuation in it.
func (w *words) in(text []byte) bool {
	for i, c := range text {
		for _, word := range w[c] {
			if begins(text[i+1:], word[1:]) {
				return true
			}
		}
	}
	return false
}

// begins tells whether the text begins with the word, whatever its case and the punctuation.
func begins(text []byte, word string) bool {
	for len(word) > 0 && len(text) > 0 {
		c := plain(rune(text[0]))
		if c >= 0 && c != rune(word[0]) {
			return false
		}
		if c >= 0 {
			word = word[1:]
		}
		text = text[1:]
	}
	return word == ""
}

// plain is a letter in lower case or a digit, of ASCII both, and -1 for everything else.
func plain(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
		return r
	case r >= 'A' && r <= 'Z':
		return r - 'A' + 'a'
	default:
		return -1
	}
}

// NamesSecret tells whether a value under that key is taken for a secret. A count of tokens and a
// tokenizer are none.
func NamesSecret(key string) bool {
	name := strings.Map(plain, key)
	for _, word := range secretWords {
		if strings.Contains(name, word) {
			return true
		}
	}
	return strings.HasSuffix(name, "token") || strings.HasSuffix(name, "tokenvalue") ||
		name == "jwt" || name == "bearer" || name == "pwd"
}

// RedactText replaces secrets inside a text that people read.
func RedactText(s string) string {
	if !valueSigns.in([]byte(s)) {
		return s
	}
	return secretValue.ReplaceAllString(s, Redacted)
}

// Redact replaces in a JSON document, at any depth, values under keys that name a secret and
// strings that hold one. A null stays null, as there is nothing to hide and a merge patch means
// removal by it. A document without secrets comes back as it is, byte by byte.
func Redact(document json.RawMessage) (json.RawMessage, error) {
	if !signs.in(document) { // which spares most documents the parsing
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
		text := RedactText(value)
		return text, text != value
	}
	return value, changed
}
