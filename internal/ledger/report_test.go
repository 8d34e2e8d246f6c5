package ledger_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/runledger/runledger/internal/ledger"
)

// mergePatch is the function of RFC 7396, section 2, word for word.
func mergePatch(target, patch any) any {
	members, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	merged := map[string]any{}
	if object, ok := target.(map[string]any); ok {
		maps.Copy(merged, object)
	}
	for name, value := range members {
		if value == nil {
			delete(merged, name)
		} else {
			merged[name] = mergePatch(merged[name], value)
		}
	}
	return merged
}

// drawJSON draws a value of few names and numbers, so that two of them often agree in part.
func drawJSON(t *rapid.T, depth int) any {
	switch kind := rapid.IntRange(0, 7).Draw(t, "kind"); {
	case kind == 0:
		return nil
	case kind < 3:
		return float64(rapid.IntRange(0, 2).Draw(t, "number"))
	case kind == 3 || depth == 0:
		return rapid.SampledFrom([]string{"", "x"}).Draw(t, "text")
	case kind == 4:
		return []any{drawJSON(t, depth-1)}
	default:
		object := map[string]any{}
		for range rapid.IntRange(0, 3).Draw(t, "members") {
			object[rapid.SampledFrom([]string{"a", "b", ""}).Draw(t, "name")] = drawJSON(t, depth-1)
		}
		return object
	}
}

func TestChangesNothingAgreesWithTheMerge(t *testing.T) {
	t.Parallel()
	same := 0
	rapid.Check(t, func(rt *rapid.T) {
		target, patch := drawJSON(rt, 3), drawJSON(rt, 3)
		if rapid.Bool().Draw(rt, "members") {
			target, patch = map[string]any{"a": target}, map[string]any{"a": patch}
		}
		if rapid.Bool().Draw(rt, "merged before") {
			target = mergePatch(target, patch)
		}
		before, _ := json.Marshal(target)
		change, _ := json.Marshal(patch)
		want := reflect.DeepEqual(mergePatch(target, patch), target)
		if want {
			same++
		}
		if got := ledger.ChangesNothing(before, change); got != want {
			rt.Fatalf("merging %s into %s changes nothing: %t, want %t", change, before, got, want)
		}
	})
	if same == 0 {
		t.Error("no case changed nothing")
	}
}

func TestTwoDocumentsSayTheSame(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{`{"a":1,"b":[1,2]}`, `{ "b": [1, 2], "a": 1 }`, true},
		{`"\u00e4"`, `"ä"`, true},
		{`9007199254740993`, `9007199254740992`, false},
		{`1e-7`, `0.0000001`, true},
		{`1E+3`, `1000`, true},
		{`[{"n":-12.50e1}]`, `[{"n":-125}]`, true},
		{`-0.0`, `0`, true},
		{`-0e999999999999`, `0.00`, true},
		{`1`, `-1`, false},
		{`1e2`, `1e3`, false},
		{`100`, `1`, false},
		{`0.1`, `0.01`, false},
		{`1e2147483647`, `10e2147483646`, true},
		{`1e999999999999`, `1e999999999998`, false},
		{`"1e3"`, `"1000"`, false},
		{`[1,2]`, `[2,1]`, false},
		{`{"a":null}`, `{}`, false},
		{`{`, `{`, false},
		{`1`, `{`, false},
	} {
		if got := ledger.SameJSON(json.RawMessage(c.a), json.RawMessage(c.b)); got != c.want {
			t.Errorf("%s and %s say the same: %t", c.a, c.b, got)
		}
	}
	if !ledger.SameJSON(nil, json.RawMessage(`null`)) {
		t.Error("nothing is not null")
	}
	if ledger.ChangesNothing(json.RawMessage(`{`), json.RawMessage(`{}`)) || ledger.ChangesNothing(json.RawMessage(`{}`), json.RawMessage(`{`)) {
		t.Error("what cannot be read changes nothing")
	}
}

func TestARunIsActiveUntilItIsCompleted(t *testing.T) {
	t.Parallel()
	for _, status := range ledger.Statuses {
		if status.Active() != (status != ledger.StatusCompleted) {
			t.Errorf("%s is active: %t", status, status.Active())
		}
	}
	if ledger.Status("").Active() || ledger.Outcomes[0] != ledger.OutcomePending {
		t.Error("no status is active, or pending is not the first outcome")
	}
}
