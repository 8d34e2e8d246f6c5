package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/runledger/runledger/internal/dbsqlc"
)

// mostTenantText is how long a tenant's name and its external id may be, in characters.
const mostTenantText = 255

func (a *app) tenantCommand() *cobra.Command {
	list := &cobra.Command{
		Use:   "list WORKSPACE",
		Short: "List the tenants of a workspace",
		Long: `List shows the tenants of a workspace, in the order of their ids, which runs, findings,
inventory items and backup schedules name as tenant_id. WORKSPACE is its slug or id.`,
		Args: exactArgs("WORKSPACE"),
		RunE: a.withDatabase(func(ctx context.Context, conn *pgx.Conn, args []string) error {
			found, err := findWorkspace(ctx, conn, args[0])
			if err != nil {
				return err
			}
			tenants, err := dbsqlc.New().ListTenants(ctx, conn, dbsqlc.ListTenantsParams{
				WorkspaceID: found.ID, PositionID: math.MaxInt64, PageSize: math.MaxInt32,
			})
			if err != nil {
				return err
			}
			slices.Reverse(tenants) // the interface shows the newest first
			return a.table("ID\tNAME\tEXTERNAL ID\tSINCE", len(tenants), func(i int) []any {
				t := tenants[i]
				return []any{t.ID, t.Name, optional(t.ExternalID), instant(t.CreatedAt)}
			})
		}),
	}

	rename := &cobra.Command{
		Use:   "rename WORKSPACE ID NAME",
		Short: "Give a tenant another name",
		Long: `Rename gives a tenant another name. WORKSPACE is the workspace's slug or id, and ID the
tenant's: "runledger tenant list" shows it. What is recorded for the tenant stays as it
is, since it names the tenant by its id.`,
		Example: `  runledger tenant rename acme 31 "Contoso Group"`,
		Args:    exactArgs("WORKSPACE", "ID", "NAME"),
		RunE: a.changing(func(ctx context.Context, tx pgx.Tx, args []string) (change, error) {
			id, err := parseID(args[1])
			if err != nil {
				return change{}, usageError{fmt.Errorf("a tenant is named by its id, a whole number from 1, unlike %q", args[1])}
			}
			if err := checkTenantText("a tenant's name", args[2]); err != nil {
				return change{}, err
			}
			return renameTenant(ctx, tx, args[0], id, args[2])
		}),
	}
	return group("tenant", "Keep the tenants of a workspace", a.addTenantCommand(), list, rename)
}

func (a *app) addTenantCommand() *cobra.Command {
	var externalID string
	add := &cobra.Command{
		Use:   "add WORKSPACE NAME",
		Short: "Add a tenant to a workspace",
		Long: `Add makes a tenant: a customer directory that the workspace manages, which runs,
findings, inventory items and backup schedules may name as tenant_id. WORKSPACE is the
workspace's slug or id, and NAME is for people. The external id is how the tenant is known
elsewhere, such as to the customer's directory; a workspace has each once.

A tenant cannot be removed: what was recorded for it names it.`,
		Example: `  runledger tenant add acme "Contoso Ltd" --external-id 3f0c8a52-71d4-4c0b-9a37-5b1e7b0c6d21`,
		Args:    exactArgs("WORKSPACE", "NAME"),
	}
	add.Flags().StringVar(&externalID, "external-id", "", "the id by which it is known elsewhere (none)")
	add.RunE = a.changing(func(ctx context.Context, tx pgx.Tx, args []string) (change, error) {
		if err := checkTenantText("a tenant's name", args[1]); err != nil {
			return change{}, err
		}
		if add.Flags().Changed("external-id") { // an empty one is a variable that was not set
			if err := checkTenantText("--external-id", externalID); err != nil {
				return change{}, err
			}
		}
		return addTenant(ctx, tx, args[0], args[1], nonEmpty(externalID))
	})
	return add
}

// checkTenantText refuses a name or an external id that nobody could read, or ask for.
func checkTenantText(what, text string) error {
	switch {
	case strings.TrimSpace(text) == "":
		return usageError{fmt.Errorf("%s may not be blank", what)}
	case !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
		return usageError{fmt.Errorf("%s is UTF-8 without control characters, unlike %q", what, text)}
	case utf8.RuneCountInString(text) > mostTenantText:
		return usageError{fmt.Errorf("%s has at most %d characters; this one has %d", what, mostTenantText, utf8.RuneCountInString(text))}
	}
	return nil
}

// addTenant makes a tenant.
func addTenant(ctx context.Context, tx pgx.Tx, workspaceName, name string, externalID *string) (change, error) {
	queries := dbsqlc.New()
	found, err := findWorkspace(ctx, tx, workspaceName)
	if err != nil {
		return change{}, err
	}
	id, err := queries.AddTenant(ctx, tx, dbsqlc.AddTenantParams{WorkspaceID: found.ID, Name: name, ExternalID: externalID})
	if errors.Is(err, pgx.ErrNoRows) {
		other, err := queries.FindTenantByExternalID(ctx, tx, dbsqlc.FindTenantByExternalIDParams{WorkspaceID: found.ID, ExternalID: externalID})
		if err != nil {
			return change{}, err
		}
		return change{}, fmt.Errorf("tenant %d (%s) of %s has the external id %q already", other.ID, printable(other.Name), nameOf(found), *externalID)
	}
	return change{
		action: "tenant_added", workspaceID: found.ID, target: strconv.FormatInt(id, 10),
		data:    map[string]any{"name": name, "external_id": externalID},
		message: fmt.Sprintf("Added tenant %d (%s) to %s.", id, name, nameOf(found)),
	}, err
}

// renameTenant gives a tenant another name.
func renameTenant(ctx context.Context, tx pgx.Tx, workspaceName string, id int64, name string) (change, error) {
	queries := dbsqlc.New()
	found, err := findWorkspace(ctx, tx, workspaceName)
	if err != nil {
		return change{}, err
	}
	before, err := queries.FindTenantName(ctx, tx, dbsqlc.FindTenantNameParams{WorkspaceID: found.ID, ID: id})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return change{}, fmt.Errorf("%s has no tenant %d; runledger tenant list %[1]s shows those that it has", nameOf(found), id)
	case err != nil:
		return change{}, err
	case before == name:
		return change{message: fmt.Sprintf("Tenant %d of %s is called %s, as before.", id, nameOf(found), name)}, nil
	}
	return change{
		action: "tenant_renamed", workspaceID: found.ID, target: strconv.FormatInt(id, 10),
		data:    map[string]any{"name": name, "name_before": before},
		message: fmt.Sprintf("Tenant %d of %s, %s until now, is called %s.", id, nameOf(found), printable(before), name),
	}, queries.RenameTenant(ctx, tx, dbsqlc.RenameTenantParams{WorkspaceID: found.ID, ID: id, Name: name})
}
