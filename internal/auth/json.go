package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// maxJSONDepth is how deep objects and arrays may nest in a header or in claims.
const maxJSONDepth = 16

var (
	errNotUTF8   = errors.New("JSON is not valid UTF-8")
	errNotObject = errors.New("not a JSON object")
	errDuplicate = errors.New("duplicate member in a JSON object")
	errTooDeep   = fmt.Errorf("JSON nested deeper than %d", maxJSONDepth)
)

// parseObject decodes one JSON object more strictly than encoding/json does: a
// repeated member at any depth and invalid UTF-8 are errors, and names are told
// apart by case. Where parsers differ in which of two members counts, one of them
// would check a token that the other did not (RFC 7515, section 4; RFC 7519,
// section 4; RFC 8725, section 2.4).
func parseObject(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) {
		return nil, errNotUTF8
	}
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		return nil, fmt.Errorf("parse JSON: %w", err)
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, errNotObject
	}
	// The text has a colon for each member and the map an entry for each name, so
	// the numbers differ if, and only if, a name came twice.
	kept, err := countMembers(object, 1)
	if err != nil {
		return nil, err
	}
	if kept != countColons(data) {
		return nil, errDuplicate
	}
	return object, nil
}

// countMembers counts the members of all objects in a decoded value.
func countMembers(value any, depth int) (int, error) {
	var n int
	switch value := value.(type) {
	case map[string]any:
		n = len(value)
		for _, v := range value {
			inner, err := countMembers(v, depth+1)
			if err != nil {
				return 0, err
			}
			n += inner
		}
	case []any:
		for _, v := range value {
			inner, err := countMembers(v, depth+1)
			if err != nil {
				return 0, err
			}
			n += inner
		}
	default:
		return 0, nil
	}
	if depth > maxJSONDepth {
		return 0, errTooDeep
	}
	return n, nil
}

// countColons counts the colons in valid JSON that are not part of a string.
func countColons(data []byte) int {
	var n int
	var inString bool
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			inString = !inString
		case '\\': // Only strings have it; what follows does not end them.
			i++
		case ':':
			if !inString {
				n++
			}
		}
	}
	return n
}
