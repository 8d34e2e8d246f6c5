package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestAFlawOfABodyIsToldWithThePointerToIt(t *testing.T) {
	t.Parallel()
	const text, number = `A text holds \u0000 or half of a surrogate pair, which cannot be stored.`,
		"A number is longer than 1000 digits or has an exponent beyond 308."
	twice := func(name string) string { return fmt.Sprintf("An object has two members of the name %q.", name) }
	for body, want := range map[string][]fault{
		`{"a":1}`:                             nil,
		`{"a":"\u0000"}`:                      {{Pointer: "/a", Detail: text}},
		`{"a":[1, {"b~/c" : "x\ud800y"}, 2]}`: {{Pointer: "/a/1/b~0~1c", Detail: text}},
		`{"a":{"x":"{[,\"]","\u0000":1}}`:     {{Pointer: "/a", Detail: text}},
		`{"a":[[],[1e999, -1E+400],[]]}`:      {{Pointer: "/a/1/0", Detail: number}, {Pointer: "/a/1/1", Detail: number}},
		`{"a":1,"b":[{"c":1,"c":2}],"a":2}`:   {{Pointer: "/b/0", Detail: twice("c")}, {Detail: twice("a")}},
		`["\udc00",0,"\u0000"]`:               {{Pointer: "/0", Detail: text}, {Pointer: "/2", Detail: text}},
		`"\u0000"`:                            {{Detail: text}},
		`1e309`:                               {{Detail: number}},
	} {
		got, err := checkJSON([]byte(body))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", body, got, err, want)
		}
	}
	members := make([]string, 0, mostMembers+2)
	for i := range cap(members) {
		members = append(members, fmt.Sprintf(`"%d":0`, i))
	}
	large := `[{` + strings.Join(members, ",") + `},{"a":1,"a":2}]`
	want := []fault{{Pointer: "/0", Detail: "An object has more than 10000 members."}, {Pointer: "/1", Detail: twice("a")}}
	if got, err := checkJSON([]byte(large)); err != nil || !slices.Equal(got, want) {
		t.Errorf("behind a large object: %+v, %v", got, err)
	}
	many := "[" + strings.Repeat(`"\u0000",`, mostFlaws) + `"\u0000"]`
	if _, err := checkJSON([]byte(many)); err == nil || len(answerFor(err).faults) != maxFaults {
		t.Errorf("more flaws than are told: %v", err)
	}
}
