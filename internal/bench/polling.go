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
	poll, err := b.startServe(ctx, b.url(b.middle), p.subject)
	if err != nil {
		return nil, err
	}
	defer poll.stop()
	bare, err := startBare(ctx, b.url(b.middle), bareEnvironment(p, b.pageSize)...)
	if err != nil {
		return nil, err
	}
	defer bare.stop()
	poll.path, bare.path = p.runs()+"?limit="+strconv.Itoa(b.pageSize), "/runs"
	resp, err := poll.ask(ctx, poll.path)
	if err != nil {
		return nil, err
	}
	drain(resp)
	list, nothing := *poll, *bare
	nothing.path = unchangedPath
	poll.header = http.Header{"If-None-Match": {resp.Header.Get("ETag")}}
	t := &table{
		caption: fmt.Sprintf("Asking again with If-None-Match for a page of %d runs that has not changed: CPU seconds per 1,000 requests, and requests a second.", b.pageSize),
		keys:    1,
		head: []string{
			"connections", "limit", "page", "304", "304 of net/http alone", "ratio of 304 to page", "requests/s: limit", "page", "304", "304 of net/http alone", "304 to page", "bar",
		},
	}
	for _, connections := range []int{8, 32, 128} {
		turns, err := loadTurns(ctx, connections, max(b.requests, connections*leastOfEach), bare, &list, poll, &nothing)
		if err != nil {
			return nil, err
		}
		all, err := byTurns(ctx, b.rounds, turns...)
		if err != nil {
			return nil, err
		}
		m := []sample{all[0].median(), all[1].median(), all[2].median(), all[3].median()}
		faster := all[2].rateRatio(all[1])
		bar := fmt.Sprintf("≥ %d holds", pollingBar)
		if faster < pollingBar {
			bar = fmt.Sprintf("≥ %d **fails**", pollingBar)
		}
		t.add(strconv.Itoa(connections), m[0].String(), m[1].String(), m[2].String(), m[3].String(),
			fmt.Sprintf("%.3f", all[2].costRatio(all[1])),
			perSecond(m[0].rate), perSecond(m[1].rate), perSecond(m[2].rate), perSecond(m[3].rate), fmt.Sprintf("%.2f", faster), bar)
	}
	return t, nil
}
