package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/seed"
)

// filterBar is how many times the unfiltered page a filtered one may take.
const filterBar = 5

// combination is a set of filters, and how long a page of it takes.
type combination struct {
	what, query string
	took        time.Duration
}

// measureFilters asks for a page of each combination of filters. It is the time to the last byte
// that is compared, the shortest of a few requests by one connection: CPU time is not told finely
// enough for one request.
func measureFilters(ctx context.Context, b *bench) (*table, error) {
	p, err := findPlace(ctx, b.url(b.middle))
	if err != nil {
		return nil, err
	}
	conn, err := pgx.Connect(ctx, b.url(b.middle))
	if err != nil {
		return nil, err
	}
	filters, err := seed.Filters(ctx, conn, p.workspaceID)
	_ = conn.Close(context.WithoutCancel(ctx))
	if err != nil {
		return nil, err
	}
	full, err := b.startServe(ctx, b.url(b.middle), p.subject, "RUNLEDGER_DATABASE_MAX_CONNS=1")
	if err != nil {
		return nil, err
	}
	defer full.stop()
	t := &table{
		caption: fmt.Sprintf("Filtered pages of %d runs at %d runs: how many times the unfiltered page they take, by the clock, the shortest of a few requests each. "+
			"Every single filter and every pair of filters has been asked for, with common, middling, rare and absent values, and of the triples a random thousand.",
			b.pageSize, b.middle),
		keys: 2,
		head: []string{"order", "filters", "combinations", "median", "95 %", "ratio of the worst", "bar", "beyond the bar", "the worst"},
	}
	base := fmt.Sprintf("/workspaces/%d/operation-runs?limit=%d&order=", p.workspaceID, b.pageSize)
	for _, order := range []string{"-created_at", "created_at", "updated_at"} {
		for _, kind := range []struct {
			name string
			of   []combination
		}{{"one", singles(filters)}, {"two", pairs(filters)}, {"three", triples(filters)}} {
			all := kind.of
			if b.quick {
				all = all[:min(len(all), 60)]
			}
			unfiltered, err := timePages(ctx, full, base+order, all)
			if err != nil {
				return nil, err
			}
			slices.SortFunc(all, func(a, b combination) int { return int(a.took - b.took) })
			of := func(c combination) float64 { return ratio(c.took, unfiltered) }
			worst := all[len(all)-1]
			beyond := 0
			for _, c := range all {
				if of(c) > filterBar {
					beyond++
				}
				if of(c) > filterBar {
					note("    %.1f: %s %s", of(c), order, c.what)
				}
			}
			note("  a page without filters takes %v", unfiltered)
			t.add(order, kind.name, strconv.Itoa(len(all)), fmt.Sprintf("%.2f", of(all[len(all)/2])),
				fmt.Sprintf("%.2f", of(all[len(all)*95/100])), fmt.Sprintf("%.2f", of(worst)), holds(of(worst), filterBar),
				strconv.Itoa(beyond), worst.what)
		}
	}
	return t, nil
}

// timePages times a page of each combination, and in between the unfiltered page.
func timePages(ctx context.Context, c *contender, base string, all []combination) (unfiltered time.Duration, err error) {
	const every, tries, patience, passes = 10, 4, 12, 3
	var plain []time.Duration
	enough := func() time.Duration { return filterBar * slices.Min(plain) / 2 }
	for i := range all {
		if i%every == 0 {
			took, err := shortest(ctx, c, base, tries, 0)
			if err != nil {
				return 0, err
			}
			plain = append(plain, took)
		}
		if all[i].took, err = shortest(ctx, c, base+"&"+all[i].query, tries, enough()); err != nil {
			return 0, err
		}
	}
	slices.Sort(plain)
	unfiltered = plain[len(plain)/4]
	// On a machine that does other things too, a long time is to be doubted, and a short one is not:
	// what is near the bar is asked for again, at another time.
	for range passes {
		for i := range all {
			if all[i].took <= filterBar*unfiltered*3/4 {
				continue
			}
			again, err := shortest(ctx, c, base+"&"+all[i].query, patience, enough())
			if err != nil {
				return 0, err
			}
			all[i].took = min(all[i].took, again)
		}
	}
	return unfiltered, nil
}

// shortest is how long a request takes when nothing comes in between: the shortest of some tries,
// and of no more than it takes to come to enough.
func shortest(ctx context.Context, c *contender, path string, tries int, enough time.Duration) (time.Duration, error) {
	least := time.Hour
	for range tries {
		start := time.Now()
		if err := c.get(ctx, path, io.Discard); err != nil {
			return 0, err
		}
		if least = min(least, time.Since(start)); least <= enough {
			break
		}
	}
	return least, nil
}

func singles(filters []seed.Filter) []combination {
	var all []combination
	for _, f := range filters {
		all = append(all, combine(f))
	}
	return all
}

// pairs are all of two filters that can be asked for at once and may find something.
func pairs(filters []seed.Filter) []combination {
	var all []combination
	for i, a := range filters {
		for _, b := range filters[i+1:] {
			if a.Name != b.Name {
				all = append(all, combine(a, b))
			}
		}
	}
	return all
}

// triples are a thousand of three filters, the same each time.
func triples(filters []seed.Filter) []combination {
	const wanted = 1000
	dice := rand.New(rand.NewPCG(1, 1))
	var all []combination
	for len(all) < wanted {
		a, b, c := filters[dice.IntN(len(filters))], filters[dice.IntN(len(filters))], filters[dice.IntN(len(filters))]
		if a.Name != b.Name && b.Name != c.Name && a.Name != c.Name {
			all = append(all, combine(a, b, c))
		}
	}
	return all
}

func combine(filters ...seed.Filter) combination {
	var what, query []string
	for _, f := range filters {
		value, err := url.QueryUnescape(f.Query)
		if err != nil {
			panic("bench: " + err.Error()) // it was escaped by the package that made it
		}
		if len(value) > 60 {
			value = f.Name + "=" + f.Kind
		}
		what, query = append(what, value), append(query, f.Query)
	}
	return combination{what: strings.Join(what, "&"), query: strings.Join(query, "&")}
}
