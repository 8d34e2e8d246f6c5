package legacy

import (
	"context"
	_ "embed"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

//go:embed data/expected_columns.tsv
var expectedColumns string

// expected are the columns of the application's tables that the removal works with, as the
// application's own migrations make them: table, column, type.
func expected() [][3]string {
	var all [][3]string
	for line := range strings.Lines(expectedColumns) {
		fields := strings.Split(strings.TrimSpace(line), "\t")
		if len(fields) == 3 {
			all = append(all, [3]string(fields))
		}
	}
	return all
}

// needed tells whether the removal touches a column of the application's. The others may differ
// as they like; what is missing of them is missed by nobody here.
func needed(table, column string) bool {
	switch table {
	case "inventory_sync_runs", "entra_group_sync_runs":
		return column == "id" || column == "operation_run_id" || column == "tenant_id"
	case "backup_schedule_runs":
		return column == "id" || column == "operation_run_id" || column == "tenant_id" || column == "backup_schedule_id"
	case "workspace_memberships":
		return column != "id"
	case "users":
		return column == "id" || column == "name" || column == "email" || column == "created_at" || column == "updated_at"
	case "tenants":
		return column == "id" || column == "workspace_id" || column == "name" || column == "external_id" ||
			column == "created_at" || column == "updated_at"
	case "backup_schedules":
		return column != "policy_types" && column != "include_foundations" && column != "last_run_status"
	case "findings":
		return column != "deleted_at"
	}
	return true
}

// schemaDifferences says precisely where the application's schema is not the expected one. Columns
// and tables beyond the expected ones are no difference, and neither are the removal's own.
func schemaDifferences(ctx context.Context, tx pgx.Tx) ([]string, error) {
	have, err := readCatalog(ctx, tx, "public")
	if err != nil {
		return nil, err
	}
	var differences []string
	missing := map[string]bool{}
	for _, want := range expected() {
		table, column, kind := want[0], want[1], want[2]
		switch got, ok := have[table]; {
		case !ok && !missing[table]:
			missing[table] = true
			differences = append(differences, fmt.Sprintf("table %s: missing", table))
		case !ok, !needed(table, column):
		default:
			if found, ok := got.columns[column]; !ok {
				differences = append(differences, fmt.Sprintf("column %s.%s: missing, expected %s", table, column, kind))
			} else if found.kind != kind {
				differences = append(differences, fmt.Sprintf("column %s.%s: has the type %s, expected %s", table, column, found.kind, kind))
			}
		}
	}
	for _, name := range []string{"operation_types", "operation_run_events", "server_keys"} {
		if _, ok := have[name]; ok {
			differences = append(differences, fmt.Sprintf("table %s: is there already, and Runledger needs the name", name))
		}
	}
	return differences, nil
}

// retypedColumns are the application's columns whose type Contract changes.
var retypedColumns = func() [][2]string {
	canonicalTables := map[string]bool{
		"workspaces": true, "users": true, "workspace_memberships": true, "tenants": true,
		"operation_runs": true, "backup_schedules": true, "findings": true, "inventory_items": true,
	}
	own := map[string]bool{ // the application's own columns beside the canonical ones
		"users.email_verified_at": true, "users.password": true, "users.remember_token": true,
		"tenants.domain": true, "tenants.environment": true, "tenants.status": true, "tenants.metadata": true, "tenants.deleted_at": true,
		"backup_schedules.policy_types": true, "backup_schedules.last_run_status": true, "findings.deleted_at": true,
	}
	var all [][2]string
	for _, want := range expected() {
		name, column, kind := want[0], want[1], want[2]
		if !canonicalTables[name] || own[name+"."+column] {
			continue
		}
		if isShadowed(name, column) || kind == "json" || strings.HasPrefix(kind, "character varying") || strings.HasPrefix(kind, "timestamp(") ||
			strings.HasPrefix(kind, "time(") {
			all = append(all, [2]string{name, column})
		}
	}
	return all
}()
