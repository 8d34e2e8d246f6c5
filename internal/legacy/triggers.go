package legacy

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// trigger is one that keeps the canonical columns right while the application writes.
type trigger struct {
	name   string // without the prefix; its function has the same
	table  string
	timing string // BEFORE or AFTER, and the events
	body   string // of the function, in PL/pgSQL
}

// triggers lists them all. The BEFORE ones give the row itself its canonical values. The AFTER ones
// note in the table dirty whose values may have changed with it; Backfill and Contract look at
// those again. A row's note is committed with the row, so that nothing can be missed between two
// transactions that do not see each other. No trigger locks or changes another row, and none changes
// a column of the application's: what an item refers to is left to the note.
func triggers(unassigned int64) []trigger {
	note := func(kind, id string) string {
		return fmt.Sprintf("INSERT INTO runledger_removal.dirty (kind, id) SELECT %s, %s WHERE %[2]s IS NOT NULL;\n", literal(kind), id)
	}
	noteBoth := func(kind, column string) string {
		return "IF TG_OP <> 'INSERT' AND OLD." + column + " IS DISTINCT FROM NEW." + column + " THEN " + note(kind, "OLD."+column) + "END IF;\n" +
			"IF TG_OP <> 'DELETE' THEN " + note(kind, "NEW."+column) + "END IF;\n"
	}
	const (
		findingColumns = "id, tenant_id, baseline_run_id, current_run_id"
		itemColumns    = "id, tenant_id, last_seen_run_id"
	)
	runColumns := "id, workspace_id, " + strings.Join(shadowed, ", ")
	tenantsWorkspace := forRow("SELECT "+workspaceOf+" INTO NEW.workspace_id FROM public.tenants t WHERE t.id = NEW.tenant_id;\n", "NEW", unassigned)
	all := []trigger{
		{
			name: "run_values", table: "operation_runs",
			timing: "BEFORE INSERT OR UPDATE OF " + runColumns,
			body:   forRow(runTriggerBody, "NEW", unassigned),
		},
		{
			name: "finding_values", table: "findings",
			timing: "BEFORE INSERT OR UPDATE OF " + findingColumns,
			body: forRow("SELECT * INTO NEW.workspace_id, NEW.baseline_operation_run_id, NEW.current_operation_run_id FROM ("+
				findingValues+") AS v;\n", "NEW", unassigned),
		},
		{name: "item_values", table: "inventory_items", timing: "BEFORE INSERT OR UPDATE OF tenant_id", body: tenantsWorkspace},
		{
			// What the application writes into the new reference is its own from then on, also if it is
			// the same that stood there already.
			name: "item_reference", table: "inventory_items", timing: "BEFORE UPDATE OF last_seen_operation_run_id",
			body: "NEW.runledger_reference := NULL;\n",
		},
		{
			name: "schedule_values", table: "backup_schedules",
			timing: "BEFORE INSERT OR UPDATE OF id, tenant_id", body: tenantsWorkspace,
		},
		{name: "run_note", table: "operation_runs", timing: "AFTER INSERT OR DELETE OR UPDATE OF " + runColumns, body: noteBoth("run", "id") +
			"IF TG_OP = 'DELETE' OR TG_OP = 'UPDATE' AND (OLD.id <> NEW.id OR OLD.workspace_id <> NEW.workspace_id) OR TG_OP = 'INSERT' THEN\n" +
			noteBoth("run_place", "id") + "END IF;\n"},
		{name: "finding_note", table: "findings", timing: "AFTER INSERT OR DELETE OR UPDATE OF " + findingColumns, body: noteBoth("finding", "id")},
		{name: "item_note", table: "inventory_items", timing: "AFTER INSERT OR DELETE OR UPDATE OF " + itemColumns, body: noteBoth("item", "id")},
		{
			// Its own reference alone, unless it was the foreign key that took it away with its run.
			name: "item_own_note", table: "inventory_items", timing: "AFTER UPDATE OF last_seen_operation_run_id",
			body: "IF NEW.last_seen_operation_run_id IS NULL AND OLD.last_seen_operation_run_id IS NOT NULL\n" +
				"AND NOT EXISTS (SELECT FROM public.operation_runs o WHERE o.id = OLD.last_seen_operation_run_id) THEN\n" +
				note("item", "NEW.id") + "ELSE\n" + note("item_own", "NEW.id") + "END IF;\n",
		},
		{name: "schedule_note", table: "backup_schedules", timing: "AFTER INSERT OR UPDATE OF id, tenant_id, days_of_week OR DELETE", body: noteBoth("schedule", "id")},
		{name: "tenant_note", table: "tenants", timing: "AFTER INSERT OR UPDATE OF id, workspace_id OR DELETE", body: noteBoth("tenant", "id")},
		{name: "sync_note", table: "inventory_sync_runs", timing: "AFTER INSERT OR UPDATE OF id, operation_run_id OR DELETE", body: noteBoth("sync", "id")},
		{
			name: "schedule_run_note", table: "backup_schedule_runs",
			timing: "AFTER INSERT OR UPDATE OF operation_run_id, backup_schedule_id OR DELETE", body: noteBoth("run", "operation_run_id"),
		},
	}
	// It tells of no row: the backfill looks at all of them again.
	for _, table := range touchedTables {
		all = append(all, trigger{name: "truncated_" + table, table: table, timing: afterTruncate, body: "DELETE FROM runledger_removal.progress;\n" +
			"UPDATE runledger_removal.state SET phase = CASE phase WHEN 'backfilled' THEN 'expanded' ELSE phase END;\n"})
	}
	return all
}

