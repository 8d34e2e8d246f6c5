package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/user"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/runledger/runledger/internal/dbsqlc"
)

// change is what a command did to the installation.
type change struct {
	action      string // empty if nothing had to be done
	workspaceID int64  // 0 for what belongs to no workspace
	target      string
	data        map[string]any
	message     string // for whoever ran the command
}

// changing makes of f the body of a command that changes the installation: what f does and the
// record of it are one transaction.
func (a *app) changing(f func(ctx context.Context, tx pgx.Tx, args []string) (change, error)) func(*cobra.Command, []string) error {
	return a.withDatabase(func(ctx context.Context, conn *pgx.Conn, args []string) error {
		var done change
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			var err error
			if done, err = f(ctx, tx, args); err != nil || done.action == "" {
				return err
			}
			return appendAudit(ctx, tx, done)
		})
		if err != nil {
			return err
		}
		a.printf("%s\n", done.message)
		return nil
	})
}

func appendAudit(ctx context.Context, tx pgx.Tx, done change) error {
	data, err := json.Marshal(done.data)
	if err != nil {
		return fmt.Errorf("record the change: %w", err)
	}
	if done.data == nil {
		data = []byte("{}")
	}
	event := dbsqlc.AppendAuditEventParams{Action: done.action, Actor: operator(), Target: done.target, Data: data}
	if done.workspaceID != 0 {
		event.WorkspaceID = &done.workspaceID
	}
	if err := dbsqlc.New().AppendAuditEvent(ctx, tx, event); err != nil {
		return fmt.Errorf("record the change: %w", err)
	}
	return nil
}

// operator is who runs this command, as far as the machine knows: user@host.
func operator() string {
	name, host := "uid "+strconv.Itoa(os.Getuid()), "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + "@" + host
}

func (a *app) auditCommand() *cobra.Command {
	const shown = 50
	var workspace string
	var limit int32
	var before int64
	list := &cobra.Command{
		Use:   "list",
		Short: "List what was done to the installation, the newest first",
		Long: `List shows who changed memberships, what users are called, workspaces, tenants, types and
their retention, who acknowledged findings or opened them again, and what retention let go. ROLE is the
database role that did it; WHO is what the machine knew of its user. What happened to a run is in the
run's own timeline.

What is older than the last line comes with --before and the ID of that line.`,
		Example: `  runledger audit list
  runledger audit list --workspace acme --limit 500
  runledger audit list --before 1200`,
		Args: noArgs,
		RunE: a.withDatabase(func(ctx context.Context, conn *pgx.Conn, _ []string) error {
			if limit < 1 {
				return usageError{fmt.Errorf("--limit wants at least 1, not %d", limit)}
			}
			if before < 1 {
				return usageError{fmt.Errorf("--before wants the ID of an event, not %d", before)}
			}
			events, err := auditEvents(ctx, conn, workspace, before, limit)
			if err != nil {
				return err
			}
			return a.table("ID\tAT\tWHO\tROLE\tACTION\tWORKSPACE\tTARGET\tDATA", len(events), func(i int) []any {
				e := events[i]
				of := "-"
				if e.WorkspaceID != nil {
					of = strconv.FormatInt(*e.WorkspaceID, 10)
				}
				return []any{e.ID, instant(e.At), e.Actor, e.DatabaseRole, e.Action, of, e.Target, string(e.Data)}
			})
		}),
	}
	list.Flags().StringVar(&workspace, "workspace", "", "one workspace, by its slug or id (all)")
	list.Flags().Int32Var(&limit, "limit", shown, "how many")
	list.Flags().Int64Var(&before, "before", math.MaxInt64, "only what is older than the event with that ID")
	list.Flags().Lookup("before").DefValue = "0" // no default that the help would show
	return group("audit", "See who changed what in the installation", list)
}

// auditEvents reads the newest events before one, of one workspace if it is named.
func auditEvents(ctx context.Context, conn *pgx.Conn, workspaceName string, before int64, limit int32) ([]dbsqlc.AuditEvent, error) {
	if workspaceName == "" {
		return dbsqlc.New().ListAuditEvents(ctx, conn, dbsqlc.ListAuditEventsParams{BeforeID: before, PageSize: limit})
	}
	found, err := findWorkspace(ctx, conn, workspaceName)
	if err != nil {
		return nil, err
	}
	return dbsqlc.New().ListAuditEventsOfWorkspace(ctx, conn, dbsqlc.ListAuditEventsOfWorkspaceParams{
		WorkspaceID: &found.ID, BeforeID: before, PageSize: limit,
	})
}
