package legacy

import (
	"context"
	"fmt"
)

// compareSchedules compares every schedule's workspace.
func (v *verifier) compareSchedules(ctx context.Context) error {
	const table = "backup_schedules"
	v.changed = false
	var id, tenant int64
	var workspace *int64
	query := fmt.Sprintf("SELECT r.id, coalesce(r.tenant_id, 0), %s FROM public.%s r", v.column(table, "workspace_id", "bigint"), table)
	return v.each(ctx, query, []any{&id, &tenant, &workspace}, func() error {
		v.report.Rows[table]++
		if tenant != 0 {
			v.expectID(table, id, "workspace_id", "tenant's workspace", v.workspaces[tenant], workspace)
		}
		return nil
	})
}

// compareFindings compares every finding's workspace and its two references.
func (v *verifier) compareFindings(ctx context.Context) error {
	const table = "findings"
	references := "r.baseline_run_id, r.current_run_id FROM public.findings r"
	if v.after {
		references = "a.baseline_run_id, a.current_run_id FROM public.findings r LEFT JOIN legacy_archive.finding_run_refs a ON a.finding_id = r.id"
	}
	query := fmt.Sprintf("SELECT r.id, r.tenant_id, %s, %s, %s, %s, %s", v.changedSince("r.revision > 1"), v.column(table, "workspace_id", "bigint"),
		v.column(table, "baseline_operation_run_id", "bigint"), v.column(table, "current_operation_run_id", "bigint"), references)
	var id int64
	var tenant, workspace, baseline, current, legacyBaseline, legacyCurrent *int64
	var changed bool
	v.progress.begin("verify findings", 0, v.sizes["findings"])
	defer v.progress.end()
	return v.each(ctx, query, []any{&id, &tenant, &changed, &workspace, &baseline, &current, &legacyBaseline, &legacyCurrent}, func() error {
		v.progress.advance(1)
		if tenant == nil || v.since(table, id, changed) {
			return nil
		}
		of := v.workspaces[*tenant]
		v.expectID(table, id, "workspace_id", "tenant's workspace", of, workspace)
		run, reason := v.follow(legacyBaseline, of)
		v.expectID(table, id, "baseline_operation_run_id", reason, run, baseline)
		run, reason = v.follow(legacyCurrent, of)
		v.expectID(table, id, "current_operation_run_id", reason, run, current)
		return nil
	})
}

// compareItems compares every inventory item's workspace and reference.
func (v *verifier) compareItems(ctx context.Context) error {
	const table = "inventory_items"
	// What the application itself had written: null and true if nothing is known to the contrary.
	source := v.column(table, referenceColumn, "bigint") + ", NULL::bigint, false, r.last_seen_run_id FROM public.inventory_items r"
	if v.after {
		source = `NULL::bigint, o.last_seen_operation_run_id, o.inventory_item_id IS NOT NULL, a.last_seen_run_id FROM public.inventory_items r
			LEFT JOIN legacy_archive.inventory_item_run_refs a ON a.inventory_item_id = r.id
			LEFT JOIN legacy_archive.inventory_item_originals o ON o.inventory_item_id = r.id`
	}
	query := fmt.Sprintf("SELECT r.id, r.tenant_id, %s, %s, r.last_seen_operation_run_id, %s",
		v.changedSince("coalesce(r.updated_at > (SELECT contracted_at FROM legacy_archive.removal), false)"),
		v.column(table, "workspace_id", "bigint"), source)
	var id int64
	var tenant, workspace, got, reference, original, legacy *int64
	var changed bool
	var archived bool
	v.progress.begin("verify inventory_items", 0, v.sizes["inventory_items"])
	defer v.progress.end()
	return v.each(ctx, query, []any{&id, &tenant, &changed, &workspace, &got, &reference, &original, &archived, &legacy}, func() error {
		v.progress.advance(1)
		if tenant == nil || v.since(table, id, changed) {
			return nil
		}
		of, known := v.workspaces[*tenant]
		v.expectID(table, id, "workspace_id", "tenant's workspace", of, workspace)
		if !known { // it stays as it is
			return nil
		}
		own := v.ownReference(got, reference, original, archived)
		want, reason := v.follow(legacy, of)
		if own != 0 {
			want, reason = own, "own_reference_kept"
			if v.runs[own] != of {
				want, reason = 0, "own_reference_cleared"
			}
		}
		v.expectID(table, id, "last_seen_operation_run_id", reason, want, got)
		return nil
	})
}

// ownReference is what the application itself had written into last_seen_operation_run_id, 0 for
// null or, after Contract, for what is the same as the bridge's.
func (v *verifier) ownReference(got, reference, original *int64, archived bool) int64 {
	switch {
	case v.after && archived && original != nil:
		return *original
	case v.after:
		return 0
	case reference != nil:
		return *reference
	case got != nil:
		return *got
	}
	return 0
}

// changedSince is a condition that tells of a row that it was changed after Contract.
func (v *verifier) changedSince(condition string) string {
	if v.after {
		return condition
	}
	return "false"
}
