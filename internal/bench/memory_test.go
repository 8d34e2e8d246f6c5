package main

import (
	"testing"
	"time"
)

// grownBy is what was seen of a memory that grows by so many bytes a second from so many.
func grownBy(perSecond, from int64, long time.Duration) memories {
	var m memories
	for i := range int64(long.Seconds()) {
		m = append(m, from+i*perSecond)
	}
	return m
}

func TestASoakFailsIfTheServersMemoryKeepsGrowing(t *testing.T) {
	t.Parallel()
	const level, leak = 80 << 20, 40 << 10
	for name, tc := range map[string]struct {
		seen    memories
		growing bool
	}{
		"it grows":                     {grownBy(leak, level, 20*time.Minute), true},
		"it stays":                     {grownBy(0, level, 20*time.Minute), false},
		"it falls":                     {grownBy(-leak, level, 20*time.Minute), false},
		"a little":                     {grownBy(1<<10, level, 20*time.Minute), false},
		"it grows at first, and stays": {append(grownBy(leak, level, 10*time.Minute), grownBy(0, level+leak*600, 10*time.Minute)...), false},
		"it grows for a short time":    {grownBy(leak, level, 3*time.Minute), false},
		"nothing was seen":             {nil, false},
	} {
		for i := range tc.seen { // a collector's swings
			const swing = 4 << 20
			tc.seen[i] += swing * int64(i%2)
		}
		if err := tc.seen.growing(); (err != nil) != tc.growing {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheSlopeOfMemoryIsThatOfItsSecondHalf(t *testing.T) {
	t.Parallel()
	m := append(grownBy(100, 0, time.Minute), grownBy(-10, 6000, time.Minute)...)
	if got := m.slope(); got > -590 || got < -610 {
		t.Errorf("a slope of %.0f bytes a minute, want about -600", got)
	}
	if got := memories(nil).slope(); got != 0 {
		t.Errorf("a slope of nothing is %.0f", got)
	}
}
