// Command bench measures the built server: what its lists cost beside the least that such a list
// can cost, whether they stay as cheap as the data grows, what each index costs and serves, and
// how small and how quick to start the process is.
//
//	make bench                      # everything, about three quarters of an hour; writes docs/performance.md
//	make bench ARGS='-only lists'   # one section
//	make bench-check                # compares the ratios with those in docs/performance.md
//	make soak ARGS='-soak 2h'       # loads a server for two hours, and then with more than it can take
//
// It starts a private PostgreSQL, fills it once with 10,000 and with a million runs (and, with
// BENCH_LARGE=1, with ten million), and keeps the data for the next time. What is compared runs by
// turns, over several rounds. CPU time is judged, and read from /proc for each process apart, so
// that the load generator is in no figure and a busy machine disturbs little; it needs Linux.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are what a measurement is made of.
type options struct {
	only        string
	dataDir     string
	database    string
	document    string
	fresh       bool
	quick       bool
	large       bool
	check       bool
	prepare     bool
	uncommitted bool // whether what is in no commit may be written of
	tolerance   float64
	rounds      int
	requests    int // of each server in each round
	pageSize    int
	middle      int // how many runs there are in the database that most is measured on

	soakFor     time.Duration // 0 for measuring
	overloadFor time.Duration
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == bareCommand {
		exit(serveBare())
	}
	o := options{large: os.Getenv("BENCH_LARGE") == "1"}
	flag.StringVar(&o.only, "only", "", "measure these sections alone, comma-separated: "+strings.Join(sectionNames(), ", "))
	flag.StringVar(&o.dataDir, "data-dir", defaultDataDir(), "where PostgreSQL and its seeded data are kept")
	flag.StringVar(&o.database, "database", "", "the address of a seeded database to measure, for filters and indexes alone: no private PostgreSQL is started")
	flag.StringVar(&o.document, "document", "docs/performance.md", "the document whose generated parts are written; empty for none")
	flag.BoolVar(&o.fresh, "fresh", false, "throw the seeded data away and make it anew")
	flag.BoolVar(&o.quick, "quick", false, "few short rounds: a look, not a measurement; writes nothing")
	flag.BoolVar(&o.check, "check", false, "compare ratios with those in the document, and write nothing")
	flag.BoolVar(&o.prepare, "prepare", false, "seed, print the addresses of the databases, and serve them until interrupted")
	flag.BoolVar(&o.uncommitted, "write-uncommitted", false, "write the document although the tree has changes that are in no commit")
	flag.Float64Var(&o.tolerance, "tolerance", 0.25, "how much larger a ratio may be with -check, or how much smaller a share, as a fraction")
	flag.IntVar(&o.rounds, "rounds", 7, "how many rounds")
	flag.IntVar(&o.requests, "requests", 1500, "how many requests each server gets in a round")
	flag.IntVar(&o.pageSize, "limit", 50, "how many rows a page has")
	flag.IntVar(&o.middle, "runs", 1_000_000, "how many runs the larger database has; with fewer, a look and not a measurement")
	flag.DurationVar(&o.soakFor, "soak", 0, "load a server with a realistic mix for so long, instead of measuring: minutes or hours")
	flag.DurationVar(&o.overloadFor, "overload", 30*time.Second, "with -soak, how long to ask for five times what the server can take")
	flag.Usage = func() {
		_, _ = fmt.Fprint(flag.CommandLine.Output(), "Bench measures the built server and writes docs/performance.md.\n"+
			"With BENCH_LARGE=1 in the environment there are ten million runs as well. With an address in\n"+
			"BENCH_POSTGRES a soak uses that PostgreSQL and starts none.\n\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if o.quick {
		o.rounds, o.requests = min(o.rounds, 3), min(o.requests, 400)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, o)
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

// note says on stderr how far the work is.
func note(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }

// run does what the options ask for.
func run(ctx context.Context, o options) (err error) {
	wanted, err := chosenSections(o)
	if err != nil {
		return err
	}
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if o.soakFor > 0 {
		return b.soak(ctx)
	}
	if o.prepare {
		for _, size := range b.sizes {
			fmt.Println(b.url(size))
		}
		<-ctx.Done()
		return nil
	}
	return b.measure(ctx, wanted)
}

// measure measures sections, one after the other, and writes or compares each.
func (b *bench) measure(ctx context.Context, sections []section) error {
	if b.writesDocument() {
		if err := b.source.mayBeWritten(); err != nil && !b.uncommitted {
			return err // before it is measured
		}
	}
	var regressions []string
	for _, s := range sections {
		note("measuring %s", s.name)
		t, err := s.measure(ctx, b)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Println(t.markdown())
		switch {
		case b.check:
			worse, err := check(b.options, s.name, t)
			if err != nil {
				return err
			}
			regressions = append(regressions, worse...)
		case b.writesDocument():
			if err := b.write(ctx, s.name, t); err != nil {
				return err
			}
		}
	}
	if b.check {
		return judge(b.options, regressions)
	}
	return nil
}

// writesDocument tells whether the document is written.
func (o options) writesDocument() bool { return o.document != "" && !o.quick && !o.check }

// judge says what is worse than in the document, or that nothing is.
func judge(o options, regressions []string) error {
	if len(regressions) > 0 {
		return fmt.Errorf("not as in %s, or worse by more than %.0f %%:\n  %s", o.document, 100*o.tolerance, strings.Join(regressions, "\n  "))
	}
	note("no ratio is worse than in %s by more than %.0f %%, and no bar fails that held there", o.document, 100*o.tolerance)
	return nil
}

// section is a part of the document that is measured by itself.
type section struct {
	name    string
	measure func(ctx context.Context, b *bench) (*table, error)
	// checked says that the section's ratios are what -check compares.
	checked bool
}

// sections are all of them, in the order of the document.
func sections() []section {
	return []section{
		{name: "lists", measure: measureLists, checked: true},
		{name: "processors", measure: measureProcessors, checked: true},
		{name: "flat", measure: measureFlat, checked: true},
		{name: "filters", measure: measureFilters, checked: true},
		{name: "polling", measure: measurePolling, checked: true},
		{name: "beside-writes", measure: measureBesideWrites, checked: true},
		{name: "indexes", measure: measureIndexes},
		{name: "cold", measure: measureCold},
		{name: "hangups", measure: measureHangups},
		{name: "export", measure: measureExport, checked: true},
		{name: "writes", measure: measureWrites, checked: true},
	}
}

func sectionNames() []string {
	var names []string
	for _, s := range sections() {
		names = append(names, s.name)
	}
	return names
}

// chosenSections are the sections that the options name: all, or those of -check, unless told.
func chosenSections(o options) ([]section, error) {
	var chosen []section
	names := strings.FieldsFunc(o.only, func(r rune) bool { return r == ',' })
	for _, s := range sections() {
		if o.check && !s.checked && slices.Contains(names, s.name) {
			return nil, fmt.Errorf("%s has no ratios that -check could compare", s.name)
		}
		if slices.Contains(names, s.name) || len(names) == 0 && (!o.check || s.checked) {
			chosen = append(chosen, s)
		}
	}
	for _, name := range names {
		if !slices.Contains(sectionNames(), name) {
			return nil, fmt.Errorf("there is no section %q; there are %s", name, strings.Join(sectionNames(), ", "))
		}
	}
	return chosen, nil
}
