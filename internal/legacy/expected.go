package legacy

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
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

// only are the columns that the removal touches of tables of which it touches few.
var only = map[string][]string{
	"inventory_sync_runs":   {"id", "tenant_id", "operation_run_id"},
	"entra_group_sync_runs": {"id", "tenant_id", "operation_run_id"},
	"backup_schedule_runs":  {"id", "tenant_id", "operation_run_id", "backup_schedule_id"},
	"users":                 {"id", "name", "email", "created_at", "updated_at"},
	"tenants":               {"id", "workspace_id", "name", "external_id", "created_at", "updated_at"},
}

// own are the application's own columns of tables that are canonical but for them.
var own = map[string][]string{
	"workspace_memberships": {"id"},
	"backup_schedules":      {"policy_types", "include_foundations", "last_run_status"},
	"findings":              {"deleted_at"},
}

// needed tells whether the removal touches a column of the application's. The others may differ
// as they like; what is missing of them is missed by nobody here.
func needed(table, column string) bool {
	if few, ok := only[table]; ok {
		return slices.Contains(few, column)
	}
	return !slices.Contains(own[table], column)
}

// schemaDifferences says precisely what the application's schema lacks of the expected one. Columns
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
	return differences, nil
}

// retypedColumns are the application's columns whose type or identity Contract changes.
var retypedColumns = func() [][2]string {
	var all [][2]string
	for _, want := range expected() {
		name, column, kind := want[0], want[1], want[2]
		if slices.Contains(legacyTables, name) || !needed(name, column) {
			continue
		}
		limited := strings.HasPrefix(kind, "character varying") || strings.HasPrefix(kind, "time")
		if isShadowed(name, column) || kind == "json" || limited {
			all = append(all, [2]string{name, column})
		}
	}
	return all
}()
