package legacy

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// archived are the tables that Contract moves to the archive beside the legacy stores: the old
// references and the original values, each selected from the table that has them until Contract.
// {which} is the condition on r, the row.
var archived = map[string][]struct{ table, key, selection string }{
	"findings": {{"finding_run_refs", "finding_id", `
		SELECT r.id, r.baseline_run_id, r.current_run_id FROM public.findings r
		WHERE {which} AND (r.baseline_run_id IS NOT NULL OR r.current_run_id IS NOT NULL)`}},
	"inventory_items": {
		{"inventory_item_run_refs", "inventory_item_id", `
		SELECT r.id, r.last_seen_run_id FROM public.inventory_items r
		WHERE {which} AND r.last_seen_run_id IS NOT NULL`},
		// The application's own references that were cleared, or that differ from what the bridge gives.
		{"inventory_item_originals", "inventory_item_id", `
		SELECT r.id, coalesce(r.runledger_reference, r.last_seen_operation_run_id) FROM public.inventory_items r
		LEFT JOIN public.inventory_sync_runs s ON s.id = r.last_seen_run_id
		WHERE {which} AND (r.runledger_reference > 0
		   OR r.runledger_reference IS NULL AND r.last_seen_operation_run_id IS NOT NULL
		      AND r.last_seen_operation_run_id IS DISTINCT FROM s.operation_run_id)`},
	},
	"operation_runs": {{"operation_run_originals", "operation_run_id", `
		SELECT r.id, r.type, r.context, r.failure_summary, r.run_identity_hash FROM public.operation_runs r
		WHERE {which} AND (r.runledger_type IS DISTINCT FROM r.type
		   OR r.runledger_context IS DISTINCT FROM r.context
		   OR r.runledger_failure_summary::text IS DISTINCT FROM r.failure_summary::text
		   OR r.runledger_run_identity_hash IS DISTINCT FROM r.run_identity_hash)`}},
	"backup_schedules": {{"backup_schedule_originals", "backup_schedule_id", `
		SELECT r.id, r.days_of_week FROM public.backup_schedules r
		WHERE {which} AND r.days_of_week IS NOT NULL`}},
}

// archiveTask is the name under which the removal notes that the archive has been filled.
const archiveTask = "archive"

// fillArchive copies into the archive what Contract is going to change, once. From then on
// catchUp keeps it in step.
func (r *Removal) fillArchive(ctx context.Context) error {
	at, err := r.position(ctx, archiveTask)
	if err != nil || at.done {
		return err
	}
	r.progress.Note("contract: archives the original references, types, contexts and failures")
	return r.inTx(ctx, "fill the archive", func(tx pgx.Tx) error {
		for _, source := range []string{"backup_schedules", "operation_runs", "findings", "inventory_items"} {
			for _, a := range archived[source] {
				statement := fmt.Sprintf("TRUNCATE runledger_removal.%s; INSERT INTO runledger_removal.%[1]s %s",
					a.table, strings.Replace(a.selection, "{which}", "true", 1))
				if _, err := tx.Exec(ctx, statement); err != nil {
					return fmt.Errorf("archive %s: %w", a.table, err)
				}
			}
		}
		return savePosition(ctx, tx, archiveTask, &position{done: true, counts: map[string]Counts{}})
	})
}

// rearchive brings the archive in step with rows that were written again, if it is filled.
func rearchive(ctx context.Context, tx pgx.Tx, source string, ids []int64) error {
	var filled bool
	err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM runledger_removal.progress WHERE task = $1)", archiveTask).Scan(&filled)
	if err != nil || !filled {
		return err
	}
	for _, a := range archived[source] {
		_, err := tx.Exec(ctx, fmt.Sprintf("DELETE FROM runledger_removal.%s WHERE %s = ANY($1)", a.table, a.key), ids)
		if err != nil {
			return fmt.Errorf("archive %s: %w", a.table, err)
		}
		_, err = tx.Exec(ctx, fmt.Sprintf("INSERT INTO runledger_removal.%s %s", a.table,
			strings.Replace(a.selection, "{which}", "r.id = ANY($1)", 1)), ids)
		if err != nil {
			return fmt.Errorf("archive %s: %w", a.table, err)
		}
	}
	return nil
}
