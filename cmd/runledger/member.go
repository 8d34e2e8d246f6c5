package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/workspace"
)

func (a *app) memberCommand() *cobra.Command {
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
	return group("member", "Decide who is a member of a workspace", a.addMemberCommand(), remove, list)
}

// newMember is what "member add" is told of a user and the membership; what is empty is as it was.
type newMember struct {
	subject, role string
	name, email   string
}

func (a *app) addMemberCommand() *cobra.Command {
	var m newMember
	add := &cobra.Command{
		Use:   "add WORKSPACE SUBJECT",
		Short: "Make a user a member of a workspace, or change a member's role, name or e-mail",
		Long: `Add makes the user whose tokens carry SUBJECT as their sub claim a member of the
workspace, which is named by its slug or id. Users who are not known yet become known;
members keep their role, unless --role gives them another. --name and --email change
what a user is called in every workspace, which the audit tells with what it was. Roles:
readonly reads; operator records runs and acknowledges findings as well; manager and
owner also recall runs and make, edit and delete backup schedules.`,
		Example: `  runledger member add acme 'auth0|12345' --role operator --name "Ada Lovelace"`,
		Args:    exactArgs("WORKSPACE", "SUBJECT"),
		RunE: a.changing(func(ctx context.Context, tx pgx.Tx, args []string) (change, error) {
			m.subject = args[1]
			if err := m.check(); err != nil {
				return change{}, err
			}
			return addMember(ctx, tx, args[0], m)
		}),
	}
	add.Flags().StringVar(&m.role, "role", "", "owner, manager, operator or readonly (that of a member, else readonly)")
	add.Flags().StringVar(&m.name, "name", "", "the user's name (that on record, else the subject)")
	add.Flags().StringVar(&m.email, "email", "", "the user's e-mail address")
	return add
}

// inWords is what a member of each role is.
var inWords = map[workspace.Role]string{
	workspace.RoleOwner: "an owner", workspace.RoleManager: "a manager", workspace.RoleOperator: "an operator",
	workspace.RoleReadonly: "a readonly member",
}

// check finds what is wrong with what was typed.
func (m *newMember) check() error {
	var faults []error
	if m.role != "" && !slices.Contains(workspace.Roles, workspace.Role(m.role)) {
		faults = append(faults, fmt.Errorf("--role wants one of %v, not %q", workspace.Roles, m.role))
	}
	if _, err := auth.ParseSubject(m.subject); err != nil {
		faults = append(faults, fmt.Errorf("SUBJECT cannot be the sub of a token: %w", err))
	} else if strings.TrimSpace(m.subject) == "" {
		faults = append(faults, errors.New("SUBJECT is blank; it wants the sub of the user's tokens"))
	}
	if m.name != "" && strings.TrimSpace(m.name) == "" {
		faults = append(faults, errors.New("--name is blank"))
	}
	if local, domain, _ := strings.Cut(m.email, "@"); m.email != "" && (local == "" || domain == "") {
		faults = append(faults, fmt.Errorf("--email wants an address such as ada@example.com, not %q", m.email))
	}
	if len(faults) > 0 {
		return usageError{errors.Join(faults...)}
	}
	return nil
}

// addMember makes the user known and a member, or changes the member's role, and what the user is called.
func addMember(ctx context.Context, tx pgx.Tx, workspaceName string, m newMember) (change, error) {
	queries := dbsqlc.New()
	found, err := findWorkspace(ctx, tx, workspaceName)
	if err != nil {
		return change{}, err
	}
	renamed, err := putUser(ctx, tx, m)
	if err != nil {
		return change{}, err
	}
	before, err := queries.FindMemberRole(ctx, tx, dbsqlc.FindMemberRoleParams{WorkspaceID: found.ID, Subject: &m.subject})
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return change{}, err
	}
	role := cmp.Or(m.role, before, string(workspace.RoleReadonly))
	if _, err := queries.PutMember(ctx, tx, dbsqlc.PutMemberParams{
		WorkspaceID: found.ID, Role: role, Subject: &m.subject,
	}); err != nil {
		return change{}, err
	}
	done := change{
		action: "member_added", workspaceID: found.ID, target: m.subject, data: map[string]any{"role": role},
		message: fmt.Sprintf("%s is now %s of %s.", m.subject, inWords[workspace.Role(role)], nameOf(found)),
	}
	switch before {
	case "":
	case role:
		done.action, done.message = "", fmt.Sprintf("%s is %s of %s, as before.", m.subject, inWords[workspace.Role(role)], nameOf(found))
	default:
		done.action, done.data["role_before"] = "member_role_set", before
	}
	done.message += renamed
	return done, nil
}

// putUser makes the user known, or changes what a known one is called: a change with an event of its own, since
// it shows in every workspace. It returns what to tell of such a change.
func putUser(ctx context.Context, tx pgx.Tx, m newMember) (told string, err error) {
	queries := dbsqlc.New()
	added, err := queries.AddUser(ctx, tx, dbsqlc.AddUserParams{Subject: &m.subject, Name: nonEmpty(m.name), Email: nonEmpty(m.email)})
	if err != nil || added > 0 {
		return "", err
	}
	before, err := queries.FindUser(ctx, tx, &m.subject)
	if err != nil {
		return "", err
	}
	now, data := before, map[string]any{}
	if m.name != "" && m.name != before.Name {
		now.Name, data["name"], data["name_before"] = m.name, m.name, before.Name
		told += fmt.Sprintf(" Changed the name from %q to %q.", before.Name, m.name)
	}
	if m.email != "" && (before.Email == nil || m.email != *before.Email) {
		now.Email, data["email"], data["email_before"] = &m.email, m.email, before.Email
		if before.Email == nil {
			told += fmt.Sprintf(" Set the e-mail address to %q.", m.email)
		} else {
			told += fmt.Sprintf(" Changed the e-mail address from %q to %q.", *before.Email, m.email)
		}
	}
	if told == "" {
		return "", nil
	}
	if err := queries.SetUser(ctx, tx, dbsqlc.SetUserParams{Subject: &m.subject, Name: now.Name, Email: now.Email}); err != nil {
		return "", err
	}
	return told, appendAudit(ctx, tx, change{action: "user_changed", target: m.subject, data: data})
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
