package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/runledger/runledger/internal/legacy"
)

// legacyFlags are the flags that all steps of the removal share.
type legacyFlags struct {
	databaseURL string
	output      string
	typeMap     string
	lockTimeout time.Duration
	options     legacy.Options
}

// errDifferent makes verify exit with 1.
var errDifferent = errors.New("verify found differences")

func (a *app) legacyCommand() *cobra.Command {
	flags := &legacyFlags{}
	g := group("legacy", "Remove the legacy run stores from the database of the application that made them",
		a.legacyPlanCommand(flags),
		a.legacyExpandCommand(flags),
		a.legacyBackfillCommand(flags),
		legacyStep(a, flags, "verify", "Recompute what every row must be, and compare",
			`Verify recomputes from the legacy tables what every row must be, with other means
than backfill, and reports each difference. It writes nothing and can be run before,
between and after the other steps. Exit code 1 if there is a difference.`,
			func(ctx context.Context, r *legacy.Removal) (*legacy.VerifyReport, error) { return r.Verify(ctx) }),
		a.legacyContractCommand(flags),
		a.legacyPurgeCommand(flags),
		legacyStep(a, flags, "status", "Tell how far the removal is, and the next step", "",
			func(ctx context.Context, r *legacy.Removal) (*legacy.StatusReport, error) { return r.Status(ctx) }),
		legacyStep(a, flags, "import-unbridged", "After contract: make a run of each archived row that has none",
			`Import-unbridged makes an operation run of every archived legacy row without a valid
bridge, marked in its context with the legacy table and id. It is not part of the
removal: run it only if the history of those rows is wanted in the list of runs.`,
			func(ctx context.Context, r *legacy.Removal) (*legacy.ImportReport, error) {
				return r.ImportUnbridged(ctx)
			}),
		legacyStep(a, flags, "undo", "Before contract: take back all that the steps have added",
			`Undo drops the triggers, columns, indexes and schemas that expand, backfill and
contract's preparation have added, and gives inventory items the references back that
the application had written. It refuses after contract.`,
			func(ctx context.Context, r *legacy.Removal) (*legacy.UndoReport, error) { return r.Undo(ctx) }),
	)
	g.Long = `The removal goes in steps, each of which can be interrupted and started again:

  plan      looks, and writes nothing
  expand    adds columns and triggers; the old application works on
  backfill  fills them in small batches; the old application works on
  verify    recomputes and compares every row
  contract  swaps the schemas in one short transaction; stop the old application first
  purge     exports the archive and deletes it

docs/legacy-removal.md is the operator's runbook.`
	persistent := g.PersistentFlags()
	persistent.StringVar(&flags.databaseURL, "database-url", "", "the database (default: RUNLEDGER_DATABASE_URL)")
	persistent.StringVar(&flags.output, "output", "text", "how the summary is written: text or json")
	persistent.DurationVar(&flags.lockTimeout, "lock-timeout", 300*time.Millisecond, "the longest that a statement waits for a lock before it is tried again")
	return g
}

// legacyStep is a command that runs one step.
func legacyStep[R legacy.Report](a *app, flags *legacyFlags, use, short, long string,
	step func(context.Context, *legacy.Removal) (R, error),
) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: long, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runLegacy(a, cmd, flags, step) },
	}
}

// openLegacy connects for a step.
func (a *app) openLegacy(cmd *cobra.Command, flags *legacyFlags) (*legacy.Removal, error) {
	if !slices.Contains([]string{"text", "json"}, flags.output) {
		return nil, usageError{fmt.Errorf("--output wants text or json, not %q", flags.output)}
	}
	if flags.lockTimeout < time.Millisecond {
		return nil, usageError{errors.New("--lock-timeout wants at least 1ms")}
	}
	address := flags.databaseURL
	if holdsPassword(address) {
		a.note("whoever may list processes here reads the password in --database-url; RUNLEDGER_DATABASE_URL keeps it from them")
	}
	if address == "" {
		c, err := readConfig(a.environ, needDatabase)
		if err != nil {
			return nil, err
		}
		address = c.DatabaseURL
	}
	options := flags.options
	options.LockTimeout = flags.lockTimeout
	if flags.typeMap != "" {
		types, err := readTypeMapFile(flags.typeMap)
		if err != nil {
			return nil, usageError{err}
		}
		options.TypeMap = types
	}
	file, isFile := a.stderr.(*os.File)
	progress := legacy.NewProgress(a.stderr, isFile && term.IsTerminal(int(file.Fd())))
	return legacy.Open(cmd.Context(), address, cmd.Name(), options, progress)
}

