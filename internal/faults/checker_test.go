package faults

import (
	"fmt"
	"testing"
)

// told builds a history by hand: the operations follow each other, but for those of one group.
func told(groups ...[]pair) *history {
	h := newHistory()
	for _, group := range groups {
		var ask func(i int)
		ask = func(i int) { // each is asked while those before it wait for their answers
			if i < len(group) {
				h.record(i, group[i].in, func(request) (reply, bool) { ask(i + 1); return group[i].out, true })
			}
		}
		ask(0)
	}
	return h
}

type pair struct {
	in  request
	out reply
}

func TestTheCheckerTellsRightHistoriesFromWrongOnes(t *testing.T) {
	t.Parallel()
	start := func(verdict string, id int64) pair {
		return pair{request{identity: "x", kind: "start"}, reply{verdict: verdict, id: id}}
	}
	end := func(verdict string, id int64, token string) pair {
		return pair{request{identity: "x", kind: "end", id: id, token: token}, reply{verdict: verdict}}
	}
	atLast := func(active int64, ended string) pair {
		return pair{request{identity: "x", kind: "read"}, reply{id: active, ended: ended}}
	}
	one := fmt.Sprintf("%020d=a", 1)
	one2 := ledgerState{}.with(1, "a").with(2, "b").ended
	alone := func(pairs ...pair) [][]pair {
		var groups [][]pair
		for _, p := range pairs {
			groups = append(groups, []pair{p})
		}
		return groups
	}
	for name, c := range map[string]struct {
		groups [][]pair
		right  bool
	}{
		"a life":                           {alone(start(created, 1), start(found, 1), end(done, 1, "a"), end(refused, 1, "b"), end(done, 1, "a"), start(created, 2), atLast(2, one)), true},
		"two at once, one found":           {[][]pair{{start(found, 1), start(created, 1)}}, true},
		"two at once, both created":        {[][]pair{{start(created, 1), start(created, 2)}}, false},
		"created while one is active":      {alone(start(created, 1), start(created, 2)), false},
		"found where there is none":        {alone(start(found, 1)), false},
		"an id comes again":                {alone(start(created, 1), end(done, 1, "a"), start(created, 1)), false},
		"found after its end":              {alone(start(created, 1), end(done, 1, "a"), start(found, 1)), false},
		"two ends":                         {alone(start(created, 1), end(done, 1, "a"), end(done, 1, "b")), false},
		"refused while it is active":       {alone(start(created, 1), end(refused, 1, "a")), false},
		"a run is lost":                    {alone(start(created, 1), end(missing, 1, "a")), false},
		"lost at last":                     {alone(start(created, 1), atLast(0, "")), false},
		"an end is lost at last":           {alone(start(created, 1), end(done, 1, "a"), atLast(1, "")), false},
		"no answer, it happened":           {alone(start(unknown, 0), start(found, 1), end(unknown, 1, "a"), end(refused, 1, "b"), atLast(0, one)), true},
		"no answer, it did not happen":     {alone(start(unknown, 0), start(created, 1), end(unknown, 1, "a"), end(done, 1, "b"), atLast(0, fmt.Sprintf("%020d=b", 1))), true},
		"no answer, it happens late":       {alone(start(unknown, 0), start(created, 1), end(done, 1, "a"), start(found, 2), end(done, 2, "b"), atLast(0, one2)), true},
		"no answer, it happens only once":  {alone(start(unknown, 0), start(created, 1), end(done, 1, "a"), start(found, 2), end(done, 2, "b"), start(found, 3)), false},
		"no answer, nobody saw what it is": {alone(start(unknown, 0), atLast(7, "")), true},
	} {
		if got := told(c.groups...).check(t); got != c.right {
			t.Errorf("%s: linearizable is %t", name, got)
		}
	}
}
