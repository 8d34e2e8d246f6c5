package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/runledger/runledger/internal/seed"
)

func (a *app) seedCommand() *cobra.Command {
	var o seed.Options
	var until string
	cmd := &cobra.Command{
		Use:   "seed",
		Short: "Fill the database with realistic data of any size",
		Long: `Seed adds workspaces with members, tenants, backup schedules and their history,
runs, findings and inventory items to the database at RUNLEDGER_DATABASE_URL. The
same --seed, --until and sizes give the same data. One workspace owns 30 % of the
runs. All of it or nothing is added.

Its workspaces and members stand beside those that are there, and no command takes
them out again.`,
		Example: `  runledger seed --workspaces 20 --runs 1000000 --seed 7`,
		Args:    noArgs,
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkSeed(&o, until); err != nil {
			return err
		}
		return a.withDatabase(func(ctx context.Context, conn *pgx.Conn, _ []string) error {
			start := time.Now()
			summary, err := seed.Run(ctx, conn, o, progress(a.stderr, "seeding"))
			if err != nil {
				return err
			}
			a.printf("%s in %s\n", summary, time.Since(start).Round(time.Millisecond))
			return nil
		})(cmd, args)
	}
	cmd.Flags().IntVar(&o.Workspaces, "workspaces", 10, "how many workspaces")
	cmd.Flags().IntVar(&o.Runs, "runs", 10_000, "how many runs in all of them")
	cmd.Flags().Uint64Var(&o.Seed, "seed", 1, "what the data is drawn from")
	cmd.Flags().StringVar(&until, "until", "", "the newest instant in the data (the last full hour)")
	return cmd
}

// checkSeed reads until into o, and finds all that is wrong with the flags.
func checkSeed(o *seed.Options, until string) error {
	var faults []error
	if until != "" {
		at, err := time.Parse(time.RFC3339, until)
		if err != nil {
			faults = append(faults, errors.New("--until wants an instant such as 2026-01-31T12:00:00Z"))
		}
		o.Until = at
	}
	if o.Workspaces < 1 {
		faults = append(faults, fmt.Errorf("--workspaces wants at least 1, not %d", o.Workspaces))
	}
	if o.Runs < 0 {
		faults = append(faults, fmt.Errorf("--runs wants at least 0, not %d", o.Runs))
	}
	if len(faults) > 0 {
		return usageError{errors.Join(faults...)}
	}
	return nil
}

// progress shows how far a long work is: a bar on a terminal, a line now and then elsewhere. A total
// below 0 is not known.
func progress(w io.Writer, what string) func(done, total int) {
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		var bar *progressbar.ProgressBar
		return func(done, total int) {
			if bar == nil {
				bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what),
					progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetPredictTime(true),
					progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
			}
			_ = bar.Set(done)
		}
	}
	const every = 5 * time.Second
	start := time.Now()
	last := start
	return func(done, total int) {
		now := time.Now()
		if now.Sub(last) < every || done == 0 {
			return
		}
		last = now
		rate := float64(done) / now.Sub(start).Seconds()
		if total < 0 {
			_, _ = fmt.Fprintf(w, "%s: %d (%.0f/s)\n", what, done, rate)
			return
		}
		_, _ = fmt.Fprintf(w, "%s: %d of %d (%.0f/s, %s left)\n", what, done, total, rate,
			time.Duration(float64(total-done)/rate*float64(time.Second)).Round(time.Second))
	}
}