func readTypeMapFile(path string) (*legacy.TypeMap, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	return legacy.ReadTypeMap(file)
}

// runLegacy runs a step and writes its report.
func runLegacy[R legacy.Report](a *app, cmd *cobra.Command, flags *legacyFlags, step func(context.Context, *legacy.Removal) (R, error)) error {
	r, err := a.openLegacy(cmd, flags)
	if err != nil {
		return err
	}
	defer r.Close()
	report, err := step(cmd.Context(), r)
	if err != nil {
		return err
	}
	if flags.output == "json" {
		encoder := json.NewEncoder(a.stdout)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(report); err != nil {
			return err
		}
	} else {
		report.WriteText(a.stdout)
	}
	if verified, ok := any(report).(*legacy.VerifyReport); ok && verified.Total > 0 {
		return errDifferent
	}
	return nil
}

// typeMapFlag adds --type-map to a command.
func typeMapFlag(c *cobra.Command, flags *legacyFlags) {
	c.Flags().StringVar(&flags.typeMap, "type-map", "", "a file that replaces the map of run types: old and new with a tab between them")
}

func (a *app) legacyPlanCommand(flags *legacyFlags) *cobra.Command {
	var reason string
	c := legacyStep(a, flags, "plan", "Look at everything, and write nothing",
		`Plan recognises the schema, counts what will become of every row and why, lists what
depends on the legacy tables, and says what will block contract. It runs in a
read-only transaction.

Reasons for --list:
  `+strings.Join(legacy.Reasons(), "\n  "),
		func(ctx context.Context, r *legacy.Removal) (*legacy.PlanReport, error) { return r.Plan(ctx) })
	plan := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if reason == "" {
			return plan(cmd, args)
		}
		return a.listLegacy(cmd, flags, reason)
	}
	c.Flags().StringVar(&reason, "list", "", "print the ids of the rows of a reason, instead of the plan")
	typeMapFlag(c, flags)
	return c
}

// listLegacy prints the ids of the rows of a reason: bare if the reason names its group, else behind
// the group.
func (a *app) listLegacy(cmd *cobra.Command, flags *legacyFlags, reason string) error {
	known := slices.ContainsFunc(legacy.Reasons(), func(full string) bool {
		return full == reason || !strings.Contains(reason, ".") && strings.HasSuffix(full, "."+reason)
	})
	if !known {
		return usageError{fmt.Errorf("there is no reason %q; plan --help lists them", reason)}
	}
	r, err := a.openLegacy(cmd, flags)
	if err != nil {
		return err
	}
	defer r.Close()
	out := bufio.NewWriter(a.stdout)
	defer func() { _ = out.Flush() }()
	encoder := json.NewEncoder(out)
	return r.List(cmd.Context(), reason, func(row legacy.Listed) error {
		switch {
		case flags.output == "json":
			return encoder.Encode(row)
		case strings.Contains(reason, "."):
			_, err := fmt.Fprintln(out, row.ID)
			return err
		default:
			_, err := fmt.Fprintf(out, "%s\t%d\n", row.Group, row.ID)
			return err
		}
	})
}

func (a *app) legacyExpandCommand(flags *legacyFlags) *cobra.Command {
	c := legacyStep(a, flags, "expand", "Add what the canonical schema needs, while the old application works on",
		`Expand adds nullable columns, and triggers that keep them right for rows that the
application writes meanwhile. Every statement gives up after --lock-timeout and is
tried again, so that nobody waits behind it. "legacy undo" takes all of it back.`,
		func(ctx context.Context, r *legacy.Removal) (*legacy.ExpandReport, error) { return r.Expand(ctx) })
	typeMapFlag(c, flags)
	return c
}

