package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// flatBar is how many times its cost at the smallest size a page may take.
const flatBar = 1.25

// measureFlat compares what a page costs in databases of different sizes.
func measureFlat(ctx context.Context, b *bench) (*table, error) {
	const connections = 8
	t := &table{
		caption: fmt.Sprintf("Pages of %d runs over %d connections in databases of different sizes: CPU seconds per 1,000 requests, medians of %d rounds of %d requests. "+
			"A ratio is the median of the rounds' own. The workspace that is asked for has 30 %% of the runs.", b.pageSize, connections, b.rounds, b.requests),
		keys:    2,
		head:    []string{"page", "runs", "bytes", "Runledger", "ratio to the smallest", "bar"},
		leftOut: b.leavesOut,
	}
	var servers []*contender
	var places []place
	for _, size := range b.sizes {
		p, err := findPlace(ctx, b.url(size))
		if err != nil {
			return nil, err
		}
		c, err := b.startServe(ctx, b.url(size), p.subject)
		if err != nil {
			return nil, err
		}
		defer c.stop()
		servers, places = append(servers, c), append(places, p)
	}
	for _, shape := range []struct {
		name  string
		pages int // which page is asked for
		path  func(p place) string
	}{
		{"first page", 1, place.runs},
		{"page 1,000", 1000, place.runs},
		{"first page of a schedule's history", 1, place.history},
	} {
		var reached []string
		var lengths []int
		for i, c := range servers {
			number, length, err := c.turnTo(ctx, shape.path(places[i])+"?limit="+strconv.Itoa(b.pageSize), shape.pages)
			if err != nil {
				return nil, err
			}
			reached, lengths = append(reached, ""), append(lengths, length)
			if number < shape.pages {
				reached[i] = fmt.Sprintf(" (page %d, its last full one)", number)
			}
		}
		turns, err := loadTurns(ctx, connections, b.requests, servers...)
		if err != nil {
			return nil, err
		}
		all, err := byTurns(ctx, b.rounds, turns...)
		if err != nil {
			return nil, err
		}
		for i, of := range all {
			r := of.costRatio(all[0])
			bar := ""
			if i > 0 {
				bar = holds(r, flatBar)
			}
			t.add(shape.name, strconv.Itoa(b.sizes[i])+reached[i], strconv.Itoa(lengths[i]), of.median().String(), fmt.Sprintf("%.2f", r), bar)
		}
	}
	return t, nil
}

// leavesOut tells of a row of the document whether it is of a database that the options leave out.
func (b *bench) leavesOut(keys []string) bool {
	first, _, _ := strings.Cut(keys[1], " ")
	size, err := strconv.Atoi(first)
	return err == nil && !slices.Contains(b.sizes, size)
}

// turnTo makes the page with that number, or the last full one, what load asks for. It returns
// which that is and how many bytes it has.
func (c *contender) turnTo(ctx context.Context, first string, wanted int) (number, length int, err error) {
	next := first
	for number = 1; ; number++ {
		var body bytes.Buffer
		if err := c.get(ctx, next, &body); err != nil {
			return 0, 0, err
		}
		var page struct {
			NextCursor *string `json:"next_cursor"`
		}
		if err := json.Unmarshal(body.Bytes(), &page); err != nil {
			return 0, 0, err
		}
		if page.NextCursor == nil && number > 1 { // not full, perhaps
			return number - 1, length, nil
		}
		c.path, length = next, body.Len()
		if number == wanted || page.NextCursor == nil {
			return number, length, nil
		}
		next = first + "&cursor=" + *page.NextCursor
	}
}
