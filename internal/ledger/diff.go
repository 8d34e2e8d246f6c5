package ledger

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"math/big"
	"slices"
	"strings"
)

// Snapshot is what a run says of itself, as far as two runs can be compared. Free data is JSON as
// it is stored; what is not of the shape that it should have counts as absent.
type Snapshot struct {
	Counts   json.RawMessage // an object of numbers
	Failures json.RawMessage // an array of objects with code and message
	Context  json.RawMessage // any JSON
	Micros   *int64          // how long it took in microseconds, nil while that is not known
}

// CountChange is a summary count of two runs side by side.
type CountChange struct {
	Name string `json:"name"`
	// Before and After are null where that run has no such count. Change is their difference, for
	// which a missing count is 0.
	Before *json.Number `json:"before"`
	After  *json.Number `json:"after"`
	Change json.Number  `json:"change"`
}

// FailureChange is how often a failure of one code came in each of two runs.
type FailureChange struct {
	Code   string `json:"code"`
	Before int64  `json:"before"`
	After  int64  `json:"after"`
	Change int64  `json:"change"`
	// Messages are the different messages of the later run, or of the earlier one where the later
	// has none: at most ten, in their order.
	Messages []string `json:"messages"`
}

// ContextChange is a place at which the contexts of two runs differ.
type ContextChange struct {
	Path   string          `json:"path"` // a JSON pointer (RFC 6901)
	Kind   string          `json:"kind"` // added, removed or changed
	Before json.RawMessage `json:"before"`
	After  json.RawMessage `json:"after"`
}

// The kinds of a ContextChange.
const (
	ContextAdded   = "added"
	ContextRemoved = "removed"
	ContextChanged = "changed"
)

// DurationChange is how long two runs took, in seconds.
type DurationChange struct {
	Before *float64 `json:"before_seconds"`
	After  *float64 `json:"after_seconds"`
	Change *float64 `json:"change_seconds"` // null unless both are known
}

// Diff is what two runs say, side by side.
type Diff struct {
	Counts   []CountChange   `json:"counts"`   // every count of either, by name
	Failures []FailureChange `json:"failures"` // every code of either, by code
	Context  []ContextChange `json:"context"`  // what differs alone, by path
	Duration DurationChange  `json:"duration"`
}

// Compare puts two runs side by side. The zero Snapshot is a run that says nothing.
func Compare(before, after Snapshot) Diff {
	return Diff{
		Counts:   compareCounts(before.Counts, after.Counts),
		Failures: compareFailures(before.Failures, after.Failures),
		Context:  compareContexts(before.Context, after.Context),
		Duration: compareDurations(before.Micros, after.Micros),
	}
}

func compareCounts(before, after json.RawMessage) []CountChange {
	olds, news := numbersOf(before), numbersOf(after)
	changes := []CountChange{}
	for _, name := range sortedUnion(olds, news) {
		c := CountChange{Name: name}
		difference := new(big.Rat)
		if n, ok := news[name]; ok {
			c.After = &n
			difference.Add(difference, rational(n))
		}
		if n, ok := olds[name]; ok {
			c.Before = &n
			difference.Sub(difference, rational(n))
		}
		c.Change = decimal(difference)
		changes = append(changes, c)
	}
	return changes
}

// numbersOf are the members of an object that are numbers which can be calculated with.
func numbersOf(object json.RawMessage) map[string]json.Number {
	var members map[string]json.RawMessage
	if json.Unmarshal(object, &members) != nil {
		return nil
	}
	numbers := map[string]json.Number{}
	for name, value := range members {
		const longest = 40 // digits: more is no count, and an exponent could be any
		number := json.Number(value)
		if len(value) > longest || bytes.ContainsAny(value, `eE"[{tfn`) {
			continue
		}
		numbers[name] = number
	}
	return numbers
}

func rational(n json.Number) *big.Rat {
	r, ok := new(big.Rat).SetString(n.String())
	if !ok {
		return new(big.Rat)
	}
	return r
}

// decimal is a sum of decimal numbers as one: it has an end.
func decimal(r *big.Rat) json.Number {
	digits, _ := r.FloatPrec()
	return json.Number(r.FloatString(digits))
}

