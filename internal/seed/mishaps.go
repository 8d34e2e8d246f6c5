package seed

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// What can happen to a slot of a backup schedule of the demonstration, beside what the dice give.
const (
	lost   = "lost"   // nothing came
	late   = "late"   // its run came long after the grace
	failed = "failed" // its run made no backup
	twice  = "twice"  // another run came as well
	byHand = "hand"   // hours later somebody started one more
	halted = "halted" // nothing came, because the run before was still going on
)

// mishaps are what happened to the demonstration's schedules, in the order of their ids, so that there
// is one in each state, and a year with everything in it. A slot is named by how many days with a run
// of the schedule came after it.
var mishaps = []map[int]string{
	{
		2: lost, 5: late, 8: twice, 11: byHand, 16: halted, 23: lost, 24: lost, 31: late, 37: failed, 44: lost,
		58: byHand, 71: twice, 90: lost, 91: lost, 92: lost, 104: late,
	},
	{0: failed, 1: failed, 2: failed, 9: lost, 17: late},
	{0: lost},
	{0: late, 4: lost},
	{1: lost, 3: failed},
}

// happen lets the mishaps of the demonstration's schedules happen, and adds a schedule that is paused
// and one that has not run yet.
func happen(ctx context.Context, tx pgx.Tx, ws *workspace) error {
	for i, s := range ws.schedules[:min(len(ws.schedules), len(mishaps))] {
		if !s.enabled {
			continue
		}
		runs, err := backupsOf(ctx, tx, ws, s)
		if err != nil {
			return fmt.Errorf("the runs of schedule %d: %w", s.id, err)
		}
		for back, what := range mishaps[i] {
			if back+1 >= len(runs) {
				continue // its history is too short
			}
			if err := mishap(ctx, tx, ws, what, runs[back], runs[back+1]); err != nil {
				return fmt.Errorf("%s, %d slots back in schedule %d: %w", what, back, s.id, err)
			}
		}
		if _, err := tx.Exec(ctx, `
			UPDATE backup_schedules SET last_run_at = (
				SELECT max((context ->> 'scheduled_for')::timestamptz) FROM operation_runs
				WHERE workspace_id = $1 AND context ->> 'backup_schedule_id' = $2::bigint::text)
			WHERE workspace_id = $1 AND id = $2`, ws.id, s.id); err != nil {
			return fmt.Errorf("note the last run of schedule %d: %w", s.id, err)
		}
	}
	return addSchedules(ctx, tx, ws)
}

// backup is a run of a schedule.
type backup struct {
	id        int64
	slot      time.Time
	completed time.Time
}

// backupsOf are the completed runs of a schedule, the newest first.
func backupsOf(ctx context.Context, tx pgx.Tx, ws *workspace, s *schedule) ([]backup, error) {
	rows, err := tx.Query(ctx, `
		SELECT id, (context ->> 'scheduled_for')::timestamptz, completed_at FROM operation_runs
		WHERE workspace_id = $1 AND type = 'backup_schedule_run' AND status = 'completed'
			AND context ->> 'backup_schedule_id' = $2::bigint::text
		ORDER BY created_at DESC, id DESC`, ws.id, s.id)
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller says of what
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (backup, error) { //nolint:wrapcheck // likewise
		var b backup
		err := row.Scan(&b.id, &b.slot, &b.completed)
		return b, err //nolint:wrapcheck // likewise
	})
}

// mishap lets something happen to the slot of a run; before is the run of the slot before it.
func mishap(ctx context.Context, tx pgx.Tx, ws *workspace, what string, r, before backup) error {
	const lateBy = 95 * time.Minute
	switch what {
	case lost:
		return remove(ctx, tx, ws, r)
	case late:
		if r.completed.Add(lateBy).After(ws.end) {
			return nil // it would be later than the data
		}
		return alter(ctx, tx, `
			WITH moved AS (
				UPDATE operation_run_events SET at = at + $3::interval WHERE workspace_id = $1 AND run_id = $2)
			UPDATE operation_runs SET created_at = created_at + $3::interval, started_at = started_at + $3::interval,
				completed_at = completed_at + $3::interval, heartbeat_at = heartbeat_at + $3::interval,
				updated_at = updated_at + $3::interval
			WHERE workspace_id = $1 AND id = $2`, ws.id, r.id, lateBy)
	case failed:
		return alter(ctx, tx, `
			WITH told AS (
				UPDATE operation_run_events SET data = data || '{"outcome":"failed"}'
				WHERE workspace_id = $1 AND run_id = $2 AND kind = 'completed')
			UPDATE operation_runs SET outcome = 'failed', started_at = coalesce(started_at, created_at), failure_summary = jsonb_build_array(
				jsonb_build_object('code', 'vault_unreachable', 'message', 'The backup vault did not answer within 60 s; nothing was written.'))
			WHERE workspace_id = $1 AND id = $2`, ws.id, r.id)
	case twice:
		return again(ctx, tx, ws, r, 4*time.Minute, "")
	case byHand:
		return again(ctx, tx, ws, r, 5*time.Hour, "scheduled_for")
	case halted:
		if err := remove(ctx, tx, ws, r); err != nil {
			return err
		}
		return alter(ctx, tx, `
			WITH told AS (
				UPDATE operation_run_events SET at = $3 WHERE workspace_id = $1 AND run_id = $2 AND kind = 'completed')
			UPDATE operation_runs SET completed_at = $3, heartbeat_at = $3, updated_at = $3, started_at = coalesce(started_at, created_at)
			WHERE workspace_id = $1 AND id = $2`, ws.id, before.id, r.slot.Add(3*time.Hour))
	}
	panic("no such mishap: " + what)
}

