// Command bench measures what a list of runs costs: the built server, with its gate and every
// safety, beside a bare handler with the same query, scan and encoding and nothing else.
//
//	go run ./internal/bench -database postgres://postgres@127.0.0.1:5432/seeded
//
// The two answer by turns from one database, over the same number of kept connections. What is
// printed is CPU time, of the server's process and of its PostgreSQL backends; it is read from
// /proc, so PostgreSQL has to run on this machine, which has to run Linux. Time by the clock says
// little on a machine that does other things too, and nothing is judged by it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
)

// options are what a measurement is made of.
type options struct {
	database    string
	connections int
	requests    int // of each server in each round
	rounds      int
	pageSize    int
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == bareCommand {
		exit(serveBare())
	}
	var o options
	flag.StringVar(&o.database, "database", os.Getenv("RUNLEDGER_DATABASE_URL"), "address of a seeded database")
	flag.IntVar(&o.connections, "connections", 8, "how many connections ask at once")
	flag.IntVar(&o.requests, "requests", 3000, "how many requests each server gets in a round")
	flag.IntVar(&o.rounds, "rounds", 5, "how many rounds")
	flag.IntVar(&o.pageSize, "limit", 50, "how many runs a page has")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := measure(ctx, o)
	stop()
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// cost is CPU time.
type cost struct{ server, database time.Duration }

func (c cost) total() time.Duration { return c.server + c.database }

// measure runs both servers by turns and prints what a request costs each.
func measure(ctx context.Context, o options) error {
	if o.database == "" {
		return errors.New("name a database with -database; runledger seed fills one")
	}
	conn, err := pgx.Connect(ctx, o.database)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	world, err := findWorld(ctx, conn)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "runledger-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	bare, err := startBare(ctx, o, world)
	if err != nil {
		return err
	}
	defer bare.stop()
	full, err := startFull(ctx, o, world, dir)
	if err != nil {
		return err
	}
	defer full.stop()
	if err := sameData(ctx, full, bare); err != nil {
		return err
	}
	contenders := []*contender{full, bare}
	for _, c := range contenders { // statements are prepared, pools filled, caches warm
		if err := c.load(ctx, o.connections, o.requests/10+o.connections); err != nil {
			return err
		}
	}
	for range o.rounds {
		for _, c := range contenders {
			if err := c.round(ctx, conn, o); err != nil {
				return err
			}
		}
	}
	return report(o, full, bare)
}

// round loads a contender once and notes what that cost.
func (c *contender) round(ctx context.Context, conn *pgx.Conn, o options) error {
	before, err := c.spent(ctx, conn)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := c.load(ctx, o.connections, o.requests); err != nil {
		return err
	}
	took := time.Since(start)
	after, err := c.spent(ctx, conn)
	if err != nil {
		return err
	}
	per := func(d time.Duration) time.Duration { return d * 1000 / time.Duration(o.requests) }
	c.costs = append(c.costs, cost{per(after.server - before.server), per(after.database - before.database)})
	c.rates = append(c.rates, float64(o.requests)/took.Seconds())
	return nil
}

// report prints the medians and the ratio of the two.
func report(o options, full, bare *contender) error {
	const gap = 2
	fmt.Printf("CPU seconds per 1,000 requests for a page of %d runs, medians of %d rounds of %d requests over %d connections\n\n",
		o.pageSize, o.rounds, o.requests, o.connections)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, gap, ' ', 0)
	_, _ = fmt.Fprintln(w, "\tserver\tPostgreSQL\tboth\trequests/s")
	for _, c := range []*contender{full, bare} {
		m := c.median()
		slices.Sort(c.rates)
		_, _ = fmt.Fprintf(w, "%s\t%.3f\t%.3f\t%.3f\t%.0f\n", c.name, m.server.Seconds(), m.database.Seconds(), m.total().Seconds(),
			c.rates[len(c.rates)/2])
	}
	f, b := full.median(), bare.median()
	_, _ = fmt.Fprintf(w, "ratio\t%.2f\t%.2f\t%.2f\t\n", ratio(f.server, b.server), ratio(f.database, b.database), ratio(f.total(), b.total()))
	return w.Flush()
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// median is the middle of a contender's rounds, of each part apart.
func (c *contender) median() cost {
	middle := func(part func(cost) time.Duration) time.Duration {
		all := make([]time.Duration, 0, len(c.costs))
		for _, each := range c.costs {
			all = append(all, part(each))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return cost{
		server:   middle(func(c cost) time.Duration { return c.server }),
		database: middle(func(c cost) time.Duration { return c.database }),
	}
}
