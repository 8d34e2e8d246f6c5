package ledger

import (
	"bytes"
	"encoding/json"
	"reflect"
)

// Failure is an entry of a run's failure_summary.
type Failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// SameJSON tells whether two documents say the same: the same members in any order, the same
// numbers as they are written.
func SameJSON(a, b json.RawMessage) bool {
	left, err := decode(a)
	if err != nil {
		return false
	}
	right, err := decode(b)
	return err == nil && reflect.DeepEqual(left, right)
}

// ChangesNothing tells whether merging patch into target by RFC 7396 leaves target as it is.
func ChangesNothing(target, patch json.RawMessage) bool {
	before, err := decode(target)
	if err != nil {
		return false
	}
	change, err := decode(patch)
	return err == nil && unchanged(before, change)
}

func unchanged(target, patch any) bool {
	members, ok := patch.(map[string]any)
	if !ok {
		return reflect.DeepEqual(target, patch)
	}
	object, ok := target.(map[string]any)
	if !ok {
		return false
	}
	for name, value := range members {
		existing, has := object[name]
		if value == nil && has || value != nil && (!has || !unchanged(existing, value)) {
			return false
		}
	}
	return true
}

// decode reads a document with its numbers as they are written; an absent one is null.
func decode(document json.RawMessage) (any, error) {
	if document == nil {
		document = json.RawMessage("null")
	}
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	var tree any
	err := decoder.Decode(&tree)
	return tree, err
}
