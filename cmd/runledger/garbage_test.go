package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestThereIsLessRoomForGarbageBesideMuchThatIsHeld(t *testing.T) {
	t.Parallel()
	for live, want := range map[uint64]int{0: 400, 1 << 20: 400, 8 << 20: 400, 10 << 20: 300, 24 << 20: 100, 1 << 30: 100} {
		if got := garbageFor(live); got != want {
			t.Errorf("%d bytes: %d %%, want %d", live, got, want)
		}
	}
}

// A GOGC of what is Go's own default is a setting like any other.
func TestTheCollectorIsLeftAsGOGCSetsIt(t *testing.T) {
	before := debug.SetGCPercent(usualGarbage)
	defer debug.SetGCPercent(before)
	t.Setenv("GOGC", "100")
	tuneCollector()
	if percent := debug.SetGCPercent(usualGarbage); percent != usualGarbage {
		t.Errorf("the collector is at %d %%", percent)
	}
}

// TestTheCollectorIsTunedAfterEachCollection changes the collector of the whole process, and so does not run
// beside others.
func TestTheCollectorIsTunedAfterEachCollection(t *testing.T) { //nolint:paralleltest // see above
	before := debug.SetGCPercent(mostGarbage)
	defer debug.SetGCPercent(before)
	tuned := &tuner{percent: mostGarbage, live: []metrics.Sample{{Name: "/gc/heap/live:bytes"}}}
	tuned.afterNext()
	percent := func() int {
		tuned.mu.Lock()
		defer tuned.mu.Unlock()
		return tuned.percent
	}
	held := make([]byte, 4*ampleGarbage)
	deadline := time.Now().Add(time.Minute)
	for percent() != usualGarbage {
		if time.Now().After(deadline) {
			t.Fatalf("the collector is at %d %%", percent())
		}
		runtime.GC()
	}
	runtime.KeepAlive(held)
	for percent() == usualGarbage { // it goes on, and back
		if time.Now().After(deadline) {
			t.Fatal("the collector stays as it is")
		}
		runtime.GC()
	}
}