// remove takes a run away, as if its worker had never started.
func remove(ctx context.Context, tx pgx.Tx, ws *workspace, r backup) error {
	return alter(ctx, tx, `
		WITH gone AS (DELETE FROM operation_run_events WHERE workspace_id = $1 AND run_id = $2)
		DELETE FROM operation_runs WHERE workspace_id = $1 AND id = $2`, ws.id, r.id)
}

// again adds a run like r, so much later, whose context has one member less.
func again(ctx context.Context, tx pgx.Tx, ws *workspace, r backup, later time.Duration, without string) error {
	if r.completed.Add(later).After(ws.end) {
		return nil // it would be later than the data
	}
	return alter(ctx, tx, `
		WITH other AS (
			INSERT INTO operation_runs (workspace_id, tenant_id, initiator_name, type, status, outcome, run_identity_hash, summary_counts,
				failure_summary, context, started_at, completed_at, created_at, updated_at, attempt, revision)
			SELECT workspace_id, tenant_id, 'Scheduler 2', type, status, outcome,
				encode(sha256(convert_to(run_identity_hash || $3::interval::text, 'UTF8')), 'hex'), summary_counts, failure_summary,
				context - $4::text, started_at + $3::interval, completed_at + $3::interval, created_at + $3::interval,
				completed_at + $3::interval, 1, revision
			FROM operation_runs WHERE workspace_id = $1 AND id = $2
			RETURNING workspace_id, id)
		INSERT INTO operation_run_events (workspace_id, run_id, kind, at, actor, data)
		SELECT e.workspace_id, other.id, e.kind, e.at + $3::interval, e.actor, e.data
		FROM operation_run_events AS e, other
		WHERE e.workspace_id = $1 AND e.run_id = $2
		ORDER BY e.id`, ws.id, r.id, later, without)
}

// addSchedules adds a schedule that is paused, and one that is due for the first time.
func addSchedules(ctx context.Context, tx pgx.Tx, ws *workspace) error {
	return alter(ctx, tx, `
		WITH made AS (
			INSERT INTO backup_schedules (workspace_id, tenant_id, name, is_enabled, timezone, frequency, time_of_day, days_of_week,
				retention_keep_last, next_run_at, created_at, updated_at)
			VALUES
				($1, $2, 'Weekly archive, paused for the move', false, 'Europe/Berlin', 'weekly', '03:30', '[7]', 12, NULL, $3::timestamptz - interval '80 days', $3::timestamptz - interval '80 days'),
				($1, $2, 'Nightly backup of the new site', true, 'America/New_York', 'daily', '23:30', NULL, 14, NULL, $3::timestamptz, $3::timestamptz)
			RETURNING workspace_id, id, timezone, frequency, time_of_day, days_of_week, is_enabled, created_at, updated_at)
		INSERT INTO backup_schedule_versions (workspace_id, schedule_id, version, valid_from, timezone, frequency, time_of_day, days_of_week,
			is_enabled, is_deleted, compared_updated_at, actor)
		SELECT workspace_id, id, 1, created_at, timezone, frequency, time_of_day, days_of_week, is_enabled, false, updated_at, 'Demo Owner' FROM made`,
		ws.id, ws.tenants[0].id, ws.end)
}

// alter executes a statement that changes something.
func alter(ctx context.Context, tx pgx.Tx, sql string, args ...any) error {
	tag, err := tx.Exec(ctx, sql, args...)
	if err == nil && tag.RowsAffected() == 0 {
		err = pgx.ErrNoRows
	}
	return err //nolint:wrapcheck // the callers say what it was about
}
