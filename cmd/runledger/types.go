package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/spf13/cobra"

	"github.com/runledger/runledger/internal/dbsqlc"
)

// mostTypeName is how long a type's name may be, in bytes: a start can name no longer one.
const mostTypeName = 255

// typePattern is what an operation type is called.
var typePattern = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

func (a *app) typesCommand() *cobra.Command {
	return group("types", "Keep the allow-list of operation types", a.listTypesCommand(), a.addTypeCommand(), a.retainCommand(),
		a.acceptCommand("enable", "Enabled", "Accept new runs of a type", true),
		a.acceptCommand("disable", "Disabled", "Refuse new runs of a type; its runs stay", false))
}

func (a *app) listTypesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the operation types",
		Args:  noArgs,
		RunE: a.withDatabase(func(ctx context.Context, conn *pgx.Conn, _ []string) error {
			types, err := dbsqlc.New().ListOperationTypes(ctx, conn)
			if err != nil {
				return err
			}
			return a.table("NAME\tLABEL\tNEW RUNS\tSTALE AFTER\tKEPT", len(types), func(i int) []any {
				t := types[i]
				accepts := "accepted"
				if !t.AcceptsNewRuns {
					accepts = "refused"
				}
				return []any{t.Name, t.Label, accepts, staleAfterText(t.StaleAfter), policyText(t.KeepDays, t.KeepLast)}
			})
		}),
	}
}

func (a *app) addTypeCommand() *cobra.Command {
	var label string
	var staleAfter time.Duration
	add := &cobra.Command{
		Use:   "add NAME",
		Short: "Add an operation type to the allow-list",
		Long: `Add lets runs of one more type be recorded. NAME begins with a letter and is made of
a-z and 0-9, with single underscores between them, such as policy_export.`,
		Example: `  runledger types add policy_export --label "Policy export" --stale-after 1h`,
		Args:    exactArgs("NAME"),
		RunE: a.changing(func(ctx context.Context, tx pgx.Tx, args []string) (change, error) {
			if err := checkType(args[0], staleAfter); err != nil {
				return change{}, err
			}
			return addType(ctx, tx, args[0], cmp.Or(label, args[0]), staleAfter)
		}),
	}
	add.Flags().StringVar(&label, "label", "", "the name for people (NAME)")
	add.Flags().DurationVar(&staleAfter, "stale-after", 15*time.Minute, "how long a run may be silent before it is stalled, in whole seconds; 0 is for ever")
	return add
}

// checkType finds what is wrong with a new type.
func checkType(name string, staleAfter time.Duration) error {
	var faults []error
	if !typePattern.MatchString(name) {
		faults = append(faults, fmt.Errorf("a type is named like inventory_sync: a-z and 0-9 with single underscores between, unlike %q", name))
	}
	if len(name) > mostTypeName {
		faults = append(faults, fmt.Errorf("the name of a type has at most %d letters; this one has %d", mostTypeName, len(name)))
	}
	if staleAfter < 0 || staleAfter%time.Second != 0 { // the interface tells it in seconds, where half of one would be none: for ever
		faults = append(faults, fmt.Errorf("--stale-after wants whole seconds, such as 1s or 15m, or 0 for ever, not %s", staleAfter))
	}
	if len(faults) > 0 {
		return usageError{errors.Join(faults...)}
	}
	return nil
}

// addType adds a type to the allow-list.
func addType(ctx context.Context, tx pgx.Tx, name, label string, staleAfter time.Duration) (change, error) {
	added, err := dbsqlc.New().AddOperationType(ctx, tx, dbsqlc.AddOperationTypeParams{
		Name: name, Label: label,
		StaleAfter: pgtype.Interval{Microseconds: staleAfter.Microseconds(), Valid: staleAfter > 0},
	})
	if err != nil {
		return change{}, err
	}
	if added == 0 {
		return change{}, fmt.Errorf("there is a type %q already", name)
	}
	return change{
		action: "type_added", target: name, message: fmt.Sprintf("Added %s.", name),
		data: map[string]any{"label": label, "stale_after_seconds": staleAfter.Seconds()},
	}, nil
}

// acceptCommand switches whether a type accepts new runs.
func (a *app) acceptCommand(use, done, short string, accepts bool) *cobra.Command {
	return &cobra.Command{
		Use:   use + " NAME",
		Short: short,
		Args:  exactArgs("NAME"),
		RunE: a.changing(func(ctx context.Context, tx pgx.Tx, args []string) (change, error) {
			queries := dbsqlc.New()
			changed, err := queries.SetOperationTypeAcceptsNewRuns(ctx, tx, dbsqlc.SetOperationTypeAcceptsNewRunsParams{
				Name: args[0], AcceptsNewRuns: accepts,
			})
			if err != nil {
				return change{}, err
			}
			if changed == 0 {
				types, err := queries.ListOperationTypes(ctx, tx)
				if err != nil {
					return change{}, err
				}
				if !slices.ContainsFunc(types, func(t dbsqlc.ListOperationTypesRow) bool { return t.Name == args[0] }) {
					return change{}, fmt.Errorf("there is no type %q; runledger types list shows those that there are", args[0])
				}
				return change{message: fmt.Sprintf("%s was %s already.", args[0], strings.ToLower(done))}, nil
			}
			return change{action: "type_" + use + "d", target: args[0], message: fmt.Sprintf("%s %s.", done, args[0])}, nil
		}),
	}
}

func staleAfterText(v pgtype.Interval) string {
	if !v.Valid {
		return "never"
	}
	const day = 24 * time.Hour
	return (time.Duration(v.Microseconds)*time.Microsecond + time.Duration(v.Days+30*v.Months)*day).String()
}
