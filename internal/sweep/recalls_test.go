package sweep

import "testing"

func TestARunThatWasUnderWayWhenWhatItNamesWasRecalledIsMarkedByTheNextSweep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	insert := func(columns, values string, args ...any) (id int64) {
		t.Helper()
		sql := "INSERT INTO operation_runs (workspace_id, type, " + columns + ") VALUES ($1, 'inventory_sync', " + values + ") RETURNING id"
		if err := w.pool.QueryRow(t.Context(), sql, append([]any{w.workspace}, args...)...).Scan(&id); err != nil {
			t.Fatal(err)
		}
		return id
	}
	recalled := func(ago string) int64 {
		return insert("status, outcome, completed_at, recalled, recalled_at", "'completed', 'succeeded', now(), true, now() - $2::text::interval", ago)
	}
	naming := func(named int64) int64 {
		return insert("context", "jsonb_build_object('operation_run_id', $2::bigint)", named)
	}
	bad, old := recalled("0"), recalled("1 day") // what was under way a day ago is over
	want := map[int64]bool{naming(bad): true, naming(old): false, naming(insert("context", "'{}'")): false}
	s, _ := w.sweeper(t)
	for range 2 { // the second time there is nothing left to do
		if err := s.reconcileRecalls(t.Context(), w.pool); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range want {
		var got bool
		var events int
		if err := w.pool.QueryRow(t.Context(), `SELECT recalled, (SELECT count(*) FROM operation_run_events WHERE run_id = r.id AND kind = 'recalled')
			FROM operation_runs AS r WHERE id = $1`, id).Scan(&got, &events); err != nil || got != want || (events == 1) != want {
			t.Errorf("run %d: recalled %t, want %t, with %d events, %v", id, got, want, events, err)
		}
	}
}
