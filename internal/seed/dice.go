package seed

import (
	"math"
	"math/rand/v2"
	"time"
)

// dice is a source of chance that can be put back to any place of its sequence. Every run, tenant
// and schedule has a place of its own, so that what is drawn for one never depends on how much was
// drawn for another, and a second pass over the same data draws the same again.
type dice struct {
	*rand.Rand

	source *rand.PCG
}

func newDice() *dice {
	source := rand.NewPCG(0, 0)
	return &dice{Rand: rand.New(source), source: source} //nolint:gosec // chance that must repeat
}

// place puts the dice at the place that the seed and three coordinates name.
func (d *dice) place(seed, kind, a, b uint64) {
	d.source.Seed(mix(seed^mix(kind)), mix(mix(a)^b))
}

// The kinds of places, the second coordinate of dice.place.
const (
	placeWorkspace uint64 = iota + 1
	placeTick
	placeBatch
	placeRun
	placeSlot
	placeFinding
	placeItem
)

// mix spreads the bits of x over the whole word, so that neighbouring places share nothing.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (d *dice) chance(p float64) bool { return d.Float64() < p }

// between draws a duration of whole microseconds, which is all that PostgreSQL keeps.
func (d *dice) between(low, high time.Duration) time.Duration {
	if high <= low {
		return low.Truncate(time.Microsecond)
	}
	return (low + time.Duration(d.Int64N(int64(high-low)))).Truncate(time.Microsecond)
}

// spread draws a duration whose logarithm is normally distributed around median, as the
// durations of real work are.
func (d *dice) spread(median time.Duration, sigma float64) time.Duration {
	factor := math.Exp(d.NormFloat64() * sigma)
	return time.Duration(float64(median) * factor).Truncate(time.Microsecond)
}

// skewed draws an index below n, the low ones far more often than the high ones.
func (d *dice) skewed(n int) int {
	u := d.Float64()
	return int(float64(n) * u * u * u)
}

// weighted draws an index into weights, each as often as its weight says.
func (d *dice) weighted(weights []float64) int {
	var sum float64
	for _, w := range weights {
		sum += w
	}
	u := d.Float64() * sum
	for i, w := range weights {
		if u -= w; u < 0 {
			return i
		}
	}
	return len(weights) - 1
}

func pick[T any](d *dice, from []T) T { return from[d.IntN(len(from))] }

// apportion splits total into len(weights) whole parts that follow the weights and add up exactly.
func apportion(total int, weights []float64) []int {
	var sum float64
	for _, w := range weights {
		sum += w
	}
	parts := make([]int, len(weights))
	var running float64
	given := 0
	for i, w := range weights {
		running += w
		upTo := int(math.Round(float64(total) * running / sum))
		parts[i] = upTo - given
		given = upTo
	}
	return parts
}

// fall returns n weights that fall off as a power of the rank.
func fall(n int, exponent float64) []float64 {
	weights := make([]float64, n)
	for i := range weights {
		weights[i] = math.Pow(float64(i+1), -exponent)
	}
	return weights
}

// largestShare is what one workspace owns of all runs, wherever there are enough others.
const largestShare = 0.3

// shares are the workspaces' shares of the runs, the largest first. From four workspaces on the
// first owns largestShare and the others fall off as a power law, as steeply as leaves the second
// clearly behind the first. Fewer than four can only share more evenly or less: they fall off alone.
func shares(n int) []float64 {
	if n < 4 {
		return fall(n, 1)
	}
	for exponent := 1.0; ; exponent -= 0.05 {
		rest := fall(n-1, max(exponent, 0))
		var sum float64
		for _, w := range rest {
			sum += w
		}
		scale := (1 - largestShare) / sum
		if rest[0]*scale > 0.85*largestShare && exponent > 0 {
			continue
		}
		all := []float64{largestShare}
		for _, w := range rest {
			all = append(all, w*scale)
		}
		return all
	}
}
