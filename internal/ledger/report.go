package ledger

import (
	"bytes"
	"cmp"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

// Failure is an entry of a run's failure_summary.
type Failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// SameJSON tells whether two documents say the same: the same members in any order, and numbers of
// the same value however they are written, since the database writes them in its own way.
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

// decode reads a document with its numbers in their normal form; an absent one is null.
func decode(document json.RawMessage) (any, error) {
	if document == nil {
		document = json.RawMessage("null")
	}
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	var tree any
	err := decoder.Decode(&tree)
	return normal(tree), err
}

// normal is a value with its numbers in their normal form.
func normal(value any) any {
	switch value := value.(type) {
	case json.Number:
		return normalNumber(value)
	case map[string]any:
		for name, member := range value {
			value[name] = normal(member)
		}
	case []any:
		for i, element := range value {
			value[i] = normal(element)
		}
	}
	return value
}

// normalNumber is the one way to write a number: its digits from the first to the last that is not
// 0, and a power of ten. Nothing is expanded, so that a large exponent costs nothing; one that is
// beyond all that the database can hold leaves the number as it is written.
func normalNumber(number json.Number) json.Number {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(string(number)), "e")
	sign := ""
	if mantissa[0] == '-' {
		sign, mantissa = "-", mantissa[1:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	significant := strings.TrimRight(digits, "0")
	if significant == "" {
		return "0" // be it negative
	}
	power, err := strconv.ParseInt(cmp.Or(exponent, "0"), 10, 32)
	if err != nil {
		return number
	}
	power += int64(len(digits) - len(significant) - len(fraction))
	return json.Number(sign + significant + "e" + strconv.FormatInt(power, 10))
}
