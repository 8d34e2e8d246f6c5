package seed_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/seed"
)

func TestTheDataIsAsLifeIs(t *testing.T) {
	t.Parallel()
	conn := connect(t, dbtest.Fresh(t))
	run(t, conn, seed.Options{Workspaces: 8, Runs: 25_000, Seed: 7, Until: until})
	checkShares(t, conn)
	checkRules(t, conn)
}

func checkShares(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	for _, share := range []struct {
		of        string
		query     string
		low, high float64
	}{
		{"runs of the largest workspace", "SELECT max(n) / sum(n) FROM (SELECT count(*) AS n FROM operation_runs GROUP BY workspace_id) AS w", 0.299, 0.301},
		{"runs without failures", "SELECT avg((failure_summary = '[]')::int) FROM operation_runs", 0.89, 0.91},
		{"failures that are one", "SELECT avg((jsonb_array_length(failure_summary) = 1)::int) FROM operation_runs WHERE failure_summary <> '[]'", 0.7, 0.8},
		{"runs that succeeded", "SELECT avg((outcome = 'succeeded')::int) FROM operation_runs", 0.87, 0.90},
		{"runs that are active", "SELECT avg((status <> 'completed')::int) FROM operation_runs", 0.0001, 0.01},
		{"runs of a person", "SELECT avg((user_id IS NOT NULL)::int) FROM operation_runs", 0.05, 0.25},
		{"schedule ids that are text", "SELECT avg((jsonb_typeof(context -> 'backup_schedule_id') = 'string')::int) FROM operation_runs WHERE type LIKE 'backup%'", 0.05, 0.12},
		{"runs of schedules", "SELECT avg((context ? 'backup_schedule_id')::int) FROM operation_runs", 0.2, 0.26},
		{"the largest tenant's runs in the largest workspace", "SELECT max(n) / sum(n) FROM (SELECT count(*) AS n FROM operation_runs WHERE workspace_id = 1 GROUP BY tenant_id) AS t", 0.08, 0.4},
		{"runs whose identity recurs", "SELECT avg((n > 1)::int) FROM (SELECT count(*) OVER (PARTITION BY run_identity_hash) AS n FROM operation_runs) AS i", 0.7, 0.8},
		{"smallest context, of 1000 bytes", "SELECT min(octet_length(context::text)) / 1000.0 FROM operation_runs", 0.2, 0.6},
		{"largest context, of 1000 bytes", "SELECT max(octet_length(context::text)) / 1000.0 FROM operation_runs", 0.2, 0.6},
	} {
		if got := value[float64](t, conn, "SELECT ("+share.query+")::float8"); got < share.low || got > share.high {
			t.Errorf("%s: %.4f, want %.4f to %.4f", share.of, got, share.low, share.high)
		}
	}
}

