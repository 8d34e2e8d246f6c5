package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/spf13/cobra"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/legacy"
)

// slugPattern is what a workspace may be called in addresses and scripts.
var slugPattern = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

func (a *app) workspaceCommand() *cobra.Command {
	var name string
	create := &cobra.Command{
		Use:   "create SLUG",
		Short: "Make a workspace",
		Long: `Create makes a workspace. SLUG is what it is called in scripts and by the other
commands: a-z and 0-9, with single dashes between them, such as acme-2.`,
		Example: `  runledger workspace create acme --name "Acme Ltd"`,
		Args:    exactArgs("SLUG"),
		RunE: a.changing(func(ctx context.Context, tx pgx.Tx, args []string) (change, error) {
			slug := args[0]
			if _, err := strconv.ParseInt(slug, 10, 64); err == nil {
				return change{}, usageError{fmt.Errorf("a slug of digits alone, such as %q, would be taken for the id of another workspace", slug)}
			}
			if !slugPattern.MatchString(slug) {
				return change{}, usageError{fmt.Errorf("a slug is made of a-z and 0-9 with single dashes between, unlike %q", slug)}
			}
			if name == "" {
				name = slug
			}
			id, err := dbsqlc.New().CreateWorkspace(ctx, tx, dbsqlc.CreateWorkspaceParams{Slug: &slug, Name: name})
			if errors.Is(err, pgx.ErrNoRows) {
				return change{}, fmt.Errorf("there is a workspace %q already", slug)
			}
			return change{
				action: "workspace_created", workspaceID: id, target: slug, data: map[string]any{"name": name},
				message: fmt.Sprintf("Made workspace %d (%s). Next: runledger member add %s SUBJECT --role owner", id, slug, slug),
			}, err
		}),
	}
	create.Flags().StringVar(&name, "name", "", "the name for people (the slug)")

	list := &cobra.Command{
		Use:   "list",
		Short: "List all workspaces",
		Args:  noArgs,
		RunE: a.withDatabase(func(ctx context.Context, conn *pgx.Conn, _ []string) error {
			workspaces, err := dbsqlc.New().ListWorkspaces(ctx, conn)
			if err != nil {
				return err
			}
			return a.table("ID\tSLUG\tNAME\tMEMBERS\tARCHIVED", len(workspaces), func(i int) []any {
				w := workspaces[i]
				return []any{w.ID, optional(w.Slug), w.Name, w.Members, instant(w.ArchivedAt)}
			})
		}),
	}

	archive := a.archiveCommand("archive", "Archive a workspace: it can be read as before and takes no more writes",
		`Archive ends what members write in a workspace; they read it as before. WORKSPACE is
its slug or id. "runledger workspace unarchive" takes it back.`,
		"Archived", "was archived already", (*dbsqlc.Queries).ArchiveWorkspace)
	unarchive := a.archiveCommand("unarchive", "Take the archiving of a workspace back: it takes writes again",
		`Unarchive lets members write again in a workspace that was archived, each as their
role allows. WORKSPACE is its slug or id.`,
		"Unarchived", "was not archived", (*dbsqlc.Queries).UnarchiveWorkspace)
	return group("workspace", "Make, list and archive workspaces", create, list, archive, unarchive)
}

// archiveCommand archives a workspace, or takes that back. set tells how many workspaces it has
// changed; done and idle say what became of it.
func (a *app) archiveCommand(
	use, short, long, done, idle string, set func(q *dbsqlc.Queries, ctx context.Context, db dbsqlc.DBTX, id int64) (int64, error),
) *cobra.Command {
	return &cobra.Command{
		Use:   use + " WORKSPACE",
		Short: short,
		Long:  long,
		Args:  exactArgs("WORKSPACE"),
		RunE: a.changing(func(ctx context.Context, tx pgx.Tx, args []string) (change, error) {
			found, err := findWorkspace(ctx, tx, args[0])
			if err != nil {
				return change{}, err
			}
			changed, err := set(dbsqlc.New(), ctx, tx, found.ID)
			if err != nil {
				return change{}, err
			}
			if changed == 0 {
				return change{message: fmt.Sprintf("%s %s.", nameOf(found), idle)}, nil
			}
			return change{
				action: "workspace_" + use + "d", workspaceID: found.ID, target: nameOf(found),
				message: fmt.Sprintf("%s %s.", done, nameOf(found)),
			}, nil
		}),
	}
}