func compareFailures(before, after json.RawMessage) []FailureChange {
	const mostMessages = 10
	olds, news := failuresByCode(before), failuresByCode(after)
	changes := []FailureChange{}
	for _, code := range sortedUnion(olds, news) {
		c := FailureChange{Code: code, Before: int64(len(olds[code])), After: int64(len(news[code])), Messages: []string{}}
		c.Change = c.After - c.Before
		shown := news[code]
		if len(shown) == 0 {
			shown = olds[code]
		}
		for _, message := range shown {
			if message != "" && len(c.Messages) < mostMessages && !slices.Contains(c.Messages, message) {
				c.Messages = append(c.Messages, message)
			}
		}
		changes = append(changes, c)
	}
	return changes
}

// failuresByCode are the messages of each code's failures, in their order.
func failuresByCode(failures json.RawMessage) map[string][]string {
	var entries []json.RawMessage
	if json.Unmarshal(failures, &entries) != nil {
		return nil
	}
	byCode := map[string][]string{}
	for _, entry := range entries {
		var members map[string]any // whose names are told by their case, unlike those of a struct
		if json.Unmarshal(entry, &members) != nil {
			continue
		}
		if code, ok := members["code"].(string); ok {
			message, _ := members["message"].(string)
			byCode[code] = append(byCode[code], message)
		}
	}
	return byCode
}

func compareContexts(before, after json.RawMessage) []ContextChange {
	c := contextComparison{changes: []ContextChange{}}
	old, present := objectOf(before)
	now, stays := objectOf(after)
	switch {
	case (present || len(before) == 0) && (stays || len(after) == 0):
		if before, after = wholeObject(before), wholeObject(after); !c.objects("", old, now) {
			c.changes = []ContextChange{{"", ContextChanged, before, after}}
		}
	default:
		c.values("", before, after)
	}
	return c.changes
}

// wholeObject is an object, an empty one if there is none.
func wholeObject(object json.RawMessage) json.RawMessage {
	if len(object) == 0 {
		return json.RawMessage("{}")
	}
	return object
}

// contextComparison collects what differs.
type contextComparison struct {
	changes []ContextChange
	size    int // of their paths and values, in bytes
}

// mostChanges is how many bytes the paths and values of what differs may have. Each path repeats all names above
// it, so that small objects can differ in very much.
const mostChanges = 1 << 20

func (c *contextComparison) add(change ContextChange) {
	c.changes = append(c.changes, change)
	c.size += len(change.Path) + len(change.Before) + len(change.After)
}

// objects compares the members of two objects, and tells whether what differs has its place in mostChanges.
func (c *contextComparison) objects(path string, old, now map[string]json.RawMessage) bool {
	for _, name := range sortedUnion(old, now) {
		c.values(path+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(name), old[name], now[name])
		if c.size > mostChanges {
			return false
		}
	}
	return true
}

// values compares two values, nil for one that is not there. Objects are compared by their
// members; an array is one value, since what was inserted would shift all that follows, and so is an object of
// which too much differs.
func (c *contextComparison) values(path string, old, now json.RawMessage) {
	switch {
	case old == nil && now == nil:
	case old == nil:
		c.add(ContextChange{path, ContextAdded, nil, now})
	case now == nil:
		c.add(ContextChange{path, ContextRemoved, old, nil})
	default:
		oldObject, wasObject := objectOf(old)
		nowObject, isObject := objectOf(now)
		switch {
		case wasObject && isObject:
			if changes, size := len(c.changes), c.size; !c.objects(path, oldObject, nowObject) {
				c.changes, c.size = c.changes[:changes], size
				c.add(ContextChange{path, ContextChanged, old, now})
			}
		case !SameJSON(old, now):
			c.add(ContextChange{path, ContextChanged, old, now})
		}
	}
}

// objectOf are the members of a value that is an object.
func objectOf(value json.RawMessage) (map[string]json.RawMessage, bool) {
	if trimmed := bytes.TrimSpace(value); len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, false
	}
	var members map[string]json.RawMessage
	return members, json.Unmarshal(value, &members) == nil
}

func compareDurations(before, after *int64) DurationChange {
	seconds := func(micros int64) *float64 {
		s := float64(micros) / 1e6
		return &s
	}
	var change DurationChange
	if before != nil {
		change.Before = seconds(*before)
	}
	if after != nil {
		change.After = seconds(*after)
	}
	if before != nil && after != nil {
		change.Change = seconds(*after - *before)
	}
	return change
}

// sortedUnion are the keys of either map.
func sortedUnion[K cmp.Ordered, V any](a, b map[K]V) []K {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(keys)
	return slices.Compact(keys)
}
