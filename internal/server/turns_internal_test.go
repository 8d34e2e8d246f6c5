package server

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const testPatience = 2 * time.Second

// anyNumber of requests is more than turns of which none has ended can answer in any time.
const anyNumber = leastCrowd + 1

// newTestTurns are turns of which all places are taken, and a count of the refusals.
func newTestTurns(t *testing.T, places int) (*turns, *atomic.Int64) {
	t.Helper()
	refused := new(atomic.Int64)
	q := newTurns(places, testPatience, func() { refused.Add(1) }, func(float64) {})
	for range places {
		if err := q.take(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return q, refused
}

func TestWhoCameFirstGoesFirstAndInAnOverloadWhoCameLast(t *testing.T) {
	t.Parallel()
	for overloaded, want := range map[bool][]int{false: {0, 1, 2}, true: {2, 1, 0}} {
		synctest.Test(t, func(t *testing.T) {
			q, _ := newTestTurns(t, 1)
			var order []int
			var working sync.WaitGroup
			if overloaded {
				overload(t, q, 1, &working)
				q.overloaded(anyNumber) // the one who waits is let go
				working.Wait()
			}
			for i := range 3 {
				working.Go(func() {
					if err := q.take(t.Context()); err != nil {
						t.Error(err)
					}
					order = append(order, i)
					q.giveBack()
				})
				synctest.Wait() // until it waits
			}
			q.giveBack()
			working.Wait()
			if !slices.Equal(order, want) {
				t.Errorf("overloaded %t: they went in the order %v", overloaded, order)
			}
		})
	}
}

// come are so many who come at once and wait. Each stays for so long once it has its turn, and then
// does what leaving is.
func come(t *testing.T, q *turns, many int, stay time.Duration, working *sync.WaitGroup, leaving func()) {
	t.Helper()
	for range many {
		working.Go(func() {
			if q.take(t.Context()) == nil {
				time.Sleep(stay) // in the bubble's time
				leaving()
				q.giveBack()
			}
		})
	}
	synctest.Wait()
}

func TestACrowdThatComesAtOnceIsServedWhole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q, refused := newTestTurns(t, 1)
		const many, stay = 150, 10 * time.Millisecond // for much longer than it takes to be an overload
		var served atomic.Int64
		var working sync.WaitGroup
		come(t, q, many, stay, &working, func() { served.Add(1) })
		q.giveBack()
		working.Wait()
		if served.Load() != many || refused.Load() != 0 {
			t.Errorf("%d of %d were served, %d refused", served.Load(), many, refused.Load())
		}
	})
}

func TestNobodyWaitsForLongerThanTheirPatience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q, refused := newTestTurns(t, 1)
		began := time.Now()
		if err := q.take(t.Context()); !errors.Is(err, errOverloaded) {
			t.Errorf("a wait in vain ends with %v", err)
		}
		if waited := time.Since(began); waited != testPatience || refused.Load() != 1 {
			t.Errorf("it took %s and counted %d", waited, refused.Load())
		}
	})
}

func TestWhoHangsUpLeavesTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q, refused := newTestTurns(t, 1)
		ctx, hangUp := context.WithTimeout(t.Context(), time.Millisecond)
		defer hangUp()
		if err := q.take(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it ends with %v", err)
		}
		if refused.Load() != 0 || q.waiting.Len() != 0 {
			t.Errorf("%d refused, %d waiting", refused.Load(), q.waiting.Len())
		}
	})
}

// overload keeps turns busy until they are in an overload: with those who came first, who wait.
func overload(t *testing.T, q *turns, first int, working *sync.WaitGroup) {
	t.Helper()
	for range first {
		working.Go(func() { _ = q.take(t.Context()) })
	}
	synctest.Wait()
	if q.overloaded(anyNumber) {
		t.Error("a crowd that has just come is taken for an overload")
	}
	time.Sleep(overloadBegins + time.Millisecond) // in the bubble's time
}

func TestInAnOverloadWhoHasWaitedLongestMakesRoomForThoseWhoCome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q, refused := newTestTurns(t, 1)
		var working sync.WaitGroup
		const first = 3
		overload(t, q, first, &working)
		for left := first - 1; left >= 0; left-- {
			if !q.overloaded(anyNumber) {
				t.Error("it is no overload")
			}
			synctest.Wait()
			if q.waiting.Len() != left || int(refused.Load()) != first-left {
				t.Errorf("%d wait and %d were refused", q.waiting.Len(), refused.Load())
			}
		}
		working.Wait()
	})
}