// checkRules checks how the rows hang together: each query counts rows that break a rule, or a rule's opposite that must be there.
func checkRules(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	for rule, query := range map[string]string{
		"an identity is 64 hexadecimal digits": "SELECT count(*) FROM operation_runs WHERE run_identity_hash !~ '^[0-9a-f]{64}$'",
		"failures have a code and a message": `SELECT count(*) FROM operation_runs, jsonb_array_elements(failure_summary) AS f
			WHERE NOT (jsonb_typeof(f -> 'code') = 'string' AND jsonb_typeof(f -> 'message') = 'string' AND f - 'code' - 'message' = '{}')`,
		"a success has no failures, a failure has": `SELECT count(*) FROM operation_runs
			WHERE (failure_summary = '[]') <> (outcome IN ('pending', 'succeeded', 'cancelled'))`,
		"counts are flat and not negative": `SELECT count(*) FROM operation_runs, jsonb_each(summary_counts) AS c
			WHERE jsonb_typeof(c.value) <> 'number' OR c.value::text !~ '^[0-9]+$'`,
		"a run's person is a member of its workspace": `SELECT count(*) FROM operation_runs AS r WHERE user_id IS NOT NULL
			AND NOT EXISTS (SELECT FROM workspace_memberships AS m WHERE m.workspace_id = r.workspace_id AND m.user_id = r.user_id)`,
		"a schedule's run is of the schedule's workspace and tenant": `SELECT count(*) FROM operation_runs AS r
			LEFT JOIN backup_schedules AS s ON s.workspace_id = r.workspace_id AND s.tenant_id = r.tenant_id
				AND s.id::text = r.context ->> 'backup_schedule_id'
			WHERE (r.type LIKE 'backup_schedule_%') <> (s.id IS NOT NULL)`,
		"a schedule was last due when its newest run was": `SELECT count(*) FROM backup_schedules AS s WHERE s.last_run_at IS DISTINCT FROM (
			SELECT max((context ->> 'scheduled_for')::timestamptz) FROM operation_runs AS r
			WHERE r.workspace_id = s.workspace_id AND r.context ->> 'backup_schedule_id' = s.id::text)`,
		"a retry follows a failed run of the same identity": `SELECT count(*) FROM operation_runs AS r
			JOIN operation_runs AS old ON old.workspace_id = r.workspace_id AND old.id = r.retry_of_id
			WHERE old.outcome <> 'failed' OR old.run_identity_hash <> r.run_identity_hash OR r.attempt <> old.attempt + 1 OR r.created_at <= old.completed_at`,
		"a finding compares two syncs of its tenant, the older one first": `SELECT count(*) FROM findings AS f
			LEFT JOIN operation_runs AS b ON b.workspace_id = f.workspace_id AND b.id = f.baseline_operation_run_id
			LEFT JOIN operation_runs AS c ON c.workspace_id = f.workspace_id AND c.id = f.current_operation_run_id
			WHERE (b.type = 'inventory_sync' AND c.type = 'inventory_sync' AND b.tenant_id = f.tenant_id AND c.tenant_id = f.tenant_id
				AND b.completed_at < c.created_at AND c.completed_at < f.created_at) IS NOT true`,
		"a finding is acknowledged at an instant by a member": `SELECT count(*) FROM findings AS f
			LEFT JOIN workspace_memberships AS m ON m.workspace_id = f.workspace_id AND m.user_id = f.acknowledged_by_user_id
			WHERE (status = 'acknowledged') <> (acknowledged_at IS NOT NULL) OR (status = 'acknowledged') <> (m.user_id IS NOT NULL)`,
		"an item was last seen by a sync of its tenant that is over": `SELECT count(*) FROM inventory_items AS i
			LEFT JOIN operation_runs AS r ON r.workspace_id = i.workspace_id AND r.id = i.last_seen_operation_run_id
			WHERE (r.type = 'inventory_sync' AND r.tenant_id = i.tenant_id AND r.completed_at = i.last_seen_at AND i.created_at <= i.last_seen_at) IS NOT true`,
		"events begin with the creation and end with the state": `SELECT count(*) FROM (
				SELECT r.status, r.created_at, array_agg(e.kind ORDER BY e.id) FILTER (WHERE kind <> 'retried') AS kinds, min(e.at) AS first
				FROM operation_runs AS r JOIN operation_run_events AS e ON e.workspace_id = r.workspace_id AND e.run_id = r.id
				GROUP BY r.workspace_id, r.id) AS told
			WHERE kinds IS NOT NULL AND (kinds[1] <> 'created' OR first <> created_at OR ('completed' = kinds[cardinality(kinds)]) <> (status = 'completed'))`,
		"revisions count the events": `SELECT count(*) FROM operation_runs AS r JOIN (
				SELECT workspace_id, run_id, count(*) AS n FROM operation_run_events WHERE kind <> 'retried' GROUP BY 1, 2) AS e
			ON e.workspace_id = r.workspace_id AND e.run_id = r.id WHERE r.revision <> e.n`,
		"the archived workspace is at rest": `SELECT count(*) FROM operation_runs AS r JOIN workspaces AS w ON w.id = r.workspace_id
			WHERE r.status <> 'completed' AND w.archived_at IS NOT NULL OR r.updated_at > w.archived_at`,
		"every workspace has every role": "SELECT 4 * (SELECT count(*) FROM workspaces) - count(*) FROM (SELECT DISTINCT workspace_id, role FROM workspace_memberships) AS r",
		"one workspace is archived":      "SELECT count(*) - 1 FROM workspaces WHERE archived_at IS NOT NULL",
		"tables are analyzed and vacuumed": `SELECT count(*) FROM pg_class WHERE relname IN ('operation_runs', 'findings', 'inventory_items')
			AND (reltuples <= 0 OR relallvisible < relpages)`,
		"some runs are stalled":       "SELECT (count(*) = 0)::int FROM operation_runs WHERE status = 'running' AND stalled_at IS NOT NULL",
		"some runs have a sibling":    "SELECT (count(*) = 0)::int FROM (SELECT FROM operation_runs GROUP BY workspace_id, created_at HAVING count(*) > 1) AS tied",
		"some runs are retries":       "SELECT (count(*) = 0)::int FROM operation_runs WHERE retry_of_id IS NOT NULL",
		"some runs have no tenant":    "SELECT (count(*) = 0)::int FROM operation_runs WHERE tenant_id IS NULL",
		"some schedules are off":      "SELECT (count(*) = 0)::int FROM backup_schedules WHERE NOT is_enabled",
		"schedules are of two kinds":  "SELECT count(DISTINCT frequency) - 2 FROM backup_schedules",
		"schedules are of many zones": "SELECT (count(DISTINCT timezone) < 5)::int FROM backup_schedules",
	} {
		if n := value[int](t, conn, query); n != 0 {
			t.Errorf("%s: broken by %d rows", rule, n)
		}
	}
}
