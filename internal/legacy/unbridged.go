package legacy

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// ImportReport is what ImportUnbridged did.
type ImportReport struct {
	Step    string `json:"step"`
	State   State  `json:"state"`
	Message string `json:"message"`
	// Imported are the runs that were made, by legacy table; Before those of earlier calls.
	Imported Counts `json:"imported"`
	Before   Counts `json:"imported_before"`
	// Skipped are the rows of tenants that are not there: a run belongs to a workspace.
	Skipped Counts `json:"skipped_without_tenant"`
}

// unbridged selects, for each legacy table, what a run of one of its rows would have: type, user,
// status, counts, failures, schedule, started, finished, created and updated instants.
var unbridged = map[string]string{
	"inventory_sync_runs": `SELECT l.id, l.tenant_id, l.operation_run_id, 'inventory_sync' AS type, l.user_id, l.status,
		jsonb_build_object('items_observed', greatest(l.items_observed_count, 0), 'items_upserted', greatest(l.items_upserted_count, 0),
			'errors', greatest(l.errors_count, 0)) AS counts,
		CASE WHEN l.had_errors THEN 'legacy_errors' END AS code, coalesce(l.error_codes::text, '') AS message, NULL::bigint AS schedule_id,
		l.started_at AS started, l.finished_at AS finished, l.created_at AT TIME ZONE 'UTC' AS created, l.updated_at AT TIME ZONE 'UTC' AS updated`,
	"entra_group_sync_runs": `SELECT l.id, l.tenant_id, l.operation_run_id, 'entra_group_sync' AS type, l.initiator_user_id AS user_id, l.status,
		jsonb_build_object('pages_fetched', greatest(l.pages_fetched, 0), 'items_observed', greatest(l.items_observed_count, 0),
			'items_upserted', greatest(l.items_upserted_count, 0), 'errors', greatest(l.error_count, 0)) AS counts,
		l.error_code AS code, coalesce(l.error_summary, '') AS message, NULL::bigint AS schedule_id,
		l.started_at AS started, l.finished_at AS finished, l.created_at AT TIME ZONE 'UTC' AS created, l.updated_at AT TIME ZONE 'UTC' AS updated`,
	"backup_schedule_runs": `SELECT l.id, l.tenant_id, l.operation_run_id, 'backup_schedule_run' AS type, l.user_id, l.status, '{}'::jsonb AS counts,
		l.error_code AS code, coalesce(l.error_message, '') AS message, l.backup_schedule_id AS schedule_id,
		l.started_at AT TIME ZONE 'UTC' AS started, l.finished_at AT TIME ZONE 'UTC' AS finished,
		coalesce(l.created_at, l.scheduled_for) AT TIME ZONE 'UTC' AS created, l.updated_at AT TIME ZONE 'UTC' AS updated`,
}

// noteBrokenBridges has the legacy rows noted that name a run which is not a valid bridge: later nobody
// can tell them from rows whose run has been deleted since, or whose number another run has got.
func (s *swapping) noteBrokenBridges(ctx context.Context) error {
	if err := s.exec(ctx, `CREATE TABLE legacy_archive.broken_bridges (
		legacy_table text NOT NULL, legacy_id bigint NOT NULL, PRIMARY KEY (legacy_table, legacy_id))`); err != nil {
		return err
	}
	for _, table := range legacyTables {
		err := s.later(ctx, "note", table, fmt.Sprintf(`
			INSERT INTO legacy_archive.broken_bridges
			SELECT '%[1]s', l.id FROM legacy_archive.%[1]s l
			WHERE l.operation_run_id IS NOT NULL AND NOT EXISTS (
				SELECT FROM public.tenants t JOIN public.operation_runs r ON r.workspace_id = t.workspace_id
				WHERE t.id = l.tenant_id AND r.id = l.operation_run_id)
			ON CONFLICT DO NOTHING`, table))
		if err != nil {
			return err
		}
	}
	return nil
}

// isUnbridged tells, of the legacy row l of the tenant t, that it has no bridge.
const isUnbridged = `(l.operation_run_id IS NULL
	OR EXISTS (SELECT FROM legacy_archive.broken_bridges b WHERE b.legacy_table = '{table}' AND b.legacy_id = l.id))`

// wasUnbridged is isUnbridged where an earlier release has noted nothing: it takes a row for unbridged
// whose run has been deleted since.
const wasUnbridged = `NOT EXISTS (SELECT FROM public.operation_runs r WHERE r.id = l.operation_run_id AND r.workspace_id = t.workspace_id)`

