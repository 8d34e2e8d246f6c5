package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/seed"
)

// filterBar is how many times the unfiltered page a filtered one may take.
const filterBar = 5

// How often a filtered page is asked for, and the unfiltered one right beside it each time.
const (
	filterTries  = 4
	moreTries    = 12 // in each pass over those that are near the bar
	filterPasses = 3
)

// measureFilters asks for a page of each combination of filters, by one connection. It is the time to
// the last byte that is compared: CPU time is not told finely enough for one request.
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
		caption: fmt.Sprintf("Filtered pages of %d runs at %d runs: how many times the unfiltered page they take, by the clock. Both are asked for %d times by turns, "+
			"and the shortest times are compared; what is near the bar is asked for up to %d times more, each of the two as often. "+
			"Every single filter and every pair of filters has been asked for, with common, middling, rare and absent values and several, and of three filters a random thousand; "+
			"so has one of four to six, with longer lists of types, outcomes and statuses.",
			b.pageSize, b.middle, filterTries, moreTries*filterPasses),
		keys: 2,
		head: []string{"order", "filters", "combinations", "median", "95 %", "ratio of the worst", "bar", "beyond the bar", "the worst"},
	}
	stopwatch := &stopwatch{server: full, seen: map[string]bool{}, first: map[string][]float64{}}
	for _, order := range []string{"-created_at", "created_at", "updated_at"} {
		stopwatch.base = fmt.Sprintf("/workspaces/%d/operation-runs?limit=%d&order=%s", p.workspaceID, b.pageSize, order)
		for _, kind := range kindsOf(filters) {
			if b.quick {
				kind.of = kind.of[:min(len(kind.of), 60)]
			}
			if err := stopwatch.time(ctx, kind); err != nil {
				return nil, err
			}
			t.add(filterCells(order, kind)...)
		}
	}
	t.notes = append(t.notes, stopwatch.firstNote(kindsOf(filters)))
	return t, nil
}

// filterCells are a row: what combinations of a kind take.
func filterCells(order string, kind combinations) []string {
	all := kind.of
	slices.SortFunc(all, func(a, b combination) int { return cmp.Compare(a.ratio(), b.ratio()) })
	worst := all[len(all)-1]
	beyond := 0
	for _, c := range all {
		if c.ratio() > filterBar {
			beyond++
			note("    %.1f: %s %s", c.ratio(), order, c.what)
		}
	}
	return []string{
		order, kind.name, strconv.Itoa(len(all)), fmt.Sprintf("%.2f", all[len(all)/2].ratio()),
		fmt.Sprintf("%.2f", all[len(all)*95/100].ratio()), fmt.Sprintf("%.2f", worst.ratio()), holds(worst.ratio(), filterBar),
		strconv.Itoa(beyond), worst.what,
	}
}

// stopwatch times pages in one order.
type stopwatch struct {
	server *contender
	base   string // the address of the unfiltered page

	seen  map[string]bool      // statements that the connection has had
	first map[string][]float64 // by kind, how many times the unfiltered page the first request for a statement took
}

// time times a page of each combination.
func (s *stopwatch) time(ctx context.Context, kind combinations) error {
	for range filterTries { // the order's own statement is known
		if _, err := s.once(ctx, s.base); err != nil {
			return err
		}
	}
	for i := range kind.of {
		c := &kind.of[i]
		shape := s.base + c.shape()
		var first time.Duration
		if !s.seen[shape] {
			var err error
			if first, err = s.once(ctx, s.base+"&"+c.query); err != nil {
				return err
			}
		}
		if err := s.more(ctx, c, filterTries); err != nil {
			return err
		}
		if first > 0 {
			s.first[kind.name] = append(s.first[kind.name], ratio(first, c.plain))
		}
		s.seen[shape] = true
	}
	// On a machine that does other things too, a long time is to be doubted, and a short one is not:
	// what is near the bar is asked for again, at another time.
	for range filterPasses {
		for i := range kind.of {
			if kind.of[i].ratio() > filterBar*3/4 {
				if err := s.more(ctx, &kind.of[i], moreTries); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// more asks for a page of a combination and for the unfiltered page, by turns and as often, and keeps
// the shortest time of each: how long it takes when nothing comes in between.
func (s *stopwatch) more(ctx context.Context, c *combination, tries int) error {
	for range tries {
		plain, err := s.once(ctx, s.base)
		if err != nil {
			return err
		}
		took, err := s.once(ctx, s.base+"&"+c.query)
		if err != nil {
			return err
		}
		c.plain, c.took = min(c.plain, plain), min(c.took, took)
	}
	return nil
}

// once is how long a page takes to the last byte.
func (s *stopwatch) once(ctx context.Context, path string) (time.Duration, error) {
	start := time.Now()
	err := s.server.get(ctx, path, io.Discard)
	return time.Since(start), err
}

// firstNote tells what the first request for a statement on a connection takes.
func (s *stopwatch) firstNote(kinds []combinations) string {
	var parts []string
	for _, kind := range kinds {
		if of := s.first[kind.name]; len(of) > 0 {
			slices.Sort(of)
			parts = append(parts, fmt.Sprintf("%s: %.2f, 95 %% %.2f (%d statements)", kind.name, median(of), of[len(of)*95/100], len(of)))
		}
	}
	return "The first request for a statement on a connection, which is parsed and planned for it, and may have to read what nobody has asked for before, is not among these. In medians it takes so many times the unfiltered page, by the number of filters: " +
		strings.Join(parts, "; ") + "."
}
