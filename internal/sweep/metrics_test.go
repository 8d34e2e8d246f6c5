package sweep

import (
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
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
