package feed

import "testing"

func TestATopicKeepsALittleAndSaysWhatItHasForgotten(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ changes, size int }{
		"many small": {3 * recentChanges, 1},
		"few large":  {30, recentBytes / 10},
		"one huge":   {1, 2 * recentBytes},
	} {
		followed := newTopic(1, place{})
		for i := range c.changes {
			followed.add([]Change{{Position: Position{ID: int64(i + 1)}, Frame: make([]byte, c.size)}}, 1)
			kept := 0
			for _, change := range followed.recent {
				kept += len(change.Frame)
			}
			if len(followed.recent) > recentChanges || kept > recentBytes || kept != followed.bytes {
				t.Fatalf("%s: %d changes of %d bytes are kept, counted as %d", name, len(followed.recent), kept, followed.bytes)
			}
		}
		if g := followed.since(Position{}); !g.behind || len(g.changes) > 0 {
			t.Errorf("%s: the beginning is behind %t, with %d changes", name, g.behind, len(g.changes))
		}
		if g := followed.since(followed.tail); g.behind || len(g.changes) != len(followed.recent) {
			t.Errorf("%s: the tail is behind %t, with %d of %d changes", name, g.behind, len(g.changes), len(followed.recent))
		}
	}
}
