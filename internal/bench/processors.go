package main

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
)

// processorShare is how many processors a server uses.
type processorShare struct {
	name  string
	count int
}

// environ tells a server of it. Runledger takes half of them by itself where PostgreSQL is on the same
// machine, and takes what it is told; the bare handler takes all.
func (s processorShare) environ() string { return "GOMAXPROCS=" + strconv.Itoa(s.count) }

// shares are what servers are given: half of the processors, rounded as Runledger does, and all.
func shares() []processorShare {
	all := runtime.NumCPU()
	return []processorShare{{"half", (all + 1) / 2}, {"all", all}} //nolint:mnd // as it says
}

// startPair starts the bare handler and Runledger with so many processors each.
func (b *bench) startPair(ctx context.Context, p place, processors processorShare) (bare, full *contender, err error) {
	bare, err = startBare(ctx, b.url(b.middle), append(bareEnvironment(p, b.pageSize), processors.environ())...)
	if err != nil {
		return nil, nil, err
	}
	full, err = b.startServe(ctx, b.url(b.middle), p.subject, processors.environ())
	if err != nil {
		bare.stop()
		return nil, nil, err
	}
	return bare, full, nil
}

// measureProcessors compares lists with the limit where both use half of the processors, and where
// both use all.
func measureProcessors(ctx context.Context, b *bench) (*table, error) {
	p, err := findPlace(ctx, b.url(b.middle))
	if err != nil {
		return nil, err
	}
	var servers []*contender
	for _, share := range shares() {
		bare, full, err := b.startPair(ctx, p, share)
		if err != nil {
			return nil, err
		}
		defer bare.stop()
		defer full.stop()
		servers = append(servers, bare, full)
	}
	t := &table{
		caption: fmt.Sprintf("Pages of %d rows at %d runs with half of the machine's %d processors for each server and with all of them: CPU seconds per 1,000 requests "+
			"(server + PostgreSQL), medians of %d rounds of %d requests. A ratio is that of Runledger to the limit with as many processors, the median of the rounds' own.",
			b.pageSize, b.middle, runtime.NumCPU(), b.rounds, b.requests),
		keys: 2,
		head: []string{
			"list", "connections", "limit, half", "Runledger, half", "ratio with half", "limit, all", "Runledger, all", "ratio with all",
			"requests/s: limit, half", "Runledger, half", "limit, all", "Runledger, all",
		},
	}
	for _, l := range lists(p)[:2] {
		for i, c := range servers {
			c.path = "/" + l.name
			if i%2 == 1 {
				c.path = l.path + "?limit=" + strconv.Itoa(b.pageSize)
			}
		}
		for _, connections := range connectionCounts() {
			turns, err := loadTurns(ctx, connections, b.requestsAt(connections), servers...)
			if err != nil {
				return nil, err
			}
			all, err := byTurns(ctx, b.rounds, turns...)
			if err != nil {
				return nil, err
			}
			t.add(processorCells(l.name, strconv.Itoa(connections), all)...)
		}
	}
	return t, nil
}

// processorCells are a row: the limit and Runledger with half of the processors, and with all.
func processorCells(list, connections string, all []rounds) []string {
	cells := []string{list, connections}
	for i := 0; i < len(all); i += 2 {
		r := all[i+1].costRatio(all[i])
		cells = append(cells, all[i].median().String(), all[i+1].median().String(), fmt.Sprintf("%.2f, %s", r, holds(r, listBar)))
	}
	for _, of := range all {
		cells = append(cells, perSecond(of.median().rate))
	}
	return cells
}
