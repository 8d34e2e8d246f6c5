package main

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

// costs are rounds of such milliseconds: server, database and rate.
func costs(of ...[3]int) rounds {
	var all rounds
	for _, c := range of {
		all = append(all, sample{cost{time.Duration(c[0]) * time.Millisecond, time.Duration(c[1]) * time.Millisecond}, float64(c[2])})
	}
	return all
}

func TestTheMedianIsARoundThatWas(t *testing.T) {
	t.Parallel()
	// The middle of the servers is 200 and of the databases 300, which was no round.
	r := costs([3]int{100, 900, 30}, [3]int{200, 100, 10}, [3]int{300, 300, 20})
	if got, want := r.median(), costs([3]int{300, 300, 20})[0]; got != want {
		t.Errorf("median %+v, want %+v", got, want)
	}
	r = append(r, costs([3]int{400, 300, 40})...)
	if got, want := r.median(), (sample{cost{400 * time.Millisecond, 300 * time.Millisecond}, 25}); got != want {
		t.Errorf("median of four %+v, want %+v", got, want)
	}
}

func TestARatioIsTheMedianOfTheRoundsOwn(t *testing.T) {
	t.Parallel()
	// The machine became slow after the first round, for both; the ratio of the medians is 2.
	a := costs([3]int{100, 100, 100}, [3]int{300, 300, 40}, [3]int{400, 400, 30})
	b := costs([3]int{100, 0, 100}, [3]int{100, 100, 20}, [3]int{200, 200, 10})
	if got := a.costRatio(b); got != 2 {
		t.Errorf("ratio of costs %v, want 2", got)
	}
	a, b = a[:2], b[:2]
	if got := a.costRatio(b); got != 2.5 {
		t.Errorf("ratio of two rounds %v, want 2.5", got)
	}
	if got := a.rateRatio(b); got != 1.5 {
		t.Errorf("ratio of rates %v, want 1.5", got)
	}
}

// In a cycle of rounds each contender follows on each other as often as on any.
func TestNobodyIsAlwaysAfterTheSame(t *testing.T) {
	t.Parallel()
	for contenders := 2; contenders <= 12; contenders++ {
		cycle := contenders
		if contenders%2 == 1 {
			cycle *= 2
		}
		follows := map[[2]int]int{}
		for round := range cycle {
			order := orderOf(round, contenders)
			sorted := slices.Sorted(slices.Values(order))
			for i, each := range sorted {
				if each != i || len(order) != contenders {
					t.Fatalf("round %d of %d contenders: %v", round, contenders, order)
				}
			}
			for i := range order[1:] {
				follows[[2]int{order[i], order[i+1]}]++
			}
		}
		for pair, n := range follows {
			if n != cycle/contenders {
				t.Errorf("%d contenders: %v %d times, want %d", contenders, pair, n, cycle/contenders)
			}
		}
		if want := contenders * (contenders - 1); len(follows) != want {
			t.Errorf("%d contenders: %d pairs, want %d", contenders, len(follows), want)
		}
	}
}

func TestByTurnsKeepsRoundsTogether(t *testing.T) {
	t.Parallel()
	done := 0
	var turns []turn
	for i := range 3 {
		turns = append(turns, func(context.Context) (sample, error) {
			done++
			return sample{cost{server: time.Duration(i)}, float64(done)}, nil
		})
	}
	all, err := byTurns(t.Context(), 4, turns...)
	if err != nil {
		t.Fatal(err)
	}
	for contender, of := range all {
		for round, s := range of {
			if got := (int(s.rate) - 1) / 3; got != round || len(of) != 4 || int(s.server) != contender {
				t.Errorf("contender %d has a sample of %d in round %d for that of round %d of %d", contender, s.server, got, round, len(of))
			}
		}
	}
	wrong := errors.New("wrong")
	if _, err := byTurns(t.Context(), 1, func(context.Context) (sample, error) { return sample{}, wrong }); !errors.Is(err, wrong) {
		t.Errorf("error %v", err)
	}
}

func TestTheWarmPartOfARunOfPgbench(t *testing.T) {
	t.Parallel()
	took, err := timeOf([]byte("number of transactions actually processed: 400/400\ntps = 200.000000 (without initial connection time)\n"), 400)
	if err != nil || took != 2*time.Second {
		t.Fatalf("took %v, %v", took, err)
	}
	got, err := ran{cpu: 900 * time.Millisecond, took: took}.warm(ran{cpu: 100 * time.Millisecond, took: time.Second}, 400)
	if want := (sample{cost{database: 2 * time.Second}, 400}); err != nil || got != want {
		t.Errorf("warm %+v, %v, want %+v", got, err, want)
	}
	if _, err := (ran{took: time.Second}).warm(ran{took: time.Second}, 400); err == nil {
		t.Error("a run that took no longer than its beginning has a rate")
	}
	if _, err := timeOf([]byte("pgbench: error"), 1); err == nil {
		t.Error("a rate where pgbench tells none")
	}
}
