package ledger_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/runledger/runledger/internal/ledger"
)

// diffOf is a comparison as JSON.
func diffOf(t *testing.T, before, after ledger.Snapshot) string {
	t.Helper()
	text, err := json.Marshal(ledger.Compare(before, after))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTwoRunsStandSideBySide(t *testing.T) {
	t.Parallel()
	const hour = 3_600_000_000
	short, long := int64(90_000_000), int64(2_000_000*hour+500_000) // more than two centuries
	got := diffOf(t, ledger.Snapshot{
		Counts:   json.RawMessage(`{"total": 3, "gone": 2, "same": 1, "odd": "x", "half": 0.5}`),
		Failures: json.RawMessage(`[{"code":"old","message":"was"},{"code":"both","message":"b"},{"nothing":1},7]`),
		Context:  json.RawMessage(`{"a":1,"b":{"c":[1,2],"d/e":true,"same":1},"z":null}`),
		Micros:   &short,
	}, ledger.Snapshot{
		Counts:   json.RawMessage(`{"total": 9223372036854775807, "new": 4, "same": 1, "half": 0.25}`),
		Failures: json.RawMessage(`[{"code":"both","message":"x"},{"code":"both","message":"x"},{"code":"both"},{"code":"new","message":null}]`),
		Context:  json.RawMessage(`{"a":{"x":1},"b":{"c":[2],"same":1},"z":null,"~":"new"}`),
		Micros:   &long,
	})
	want := `{"counts":[` +
		`{"name":"gone","before":2,"after":null,"change":-2},{"name":"half","before":0.5,"after":0.25,"change":-0.25},` +
		`{"name":"new","before":null,"after":4,"change":4},{"name":"same","before":1,"after":1,"change":0},` +
		`{"name":"total","before":3,"after":9223372036854775807,"change":9223372036854775804}],` +
		`"failures":[{"code":"both","before":1,"after":3,"change":2,"messages":["x"]},` +
		`{"code":"new","before":0,"after":1,"change":1,"messages":[]},{"code":"old","before":1,"after":0,"change":-1,"messages":["was"]}],` +
		`"context":[{"path":"/a","kind":"changed","before":1,"after":{"x":1}},{"path":"/b/c","kind":"changed","before":[1,2],"after":[2]},` +
		`{"path":"/b/d~1e","kind":"removed","before":true,"after":null},{"path":"/~0","kind":"added","before":null,"after":"new"}],` +
		`"duration":{"before_seconds":90,"after_seconds":7200000000.5,"change_seconds":7199999910.5}}`
	if difference := cmp.Diff(want, got); difference != "" {
		t.Error(difference)
	}
}

func TestWhatIsMissingOrOddIsNoDifference(t *testing.T) {
	t.Parallel()
	nothing := `{"counts":[],"failures":[],"context":[],"duration":{"before_seconds":null,"after_seconds":null,"change_seconds":null}}`
	for _, odd := range []string{"", "null", "[]", "{}", "7", `"x"`, `[7, null, {"code": 1}]`, `{"n": 1e400, "t": "1", "o": {}, "b": true}`} {
		s := ledger.Snapshot{Counts: json.RawMessage(odd), Failures: json.RawMessage(odd), Context: json.RawMessage(odd)}
		if odd == "" {
			s = ledger.Snapshot{}
		}
		if got := diffOf(t, s, s); got != nothing {
			t.Errorf("%q against itself: %s", odd, got)
		}
	}
}

// TestTheChangesOfAContextMakeOneOfTheOther applies what Compare found to the earlier context.
func TestTheChangesOfAContextMakeOneOfTheOther(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		before, after := drawObject(rt, 3), drawObject(rt, 3)
		diff := ledger.Compare(ledger.Snapshot{Context: encode(rt, before)}, ledger.Snapshot{Context: encode(rt, after)})
		paths := []string{}
		for _, change := range diff.Context {
			apply(rt, before, change)
			paths = append(paths, change.Path)
		}
		if difference := cmp.Diff(after, before); difference != "" {
			rt.Fatal(difference)
		}
		if slices.Sort(paths); len(slices.Compact(paths)) != len(diff.Context) {
			rt.Fatalf("a place comes twice in %v", paths)
		}
	})
}

func drawObject(t *rapid.T, depth int) map[string]any {
	object := map[string]any{}
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c/d", "~", ""}), 0, 4, rapid.ID).Draw(t, "names") {
		switch kind := rapid.IntRange(0, 4).Draw(t, "kind"); {
		case kind == 0 && depth > 0:
			object[name] = drawObject(t, depth-1)
		case kind == 1:
			object[name] = []any{float64(rapid.IntRange(0, 2).Draw(t, "element"))}
		case kind == 2:
			object[name] = nil
		default:
			object[name] = float64(rapid.IntRange(0, 2).Draw(t, "number"))
		}
	}
	return object
}

func encode(t *rapid.T, v any) json.RawMessage {
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// apply changes a tree as a change says.
func apply(t *rapid.T, tree map[string]any, change ledger.ContextChange) {
	steps := strings.Split(change.Path, "/")[1:]
	for i, step := range steps {
		name := strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		if i < len(steps)-1 {
			tree = tree[name].(map[string]any)
			continue
		}
		if change.Kind == ledger.ContextRemoved {
			delete(tree, name)
			continue
		}
		var value any
		if err := json.Unmarshal(change.After, &value); err != nil {
			t.Fatal(err)
		}
		tree[name] = value
	}
}

// Every path repeats the names above it, and so small contexts can differ in very much.
func TestAnObjectOfWhichTooMuchDiffersIsOneChange(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("k", 30_000)
	context := func(value int) json.RawMessage {
		var members strings.Builder
		for i := range 4000 {
			fmt.Fprintf(&members, `"%x":%d,`, i, value)
		}
		return json.RawMessage(fmt.Sprintf(`{"first":%d,%q:{%s"last":0},"z":%d}`, value, long, members.String(), value))
	}
	before, after := context(1), context(2)
	changes := ledger.Compare(ledger.Snapshot{Context: before}, ledger.Snapshot{Context: after}).Context
	var paths []string
	for _, c := range changes {
		paths = append(paths, c.Path)
	}
	if want := []string{"/first", "/" + long, "/z"}; !slices.Equal(paths, want) {
		t.Fatalf("%d places differ, want 3", len(paths))
	}
	if c := changes[1]; c.Kind != ledger.ContextChanged || len(c.Before) < 1000 || len(c.After) < 1000 {
		t.Errorf("the object is %s, from %d bytes to %d", c.Kind, len(c.Before), len(c.After))
	}
}
