package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
)

// pollingBar is how many times the rate of the list's query polling has to have.
const pollingBar = 10

// leastOfEach is how many requests each connection makes at least in a round: to connect and to ask for the
// first time takes as long as many of them.
const leastOfEach = 50

// measurePolling compares asking again for a page that has not changed with asking for the page,
// and with the most that net/http does on this machine: a 304 that nothing is asked for.
func measurePolling(ctx context.Context, b *bench) (*table, error) {
	p, err := findPlace(ctx, b.url(b.middle))
	if err != nil {
		return nil, err
	}
	t := &table{
		caption: fmt.Sprintf("Asking again with If-None-Match for a page of %d runs that has not changed, where nobody writes: CPU seconds per 1,000 requests, and requests a second, "+
			"with half of the processors for each server, as Runledger does it here, and with all. A ratio is the median of the rounds' own.", b.pageSize),
		keys: 2,
		head: []string{
			"processors", "connections", "limit", "page", "304", "304 of net/http alone", "ratio of 304 to page",
			"requests/s: limit", "page", "304", "304 of net/http alone", "304 to page", "bar",
		},
	}
	for _, processors := range shares() {
		if err := b.pollWith(ctx, p, processors, t); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// pollWith adds what polling is like where each server has so many processors.
func (b *bench) pollWith(ctx context.Context, p place, processors processorShare, t *table) error {
	bare, poll, err := b.startPair(ctx, p, processors)
	if err != nil {
		return err
	}
	defer bare.stop()
	defer poll.stop()
	poll.path, bare.path = p.runs()+"?limit="+strconv.Itoa(b.pageSize), "/runs"
	list, nothing := *poll, *bare
	nothing.path = unchangedPath
	if err := poll.askAgain(ctx); err != nil {
		return err
	}
	for _, connections := range []int{8, 32, 128} {
		turns, err := loadTurns(ctx, connections, max(b.requests, connections*leastOfEach), bare, &list, poll, &nothing)
		if err != nil {
			return err
		}
		all, err := byTurns(ctx, b.rounds, turns...)
		if err != nil {
			return err
		}
		faster := all[2].rateRatio(all[1])
		cells := []string{processors.name, strconv.Itoa(connections)}
		for _, of := range all {
			cells = append(cells, of.median().String())
		}
		cells = append(cells, fmt.Sprintf("%.3f", all[2].costRatio(all[1])))
		for _, of := range all {
			cells = append(cells, perSecond(of.median().rate))
		}
		t.add(append(cells, fmt.Sprintf("%.2f", faster), reaches(faster, pollingBar))...)
	}
	return nil
}

// askAgain makes load ask with the tag that the page has now.
func (c *contender) askAgain(ctx context.Context) error {
	resp, err := c.ask(ctx, c.path)
	if err != nil {
		return err
	}
	drain(resp)
	c.header = http.Header{"If-None-Match": {resp.Header.Get("ETag")}}
	return nil
}
