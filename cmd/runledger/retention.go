package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/retention"
)

func (a *app) retentionCommand() *cobra.Command {
	var list bool
	preview := a.retentionStep("preview", "Tell exactly what would go, and change nothing",
		func(ctx context.Context, conn *pgx.Conn, o retention.Options) error {
			var each func(retention.Released) error
			if list {
				each = a.listReleased
			}
			groups, err := retention.Preview(ctx, conn, o, each)
			if err != nil || list {
				return err
			}
			return a.retentionTable("RUNS TO GO", groups)
		})
	preview.Flags().BoolVar(&list, "list", false, "print workspace, type, kind and id of each row: the runs that would go, and the findings and items that would lose one")

	work := a.retentionStep("run", "Let go what the policies do not keep",
		func(ctx context.Context, conn *pgx.Conn, o retention.Options) error {
			o.Actor = operator()
			groups, err := retention.Run(ctx, conn, o, progress(a.stderr, "letting runs go"))
			if err != nil && len(groups) == 0 {
				return err
			}
			return errors.Join(err, a.retentionTable("RUNS GONE", groups))
		})
	work.Long += `

It works in short transactions, beside a running server. Interrupted, it has done
what it says, and the next time goes on from there.`

	g := group("retention", "Let old runs go, as the policies of their types say", preview, work)
	g.Long = `A type's policy ("runledger types retain") says which completed runs are kept: those
that ended within --keep-days, and the --keep-last latest of each tenant in each
workspace. A run goes when no part of the policy keeps it; a type without a policy
keeps all. Never goes what is queued or running, what a kept run is a retry of, and,
without --including-referenced, what a finding or an inventory item refers to. What
was recalled stays for as long as anything refers to it.`
	return g
}

// retentionStep makes the command of one step, with the flags that both have.
func (a *app) retentionStep(use, short string, step func(context.Context, *pgx.Conn, retention.Options) error) *cobra.Command {
	var workspace string
	var o retention.Options
	override := &policyFlags{}
	c := &cobra.Command{
		Use: use, Short: short, Long: short + ".", Args: noArgs,
		Example: "  runledger retention " + use + "\n  runledger retention " + use + " --workspace acme --type inventory_sync --keep-days 30",
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		policy, given, err := override.policy(cmd)
		if err != nil {
			return err
		}
		if given {
			if len(o.Types) == 0 {
				return usageError{errors.New("--keep-days and --keep-last want the --type that they are for")}
			}
			o.Override = &policy
		}
		return a.withDatabase(func(ctx context.Context, conn *pgx.Conn, _ []string) error {
			if workspace != "" {
				found, err := findWorkspace(ctx, conn, workspace)
				if err != nil {
					return err
				}
				o.WorkspaceID = found.ID
			}
			return step(ctx, conn, o)
		})(cmd, args)
	}
	c.Flags().StringVar(&workspace, "workspace", "", "one workspace, by its slug or id (all)")
	c.Flags().StringSliceVar(&o.Types, "type", nil, "one type, or several with commas between (all that have a policy)")
	c.Flags().BoolVar(&o.IncludingReferenced, "including-referenced", false, "clear the references of findings and items, and let those runs go as well")
	override.add(c)
	return c
}

// retentionTable prints what became, or would become, of the runs of each type in each workspace.
func (a *app) retentionTable(gone string, groups []retention.Group) error {
	if len(groups) == 0 {
		a.printf("The policies keep every run; runledger types list shows them.\n")
		return nil
	}
	return a.table("WORKSPACE\tTYPE\tPAST RETENTION\t"+gone+"\tKEPT BY REFERENCES\tFINDINGS LOSING A RUN\tITEMS LOSING THEIR RUN", len(groups), func(i int) []any {
		g := groups[i]
		return []any{g.Workspace, g.Type, g.Expired, g.Released, g.Expired - g.Released, g.Findings, g.Items}
	})
}

