package main

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/runledger/runledger/internal/seed"
)

// combination is a set of filters, and how long a page of it and the unfiltered page beside it take.
type combination struct {
	what, query string
	took, plain time.Duration
}

// ratio is how many times the unfiltered page it takes.
func (c combination) ratio() float64 { return ratio(c.took, c.plain) }

// shape is what the statement depends on: which parameters there are, and how many values each has.
func (c combination) shape() string {
	var parts []string
	for parameter := range strings.SplitSeq(c.query, "&") {
		name, value, _ := strings.Cut(parameter, "=")
		parts = append(parts, fmt.Sprintf("&%s*%d", name, 1+strings.Count(value, ",")))
	}
	slices.Sort(parts)
	return strings.Join(parts, "")
}

// combinations are those of as many filters.
type combinations struct {
	name string
	of   []combination
}

// kindsOf are the combinations that are measured.
func kindsOf(filters []seed.Filter) []combinations {
	return []combinations{
		{"one", singles(filters)},
		{"two", pairs(filters)},
		{"three", random(filters, 3, 3)},
		{"four to six", random(append(longer(filters), filters...), 4, 6)},
	}
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

// random are a thousand of least to most different filters, the same each time.
func random(filters []seed.Filter, least, most int) []combination {
	const wanted = 1000
	dice := rand.New(rand.NewPCG(1, uint64(most)))
	var all []combination
	for len(all) < wanted {
		count := least + dice.IntN(most-least+1)
		var chosen []seed.Filter
		for len(chosen) < count {
			f := filters[dice.IntN(len(filters))]
			if !slices.ContainsFunc(chosen, func(other seed.Filter) bool { return other.Name == f.Name }) {
				chosen = append(chosen, f)
			}
		}
		all = append(all, combine(chosen...))
	}
	return all
}

// longer are lists of every type, outcome and status that another filter has, and of all but one.
func longer(filters []seed.Filter) []seed.Filter {
	var all []seed.Filter
	for _, name := range []string{"type", "outcome", "status"} {
		var values []string
		for _, f := range filters {
			if f.Name == name {
				_, list, _ := strings.Cut(f.Query, "=")
				values = append(values, strings.Split(list, ",")...)
			}
		}
		slices.Sort(values)
		values = slices.Compact(values)
		all = append(
			all, seed.Filter{Name: name, Kind: "every", Query: name + "=" + strings.Join(values, ",")},
			seed.Filter{Name: name, Kind: "nearly every", Query: name + "=" + strings.Join(values[1:], ",")},
		)
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
	const long = time.Hour // before it is timed
	return combination{what: strings.Join(what, "&"), query: strings.Join(query, "&"), took: long, plain: long}
}