const afterTruncate = "AFTER TRUNCATE"

// runTriggerBody gives a run its canonical values.
const runTriggerBody = `
	SELECT * INTO NEW.runledger_type, NEW.runledger_context FROM (` + runValues + `) AS v;
	NEW.runledger_failure_summary := ` + failureValue + `;
	NEW.runledger_status := NEW.status;
	NEW.runledger_outcome := NEW.outcome;
	NEW.runledger_run_identity_hash := NEW.run_identity_hash;
	NEW.runledger_started_at := NEW.started_at AT TIME ZONE 'UTC';
	NEW.runledger_completed_at := NEW.completed_at AT TIME ZONE 'UTC';
	NEW.runledger_created_at := NEW.created_at AT TIME ZONE 'UTC';
	NEW.runledger_updated_at := NEW.updated_at AT TIME ZONE 'UTC';
`

// makeTriggers makes what is missing of the triggers.
func (r *Removal) makeTriggers(ctx context.Context, unassigned int64) error {
	for _, t := range triggers(unassigned) {
		err := r.inTx(ctx, "make the trigger on "+t.table, func(tx pgx.Tx) error { return makeTrigger(ctx, tx, t) })
		if err != nil {
			return err
		}
	}
	return nil
}

// makeTrigger makes one trigger and its function. The function runs with the rights of its owner:
// the application's role needs none on the removal's schema.
func makeTrigger(ctx context.Context, tx pgx.Tx, t trigger) error {
	name := quoted(ours + t.name)
	function := fmt.Sprintf(`
		CREATE OR REPLACE FUNCTION runledger_removal.%s() RETURNS trigger
		LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET standard_conforming_strings = on AS $body$
		BEGIN
		%s
		RETURN coalesce(NEW, OLD);
		END $body$`, name, t.body)
	if _, err := tx.Exec(ctx, function); err != nil {
		return fmt.Errorf("make the function of %s: %w", t.name, err)
	}
	var exists bool
	err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass($1) AND tgname = $2)",
		public(t.table), ours+t.name).Scan(&exists)
	if err != nil || exists {
		return err
	}
	each := "ROW"
	if t.timing == afterTruncate {
		each = "STATEMENT"
	}
	_, err = tx.Exec(ctx, fmt.Sprintf(`
		CREATE TRIGGER %s %s ON %s FOR EACH `+each+`
		WHEN (current_setting('runledger.own', true) IS DISTINCT FROM 'on')
		EXECUTE FUNCTION runledger_removal.%[1]s()`, name, t.timing, public(t.table)))
	return err
}
