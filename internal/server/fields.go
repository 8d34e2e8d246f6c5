package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/runledger/runledger/internal/ledger"
)

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
	if len(f.faults) < maxFaults {
		f.faults = append(f.faults, fault{Pointer: f.pointer + "/" + pointed.Replace(printable(name)), Detail: fmt.Sprintf(format, args...)})
	}
}

// maxFaults is how many faults of an object are told: a body could have a hundred thousand.
const maxFaults = 100

// pointed writes a name as a part of a JSON pointer (RFC 6901 section 3).
var pointed = strings.NewReplacer("~", "~0", "/", "~1")

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

// anyText is a member that is a text of at most longest characters, none where it is not there: what
// answers show as "" can be sent back.
func (f *fields) anyText(name string, longest int) string {
	if value, ok := f.value(name); !ok || string(value) == `""` {
		return ""
	}
	s, _ := f.text(name, longest)
	return s
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

// requires notes it as a fault if a member of the object is not there.
func (f *fields) requires(name string) {
	if _, given := f.value(name); !given && f.values != nil {
		f.fault(name, "It is required.")
	}
}

// requiredText is a member that is a text of 1 to longest characters and has to be there.
func (f *fields) requiredText(name string, longest int) string {
	f.requires(name)
	s, _ := f.text(name, longest)
	return s
}

// requiredID is a member that is the id of a row and has to be there.
func (f *fields) requiredID(name string) int64 {
	f.requires(name)
	return f.idOrZero(name)
}

// idOrZero is a member that is the id of a row, 0 where there is none.
func (f *fields) idOrZero(name string) int64 {
	if id := f.id(name); id != nil {
		return *id
	}
	return 0
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
	at, ok := parseInstant(s)
	if !ok {
		f.fault(name, "An instant as in RFC 3339, such as 2026-01-31T12:00:00Z.")
	}
	return at, ok
}

// array is a member that is an array of 1 to maxBatch values; nil if it is none.
func (f *fields) array(name string) []json.RawMessage {
	value, _ := f.value(name)
	var values []json.RawMessage
	if err := json.Unmarshal(value, &values); value == nil || err != nil || len(values) == 0 || len(values) > maxBatch {
		f.fault(name, "An array of 1 to %d objects.", maxBatch)
		return nil
	}
	return values
}

// object is a member that is a JSON object of at most longest bytes.
func (f *fields) object(name string, longest int) (json.RawMessage, bool) {
	value, ok := f.value(name)
	switch {
	case !ok:
		return nil, false
	case value[0] != '{':
		f.fault(name, "An object.")
	case !f.fits(name, value, longest):
	default:
		return value, true
	}
	return nil, false
}

// freeObject is a member that is a JSON object of at most maxFree bytes, as it came and without the secrets in
// it: what is stored in their place may be longer.
func (f *fields) freeObject(name string) (json.RawMessage, bool) {
	object, ok := f.object(name, maxFree)
	if !ok {
		return nil, false
	}
	clean, err := ledger.Redact(object)
	if err != nil {
		f.fault(name, "It cannot be read.")
		return nil, false
	}
	return clean, bytes.Equal(clean, object) || f.fits(name, clean, maxFree)
}

// fits tells whether a member has at most longest bytes, and otherwise notes a fault.
func (f *fields) fits(name string, value []byte, longest int) bool {
	length := compact(value)
	if length > longest {
		f.fault(name, "At most %d bytes of JSON, without space between its tokens and with its numbers written out; these are %d.", longest, length)
	}
	return length <= longest
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
