package db

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// applicationPrivileges are what the role of the servers may do with each table, and nothing else:
// it cannot make anybody a member, change a type, or alter what an audit event tells. Whoever
// migrates owns the tables and administers with that role.
var applicationPrivileges = map[string][]string{
	VersionTable:                     {"SELECT"},
	"workspaces":                     {"SELECT"},
	"users":                          {"SELECT"},
	"workspace_memberships":          {"SELECT"},
	"workspace_members":              {"SELECT"},
	"tenants":                        {"SELECT"},
	"operation_types":                {"SELECT"},
	"server_keys":                    {"SELECT", "INSERT"},
	"audit_events":                   {"SELECT", "INSERT"},
	"operation_runs":                 {"SELECT", "INSERT", "UPDATE", "DELETE"},
	"operation_run_idempotency_keys": {"SELECT", "INSERT", "UPDATE", "DELETE"},
	// An event is never altered. The feed adopts those of a restored database by their
	// transaction, and retention deletes them with their run.
	"operation_run_events": {"SELECT", "INSERT", "UPDATE (transaction_id)", "DELETE"},
	"findings":             {"SELECT", "INSERT", "UPDATE"},
	"inventory_items":      {"SELECT", "INSERT", "UPDATE"},
	"backup_schedules":     {"SELECT", "INSERT", "UPDATE"},
	// What a plan was and what became of its slots stays as it was written.
	"backup_schedule_versions": {"SELECT", "INSERT", "UPDATE"},
	"backup_schedule_events":   {"SELECT", "INSERT", "UPDATE (transaction_id)"},
}

// Why Grant refuses a role: the database has none of the name given; or it owns tables, and its
// privileges on them are not to be taken from it.
var (
	ErrNoRole    = errors.New("there is no such role")
	ErrOwnerRole = errors.New("the role owns the tables, and may do whatever servers do")
)

// Grant lets role do with the tables of the database at databaseURL what servers do, and takes
// from it whatever else it had been granted on them. It is to be called by the tables' owner, again
// after each migration, and may be called at any time. The error is ErrNoRole, ErrOwnerRole or the database's.
func Grant(ctx context.Context, databaseURL, role string) error {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var known bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role).Scan(&known); err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	if !known {
		return fmt.Errorf("grant: %w: %q", ErrNoRole, role)
	}
	var owner bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = 'public' AND tableowner = $1)`, role).Scan(&owner); err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	if owner {
		return fmt.Errorf("grant: %w: %q", ErrOwnerRole, role)
	}
	// One string is one transaction: no server meanwhile finds itself without a privilege.
	if _, err := conn.Exec(ctx, grants(role)); err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	return nil
}

// grants is the SQL of Grant.
func grants(role string) string {
	grantee := pgx.Identifier{role}.Sanitize()
	var sql strings.Builder
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(&sql, format+";\n", args...) }
	line("GRANT USAGE ON SCHEMA public TO %s", grantee)
	line("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM %s", grantee)
	for _, table := range slices.Sorted(maps.Keys(applicationPrivileges)) {
		line("GRANT %s ON %s TO %s", strings.Join(applicationPrivileges[table], ", "), pgx.Identifier{"public", table}.Sanitize(), grantee)
	}
	line("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO %s", grantee)
	return sql.String()
}