// listReleased prints a line for each row that would go, or would lose its run.
func (a *app) listReleased(r retention.Released) error {
	var lines strings.Builder
	for _, rows := range []struct {
		kind string
		ids  []int64
	}{{"run", r.Runs}, {"finding", r.Findings}, {"inventory_item", r.Items}} {
		for _, id := range rows.ids {
			_, _ = fmt.Fprintf(&lines, "%d\t%s\t%s\t%d\n", r.WorkspaceID, r.Type, rows.kind, id)
		}
	}
	a.printf("%s", lines.String())
	return nil
}

// policyFlags are the flags that make a policy.
type policyFlags struct{ days, last int64 }

func (p *policyFlags) add(c *cobra.Command) {
	c.Flags().Int64Var(&p.days, "keep-days", 0, "keep the runs that ended within so many days")
	c.Flags().Int64Var(&p.last, "keep-last", 0, "keep so many of the latest runs of each tenant in each workspace")
}

// policy is what the flags say; given tells whether they say anything.
func (p *policyFlags) policy(c *cobra.Command) (policy retention.Policy, given bool, err error) {
	const mostDays = 36_500
	if p.days < 0 || p.days > mostDays || p.last < 0 {
		return policy, false, usageError{fmt.Errorf("--keep-days wants 0 to %d, and --keep-last at least 0", mostDays)}
	}
	if c.Flags().Changed("keep-days") {
		policy.KeepDays = &p.days
	}
	if c.Flags().Changed("keep-last") {
		policy.KeepLast = &p.last
	}
	return policy, policy.KeepDays != nil || policy.KeepLast != nil, nil
}

// retainCommand sets the policy of a type.
func (a *app) retainCommand() *cobra.Command {
	flags := &policyFlags{}
	var forever, nothing bool
	c := &cobra.Command{
		Use:   "retain NAME",
		Short: "Say how long the runs of a type are kept",
		Long: `Retain sets the policy that "runledger retention" goes by, in place of the one before.
With both flags, a run is kept as long as one of them keeps it. A policy that keeps no
completed run at all, because what is given is 0, wants --keep-nothing beside it.`,
		Example: `  runledger types retain inventory_sync --keep-days 90 --keep-last 100`,
		Args:    exactArgs("NAME"),
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		policy, given, err := flags.policy(cmd)
		if err != nil {
			return err
		}
		if given == forever {
			return usageError{errors.New("give --keep-days, --keep-last or both, or --forever")}
		}
		if policy.KeepsNothing() != nothing {
			if nothing {
				return usageError{errors.New("--keep-nothing is for a policy that keeps nothing: --keep-days 0, --keep-last 0 or both")}
			}
			return usageError{errors.New("this policy lets every completed run of the type go; if that is meant, add --keep-nothing")}
		}
		return a.changing(func(ctx context.Context, tx pgx.Tx, args []string) (change, error) {
			changed, err := dbsqlc.New().SetOperationTypeRetention(ctx, tx, dbsqlc.SetOperationTypeRetentionParams{
				Name: args[0], KeepDays: policy.KeepDays, KeepLast: policy.KeepLast,
			})
			if err != nil {
				return change{}, err
			}
			if changed == 0 {
				return change{}, fmt.Errorf("there is no type %q; runledger types list shows those that there are", args[0])
			}
			return change{
				action: "type_retention_set", target: args[0],
				data:    map[string]any{"keep_days": policy.KeepDays, "keep_last": policy.KeepLast},
				message: fmt.Sprintf("Runs of %s are kept: %s.", args[0], policyText(policy.KeepDays, policy.KeepLast)),
			}, nil
		})(cmd, args)
	}
	flags.add(c)
	c.Flags().BoolVar(&forever, "forever", false, "keep all")
	c.Flags().BoolVar(&nothing, "keep-nothing", false, "say that a policy of zeros is meant")
	return c
}

// policyText says what a policy keeps.
func policyText(days, last *int64) string {
	var parts []string
	if days != nil {
		parts = append(parts, strconv.FormatInt(*days, 10)+" days")
	}
	if last != nil {
		parts = append(parts, "last "+strconv.FormatInt(*last, 10))
	}
	if len(parts) == 0 {
		return "for ever"
	}
	return strings.Join(parts, " or ")
}
