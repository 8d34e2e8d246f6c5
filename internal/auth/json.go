package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// maxJSONDepth is how deep objects and arrays may nest in a header or in claims.
const maxJSONDepth = 16

var (
	errNotObject = errors.New("not a JSON object")
	errDuplicate = errors.New("duplicate member in a JSON object")
	errTooDeep   = fmt.Errorf("JSON nested deeper than %d", maxJSONDepth)
	errNotUTF8   = errors.New("JSON is not valid UTF-8")
	errTrailing  = errors.New("data after the JSON object")
)

// parseObject decodes one JSON object more strictly than encoding/json does: a
// repeated member at any depth, invalid UTF-8 and anything after the object are
// errors, and names are told apart by case. Where parsers differ in which of two
// members counts, one of them would check a token that the other did not
// (RFC 7515, section 4; RFC 7519, section 4; RFC 8725, section 2.4). Numbers
// become [json.Number].
func parseObject(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) {
		return nil, errNotUTF8
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	value, err := parseValue(dec, 0)
	if err != nil {
		return nil, err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, errNotObject
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errTrailing
	}
	return object, nil
}

func parseValue(dec *json.Decoder, depth int) (any, error) {
	if depth > maxJSONDepth {
		return nil, errTooDeep
	}
	token, err := dec.Token()
	if err != nil {
		return nil, fmt.Errorf("parse JSON: %w", err)
	}
	switch token {
	case json.Delim('{'):
		return parseMembers(dec, depth)
	case json.Delim('['):
		return parseElements(dec, depth)
	}
	return token, nil
}

func parseMembers(dec *json.Decoder, depth int) (any, error) {
	object := make(map[string]any)
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("parse JSON: %w", err)
		}
		key, ok := name.(string)
		if !ok {
			return nil, errNotObject
		}
		if _, seen := object[key]; seen {
			return nil, errDuplicate
		}
		if object[key], err = parseValue(dec, depth+1); err != nil {
			return nil, err
		}
	}
	return object, closeValue(dec)
}

func parseElements(dec *json.Decoder, depth int) (any, error) {
	array := []any{}
	for dec.More() {
		element, err := parseValue(dec, depth+1)
		if err != nil {
			return nil, err
		}
		array = append(array, element)
	}
	return array, closeValue(dec)
}

// closeValue reads the bracket that ends an object or array.
func closeValue(dec *json.Decoder) error {
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("parse JSON: %w", err)
	}
	return nil
}
