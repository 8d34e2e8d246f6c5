package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// What is asked for at the pace of people's windows.
const (
	windows      = 1000            // open pages, each of them an address of its own
	windowPace   = 2 * time.Second // how often each asks
	commitPace   = time.Second     // how often the writer commits
	windowPasses = 5               // how often each asks in a round
)

// measureBesideWrites tells what a poll costs at the pace of a window that is open, where nobody writes
// and beside one who writes in another workspace, and how many polls needed the list's query.
func measureBesideWrites(ctx context.Context, b *bench) (*table, error) {
	p, err := findPlace(ctx, b.url(b.middle))
	if err != nil {
		return nil, err
	}
	poll, err := b.startServe(ctx, b.url(b.middle), p.subject)
	if err != nil {
		return nil, err
	}
	defer poll.stop()
	poll.path = p.runs() + "?limit=" + strconv.Itoa(b.pageSize)
	page := *poll
	if err := poll.askAgain(ctx); err != nil {
		return nil, err
	}
	count, passes := min(b.rounds, 3), windowPasses
	if b.quick {
		count, passes = 1, 1
	}
	t := &table{
		caption: fmt.Sprintf("%d addresses of a page of %d runs that has not changed, each asked for every %v: CPU seconds per 1,000 requests (server + PostgreSQL), "+
			"and by what the polls were answered. Medians of %d rounds of %d requests.", windows, b.pageSize, windowPace, count, windows*passes),
		keys: 1,
		head: []string{
			"meanwhile", "page", "304", "ratio of 304 to page", "304 as nothing was committed", "304 as the last answer is recent", "304 as the rows are the same",
			"304 with the list's query",
		},
	}
	for _, meanwhile := range []struct {
		what string
		do   func(ctx context.Context, databaseURL string, p place) error
	}{
		{"nobody writes", nobodyWrites},
		{"a commit every second in another workspace", writeElsewhere},
	} {
		answers := map[string]float64{}
		all, err := byTurns(ctx, count, func(ctx context.Context) (sample, error) {
			return page.atWindowPace(ctx, passes, func(ctx context.Context) error { return meanwhile.do(ctx, b.url(b.middle), p) }, nil)
		}, func(ctx context.Context) (sample, error) {
			return poll.atWindowPace(ctx, passes, func(ctx context.Context) error { return meanwhile.do(ctx, b.url(b.middle), p) }, answers)
		})
		if err != nil {
			return nil, err
		}
		cells := []string{
			meanwhile.what, all[0].median().String(), all[1].median().String(), fmt.Sprintf("%.3f", all[1].costRatio(all[0])),
		}
		for _, answer := range []string{"unchanged", "recent", "same_rows", "queried"} {
			cells = append(cells, fmt.Sprintf("%.0f %%", 100*answers[answer]/float64(windows*passes*count)))
		}
		t.add(cells...)
	}
	return t, nil
}

// atWindowPace has every window ask so often, at its own moments, while something else is done, and
// tells what a thousand requests cost. What the polls among them were answered by is added to answers.
func (c *contender) atWindowPace(ctx context.Context, passes int, meanwhile func(ctx context.Context) error, answers map[string]float64) (sample, error) {
	all := make([]*loader, 0, windows)
	defer func() {
		for _, l := range all {
			_ = l.conn.Close()
		}
	}()
	for i := range windows {
		l, err := c.newLoader(ctx, i)
		if err != nil {
			return sample{}, err
		}
		all = append(all, l)
	}
	other, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- meanwhile(other) }()
	s, err := c.pace(ctx, all, passes, answers)
	stop()
	if failed := <-ended; !errors.Is(failed, context.Canceled) {
		err = errors.Join(err, failed)
	}
	return s, err
}

// pace is a pass of all windows that is not counted, in which they connect and are remembered, and
// then those that are.
func (c *contender) pace(ctx context.Context, all []*loader, passes int, answers map[string]float64) (sample, error) {
	if err := askInTurn(ctx, all, 1); err != nil {
		return sample{}, err
	}
	before, polled, err := c.spentAndPolls(ctx)
	if err != nil {
		return sample{}, err
	}
	start := time.Now()
	if err := askInTurn(ctx, all, passes); err != nil {
		return sample{}, err
	}
	took := time.Since(start)
	after, now, err := c.spentAndPolls(ctx)
	if err != nil {
		return sample{}, err
	}
	if answers != nil {
		for answer := range now {
			answers[answer] += now[answer] - polled[answer]
		}
	}
	n := passes * len(all)
	return sample{after.less(before).perThousand(n), float64(n) / took.Seconds()}, nil
}

// askInTurn has each window ask so often, evenly spread over the time.
func askInTurn(ctx context.Context, all []*loader, passes int) error {
	group, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	for i, l := range all {
		group.Go(func() error {
			for pass := range passes {
				due := start.Add(time.Duration(pass)*windowPace + windowPace*time.Duration(i)/time.Duration(len(all)))
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(time.Until(due)):
				}
				if err := l.ask(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	time.Sleep(time.Until(start.Add(time.Duration(passes) * windowPace))) // the next pass is due then
	return nil
}

func (c *contender) spentAndPolls(ctx context.Context) (cost, map[string]float64, error) {
	spent, err := c.spent(ctx)
	if err != nil {
		return cost{}, nil, err
	}
	answers, err := c.polls(ctx)
	return spent, answers, err
}

func nobodyWrites(ctx context.Context, _ string, _ place) error {
	<-ctx.Done()
	return ctx.Err()
}

// writeElsewhere commits every second what changes a row of another workspace into itself, so that the
// seeded data stays what it is.
func writeElsewhere(ctx context.Context, databaseURL string, p place) error {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	tick := time.NewTicker(commitPace)
	defer tick.Stop()
	for {
		if _, err := conn.Exec(ctx, `UPDATE operation_runs SET attempt = attempt WHERE (workspace_id, id) =
			(SELECT workspace_id, id FROM operation_runs WHERE workspace_id <> $1 ORDER BY workspace_id, id LIMIT 1)`, p.workspaceID); err != nil {
			return errors.Join(ctx.Err(), err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
