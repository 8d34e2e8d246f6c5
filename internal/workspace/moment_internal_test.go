package workspace

import "testing"

func TestAMomentIsAnotherWhereAnyTransactionHasEnded(t *testing.T) {
	t.Parallel()
	const started = 1_700_000_000_000_000
	at := Moment{snapshot: "100:105:100,103", postmaster: started}
	if !at.Is(at) {
		t.Error("a moment is not itself")
	}
	for what, other := range map[string]Moment{
		"the oldest one has ended":            {"103:105:103", started},
		"one in the middle has ended":         {"100:105:100", started},
		"one has come and ended":              {"100:106:100,103", started},
		"the database was started in between": {"100:105:100,103", started + 1},
		"nothing is known of it":              {},
	} {
		if at.Is(other) || other.Is(at) {
			t.Errorf("a moment is taken for one where %s", what)
		}
	}
	if (Moment{}).Is(Moment{}) {
		t.Error("what nothing is known of is taken for one state")
	}
}
