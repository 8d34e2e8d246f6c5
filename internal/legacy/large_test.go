package legacy

import (
	"context"
	_ "embed"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/dbtest"
)

//go:embed testdata/large.sql
var large string

// plainSQL does in one transaction what Backfill does in batches.
const plainSQL = `
	BEGIN;
	ALTER TABLE findings ADD workspace_id bigint, ADD baseline_operation_run_id bigint, ADD current_operation_run_id bigint;
	ALTER TABLE inventory_items ADD workspace_id bigint;
	CREATE TEMP TABLE map (old text, new text);
	INSERT INTO map VALUES ('inventory.sync', 'inventory_sync'), ('backup_schedule.run_now', 'backup_schedule_run'), ('policy.sync', 'policy_sync');
	UPDATE operation_runs r SET type = coalesce(m.new, r.type),
		context = CASE WHEN n.id IS NOT NULL AND NOT coalesce(r.context ? 'backup_schedule_id', false)
		          THEN coalesce(r.context, '{}') || jsonb_build_object('backup_schedule_id', n.id) ELSE r.context END
	FROM operation_runs o LEFT JOIN map m ON m.old = lower(btrim(o.type))
	LEFT JOIN (SELECT b.operation_run_id, min(s.id) AS id FROM backup_schedule_runs b JOIN backup_schedules s ON s.id = b.backup_schedule_id
	           GROUP BY 1 HAVING min(s.id) = max(s.id)) n ON n.operation_run_id = o.id
	WHERE o.id = r.id;
	UPDATE findings f SET workspace_id = t.workspace_id, baseline_operation_run_id = b.id, current_operation_run_id = c.id
	FROM findings g JOIN tenants t ON t.id = g.tenant_id
	LEFT JOIN inventory_sync_runs bs ON bs.id = g.baseline_run_id LEFT JOIN operation_runs b ON b.id = bs.operation_run_id AND b.workspace_id = t.workspace_id
	LEFT JOIN inventory_sync_runs cs ON cs.id = g.current_run_id LEFT JOIN operation_runs c ON c.id = cs.operation_run_id AND c.workspace_id = t.workspace_id
	WHERE g.id = f.id;
	UPDATE inventory_items f SET workspace_id = t.workspace_id, last_seen_operation_run_id = coalesce(g.last_seen_operation_run_id, b.id)
	FROM inventory_items g JOIN tenants t ON t.id = g.tenant_id
	LEFT JOIN inventory_sync_runs bs ON bs.id = g.last_seen_run_id LEFT JOIN operation_runs b ON b.id = bs.operation_run_id AND b.workspace_id = t.workspace_id
	WHERE g.id = f.id;
	COMMIT;`

// TestLarge measures. It runs only with RUNLEDGER_LEGACY_RUNS set to a number of runs.
func TestLarge(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("RUNLEDGER_LEGACY_RUNS"))
	if err != nil {
		t.Skip("RUNLEDGER_LEGACY_RUNS says how many runs to measure with")
	}
	generate := func() string {
		address := dbtest.Empty(t)
		run(t, address, legacySchema)
		run(t, address, fmt.Sprintf(large, n))
		run(t, address, "ANALYZE")
		run(t, address, "CHECKPOINT")
		return address
	}
	plain := generate()
	began := time.Now()
	run(t, plain, plainSQL)
	baseline := time.Since(began)
	t.Logf("one plain transaction: %s", baseline)

	address := generate()
	began = time.Now()
	report := throughBackfill(t, address)
	t.Logf("peak memory: %s", peakMemory(t))
	t.Logf("backfill: %d ms (%.2f times), with expand %s", report.ElapsedMS, float64(report.ElapsedMS)/float64(baseline.Milliseconds()), time.Since(began))
	busy := generate()
	slowest := besideWriter(t, busy, func() {
		throughBackfill(t, busy)
		must(t, open(t, busy, Options{PrepareOnly: true}).Contract)
	})
	t.Logf("with a writer of 200 statements a second, up to the end of contract's preparation: the slowest took %s", slowest)
	r := open(t, address, Options{})
	began = time.Now()
	v := must(t, r.Verify)
	t.Logf("verify: %s, %d differences", time.Since(began), v.Total)
	began = time.Now()
	c := must(t, r.Contract)
	t.Logf("contract: %s, locks held for %d ms; %d differences afterwards", time.Since(began), c.LockedMS, must(t, r.Verify).Total)
}

// besideWriter does work while the application writes, and tells how long its slowest statement took.
func besideWriter(t *testing.T, address string, work func()) time.Duration {
	t.Helper()
	a := &application{conn: connectSimply(t, address), random: rand.New(rand.NewPCG(1, 2))}
	ctx, stop := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() {
		pace := time.NewTicker(5 * time.Millisecond)
		defer pace.Stop()
		for ctx.Err() == nil {
			if err := a.write(context.WithoutCancel(ctx)); err != nil {
				t.Errorf("the application: %v", err)
				return
			}
			<-pace.C
		}
	})
	work()
	stop()
	writing.Wait()
	return a.slowest
}

// peakMemory is the most that this process has had in memory.
func peakMemory(t *testing.T) string {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(status)) {
		if peak, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			return strings.TrimSpace(peak)
		}
	}
	return "unknown"
}
