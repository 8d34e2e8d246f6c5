package main

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// sample is what a round of requests was like.
type sample struct {
	cost

	rate float64 // requests a second
}

// rounds are what one contender was like, a sample for each round. Those of contenders that were
// measured by turns have their rounds in common, so that each is compared with its own neighbour.
type rounds []sample

// turn measures a contender once.
type turn func(ctx context.Context) (sample, error)

// byTurns measures each contender once a round, so that whatever else the machine does meets all of
// them.
func byTurns(ctx context.Context, count int, turns ...turn) ([]rounds, error) {
	all := make([]rounds, len(turns))
	for round := range count {
		for _, i := range orderOf(round, len(turns)) {
			s, err := turns[i](ctx)
			if err != nil {
				return nil, err
			}
			all[i] = append(all[i], s)
		}
	}
	return all, nil
}

// orderOf is the order of so many contenders in a round. What one leaves behind in the machine meets
// the next, and none is to be the next of the same one always, as it would be if the order were only
// turned round: in as many rounds as there are contenders, or twice as many if their number is odd,
// each follows on each other equally often (a Williams design).
func orderOf(round, contenders int) []int {
	order := make([]int, 0, contenders)
	for i := range contenders {
		next := i / 2 //nolint:mnd // 0, last, 1, last but one, …
		if i%2 == 1 {
			next = contenders - 1 - i/2 //nolint:mnd // likewise
		}
		order = append(order, (next+round)%contenders)
	}
	if contenders%2 == 1 && round%2 == 1 {
		slices.Reverse(order)
	}
	return order
}

// loadTurns are rounds of so many requests to each of the contenders. All are loaded for a moment
// first: statements are prepared, pools filled, caches warm.
func loadTurns(ctx context.Context, connections, requests int, contenders ...*contender) ([]turn, error) {
	turns := make([]turn, 0, len(contenders))
	for _, c := range contenders {
		if err := c.load(ctx, connections, requests/10+2*connections); err != nil {
			return nil, err
		}
		turns = append(turns, func(ctx context.Context) (sample, error) { return c.round(ctx, connections, requests) })
	}
	return turns, nil
}

// round loads a contender once and tells what a thousand requests cost.
func (c *contender) round(ctx context.Context, connections, requests int) (sample, error) {
	before, err := c.spent(ctx)
	if err != nil {
		return sample{}, err
	}
	start := time.Now()
	if err := c.load(ctx, connections, requests); err != nil {
		return sample{}, err
	}
	took := time.Since(start)
	after, err := c.spent(ctx)
	if err != nil {
		return sample{}, err
	}
	return sample{after.less(before).perThousand(requests), float64(requests) / took.Seconds()}, nil
}

// median is the cost of the round that cost as much as the middle one, so that its parts are of one
// round and add up, and the median of the rates. Of an even number of rounds it is the dearer of the
// two in the middle.
func (r rounds) median() sample {
	byCost := slices.SortedFunc(slices.Values(r), func(a, b sample) int { return cmp.Compare(a.total(), b.total()) })
	rates := make([]float64, 0, len(r))
	for _, s := range r {
		rates = append(rates, s.rate)
	}
	return sample{byCost[len(byCost)/2].cost, median(rates)}
}

// costRatio is how many times as much as another it costs: the median of the rounds' own ratios.
func (r rounds) costRatio(other rounds) float64 {
	ratios := make([]float64, 0, len(r))
	for i := range r {
		ratios = append(ratios, ratio(r[i].total(), other[i].total()))
	}
	return median(ratios)
}

// rateRatio is how many times the rate of another it has: the median of the rounds' own ratios.
func (r rounds) rateRatio(other rounds) float64 {
	ratios := make([]float64, 0, len(r))
	for i := range r {
		ratios = append(ratios, r[i].rate/other[i].rate)
	}
	return median(ratios)
}

// median is the middle of the values, the mean of the two in the middle if their number is even.
func median[V time.Duration | float64](values []V) V {
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2 //nolint:mnd // as it says
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2 //nolint:mnd // their mean
}