func (a *app) legacyBackfillCommand(flags *legacyFlags) *cobra.Command {
	c := legacyStep(a, flags, "backfill", "Fill the new columns in small batches, while the old application works on",
		`Backfill goes through each table by its key, in batches that adapt to --batch-duration
and that are committed one by one. Interrupted, it goes on at the batch where it was.`,
		func(ctx context.Context, r *legacy.Removal) (*legacy.BackfillReport, error) { return r.Backfill(ctx) })
	c.Flags().IntVar(&flags.options.Rate, "rate", 0, "the most rows a second; 0 is no limit")
	c.Flags().DurationVar(&flags.options.Pause, "pause", 10*time.Millisecond, "how long to rest after each batch")
	c.Flags().DurationVar(&flags.options.BatchDuration, "batch-duration", 150*time.Millisecond, "what a batch should take")
	return c
}

func (a *app) legacyContractCommand(flags *legacyFlags) *cobra.Command {
	c := legacyStep(a, flags, "contract", "Swap the schemas in one short transaction",
		`Contract prepares all it can without locks, catches up with the application, and then
swaps keys, types and constraints, archives the legacy tables and drops the legacy
columns in one transaction that lasts seconds. It refuses, having changed nothing, if
anything stands in its way. Stop the old application first.`,
		func(ctx context.Context, r *legacy.Removal) (*legacy.ContractReport, error) { return r.Contract(ctx) })
	c.Flags().BoolVar(&flags.options.PrepareOnly, "prepare-only", false, "do only what needs no locks, so that contract will be short")
	return c
}

// holdsPassword tells whether there is a password in the address of a database, a URL or keywords with values.
func holdsPassword(address string) bool {
	if parsed, err := url.Parse(address); err == nil {
		if _, given := parsed.User.Password(); given {
			return true
		}
	}
	return strings.Contains(strings.ReplaceAll(address, " ", ""), "password=")
}

// typed is the line that somebody types, unless ctx ends before. What waits for it then waits on, and ends with
// the process.
func typed(ctx context.Context, from io.Reader) (string, error) {
	type answer struct {
		line string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		line, err := bufio.NewReader(from).ReadString('\n')
		answers <- answer{line, err}
	}()
	select {
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case got := <-answers:
		switch {
		case got.err == nil || got.line != "":
			return strings.TrimSpace(got.line), nil
		case errors.Is(got.err, io.EOF):
			return "", errors.New("nobody types the name of the database; --confirm gives it")
		default:
			return "", fmt.Errorf("read the name: %w", got.err)
		}
	}
}

func (a *app) legacyPurgeCommand(flags *legacyFlags) *cobra.Command {
	var directory, confirmed string
	c := legacyStep(a, flags, "purge", "Export the archive, read the export back, and delete the archive",
		`Purge is the only step that deletes. It exports every table of the archive to
compressed files with a manifest of row counts and SHA-256 sums, reads them back, and
then drops the archive. It refuses while anything depends on it, and wants the
database's name to be typed.`,
		func(ctx context.Context, r *legacy.Removal) (*legacy.PurgeReport, error) {
			return r.Purge(ctx, directory, func(database string) (string, error) {
				if confirmed != "" {
					return confirmed, nil
				}
				_, _ = fmt.Fprintf(a.stderr, "Type the name of the database (%s) to delete its archive: ", database)
				return typed(ctx, os.Stdin)
			})
		})
	purge := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if directory == "" {
			return usageError{errors.New("--export wants the directory to export the archive to")}
		}
		return purge(cmd, args)
	}
	c.Flags().StringVar(&directory, "export", "", "the directory to export the archive to (required)")
	c.Flags().StringVar(&confirmed, "confirm", "", "the database's name, instead of typing it")
	return c
}
