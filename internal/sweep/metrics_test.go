package sweep

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/internal/dbtest"
)

// gather reads the metrics of a registry: by name, then by the value of the one label.
func gather(t *testing.T, registry *prometheus.Registry) map[string]map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string]float64{}
	for _, family := range families {
		values := map[string]float64{}
		for _, metric := range family.GetMetric() {
			label := ""
			for _, pair := range metric.GetLabel() {
				label = pair.GetValue()
			}
			values[label] = metric.GetGauge().GetValue() + metric.GetCounter().GetValue()
		}
		all[family.GetName()] = values
	}
	return all
}

func TestTheMetricsTellWhatASweepFoundAndLeft(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.silentRuns(t, 3, false)
	w.silentRuns(t, 2, true)
	w.run(t, running+"heartbeat_at", hoursAgo(5)+"now()")
	w.run(t, "type, created_at", "'inventory_sync', '-infinity'") // as an older store may have it
	s, registry := w.sweeper(t)

	before := gather(t, registry)
	if diff := cmp.Diff(map[string]map[string]float64{
		"runledger_schedule_events_total": {"schedule_missed": 0, "schedule_recovered": 0},
		"runledger_sweep_errors_total":    {"": 0},
		"runledger_sweep_runs_total":      {"no_heartbeat": 0, "no_progress": 0, "run_stalled": 0},
	}, before); diff != "" {
		t.Errorf("before the first sweep: %s", diff)
	}
	if _, err := s.sweep(t.Context(), w.pool); err != nil {
		t.Fatal(err)
	}
	after := gather(t, registry)
	if diff := cmp.Diff(map[string]float64{"no_heartbeat": 3, "no_progress": 1, "run_stalled": 2}, after["runledger_sweep_runs_total"]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]float64{"no_heartbeat": 3, "no_progress": 1}, after["runledger_stalled_runs"]); diff != "" {
		t.Error(diff)
	}
	if age := after["runledger_oldest_active_run_age_seconds"][""]; age < 5*3600 || age > 6*3600 {
		t.Errorf("the oldest active run is %v s old, and was made 5 h ago", age)
	}
	if after["runledger_sweep_last_timestamp_seconds"][""] == 0 {
		t.Error("no time of the last sweep")
	}
	s.disconnect(t.Context())
	if _, ok := gather(t, registry)["runledger_stalled_runs"]; ok {
		t.Error("a server that does not sweep tells of runs")
	}
}

func TestMetricsCannotBeRegisteredTwice(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	o := Options{Registry: registry, Log: slog.New(slog.DiscardHandler)}
	if _, err := New(o); err != nil {
		t.Fatal(err)
	}
	if _, err := New(o); err == nil {
		t.Error("two sweepers share a registry")
	}
}

func TestAFaultInOneWorkspaceIsNoneOfTheOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.silentRuns(t, 1, false)
	broken := &world{pool: w.pool, workspace: dbtest.NewWorkspace(t, w.pool).ID}
	broken.silentRuns(t, 1, false)
	w.exec(t, fmt.Sprintf(`
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
		CREATE TRIGGER refuse BEFORE UPDATE ON operation_runs FOR EACH ROW WHEN (OLD.workspace_id = %d) EXECUTE FUNCTION refuse()`,
		broken.workspace))
	const lock = "locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
	s, registry := w.sweeper(t)
	w.start(t, s)
	sweeping := func() int {
		return one[int](t, w, "SELECT max(pid) FROM pg_locks WHERE "+lock)
	}
	w.until(t, "EXISTS (SELECT FROM pg_locks WHERE "+lock+")")
	pid := sweeping()
	w.until(t, "EXISTS (SELECT FROM operation_runs WHERE stalled_at IS NOT NULL)")
	for gather(t, registry)["runledger_sweep_errors_total"][""] < 1 {
		sweeping()
	}
	for gather(t, registry)["runledger_sweep_errors_total"][""] < 5 {
		if got := sweeping(); got != pid {
			t.Fatalf("the connection %d sweeps after %d", got, pid)
		}
		if stalled := gather(t, registry)["runledger_stalled_runs"]["no_heartbeat"]; stalled != 1 {
			t.Fatalf("%v stalled runs; the other workspace has one", stalled)
		}
	}
	if at := gather(t, registry)["runledger_sweep_last_timestamp_seconds"]; at != nil {
		t.Errorf("a sweep that failed in a workspace counts as complete: %v", at)
	}
	w.exec(t, "DROP TRIGGER refuse ON operation_runs")
	for gather(t, registry)["runledger_sweep_last_timestamp_seconds"] == nil {
		sweeping()
	}
}

func TestASweeperLeavesAPrimaryThatTurnedReadOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, _ := w.sweeper(t)
	if err := s.turn(t.Context()); err != nil || !s.canWrite(t.Context()) {
		t.Fatalf("%v, can write: %t", err, s.canWrite(t.Context()))
	}
	defer s.disconnect(t.Context())
	if _, err := s.conn.Exec(t.Context(), "SET default_transaction_read_only = on"); err != nil {
		t.Fatal(err)
	}
	if s.canWrite(t.Context()) {
		t.Error("it stays where it cannot write")
	}
}