// findWorkspace finds a workspace by its slug or id.
func findWorkspace(ctx context.Context, db dbsqlc.DBTX, name string) (dbsqlc.FindWorkspacesRow, error) {
	found, err := dbsqlc.New().FindWorkspaces(ctx, db, &name)
	switch {
	case err != nil:
		return dbsqlc.FindWorkspacesRow{}, err
	case len(found) == 0:
		return dbsqlc.FindWorkspacesRow{}, fmt.Errorf("there is no workspace %q; runledger workspace list shows those that there are", name)
	case len(found) > 1: // a slug of digits, which was not made here
		return dbsqlc.FindWorkspacesRow{}, fmt.Errorf("%q is the slug of workspace %d and the id of another; name the former by its id, and give it another slug",
			name, found[0].ID)
	}
	return found[0], nil
}

// nameOf is the slug of a workspace, its id if it has none.
func nameOf(found dbsqlc.FindWorkspacesRow) string {
	if found.Slug != nil {
		return *found.Slug
	}
	return strconv.FormatInt(found.ID, 10)
}

// withDatabase makes of f the body of a command that needs one database connection.
func (a *app) withDatabase(
	f func(ctx context.Context, conn *pgx.Conn, args []string) error,
) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := readConfig(a.environ, needDatabase)
		if err != nil {
			return err
		}
		conn, err := pgx.Connect(cmd.Context(), c.DatabaseURL)
		if err != nil {
			return fmt.Errorf("cannot reach the database: %w", err)
		}
		defer func() { _ = conn.Close(context.WithoutCancel(cmd.Context())) }()
		err = f(cmd.Context(), conn, args)
		return advised(err, func() error { return legacy.Refuse(cmd.Context(), conn) })
	}
}

// advised adds what to do to an error of the database that says that its schema or the role is
// another one than a command wants. refuse tells whether the schema may not be migrated.
func advised(err error, refuse func() error) error {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return err
	}
	const undefinedTable, undefinedColumn, undefinedFunction, insufficientPrivilege = "42P01", "42703", "42883", "42501"
	switch refused.Code {
	case undefinedTable, undefinedColumn, undefinedFunction:
		if uncontracted, ok := errors.AsType[*legacy.UncontractedError](refuse()); ok {
			return uncontracted
		}
		return fmt.Errorf("%w; the database has not the schema that this binary knows: run \"runledger migrate up\" first", err)
	case insufficientPrivilege:
		return fmt.Errorf("%w; this is a command for the role that owns the tables (docs/operations.md, \"Two roles\")", err)
	}
	return err
}

// table prints rows under a heading, aligned. Much of what is in them others have written.
func (a *app) table(heading string, rows int, row func(i int) []any) error {
	const gap = 2
	w := tabwriter.NewWriter(a.stdout, 0, 0, gap, ' ', 0)
	_, _ = fmt.Fprintln(w, heading)
	for i := range rows {
		var fields []string
		for _, field := range row(i) {
			fields = append(fields, printable(fmt.Sprint(field)))
		}
		_, _ = fmt.Fprintln(w, strings.Join(fields, "\t"))
	}
	return w.Flush()
}

// printable is a text without what would make another line or column of it or tell a terminal what to do.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

func optional(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}

func instant(at pgtype.Timestamptz) string {
	if !at.Valid {
		return "-"
	}
	return at.Time.UTC().Format(time.RFC3339)
}
