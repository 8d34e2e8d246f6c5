package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/runledger/runledger/db"
	"github.com/runledger/runledger/internal/legacy"
)

// refuseLegacy is an error if the database still has the legacy run stores: they are removed by
// steps of their own.
func refuseLegacy(ctx context.Context, databaseURL string) error {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return fmt.Errorf("cannot reach the database: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return legacy.Refuse(ctx, conn)
}

func (a *app) migrateCommand() *cobra.Command {
	return group("migrate", "Bring the database's schema up to date",
		&cobra.Command{
			Use:   "up",
			Short: "Apply all migrations that the database does not have yet",
			Long: `Up applies, in order, each migration that the database at RUNLEDGER_DATABASE_URL
does not have yet. It may be started several times at once: one works, the others
wait and find nothing left to do.`,
			Args: noArgs,
			RunE: a.withDatabaseURL(a.migrateUp),
		},
		&cobra.Command{
			Use:   "status",
			Short: "List the migrations and whether the database has them",
			Args:  noArgs,
			RunE:  a.withDatabaseURL(a.migrateStatus),
		},
		&cobra.Command{
			Use:   "grant ROLE",
			Short: "Let a database role do what servers do, and no more",
			Long: `Grant gives the role what "runledger serve" needs of each table, and takes from it
whatever else it had been granted on them. That role can record and delete runs; it
cannot make anybody a member, change a type, or alter the audit. Run it as the owner
of the tables, again after each "migrate up".`,
			Example: `  psql postgres -c 'CREATE ROLE runledger_app LOGIN'
  runledger migrate up && runledger migrate grant runledger_app`,
			Args: exactArgs("ROLE"),
			RunE: a.withDatabaseURL(a.migrateGrant),
		},
	)
}

// withDatabaseURL makes of f the body of a command that wants the database's address, for connections of its own.
func (a *app) withDatabaseURL(f func(ctx context.Context, databaseURL string, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := readConfig(a.environ, needDatabase)
		if err != nil {
			return err
		}
		return f(cmd.Context(), c.DatabaseURL, args)
	}
}

func (a *app) migrateUp(ctx context.Context, databaseURL string, _ []string) error {
	if err := refuseLegacy(ctx, databaseURL); err != nil {
		return err
	}
	applied, err := db.Up(ctx, databaseURL)
	if err != nil {
		return err
	}
	for _, m := range applied {
		a.printf("applied %s\n", m.Name)
	}
	return a.schemaState(ctx, databaseURL)
}

func (a *app) migrateStatus(ctx context.Context, databaseURL string, _ []string) error {
	all, err := db.Status(ctx, databaseURL)
	if err != nil {
		return err
	}
	pending := 0
	for _, m := range all {
		state := "applied"
		if !m.Applied {
			state = "pending"
			pending++
		}
		a.printf("%-8s %s\n", state, m.Name)
	}
	if pending == 0 {
		return a.schemaState(ctx, databaseURL)
	}
	next := "runledger migrate up"
	if uncontracted, ok := errors.AsType[*legacy.UncontractedError](refuseLegacy(ctx, databaseURL)); ok {
		next = uncontracted.Error()
	}
	a.printf("%d pending: %s\n", pending, next)
	return nil
}

func (a *app) migrateGrant(ctx context.Context, databaseURL string, args []string) error {
	switch err := db.Grant(ctx, databaseURL, args[0]); {
	case errors.Is(err, db.ErrOwnerRole):
		return usageError{fmt.Errorf("%w; it needs no grant, unless servers are to have a role of their own (docs/operations.md, \"Two roles\")", err)}
	case errors.Is(err, db.ErrNotOwner):
		return usageError{fmt.Errorf("%w; set RUNLEDGER_DATABASE_URL to the owner's address", err)}
	case err != nil:
		return advised(err, func() error { return refuseLegacy(ctx, databaseURL) })
	}
	a.printf("%s may do what servers do.\n", args[0])
	return nil
}

// schemaState prints which version a schema has that has all migrations of this binary. It may have those
// of a later release.
func (a *app) schemaState(ctx context.Context, databaseURL string) error {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	version, err := db.Version(ctx, conn)
	if err != nil {
		return err
	}
	if version > db.LatestVersion() {
		a.printf("The schema is at version %d, newer than this binary, which knows %d: a later release has migrated it.\n", version, db.LatestVersion())
		return nil
	}
	a.printf("The schema is at version %d, up to date.\n", version)
	return nil
}
