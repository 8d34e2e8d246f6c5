package legacy

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// classification sorts the rows of a table by what becomes of them: a query of id and reason. In
// it $1 and $2 are the type map, {unassigned} is the workspace of tenants without one, and {own}
// what the application itself wrote into an inventory item's new reference.
type classification struct {
	group string
	query string
}

// referenceQuery classifies a legacy reference of a table.
func referenceQuery(table, column string) string {
	return fmt.Sprintf(`SELECT r.id, CASE
			WHEN r.%[2]s IS NULL THEN 'no_reference' WHEN s.id IS NULL THEN 'legacy_row_missing'
			WHEN s.operation_run_id IS NULL THEN 'bridge_null' WHEN o.id IS NULL THEN 'bridge_dangling'
			WHEN t.id IS NULL OR o.workspace_id <> coalesce(t.workspace_id, {unassigned}) THEN 'bridge_other_workspace'
			ELSE 'mapped' END AS reason
		FROM public.%[1]s r LEFT JOIN public.tenants t ON t.id = r.tenant_id
		LEFT JOIN public.inventory_sync_runs s ON s.id = r.%[2]s
		LEFT JOIN public.operation_runs o ON o.id = s.operation_run_id`, table, column)
}

// bridgeQuery classifies the bridges of a legacy table.
func bridgeQuery(table string) string {
	return fmt.Sprintf(`SELECT r.id, CASE
			WHEN r.operation_run_id IS NULL THEN 'bridge_null' WHEN o.id IS NULL THEN 'bridge_dangling'
			WHEN t.id IS NULL OR o.workspace_id <> coalesce(t.workspace_id, {unassigned}) THEN 'bridge_other_workspace'
			WHEN count(*) OVER (PARTITION BY r.operation_run_id) > 1 THEN 'bridge_shared'
			WHEN o.tenant_id IS DISTINCT FROM r.tenant_id THEN 'bridge_other_tenant'
			ELSE 'bridged' END AS reason
		FROM public.%s r LEFT JOIN public.tenants t ON t.id = r.tenant_id
		LEFT JOIN public.operation_runs o ON o.id = r.operation_run_id`, table)
}

// standardType is a run's standardised type, from the map in $1 and $2.
const standardType = `coalesce((SELECT m.standard FROM unnest($1::text[], $2::text[]) AS m(old, standard) WHERE m.old = lower(btrim(r.type))), r.type)`

// unpaired is a JSON text without what jsonb can hold of its escapes: escaped backslashes and whole
// surrogate pairs.
const unpaired = `regexp_replace(replace(r.failure_summary::text, '\\', ''), '\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}', '', 'g')`

