package server

import (
	"errors"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// Wherever the item is whose row somebody holds, all others are done; and of however many, no more are waited for
// than it takes to find one.
func TestOneHeldItemIsFoundAmongAnyNumber(t *testing.T) {
	t.Parallel()
	held := &pgconn.PgError{Code: "55P03"}
	for _, n := range []int{1, 2, 3, 5, 40, 63, 64, 65, 500} {
		items := make([]int, n)
		for i := range items {
			items[i] = i
		}
		for place := range n {
			results := together(items, func(items []int) ([]error, error) {
				if slices.Contains(items, place) {
					return nil, held
				}
				return make([]error, len(items)), nil
			}, func(err error) error { return err })
			for i, err := range results {
				if (err != nil) != (i == place) {
					t.Fatalf("of %d, of which %d is held, %d: %v", n, place, i, err)
				}
			}
		}
		waits := 0
		results := together(items, func([]int) ([]error, error) {
			waits++
			return nil, held
		}, func(err error) error { return err })
		const most = 11 // of 500
		if len(results) != n || slices.ContainsFunc(results, func(err error) bool { return !errors.Is(err, held) }) || waits > most {
			t.Errorf("of %d that are all held %d are answered after %d waits", n, len(results), waits)
		}
	}
}
