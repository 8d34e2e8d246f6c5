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
// it cannot make anybody a member, change a type or a tenant, or alter what an audit event tells. Whoever
// migrates owns the tables and administers with that role.
var applicationPrivileges = map[string][]string{
	VersionTable:            {"SELECT"},
	"workspaces":            {"SELECT"},
	"users":                 {"SELECT"},
	"workspace_memberships": {"SELECT"},
	"workspace_members":     {"SELECT"},
	"tenants":               {"SELECT"},
	"operation_types":       {"SELECT"},
	"server_keys":           {"SELECT", "INSERT"},
	// When an event was and which role of the database has written it, PostgreSQL says.
	"audit_events":                   {"SELECT", "INSERT (action, actor, workspace_id, target, data)"},
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

// Why Grant fails beside the database: it has no role of the name given; or the role owns tables, itself or
// as somebody who may act as their owner, and cannot be confined to anything; or it was not the owner who
// asked, and PostgreSQL gives nothing for them; or the role may do more by what everybody may.
var (
	ErrNoRole    = errors.New("there is no such role")
	ErrOwnerRole = errors.New("the role owns the tables, or may act as who does: it may do whatever servers do, and more")
	ErrNotOwner  = errors.New("this is for the owner of the tables")
	ErrMore      = errors.New("the role may do more than servers do, by what PUBLIC or a role that it is in may, or by what somebody else has granted")
)

// Grant lets role do with the tables of the database at databaseURL what servers do, and takes
// from it whatever else it had been granted on them. It is to be called by the tables' owner, again
// after each migration, and may be called at any time. The error is ErrNoRole, ErrOwnerRole,
// ErrNotOwner, ErrMore or the database's.
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
	var owner, asked bool
	if err := conn.QueryRow(ctx, `SELECT coalesce(bool_or(pg_has_role($1, tableowner, 'MEMBER')), false), coalesce(bool_and(pg_has_role(tableowner, 'USAGE')), true)
		FROM pg_tables WHERE schemaname = 'public' AND tablename = ANY ($2)`, role, slices.Collect(maps.Keys(applicationPrivileges))).Scan(&owner, &asked); err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	switch {
	case owner:
		return fmt.Errorf("grant: %w: %q", ErrOwnerRole, role)
	case !asked:
		return fmt.Errorf("grant: %w, and not for %q", ErrNotOwner, conn.Config().User)
	}
	var archived bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
		WHERE n.nspname = 'legacy_archive' AND c.relname = 'broken_bridges' AND pg_has_role(n.nspowner, 'USAGE') AND pg_has_role(c.relowner, 'USAGE'))`).Scan(&archived); err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	statements := grants(role)
	if archived {
		statements += archiveGrants(role)
	}
	// One string is one transaction: no server meanwhile finds itself without a privilege.
	if _, err := conn.Exec(ctx, statements); err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	return confined(ctx, conn, role)
}

// Lacking are the privileges of a server that the role of conn has not got, such as "INSERT on findings":
// none for the tables' owner and for whom Grant was called since the last migration. A table that is not
// there is no matter of privileges. The error is the database's.
func Lacking(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	var tables, privileges []string
	for table, wanted := range applicationPrivileges {
		for _, privilege := range wanted {
			privilege, _, _ = strings.Cut(privilege, " (")
			tables, privileges = append(tables, table), append(privileges, privilege)
		}
	}
	rows, err := conn.Query(ctx, `SELECT privilege || ' on ' || name FROM unnest($1::text[], $2::text[]) AS wanted (name, privilege)
		WHERE NOT CASE privilege WHEN 'DELETE' THEN has_table_privilege(to_regclass('public.' || name), privilege)
			ELSE has_any_column_privilege(to_regclass('public.' || name), privilege) END
		ORDER BY 1`, tables, privileges)
	if err != nil {
		return nil, fmt.Errorf("privileges: %w", err)
	}
	lacking, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("privileges: %w", err)
	}
	return lacking, nil
}

// confined fails if a role may do more with whole tables than it has been granted, or make objects beside
// them, which whoever migrates could come upon by their names (CVE-2018-1058). In databases from before
// PostgreSQL 15 everybody may.
func confined(ctx context.Context, conn *pgx.Conn, role string) error {
	rows, err := conn.Query(ctx, `SELECT tablename, privilege FROM unnest($2::text[]) AS tablename,
			unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS privilege
		WHERE has_table_privilege($1, 'public.' || tablename, privilege)
		UNION ALL SELECT 'schema public', 'CREATE' WHERE has_schema_privilege($1, 'public', 'CREATE') ORDER BY 1, 2`, role, slices.Collect(maps.Keys(applicationPrivileges)))
	if err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	var more []string
	var table, privilege string
	_, err = pgx.ForEachRow(rows, []any{&table, &privilege}, func() error {
		if !slices.Contains(applicationPrivileges[table], privilege) {
			more = append(more, privilege+" on "+table)
		}
		return nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("grant: %w", err)
	case len(more) > 0:
		return fmt.Errorf("grant: %w: %s", ErrMore, strings.Join(more, ", "))
	}
	return nil
}

// grants is the SQL of Grant.
func grants(role string) string {
	grantee := pgx.Identifier{role}.Sanitize()
	var sql strings.Builder
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(&sql, format+";\n", args...) }
	line("REVOKE CREATE ON SCHEMA public FROM %s", grantee)
	line("GRANT USAGE ON SCHEMA public TO %s", grantee)
	line("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM %s", grantee)
	for _, table := range slices.Sorted(maps.Keys(applicationPrivileges)) {
		line("GRANT %s ON %s TO %s", strings.Join(applicationPrivileges[table], ", "), pgx.Identifier{"public", table}.Sanitize(), grantee)
	}
	line("REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM %s", grantee)
	line("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO %s", grantee)
	return sql.String()
}

// archiveGrants is the SQL that lets role find the runs of legacy ids in the archive of a database that had
// legacy run stores, and see nothing else of it.
func archiveGrants(role string) string {
	grantee := pgx.Identifier{role}.Sanitize()
	sql := "GRANT USAGE ON SCHEMA legacy_archive TO " + grantee + ";\n"
	for _, table := range []string{"inventory_sync_runs", "entra_group_sync_runs", "backup_schedule_runs"} {
		sql += "GRANT SELECT (id, operation_run_id) ON legacy_archive." + table + " TO " + grantee + ";\n"
	}
	return sql + "GRANT SELECT ON legacy_archive.imported_runs, legacy_archive.broken_bridges TO " + grantee + ";\n"
}
