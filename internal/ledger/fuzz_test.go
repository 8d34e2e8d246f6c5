package ledger_test

import (
	"bytes"
	"encoding/json"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/runledger/runledger/internal/ledger"
)

// numbered reads a document with its numbers by their value. One with a number that is too long to
// be written out is left to the other tests.
func numbered(document []byte) (tree any, ok bool) {
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	if !json.Valid(document) || decoder.Decode(&tree) != nil {
		return nil, false
	}
	ok = true
	var valued func(any) any
	valued = func(value any) any {
		switch value := value.(type) {
		case json.Number:
			_, exponent, _ := strings.Cut(strings.ToLower(value.String()), "e")
			if n, err := strconv.Atoi(exponent); exponent != "" && (err != nil || n < -999 || n > 999) {
				ok = false
				return nil
			}
			exact, _ := new(big.Rat).SetString(value.String())
			return exact.RatString()
		case map[string]any:
			for name := range value {
				value[name] = valued(value[name])
			}
		case []any:
			for i := range value {
				value[i] = valued(value[i])
			}
		}
		return value
	}
	return valued(tree), ok
}

func FuzzMergePatch(f *testing.F) {
	for _, c := range [][2]string{ // the cases of RFC 7396, appendix A, and a few more
		{`{"a":"b"}`, `{"a":"c"}`}, {`{"a":"b"}`, `{"b":"c"}`}, {`{"a":"b"}`, `{"a":null}`}, {`{"a":"b","b":"c"}`, `{"a":null}`},
		{`{"a":["b"]}`, `{"a":"c"}`}, {`{"a":"c"}`, `{"a":["b"]}`}, {`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`}, {`["a","b"]`, `["c","d"]`}, {`{"a":"b"}`, `["c"]`}, {`{"a":"foo"}`, `null`},
		{`{"a":"foo"}`, `"bar"`}, {`{"e":null}`, `{"a":1}`}, {`[1,2]`, `{"a":"b","c":null}`}, {`{}`, `{"a":{"bb":{"ccc":null}}}`},
		{`{"a":1}`, `{"a":1.0}`}, {`{"a":-0}`, `{"a":0e5}`}, {`{"a":[0.00125]}`, `{"a":[125E-5]}`}, {`{"a":{}}`, `{"a":{}}`}, {`{"a":null}`, `{}`}, {`{"":{"":1}}`, `{"":{"":1}}`}, {`{"é":1}`, `{"\u00e9":1}`},
	} {
		f.Add([]byte(c[0]), []byte(c[1]))
	}
	f.Fuzz(func(t *testing.T, target, patch []byte) {
		before, ok := numbered(target)
		change, also := numbered(patch)
		nothing := ledger.ChangesNothing(target, patch)
		if !ok || !also {
			return // the service asks for documents that it has checked
		}
		if want := reflect.DeepEqual(mergePatch(before, change), before); nothing != want {
			t.Fatalf("merging %s into %s changes nothing: %t, want %t", patch, target, nothing, want)
		}
	})
}

func FuzzIdentity(f *testing.F) {
	for _, identity := range []string{
		`"x"`, `1`, `null`, `{}`, `{"b":1,"a":[2,{"d":null,"c":"\u00e9"}]}`, `1e21`, `0.1`, `-0`, `9007199254740993`, `9007199254740992`, `{"a":1,"a":2}`, `"\ud800"`,
		`"\ud83d\ude00"`, `1e999`, `[`, `"\u0000"`, `{"\u20ac":1,"\ufb33":2}`, `333333333.33333329`, ` [ 1 , 2 ] `, `"a\/b"`, `4.50`, `2e-3`, `0.000000000000000000000000001`,
	} {
		f.Add([]byte(identity), int64(1), "inventory_sync")
	}
	f.Fuzz(func(t *testing.T, identity []byte, workspaceID int64, runType string) {
		if !json.Valid(identity) {
			return
		}
		hash, err := ledger.IdentityHash(workspaceID, nil, runType, identity)
		if err != nil {
			return
		}
		if len(hash) != 64 {
			t.Fatalf("the hash of %s is %q", identity, hash)
		}
		var spaced bytes.Buffer
		if err := json.Indent(&spaced, identity, "", " \t"); err != nil {
			t.Fatal(err)
		}
		if again, err := ledger.IdentityHash(workspaceID, nil, runType, spaced.Bytes()); err != nil || again != hash {
			t.Fatalf("%s and %s are not the same work: %s %s %v", identity, spaced.Bytes(), hash, again, err)
		}
		tenant := int64(1)
		for what, other := range map[string]func() (string, error){
			"another workspace": func() (string, error) { return ledger.IdentityHash(workspaceID+1, nil, runType, identity) },
			"a tenant":          func() (string, error) { return ledger.IdentityHash(workspaceID, &tenant, runType, identity) },
			"another identity": func() (string, error) {
				return ledger.IdentityHash(workspaceID, nil, runType, []byte("["+string(identity)+"]"))
			},
		} {
			if got, err := other(); err != nil || got == hash {
				t.Fatalf("%s with %s is the same work, or none: %v", identity, what, err)
			}
		}
	})
}
