package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// The exit codes. Scripts may rely on them.
const (
	exitOK       = 0
	exitFailure  = 1 // the work could not be done
	exitUsage    = 2 // the command line or the configuration is wrong
	exitSignaled = 130
)

// usageError is an error that a change of the command line or the configuration cures.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// app is what all commands share.
type app struct {
	environ []string
	stdout  io.Writer
	stderr  io.Writer
	unknown error // of what help was asked and there is none: cobra has no place for it
}

// run executes one command line and returns the exit code. Output goes to stdout, errors and
// progress to stderr. SIGINT and SIGTERM cancel the command's context; after the first, a second
// ends the process at once.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the second signal finds its default: the end

	out := &output{to: stdout}
	a := &app{environ: environ, stdout: out, stderr: stderr}
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	err = cmp.Or(err, a.unknown, out.err) // which the command sets
	if err == nil {
		return exitOK
	}
	_, _ = fmt.Fprintf(stderr, "runledger: %v\n", err)
	switch _, usage := errors.AsType[usageError](err); {
	case usage:
		_, _ = fmt.Fprintln(stderr, "Run the command with --help to see how it is used.")
		return exitUsage
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return exitSignaled
	default:
		return exitFailure
	}
}

// output remembers that something could not be written, so that nobody takes what there is for whole.
type output struct {
	to  io.Writer
	err error
}

func (o *output) Write(b []byte) (int, error) {
	n, err := o.to.Write(b)
	if err != nil && o.err == nil {
		o.err = fmt.Errorf("write the output: %w", err)
	}
	return n, err
}

// rootCommand is the tree of commands.
func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "runledger",
		Short: "The canonical record of operation runs",
		Long: `Runledger keeps the one record of the operations that a multi-tenant
administration product runs, and serves it to the members of a workspace.

To look around:      runledger dev
To run it for real:  runledger migrate up, then runledger serve

Configuration comes from the environment; "runledger serve --help" lists it. Where a
command has a flag for the same, the flag wins.
Exit codes: 0 done, 1 failed, 2 wrong command line or configuration, 130 interrupted.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noArgs,
	}
	// Cobra's own flag wants a template, and with text/template the linker has to keep a quarter more.
	asked := root.Flags().Bool("version", false, "print what \"runledger version\" prints")
	root.RunE = func(cmd *cobra.Command, _ []string) error {
		if *asked {
			a.printf("%s\n", versionText())
			return nil
		}
		return cmd.Help()
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		a.devCommand(),
		a.serveCommand(),
		onDatabase(a.migrateCommand()),
		a.legacyCommand(),
		onDatabase(a.seedCommand()),
		a.exportCommand(),
		a.tokenCommand(),
		onDatabase(a.workspaceCommand()),
		onDatabase(a.memberCommand()),
		onDatabase(a.tenantCommand()),
		onDatabase(a.typesCommand()),
		onDatabase(a.retentionCommand()),
		onDatabase(a.auditCommand()),
		a.healthcheckCommand(),
		a.versionCommand(),
	)
	root.SetHelpCommand(helpCommand())
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		// With --help cobra looks at no argument, and takes a command that there is none of for one.
		if cmd.HasSubCommands() {
			a.unknown = noArgs(cmd, cmd.Flags().Args())
		}
		if a.unknown == nil {
			help(cmd, args)
		}
	})
	root.InitDefaultCompletionCmd()
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		completion.Args, completion.RunE = noArgs, wantsCommand
	}
	return root
}

// helpCommand is cobra's, but for what it does not know: that is a mistake.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Tell about a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil {
				return usageError{err}
			}
			if err := noArgs(about, rest); err != nil {
				return err
			}
			return about.Help()
		},
	}
}

// onDatabase lets the help of a command, and of those that it holds, say which database they work on.
func onDatabase(cmd *cobra.Command) *cobra.Command {
	const variable = "RUNLEDGER_DATABASE_URL"
	if cmd.Long == "" {
		cmd.Long = cmd.Short + "."
	}
	if !strings.Contains(cmd.Long, variable) {
		cmd.Long += "\n\nThe database is the one at " + variable + "."
	}
	for _, child := range cmd.Commands() {
		onDatabase(child)
	}
	return cmd
}

// noArgs refuses arguments and names commands that were probably meant.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2 // letters; cobra by itself suggests what begins so and no more
	if meant, _ := nearest(args[0], cmd.SuggestionsFor(args[0])); meant != "" {
		return usageError{fmt.Errorf("there is no %q here; did you mean %q?", args[0], meant)}
	}
	return usageError{fmt.Errorf("%q is not something that %q takes", args[0], cmd.CommandPath())}
}

// exactArgs wants as many arguments as there are names.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		takes := fmt.Sprintf("%q takes %s", cmd.CommandPath(), strings.Join(names, " "))
		switch {
		case len(args) > len(names):
			return usageError{fmt.Errorf("%s, and not %q after that", takes, args[len(names)])}
		case len(args) > 0 && len(args) < len(names):
			return usageError{fmt.Errorf("%s; %s is missing", takes, names[len(args)])}
		case len(args) == 0:
			return usageError{errors.New(takes)}
		}
		return nil
	}
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{
		Use: use, Short: short, Args: noArgs, RunE: wantsCommand,
	}
	g.AddCommand(commands...)
	return g
}

func wantsCommand(cmd *cobra.Command, _ []string) error {
	return usageError{fmt.Errorf("%q wants one of its commands", cmd.CommandPath())}
}

func (a *app) printf(format string, args ...any) { _, _ = fmt.Fprintf(a.stdout, format, args...) }
