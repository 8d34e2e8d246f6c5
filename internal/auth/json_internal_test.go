package auth

import (
	"encoding/json"
	"reflect"
	"testing"
)

// FuzzParseObject holds the strict parser against encoding/json: what it accepts,
// that accepts too and understands in the same way.
func FuzzParseObject(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":1,"b":[true,null,{"c":"d"}]}`, `{"a":1,"a":2}`, `{"a":1}x`, `{"a" 1}`, `{"a":1,}`, `[]`, `{"\u0061":-0.5e+7}`, `{,}`, `{"a":[1 2]}`, `{"a":]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parseObject(data)
		if err != nil {
			return
		}
		var reference, own any
		if err := json.Unmarshal(data, &reference); err != nil {
			t.Fatalf("%q is accepted, but: %v", data, err)
		}
		again, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(again, &own); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(own, reference) {
			t.Errorf("%q: got %v, want %v", data, own, reference)
		}
	})
}