// importStatement makes runs of the next rows of one table. A run that never ended in the legacy
// store has nobody any more who could end it; it is imported as failed, and says so.
const importStatement = `
	WITH legacy AS ({selection} FROM legacy_archive.{table} l WHERE l.id > $1 ORDER BY l.id LIMIT $2),
	rows AS (
		SELECT l.*, t.workspace_id,
		       CASE WHEN lower(l.status) IN ('success', 'succeeded', 'completed') THEN 'succeeded'
		            WHEN lower(l.status) IN ('partial', 'partially_succeeded', 'partial_success') THEN 'partially_succeeded'
		            WHEN lower(l.status) IN ('canceled', 'cancelled') THEN 'cancelled'
		            WHEN lower(l.status) IN ('skipped', 'blocked') THEN 'blocked' ELSE 'failed' END AS outcome,
		       lower(l.status) IN ('pending', 'queued', 'running') AS unfinished
		FROM legacy l JOIN public.tenants t ON t.id = l.tenant_id
		WHERE {unbridged}
		  AND NOT EXISTS (SELECT FROM legacy_archive.imported_runs i WHERE i.legacy_table = '{table}' AND i.legacy_id = l.id)),
	made AS (
		INSERT INTO public.operation_runs (workspace_id, tenant_id, user_id, type, status, outcome, summary_counts, failure_summary,
			context, started_at, completed_at, created_at, updated_at)
		SELECT r.workspace_id, r.tenant_id, (SELECT u.id FROM public.users u WHERE u.id = r.user_id), r.type, 'completed', r.outcome, r.counts,
		       CASE WHEN r.unfinished THEN '[{"code": "legacy_unfinished", "message": "the legacy store never recorded its end"}]'
		            WHEN r.code IS NOT NULL THEN jsonb_build_array(jsonb_build_object('code', r.code, 'message', r.message))
		            ELSE '[]' END::jsonb,
		       jsonb_build_object('legacy', jsonb_build_object('table', '{table}', 'id', r.id))
		           || CASE WHEN s.id IS NULL THEN '{}' ELSE jsonb_build_object('backup_schedule_id', s.id) END,
		       r.started, greatest(coalesce(r.finished, r.updated, r.started, r.created, 'epoch'), r.started),
		       coalesce(r.created, r.started, r.finished), coalesce(r.updated, r.created, r.started, r.finished)
		FROM rows r LEFT JOIN public.backup_schedules s ON s.id = r.schedule_id AND s.workspace_id = r.workspace_id
		RETURNING id, (context -> 'legacy' ->> 'id')::bigint AS legacy_id),
	noted AS (INSERT INTO legacy_archive.imported_runs SELECT '{table}', legacy_id, id FROM made RETURNING 1)
	SELECT (SELECT max(id) FROM legacy), (SELECT count(*) FROM legacy), (SELECT count(*) FROM noted)`

// ImportUnbridged makes an operation run of every archived legacy row without a valid bridge, marked
// in its context with the legacy table and id. It is not part of the removal; an operator may ask
// for it after Contract, as often as it takes.
func (r *Removal) ImportUnbridged(ctx context.Context) (*ImportReport, error) {
	report := &ImportReport{Step: "import-unbridged", Imported: Counts{}, Before: Counts{}, Skipped: Counts{}}
	if err := r.lock(ctx); err != nil {
		return nil, err
	}
	var err error
	if report.State, err = Detect(ctx, r.conn); err != nil {
		return nil, err
	}
	switch report.State {
	case Foreign:
		return nil, errForeign
	case Empty, Canonical:
		report.Message = nothingToDo(report.State)
		return report, nil
	case Uncontracted, Expanding, Expanded, Backfilled, Undoing:
		return nil, &BlockedError{Step: "import-unbridged", Blockers: []string{"the database is not contracted yet: run " + report.State.Next()}}
	case Contracted:
	}
	if pending, err := r.aftermathPending(ctx); err != nil {
		return nil, fmt.Errorf("import-unbridged: %w", err)
	} else if pending {
		return nil, &BlockedError{Step: "import-unbridged", Blockers: []string{"contract has not finished what follows it: run runledger legacy contract again"}}
	}
	var skipped int64
	for _, table := range legacyTables {
		if err := r.importTable(ctx, table, report); err != nil {
			return nil, fmt.Errorf("import-unbridged: %s: %w", table, err)
		}
		skipped += report.Skipped[table]
	}
	report.Message = "Every archived row without a bridge has a run."
	if skipped > 0 {
		report.Message = fmt.Sprintf("Every archived row without a bridge has a run, but for %d of tenants that do not exist, and so of no workspace.", skipped)
	}
	return report, nil
}

func (r *Removal) importTable(ctx context.Context, table string, report *ImportReport) error {
	const size = 2000
	var before, total int64
	var noted bool
	err := r.conn.QueryRow(ctx, fmt.Sprintf(`SELECT (SELECT count(*) FROM legacy_archive.imported_runs WHERE legacy_table = $1),
		(SELECT count(*) FROM legacy_archive.%s), to_regclass('legacy_archive.broken_bridges') IS NOT NULL`, quoted(table)), table).
		Scan(&before, &total, &noted)
	if err != nil {
		return err
	}
	report.Before[table] = before
	report.Imported[table] = 0
	which := wasUnbridged
	if noted {
		which = strings.ReplaceAll(isUnbridged, "{table}", table)
	}
	var skipped int64
	err = r.conn.QueryRow(ctx, fmt.Sprintf(`SELECT count(*) FROM legacy_archive.%s l LEFT JOIN public.tenants t ON t.id = l.tenant_id
		WHERE t.id IS NULL AND %s`, quoted(table), which)).Scan(&skipped)
	if err != nil {
		return err
	}
	report.Skipped[table] = skipped
	statement := strings.NewReplacer("{table}", table, "{selection}", unbridged[table], "{unbridged}", which).Replace(importStatement)
	r.progress.begin("import "+table, 0, total)
	defer r.progress.end()
	const first = -1 << 63
	for last := int64(first); ; {
		var upper *int64
		var looked, made int64
		err := r.inTx(ctx, "import a batch", func(tx pgx.Tx) error {
			return tx.QueryRow(ctx, statement, last, size).Scan(&upper, &looked, &made)
		})
		if err != nil || upper == nil {
			return err
		}
		last = *upper
		report.Imported[table] += made
		r.progress.advance(looked)
	}
}
