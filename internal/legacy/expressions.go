package legacy

import (
	_ "embed"
	"strconv"
	"strings"
)

//go:embed sql/state.sql
var stateSQL string

// The expressions below say, once, what a canonical value is. Backfill and the triggers use them:
// {row} is the row's alias there, and {unassigned} the workspace of the tenants without one.

// workspaceOf is the workspace of the tenant t.
const workspaceOf = `coalesce(t.workspace_id, {unassigned})`

// findingValues selects workspace_id, baseline_operation_run_id and current_operation_run_id.
// "Exists" means that the run exists in the workspace of the referring row's tenant.
const findingValues = `
	SELECT ` + workspaceOf + `, br.id, cr.id
	FROM public.tenants t
	LEFT JOIN public.inventory_sync_runs bs ON bs.id = {row}.baseline_run_id
	LEFT JOIN public.operation_runs br ON br.id = bs.operation_run_id AND br.workspace_id = ` + workspaceOf + `
	LEFT JOIN public.inventory_sync_runs cs ON cs.id = {row}.current_run_id
	LEFT JOIN public.operation_runs cr ON cr.id = cs.operation_run_id AND cr.workspace_id = ` + workspaceOf + `
	WHERE t.id = {row}.tenant_id`

// itemValues selects workspace_id, last_seen_operation_run_id and referenceColumn. A reference of
// the application's own is kept if it leads to a run of the workspace, and is cleared if not; it is
// judged anew each time, since tenants and runs move. An item of a tenant that does not exist stays
// as it is, without a workspace: nothing can be said about it. The application has a foreign key here: the
// run is locked as the key's check will lock it, or one that is deleted between the two would fail
// the statement. For the same reason no trigger uses this: the application would have to wait.
const itemValues = `
	SELECT v.workspace_id,
	       CASE WHEN v.workspace_id IS NULL THEN {row}.last_seen_operation_run_id ELSE v.run_id END,
	       CASE WHEN v.workspace_id IS NULL THEN {row}.runledger_reference
	            WHEN v.own IS NULL AND v.run_id IS NOT NULL THEN 0
	            WHEN v.run_id IS NULL THEN v.own END
	FROM (
		SELECT CASE WHEN t.id IS NOT NULL THEN ` + workspaceOf + ` END AS workspace_id, one.own, o.id AS run_id
		FROM (SELECT CASE WHEN {row}.runledger_reference IS NULL THEN {row}.last_seen_operation_run_id
		                  ELSE nullif({row}.runledger_reference, 0) END AS own) AS one
		LEFT JOIN public.tenants t ON t.id = {row}.tenant_id
		LEFT JOIN public.inventory_sync_runs s ON s.id = {row}.last_seen_run_id
		LEFT JOIN LATERAL (SELECT o.id FROM public.operation_runs o
		                   WHERE o.id = coalesce(one.own, s.operation_run_id) AND o.workspace_id = ` + workspaceOf + ` FOR KEY SHARE) AS o
		       ON t.id IS NOT NULL
	) AS v`

// referenceIsKey tells whether the application has a foreign key over an item's reference still. If
// so, a run that is deleted takes the references to it away, and one that was cleared with them.
const referenceIsKey = `EXISTS (SELECT FROM pg_catalog.pg_constraint k
	JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum]
	WHERE k.contype = 'f' AND k.conrelid = 'public.inventory_items'::regclass AND a.attname = 'last_seen_operation_run_id')`

// runValues selects the canonical type and context of a run. The context gains the id of the
// schedule if all the rows bridged to the run name the same one, of the run's workspace, if the
// type is one of a schedule's three, and if there is room for it.
const runValues = `
	SELECT v.type,
	       CASE WHEN v.schedule_id IS NULL THEN {row}.context
	            WHEN jsonb_typeof({row}.context) = 'object'
	            THEN {row}.context || jsonb_build_object('backup_schedule_id', v.schedule_id)
	            ELSE jsonb_build_object('backup_schedule_id', v.schedule_id) END
	FROM (
		SELECT s.type,
		       CASE WHEN s.type IN ('backup_schedule_run', 'backup_schedule_retention', 'backup_schedule_purge')
		             AND coalesce({row}.context, 'null') IN ('null', '[]')
		              OR s.type IN ('backup_schedule_run', 'backup_schedule_retention', 'backup_schedule_purge')
		             AND jsonb_typeof({row}.context) = 'object'
		             AND coalesce({row}.context -> 'backup_schedule_id', 'null') = 'null'
		       THEN (SELECT sch.id
		             FROM (SELECT min(b.backup_schedule_id) AS id FROM public.backup_schedule_runs b
		                   WHERE b.operation_run_id = {row}.id
		                   HAVING min(b.backup_schedule_id) = max(b.backup_schedule_id)) AS one
		             JOIN public.backup_schedules sch ON sch.id = one.id
		             JOIN public.tenants t ON t.id = sch.tenant_id
		             WHERE ` + workspaceOf + ` = {row}.workspace_id) END AS schedule_id
		FROM (SELECT coalesce((SELECT m.standard FROM runledger_removal.type_map m
		                       WHERE m.old = lower(btrim({row}.type))), {row}.type) AS type) AS s
	) AS v`

// failureValue is a run's failure_summary as jsonb; only what may need repair is looked at closely.
const failureValue = `CASE WHEN {row}.failure_summary IS NULL THEN NULL
	WHEN {row}.failure_summary::text ~ '\\u(0000|[dD][89a-fA-F])|[0-9][eE]|[0-9]{200}' THEN runledger_removal.repaired({row}.failure_summary)
	ELSE {row}.failure_summary::jsonb END`

// bridgeReason says why the legacy reference {reference} of a row of workspace {workspace} leads,
// or does not lead, to an operation run.
const bridgeReason = `(
	SELECT CASE WHEN {reference} IS NULL THEN 'no_reference'
	            WHEN s.id IS NULL THEN 'legacy_row_missing'
	            WHEN s.operation_run_id IS NULL THEN 'bridge_null'
	            WHEN o.id IS NULL THEN 'bridge_dangling'
	            WHEN o.workspace_id IS DISTINCT FROM {workspace} THEN 'bridge_other_workspace'
	            ELSE 'mapped' END
	FROM (SELECT) AS one
	LEFT JOIN public.inventory_sync_runs s ON s.id = {reference}
	LEFT JOIN public.operation_runs o ON o.id = s.operation_run_id)`

// forRow writes an expression for the row of that alias.
func forRow(expression, row string, unassigned int64) string {
	return strings.NewReplacer("{row}", row, "{unassigned}", strconv.FormatInt(unassigned, 10)).Replace(expression)
}

// reasonFor writes bridgeReason for a reference and a workspace.
func reasonFor(reference, workspace string) string {
	return strings.NewReplacer("{reference}", reference, "{workspace}", workspace).Replace(bridgeReason)
}