func TestInAnOverloadNobodyLeavesWhoHasJustCome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q, refused := newTestTurns(t, 1)
		var working sync.WaitGroup
		overload(t, q, 1, &working)
		q.overloaded(anyNumber) // the first one leaves
		working.Go(func() {
			if err := q.take(t.Context()); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		if !q.overloaded(anyNumber) || refused.Load() != 1 || q.waiting.Len() != 1 {
			t.Errorf("%d were refused, %d wait", refused.Load(), q.waiting.Len())
		}
		q.giveBack()
		working.Wait()
	})
}

func TestInAnOverloadAsManyAreTakenInAsAreAnsweredSoon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q, _ := newTestTurns(t, 1)
		var working sync.WaitGroup
		const first, stay = 400, time.Millisecond
		come(t, q, first, stay, &working, func() {})
		q.giveBack()
		time.Sleep(overloadBegins + stay)
		q.overloaded(0) // counts
		time.Sleep(rateWindow + stay)
		// A thousand a second, and as many as take too long; from then on, as many as do not take long.
		for _, within := range []time.Duration{max(overloadLatency, leastCrowd*stay), overloadTarget} {
			soon := int64(within / stay)
			if q.overloaded(soon-1) || !q.overloaded(soon+1) {
				t.Errorf("at %.0f a second %d are %v too many and %d are %v", q.rate, soon-1, q.overloaded(soon-1), soon+1, q.overloaded(soon+1))
			}
		}
		working.Wait()
	})
}

func TestAnOverloadIsOverWhenNobodyHasWaitedOrBeenRefusedForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q, _ := newTestTurns(t, 1)
		var working sync.WaitGroup
		overload(t, q, 1, &working)
		q.giveBack() // the one who waits has its turn
		working.Wait()
		for range 3 { // whoever is refused would be waiting
			time.Sleep(overloadEnds) // in the bubble's time
			if !q.overloaded(anyNumber) {
				t.Error("it is over with the first moment in which nobody waits or is refused")
			}
		}
		time.Sleep(overloadEnds + time.Millisecond)
		if q.overloaded(anyNumber) {
			t.Error("it goes on though nobody has waited or been refused for long")
		}
		working.Go(func() { _ = q.take(t.Context()) })
		synctest.Wait()
		if q.overloaded(anyNumber) {
			t.Error("the next one to wait makes it an overload")
		}
		q.giveBack()
		working.Wait()
	})
}

func TestWhoNeedsNoTurnKeepsNoOverloadGoing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q, _ := newTestTurns(t, 1)
		var working sync.WaitGroup
		overload(t, q, 1, &working)
		if !q.overloaded(anyNumber) { // the one who waits is let go
			t.Error("it is no overload")
		}
		working.Wait()
		q.giveBack()  // nobody works
		for range 3 { // once for what was answered a moment ago
			time.Sleep(overloadEnds/2 + time.Millisecond) // in the bubble's time
			q.overloaded(anyNumber)
		}
		if q.overloaded(anyNumber) {
			t.Error("with the database idle, refusals make it go on")
		}
	})
}

func TestRefusalsKeepAnOverloadGoingAsLongAsOthersAreAnswered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q, _ := newTestTurns(t, 1)
		var working sync.WaitGroup
		answering := func(each int) (refused bool) { // for longer than an overload goes on by itself
			for began := time.Now(); time.Since(began) <= 4*overloadEnds; time.Sleep(time.Millisecond) { // in the bubble's time
				q.shared(each)
				refused = q.overloaded(10 * leastCrowd)
			}
			return refused
		}
		working.Go(func() { _ = q.take(t.Context()) })
		answering(2)
		if answering(2); !q.overloaded(10 * leastCrowd) {
			t.Error("it is no overload")
		}
		q.giveBack()
		working.Wait()
		q.giveBack() // no connection is in use at the moments of the refusals
		if !answering(2) || !answering(1) {
			t.Error("it is over though as many are answered as before, and many refused")
		}
		if answering(0) {
			t.Error("it goes on though nobody is answered, with a connection free")
		}
	})
}

func TestANewOverloadBeginsAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q, _ := newTestTurns(t, 1)
		var working sync.WaitGroup
		overload(t, q, 1, &working)
		q.overloaded(anyNumber) // and whoever comes next is refused as long as it lasts
		working.Wait()
		time.Sleep(overloadEnds + time.Millisecond) // in the bubble's time
		working.Go(func() { _ = q.take(t.Context()) })
		synctest.Wait()
		time.Sleep(overloadBegins + time.Millisecond)
		if q.overloaded(leastCrowd) {
			t.Error("as few as are none are refused as in the overload before")
		}
		q.giveBack()
		working.Wait()
	})
}

