package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The bounds of what a request may carry.
const (
	maxBody           = 1 << 20  // bytes
	maxJSONDepth      = 64       // nested objects and arrays
	maxContext        = 64 << 10 // bytes of a run's context as JSON
	maxFailures       = 100      // entries of a run's failure_summary
	maxName           = 255      // characters of a name
	maxFailureCode    = 128      // characters
	maxFailureMessage = 4000     // characters
)

// readBody reads the JSON object in a request's body.
func readBody(w http.ResponseWriter, r *http.Request) (json.RawMessage, error) {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/json" && !strings.HasSuffix(mediaType, "+json") {
		return nil, errMediaType
	}
	if r.Header.Get("Content-Encoding") != "" {
		return nil, errMediaType
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, errBodyTooLarge
	}
	if err != nil {
		return nil, errBody("The body ended before it was complete.").because(err)
	}
	if err := checkJSON(body); err != nil {
		return nil, err
	}
	if body = bytes.TrimSpace(body); body[0] != '{' {
		return nil, errBody("The body is to be a JSON object.")
	}
	return body, nil
}

// checkJSON refuses what is not JSON (RFC 8259) and what JSON can say but PostgreSQL's jsonb
// cannot hold: U+0000, half a surrogate pair, numbers beyond any use, two members of one name.
// Nothing is changed in silence.
func checkJSON(body []byte) error {
	if !utf8.Valid(body) {
		return errBody("The body is not UTF-8.")
	}
	// Depth first: a parser should not have to follow what nobody will read.
	depth, inString := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxJSONDepth {
				return errBody(fmt.Sprintf("The body nests deeper than %d levels.", maxJSONDepth))
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	if !json.Valid(body) {
		var tree any
		if syntax, ok := errors.AsType[*json.SyntaxError](json.Unmarshal(body, &tree)); ok {
			return errBody(fmt.Sprintf("The body is not JSON: %s, at byte %d.", syntax.Error(), syntax.Offset))
		}
		return errBody("The body is not JSON.")
	}
	if name, repeated := repeatedName(body); repeated {
		return errBody(fmt.Sprintf("An object has two members of the name %q.", printable(name)))
	}
	return checkValues(body)
}

// checkValues looks at the escapes and the numbers of valid JSON.
func checkValues(body []byte) error {
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case c == '"':
			end, ok := checkString(body, i+1)
			if !ok {
				return errBody(`A text holds \u0000 or half of a surrogate pair, which cannot be stored.`)
			}
			i = end
		case c == '-' || c >= '0' && c <= '9':
			start := i
			for i+1 < len(body) && strings.IndexByte("0123456789+-.eE", body[i+1]) >= 0 {
				i++
			}
			if !storable(body[start : i+1]) {
				return errBody("A number is longer than 1000 digits or has an exponent beyond 308.")
			}
		}
	}
	return nil
}

// checkString looks at the escapes of the string that begins at i and returns where it ends.
func checkString(body []byte, i int) (end int, ok bool) {
	high := false // the escape before was the first half of a surrogate pair
	for ; ; i++ {
		c := body[i]
		unicode := c == '\\' && body[i+1] == 'u'
		var unit uint64
		if unicode {
			unit, _ = strconv.ParseUint(string(body[i+2:i+6]), 16, 32)
		}
		low := unicode && unit >= 0xDC00 && unit <= 0xDFFF
		if high != low {
			return 0, false
		}
		high = unicode && unit >= 0xD800 && unit <= 0xDBFF
		switch {
		case unicode && unit == 0:
			return 0, false
		case unicode:
			i += 5
		case c == '\\':
			i++
		case c == '"':
			return i, true
		}
	}
}

// storable tells whether a number is one that PostgreSQL's numeric holds and others can read.
func storable(number []byte) bool {
	const longest, largest = 1000, 308
	if len(number) > longest {
		return false
	}
	_, exponent, has := bytes.Cut(bytes.ToLower(number), []byte{'e'})
	if !has {
		return true
	}
	n, err := strconv.Atoi(string(exponent))
	return err == nil && n >= -largest && n <= largest
}

// fields reads the members of a JSON object and collects everything that is wrong with them.
type fields struct {
	values  map[string]json.RawMessage
	known   map[string]bool
	pointer string // of the object itself (RFC 6901)
	faults  []fault
}

// parseFields reads an object that checkJSON has passed.
func parseFields(object json.RawMessage, pointer string) *fields {
	f := &fields{known: map[string]bool{}, pointer: pointer}
	if err := json.Unmarshal(object, &f.values); err != nil || f.values == nil {
		f.faults = append(f.faults, fault{Pointer: pointer, Detail: "It is to be an object."})
	}
	return f
}

// fault notes what is wrong with a member.
func (f *fields) fault(name, format string, args ...any) {
	escaped := strings.NewReplacer("~", "~0", "/", "~1").Replace(printable(name))
	f.faults = append(f.faults, fault{Pointer: f.pointer + "/" + escaped, Detail: fmt.Sprintf(format, args...)})
}

// value is a member; ok is false where it is absent or null.
func (f *fields) value(name string) (json.RawMessage, bool) {
	f.known[name] = true
	value, ok := f.values[name]
	return value, ok && string(value) != "null"
}

// text is a member that is a text of 1 to longest characters.
func (f *fields) text(name string, longest int) (string, bool) {
	value, ok := f.value(name)
	if !ok {
		return "", false
	}
	var s string
	if err := json.Unmarshal(value, &s); err != nil || s == "" || utf8.RuneCountInString(s) > longest {
		f.fault(name, "A text of 1 to %d characters.", longest)
		return "", false
	}
	return s, true
}

// id is a member that is the id of a row.
func (f *fields) id(name string) *int64 {
	value, ok := f.value(name)
	if !ok {
		return nil
	}
	id, ok := parseID(string(value))
	if !ok {
		f.fault(name, "An id is a whole number from 1 to 9223372036854775807.")
		return nil
	}
	return &id
}

// choice is a member that is one of allowed.
func (f *fields) choice(name string, allowed []string) (string, bool) {
	s, ok := f.text(name, maxName)
	if ok && !slices.Contains(allowed, s) {
		f.fault(name, "One of %s.", strings.Join(allowed, ", "))
		return "", false
	}
	return s, ok
}

// instant is a member that is an instant (RFC 3339).
func (f *fields) instant(name string) (time.Time, bool) {
	s, ok := f.text(name, maxName)
	if !ok {
		return time.Time{}, false
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		f.fault(name, "An instant as in RFC 3339, such as 2026-01-31T12:00:00Z.")
		return time.Time{}, false
	}
	return at.UTC(), true
}

// object is a member that is a JSON object of at most longest bytes.
func (f *fields) object(name string, longest int) (json.RawMessage, bool) {
	value, ok := f.value(name)
	switch {
	case !ok:
		return nil, false
	case value[0] != '{':
		f.fault(name, "An object.")
	case len(value) > longest:
		f.fault(name, "At most %d bytes of JSON; these are %d.", longest, len(value))
	default:
		return value, true
	}
	return nil, false
}

// faultless is nil if nothing is wrong, and else all that is.
func (f *fields) faultless() []fault {
	for _, name := range slices.Sorted(maps.Keys(f.values)) {
		if !f.known[name] {
			f.fault(name, "There is no such member here.")
		}
	}
	return f.faults
}
