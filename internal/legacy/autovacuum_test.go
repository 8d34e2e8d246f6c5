package legacy

import (
	"testing"
	"time"

	"github.com/runledger/runledger/internal/dbtest"
)

// An autovacuum gives way to whoever has waited for deadlock_timeout, and to nobody before. This one
// would take minutes.
func TestAnAutovacuumGivesWay(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	run(t, address, `
		ALTER TABLE operation_runs SET (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0,
			autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1);
		INSERT INTO operation_runs (workspace_id, type, status, run_identity_hash, context)
			SELECT 1, 'x', 'completed', i, jsonb_build_object('long', repeat(md5(i::text), 30)) FROM generate_series(1, 5000) AS i;
		DELETE FROM operation_runs WHERE run_identity_hash = '17'`)
	dbtest.Await(t, dbtest.Connect(t, address), `EXISTS (SELECT FROM pg_stat_progress_vacuum WHERE relid = 'operation_runs'::regclass)`)
	r := open(t, address, Options{Patience: 5 * time.Second})
	if err := r.alter(t.Context(), "ALTER TABLE public.operation_runs ADD COLUMN tried int"); err != nil {
		t.Fatal(err)
	}
	var timeout string
	if err := r.conn.QueryRow(t.Context(), "SELECT current_setting('lock_timeout')").Scan(&timeout); err != nil || timeout != "300ms" {
		t.Errorf("lock_timeout is %s afterwards, %v", timeout, err)
	}
}