func TestHowManyAreAnsweredIsCountedBeforeAnOverload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q, _ := newTestTurns(t, 1)
		var working sync.WaitGroup
		const crowd, stay = 400, time.Millisecond / 2
		come(t, q, crowd, stay, &working, func() { q.shared(1) })
		q.overloaded(crowd)
		q.giveBack()
		const most = int64(2 * overloadLatency / stay) // two requests a turn
		for began := time.Now(); time.Since(began) <= overloadBegins; time.Sleep(10 * stay) {
			if q.overloaded(most - 10) {
				t.Error("what is answered in time is refused")
			}
		}
		if q.overloaded(most-10) || !q.overloaded(most+10) {
			t.Errorf("at %.0f a second %d are refused or %d are not", q.rate, most-10, most+10)
		}
		working.Wait()
	})
}

func TestFewRequestsAreTakenInDuringAnOverloadAndManyElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q, _ := newTestTurns(t, 1)
		refused := 0
		c := &capacity{most: anyNumber + 1, busiest: 2, turns: q, refused: func() { refused++ }}
		entered := func() (n int) {
			for c.enter() {
				n++
			}
			return n
		}
		if n := entered(); n != anyNumber+1 || refused != 1 {
			t.Errorf("%d are taken in and %d refused", n, refused)
		}
		var working sync.WaitGroup
		overload(t, q, 1, &working)
		c.taken.Store(0)
		c.working.Store(0)
		if n := entered(); n != leastCrowd || refused != 2 {
			t.Errorf("before an overload %d are taken in, and %d refused", n, refused-1)
		}
		c.taken.Store(0)
		c.working.Store(0)
		if n := entered(); n != 2 || refused != 3 {
			t.Errorf("in an overload %d are taken in, and %d refused", n, refused-2)
		}
		p := place{capacity: c}
		p.wait()
		p.wait()
		if n := entered(); n != 1 || refused != 4 {
			t.Errorf("in place of one that waits for its client %d are taken in, and %d refused", n, refused-3)
		}
		p.work()
		p.leave()
		p.leave()
		if taken, working := c.taken.Load(), c.working.Load(); taken != 2 || working != 2 {
			t.Errorf("of three one has left: %d are there, and %d worked on", taken, working)
		}
		working.Wait()
	})
}

func TestClientsWhoAskOneAfterTheOtherAreNeverRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const places, stay, asking = 2, 10 * time.Millisecond, 5 * time.Second
		q, refused := newTestTurns(t, places)
		c := &capacity{most: defaultMaxRequests, busiest: leastBusiest, turns: q, refused: func() { refused.Add(1) }}
		for range places {
			q.giveBack()
		}
		began := time.Now()
		var longest time.Duration
		var mutex sync.Mutex
		var working sync.WaitGroup
		for range leastCrowd {
			working.Go(func() {
				for time.Since(began) < asking {
					came := time.Now()
					if !c.enter() || q.take(t.Context()) != nil {
						return
					}
					waited := time.Since(came)
					time.Sleep(stay) // in the bubble's time
					q.giveBack()
					c.taken.Add(-1)
					c.working.Add(-1)
					mutex.Lock()
					longest = max(longest, waited)
					mutex.Unlock()
				}
			})
		}
		working.Wait()
		// Each waits for all others once, which is long enough for an overload if they were more.
		if fair := leastCrowd / places * stay; fair < overloadBegins || longest > fair {
			t.Errorf("somebody waited for %s, where a turn of each takes %s", longest, fair)
		}
		if refused.Load() != 0 {
			t.Errorf("%d were refused", refused.Load())
		}
	})
}

func TestWhoHasWaitedForATurnIsMeasuredAndNobodyElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var waits []float64
		q := newTurns(1, testPatience, func() {}, func(seconds float64) { waits = append(waits, seconds) })
		if err := q.take(t.Context()); err != nil || len(waits) > 0 {
			t.Errorf("who need not wait has waited %v: %v", waits, err)
		}
		const long = 7 * time.Millisecond
		time.AfterFunc(long, q.giveBack) // in the bubble's time
		if err := q.take(t.Context()); err != nil || !slices.Equal(waits, []float64{long.Seconds()}) {
			t.Errorf("who has waited %s is measured as %v: %v", long, waits, err)
		}
		ctx, hangUp := context.WithTimeout(t.Context(), time.Millisecond)
		defer hangUp()
		if err := q.take(ctx); err == nil || len(waits) != 2 {
			t.Errorf("who hung up is measured as %v: %v", waits, err)
		}
	})
}