// classifications lists them all.
func classifications() []classification {
	return []classification{
		{"tenants.workspace_id", `SELECT r.id, CASE WHEN r.workspace_id IS NULL THEN 'unassigned' ELSE 'assigned' END AS reason FROM public.tenants r`},
		{"inventory_sync_runs.operation_run_id", bridgeQuery("inventory_sync_runs")},
		{"entra_group_sync_runs.operation_run_id", bridgeQuery("entra_group_sync_runs")},
		{"backup_schedule_runs.operation_run_id", bridgeQuery("backup_schedule_runs")},
		{"findings.baseline_run_id", referenceQuery("findings", "baseline_run_id")},
		{"findings.current_run_id", referenceQuery("findings", "current_run_id")},
		{"inventory_items.last_seen_run_id", `SELECT c.id, CASE
				WHEN r.own IS NULL THEN c.reason
				WHEN k.id IS NULL AND t.id IS NOT NULL THEN 'own_reference_cleared'
				WHEN s.operation_run_id IS NOT NULL AND s.operation_run_id <> r.own THEN 'own_reference_conflict'
				ELSE 'own_reference_kept' END AS reason
			FROM (` + referenceQuery("inventory_items", "last_seen_run_id") + `) AS c
			JOIN (SELECT r.id, r.tenant_id, r.last_seen_run_id, {own} AS own FROM public.inventory_items r) AS r ON r.id = c.id
			LEFT JOIN public.tenants t ON t.id = r.tenant_id
			LEFT JOIN public.operation_runs k ON k.id = r.own AND k.workspace_id = coalesce(t.workspace_id, {unassigned})
			LEFT JOIN public.inventory_sync_runs s ON s.id = r.last_seen_run_id`},
		{"operation_runs.type", `SELECT r.id, CASE
				WHEN ` + standardType + ` <> r.type THEN 'standardised'
				WHEN r.type = ANY($2::text[]) THEN 'already_standard' ELSE 'not_in_map' END AS reason
			FROM public.operation_runs r`},
		{"operation_runs.context", contextQuery},
		{"operation_runs.failure_summary", `SELECT r.id, CASE
				WHEN r.failure_summary IS NULL THEN 'null'
				WHEN ` + unpaired + ` ~ '\\u(0000|[dD][89a-fA-F][0-9a-fA-F]{2})' THEN 'escape_replaced'
				ELSE 'convertible' END AS reason
			FROM public.operation_runs r`},
		{"operation_runs.run_identity_hash", `SELECT r.id, CASE
				WHEN r.status NOT IN ('queued', 'running') THEN 'not_active'
				WHEN row_number() OVER (PARTITION BY r.status IN ('queued', 'running'), r.workspace_id, r.tenant_id, r.run_identity_hash
				                        ORDER BY r.created_at DESC NULLS LAST, r.id DESC) > 1 THEN 'hash_derived'
				ELSE 'active' END AS reason
			FROM public.operation_runs r`},
		{"operation_runs.tenant_id", `SELECT r.id, CASE
				WHEN r.tenant_id IS NULL THEN 'no_tenant' WHEN t.id IS NULL THEN 'tenant_missing'
				WHEN coalesce(t.workspace_id, {unassigned}) <> r.workspace_id THEN 'tenant_other_workspace' ELSE 'same_workspace' END AS reason
			FROM public.operation_runs r LEFT JOIN public.tenants t ON t.id = r.tenant_id`},
		{"operation_runs.status", `SELECT r.id, CASE
				WHEN r.status IN ('queued', 'running') AND r.outcome = 'pending' AND r.completed_at IS NULL
				  OR r.status = 'completed' AND r.completed_at IS NOT NULL AND r.started_at <= r.completed_at
				     AND r.outcome IN ('succeeded', 'partially_succeeded', 'failed', 'blocked', 'cancelled')
				  OR r.status = 'completed' AND r.completed_at IS NOT NULL AND r.started_at IS NULL
				     AND r.outcome IN ('succeeded', 'partially_succeeded', 'failed', 'blocked', 'cancelled')
				THEN 'in_state_machine' ELSE 'outside_state_machine' END AS reason
			FROM public.operation_runs r`},
	}
}

// contextQuery classifies the runs by what becomes of their context.
const contextQuery = `
	WITH named AS (
		SELECT operation_run_id AS id, min(backup_schedule_id) AS schedule_id, min(backup_schedule_id) <> max(backup_schedule_id) AS several
		FROM public.backup_schedule_runs WHERE operation_run_id IS NOT NULL GROUP BY operation_run_id)
	SELECT r.id, CASE
		WHEN n.id IS NULL THEN 'not_bridged' WHEN n.several THEN 'several_schedules'
		WHEN t.id IS NULL OR coalesce(t.workspace_id, {unassigned}) <> r.workspace_id THEN 'schedule_other_workspace'
		WHEN ` + standardType + ` NOT IN ('backup_schedule_run', 'backup_schedule_retention', 'backup_schedule_purge') THEN 'type_not_of_a_schedule'
		WHEN coalesce(r.context, 'null') IN ('null', '[]') THEN 'schedule_added'
		WHEN jsonb_typeof(r.context) <> 'object' THEN 'context_not_an_object'
		WHEN coalesce(r.context -> 'backup_schedule_id', 'null') = 'null' THEN 'schedule_added'
		WHEN r.context ->> 'backup_schedule_id' = n.schedule_id::text AND jsonb_typeof(r.context -> 'backup_schedule_id') IN ('number', 'string')
		THEN 'context_names_the_schedule' ELSE 'context_names_another' END AS reason
	FROM public.operation_runs r LEFT JOIN named n ON n.id = r.id
	LEFT JOIN public.backup_schedules b ON b.id = n.schedule_id LEFT JOIN public.tenants t ON t.id = b.tenant_id`

// classifier runs classifications in one transaction.
type classifier struct {
	tx         pgx.Tx
	types      *TypeMap
	unassigned int64
	own        string
}

