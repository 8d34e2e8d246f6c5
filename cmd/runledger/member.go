package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/workspace"
)

func (a *app) memberCommand() *cobra.Command {
	var role, name, email string
	add := &cobra.Command{
		Use:   "add WORKSPACE SUBJECT",
		Short: "Make a user a member of a workspace, or change a member's role",
		Long: `Add makes the user whose tokens carry SUBJECT as their sub claim a member of the
workspace, which is named by its slug or id. Users who are not known yet become known;
members keep their role, unless --role gives them another. Roles: readonly reads;
operator records runs and acknowledges findings as well; manager and owner also recall
runs and make, edit and delete backup schedules.`,
		Example: `  runledger member add acme 'auth0|12345' --role operator --name "Ada Lovelace"`,
		Args:    exactArgs("WORKSPACE", "SUBJECT"),
		RunE: a.changing(func(ctx context.Context, tx pgx.Tx, args []string) (change, error) {
			if role != "" && !slices.Contains(workspace.Roles, workspace.Role(role)) {
				return change{}, usageError{fmt.Errorf("--role wants one of %v, not %q", workspace.Roles, role)}
			}
			subject, err := auth.ParseSubject(args[1])
			if err != nil {
				return change{}, usageError{err}
			}
			return addMember(ctx, tx, args[0], string(subject), role, name, email)
		}),
	}
	add.Flags().StringVar(&role, "role", "", "owner, manager, operator or readonly (that of a member, else readonly)")
	add.Flags().StringVar(&name, "name", "", "the user's name (that on record, else the subject)")
	add.Flags().StringVar(&email, "email", "", "the user's e-mail address")

	remove := &cobra.Command{
		Use:   "remove WORKSPACE SUBJECT",
		Short: "End a membership: the very next request is a 404",
		Long: `Remove ends a membership at once: the very next request is a 404. WORKSPACE is the
workspace's slug or id, SUBJECT the sub claim of the member's tokens.`,
		Args: exactArgs("WORKSPACE", "SUBJECT"),
		RunE: a.changing(func(ctx context.Context, tx pgx.Tx, args []string) (change, error) {
			return removeMember(ctx, tx, args[0], args[1])
		}),
	}

	list := &cobra.Command{
		Use:   "list WORKSPACE",
		Short: "List the members of a workspace",
		Long:  "List shows the members of a workspace. WORKSPACE is its slug or id.",
		Args:  exactArgs("WORKSPACE"),
		RunE: a.withDatabase(func(ctx context.Context, conn *pgx.Conn, args []string) error {
			found, err := findWorkspace(ctx, conn, args[0])
			if err != nil {
				return err
			}
			members, err := dbsqlc.New().ListMembers(ctx, conn, found.ID)
			if err != nil {
				return err
			}
			return a.table("SUBJECT\tROLE\tNAME\tEMAIL\tSINCE", len(members), func(i int) []any {
				m := members[i]
				return []any{optional(m.Subject), m.Role, m.Name, optional(m.Email), instant(m.CreatedAt)}
			})
		}),
	}
	return group("member", "Decide who is a member of a workspace", add, remove, list)
}

// inWords is what a member of each role is.
var inWords = map[workspace.Role]string{
	workspace.RoleOwner: "an owner", workspace.RoleManager: "a manager", workspace.RoleOperator: "an operator",
	workspace.RoleReadonly: "a readonly member",
}

// addMember makes the user known and a member, or changes the member's role.
func addMember(ctx context.Context, tx pgx.Tx, workspaceName, subject, role, name, email string) (change, error) {
	queries := dbsqlc.New()
	found, err := findWorkspace(ctx, tx, workspaceName)
	if err != nil {
		return change{}, err
	}
	if err := queries.PutUser(ctx, tx, dbsqlc.PutUserParams{
		Subject: &subject, Name: nonEmpty(name), Email: nonEmpty(email),
	}); err != nil {
		return change{}, err
	}
	before, err := queries.FindMemberRole(ctx, tx, dbsqlc.FindMemberRoleParams{WorkspaceID: found.ID, Subject: &subject})
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return change{}, err
	}
	role = cmp.Or(role, before, string(workspace.RoleReadonly))
	if _, err := queries.PutMember(ctx, tx, dbsqlc.PutMemberParams{
		WorkspaceID: found.ID, Role: role, Subject: &subject,
	}); err != nil {
		return change{}, err
	}
	done := change{
		action: "member_added", workspaceID: found.ID, target: subject, data: map[string]any{"role": role},
		message: fmt.Sprintf("%s is now %s of %s.", subject, inWords[workspace.Role(role)], nameOf(found)),
	}
	switch before {
	case "":
	case role:
		done.action, done.message = "", fmt.Sprintf("%s is %s of %s, as before.", subject, inWords[workspace.Role(role)], nameOf(found))
	default:
		done.action, done.data["role_before"] = "member_role_set", before
	}
	return done, nil
}

// removeMember ends a membership.
func removeMember(ctx context.Context, tx pgx.Tx, workspaceName, subject string) (change, error) {
	queries := dbsqlc.New()
	found, err := findWorkspace(ctx, tx, workspaceName)
	if err != nil {
		return change{}, err
	}
	role, err := queries.FindMemberRole(ctx, tx, dbsqlc.FindMemberRoleParams{WorkspaceID: found.ID, Subject: &subject})
	if errors.Is(err, pgx.ErrNoRows) {
		return change{}, fmt.Errorf("%q is no member of %s", subject, nameOf(found))
	}
	if err != nil {
		return change{}, err
	}
	_, err = queries.RemoveMember(ctx, tx, dbsqlc.RemoveMemberParams{WorkspaceID: found.ID, Subject: &subject})
	return change{
		action: "member_removed", workspaceID: found.ID, target: subject, data: map[string]any{"role_before": role},
		message: fmt.Sprintf("Removed %s from %s.", subject, nameOf(found)),
	}, err
}

// nonEmpty is nil for an empty text.
func nonEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
