package seed

import (
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// tables are all the rows of the world in an order that the foreign keys allow. The first five are
// held in memory; the others are drawn while they are copied.
func (l *loader) tables() []table {
	return []table{
		l.workspaceRows(), l.userRows(), l.membershipRows(), l.tenantRows(), l.scheduleRows(),
		l.runRows(), l.eventRows(), l.findingRows(), l.itemRows(),
	}
}

// null makes the zero instant a null.
func null(at time.Time) any {
	if at.IsZero() {
		return nil
	}
	return at
}

// nullID makes the zero id a null.
func nullID(id int64) any {
	if id == 0 {
		return nil
	}
	return id
}

func (t *tenant) idOrNull() any {
	if t == nil {
		return nil
	}
	return t.id
}

func (u *user) idOrNull() any {
	if u == nil {
		return nil
	}
	return u.id
}

// from hands out rows that are there already, each workspace's in turn.
func from[T any](l *loader, of func(*workspace) []T, row func(*workspace, T) []any) func() []any {
	at, i := 0, 0
	return func() []any {
		for ; at < len(l.world.workspaces); at, i = at+1, 0 {
			ws := l.world.workspaces[at]
			if all := of(ws); i < len(all) {
				i++
				return row(ws, all[i-1])
			}
		}
		return nil
	}
}

func (l *loader) workspaceRows() table {
	return table{
		"workspaces",
		[]string{"id", "slug", "name", "archived_at", "created_at", "updated_at"},
		from(l, func(ws *workspace) []*workspace { return []*workspace{ws} }, func(ws, _ *workspace) []any {
			name := ws.org.name
			if int(ws.index) >= len(organisations) { //nolint:gosec // a small number
				name = fmt.Sprintf("%s %s", name, places[int(ws.index)/len(organisations)%len(places)]) //nolint:gosec // likewise
			}
			if ws.archived {
				return []any{ws.id, ws.slug, name, ws.end, ws.start, ws.end}
			}
			return []any{ws.id, ws.slug, name, nil, ws.start, ws.start}
		}),
	}
}

func users(ws *workspace) []*user { return ws.users }

func (l *loader) userRows() table {
	return table{
		"users",
		[]string{"id", "subject", "name", "email", "created_at", "updated_at"},
		from(l, users, func(ws *workspace, u *user) []any {
			email := fmt.Sprintf("%s.%s.%d@%s.example", u.given.plain, u.family.plain, u.number, ws.org.plain)
			return []any{u.id, fmt.Sprintf("user-%d-%d", ws.id, u.number), u.name(), email, u.created, u.created}
		}),
	}
}

func (l *loader) membershipRows() table {
	return table{
		"workspace_memberships",
		[]string{"workspace_id", "user_id", "role", "created_at", "updated_at"},
		from(l, users, func(ws *workspace, u *user) []any { return []any{ws.id, u.id, u.role, u.created, u.created} }),
	}
}

func (l *loader) tenantRows() table {
	return table{
		"tenants",
		[]string{"id", "workspace_id", "name", "external_id", "created_at", "updated_at"},
		from(l, func(ws *workspace) []*tenant { return ws.tenants }, func(ws *workspace, t *tenant) []any {
			return []any{t.id, ws.id, t.name, t.externalID, t.start, t.start}
		}),
	}
}

func (l *loader) scheduleRows() table {
	return table{
		"backup_schedules",
		[]string{
			"id", "workspace_id", "tenant_id", "name", "is_enabled", "timezone", "frequency", "time_of_day", "days_of_week",
			"retention_keep_last", "last_run_at", "next_run_at", "deleted_at", "created_at", "updated_at",
		},
		from(l, func(ws *workspace) []*schedule { return ws.schedules }, func(ws *workspace, s *schedule) []any {
			frequency, days := "daily", any(nil)
			if s.weekly {
				// ISO 8601: Monday is 1, Sunday 7.
				frequency, days = "weekly", fmt.Appendf(nil, "[%d]", (int(s.weekday)+6)%7+1)
			}
			at := pgtype.Time{Microseconds: int64(60*s.hour+s.minute) * time.Minute.Microseconds(), Valid: true}
			created := s.slot(s.first).Add(-time.Hour)
			return []any{
				s.id, ws.id, s.tenant.id, s.name, s.enabled, s.zone.String(), frequency, at, days,
				s.keepLast, null(s.lastSlot), null(s.nextSlot), null(s.deletedAt), created, s.lastSlot,
			}
		}),
	}
}

// runRows are the runs in the order of their creation, which is that of their ids.
func (l *loader) runRows() table {
	columns := []string{
		"id", "workspace_id", "tenant_id", "user_id", "initiator_name", "type", "status", "outcome", "run_identity_hash",
		"summary_counts", "failure_summary", "context", "started_at", "completed_at", "created_at", "updated_at",
		"idempotency_key", "heartbeat_at", "progressed_at", "stalled_at", "stalled", "cancel_requested_at", "retry_of_id", "attempt", "revision",
	}
	t := newTimeline(l.world, l.firstRun)
	var counts, failures, context []byte
	row := make([]any, 0, len(columns))
	return table{"operation_runs", columns, func() []any {
		r := t.step()
		if r == nil {
			return nil
		}
		d := t.dice
		counts = appendCounts(counts[:0], d, r)
		failures = appendFailures(failures[:0], d, r)
		context = appendContext(context[:0], d, r)
		var key any
		if r.by != nil && d.chance(0.3) {
			key = uuid(d)
		}
		heartbeat, progressed, stalled := r.signs()
		row = append(row[:0],
			r.id, r.lane.ws.id, r.lane.tenant.idOrNull(), r.by.idOrNull(), r.initiator(), r.typ, r.status, r.outcome, r.hash,
			counts, failures, context, null(r.startedAt), null(r.completedAt), r.at, r.updatedAt,
			key, null(heartbeat), null(progressed), null(r.stalledAt), stalled, null(r.cancelAt), nullID(r.retryOf), r.attempt, r.revision())
		return row
	}}
}

// signs are when the worker was last heard of, when its counts last moved, and in which way the run is
// stalled. Every report is a sign of life, the last one too; of a run that the sweeper ended there was
// none, and whoever is silent gets nowhere.
func (r *run) signs() (heartbeat, progressed time.Time, stalled any) {
	heartbeat = r.heartbeatAt
	switch {
	case r.status == statusCompleted && !r.stalledOut:
		heartbeat = r.completedAt
	case heartbeat.IsZero():
		heartbeat = r.startedAt
	}
	if !r.stalledAt.IsZero() {
		stalled = "no_heartbeat"
	}
	return heartbeat, heartbeat, stalled
}

func (r *run) initiator() string {
	switch {
	case r.by != nil:
		return r.by.name()
	case r.lane.schedule != nil:
		return "Scheduler"
	}
	return "System"
}