// newClassifier finds out what the classifications need to know.
func newClassifier(ctx context.Context, tx pgx.Tx, types *TypeMap) (*classifier, error) {
	c := &classifier{tx: tx, types: types, unassigned: -1, own: "r.last_seen_operation_run_id"}
	var begun, referenced bool
	err := tx.QueryRow(ctx, `SELECT to_regclass('runledger_removal.state') IS NOT NULL, EXISTS (
		SELECT FROM pg_attribute WHERE attrelid = to_regclass('public.inventory_items') AND attname = $1 AND NOT attisdropped)`,
		referenceColumn).Scan(&begun, &referenced)
	if err != nil {
		return nil, err
	}
	if referenced {
		c.own = "CASE WHEN r.runledger_reference IS NULL THEN r.last_seen_operation_run_id ELSE nullif(r.runledger_reference, 0) END"
	}
	if begun {
		err = tx.QueryRow(ctx, "SELECT coalesce(max(unassigned_workspace_id), -1) FROM runledger_removal.state").Scan(&c.unassigned)
		if err != nil {
			return nil, err
		}
	}
	if c.types == nil && begun {
		c.types, err = typesInUse(ctx, tx)
	} else if c.types == nil {
		c.types = defaultTypeMap()
	}
	return c, err
}

// typesInUse is the map that Expand was given.
func typesInUse(ctx context.Context, tx pgx.Tx) (*TypeMap, error) {
	rows, err := tx.Query(ctx, "SELECT old, standard FROM runledger_removal.type_map")
	if err != nil {
		return nil, err
	}
	m := &TypeMap{standard: map[string]string{}}
	var old, standard string
	_, err = pgx.ForEachRow(rows, []any{&old, &standard}, func() error { m.standard[old] = standard; return nil })
	return m, err
}

// query writes a classification's query, and its arguments.
func (c *classifier) query(k classification) (string, []any) {
	query := strings.ReplaceAll(forRow(k.query, "r", c.unassigned), "{own}", c.own)
	if !strings.Contains(query, "$2") {
		return query, nil
	}
	old, standard := c.types.pairs()
	if !strings.Contains(query, "$1") {
		query = strings.ReplaceAll(query, "$2", "$1")
		return query, []any{standard}
	}
	return query, []any{old, standard}
}

// counts tells the number of rows of a classification by reason.
func (c *classifier) counts(ctx context.Context, k classification) (Counts, error) {
	query, args := c.query(k)
	rows, err := c.tx.Query(ctx, "SELECT reason, count(*) FROM ("+query+") AS classified GROUP BY reason", args...)
	if err != nil {
		return nil, fmt.Errorf("count %s: %w", k.group, err)
	}
	counts := Counts{}
	var reason string
	var n int64
	if _, err := pgx.ForEachRow(rows, []any{&reason, &n}, func() error { counts[reason] = n; return nil }); err != nil {
		return nil, fmt.Errorf("count %s: %w", k.group, err)
	}
	return counts, nil
}

// Listed is a row that was asked for by its reason.
type Listed struct {
	Group string `json:"group"`
	ID    int64  `json:"id"`
}

// List calls each with the rows of a reason, in the order of their ids: of all groups, or of the one
// that the reason leads with, as in findings.current_run_id.bridge_null.
func (r *Removal) List(ctx context.Context, reason string, each func(Listed) error) error {
	state, err := Detect(ctx, r.conn)
	if err != nil {
		return err
	}
	switch state {
	case Uncontracted, Expanding, Expanded, Backfilled, Undoing:
	case Empty, Foreign, Contracted, Canonical:
		return fmt.Errorf("there is nothing to list: the state of the database is %s", state)
	}
	return pgx.BeginTxFunc(ctx, r.conn, readOnly, func(tx pgx.Tx) error {
		c, err := newClassifier(ctx, tx, r.opt.TypeMap)
		if err != nil {
			return err
		}
		for _, k := range classifications() {
			short, within := strings.CutPrefix(reason, k.group+".")
			if !within && strings.Contains(reason, ".") || !strings.Contains(k.query, "'"+short+"'") {
				continue
			}
			query, args := c.query(k)
			args = append(args, short)
			rows, err := tx.Query(ctx, fmt.Sprintf("SELECT id FROM (%s) AS classified WHERE reason = $%d ORDER BY id", query, len(args)), args...)
			if err != nil {
				return fmt.Errorf("list %s: %w", reason, err)
			}
			listed := Listed{Group: k.group}
			if _, err := pgx.ForEachRow(rows, []any{&listed.ID}, func() error { return each(listed) }); err != nil {
				return fmt.Errorf("list %s: %w", reason, err)
			}
		}
		return nil
	})
}

// reasonIn is a reason in a classification's query, which is the one place that names it.
var reasonIn = regexp.MustCompile(`(?:THEN|ELSE) '(\w+)'`)

// Reasons lists every reason that List knows, with its group.
func Reasons() []string {
	var all []string
	for _, k := range classifications() {
		for _, found := range reasonIn.FindAllStringSubmatch(k.query, -1) {
			all = append(all, k.group+"."+found[1])
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// readOnly is how a step that must not write opens its transaction.
var readOnly = pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
