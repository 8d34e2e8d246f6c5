package retention

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/db"
	"github.com/runledger/runledger/internal/dbtest"
)

func TestOfManyServersOneLetsRunsGoAndAnotherWhenThatOneIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy(t, "inventory_sync", new(int64(0)), nil)
	w.runs(t, "inventory_sync", 0, 1, 2, 3)
	config, err := pgx.ParseConfig(w.url)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	other := w.connect(t)
	if _, err := other.Exec(t.Context(), "SELECT pg_advisory_lock($1)", db.RetentionLock); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	metrics := NewMetrics(registry)
	if err := turn(t.Context(), config, metrics, log); err != nil || len(w.left(t)) != 3 {
		t.Errorf("while another server is at it, %v are left, error %v", w.left(t), err)
	}
	if err := other.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Every(ctx, 10*time.Millisecond, config, metrics, log)
	}()
	dbtest.Await(t, dbtest.Connect(t, w.url), "NOT EXISTS (SELECT FROM operation_runs)")
	w.runs(t, "inventory_sync", 0, 1) // it goes on
	dbtest.Await(t, dbtest.Connect(t, w.url), "NOT EXISTS (SELECT FROM operation_runs)")
	stop()
	<-ended
	told := gathered(t, registry)
	if released, last := told["runledger_retention_runs_total"], told["runledger_retention_last_timestamp_seconds"]; released != 4 || time.Since(time.Unix(int64(last), 0)) > time.Hour {
		t.Errorf("%v runs are counted, and the last turn at %v", released, last)
	}
	if told["runledger_retention_errors_total"] != 0 {
		t.Error("a turn has failed")
	}
}

func TestTurnsOfTheRetentionThatFailAreCounted(t *testing.T) {
	t.Parallel()
	config, err := pgx.ParseConfig(newWorld(t).url)
	if err != nil {
		t.Fatal(err)
	}
	config.Database += " that is not there"
	registry := prometheus.NewPedanticRegistry()
	metrics := NewMetrics(registry)
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() { Every(ctx, time.Millisecond, config, metrics, slog.New(slog.DiscardHandler)) })
	defer work.Wait()
	defer stop()
	over := time.After(time.Minute)
	for tick := time.Tick(time.Millisecond); gathered(t, registry)["runledger_retention_errors_total"] < 2; {
		select {
		case <-tick:
		case <-over:
			t.Fatal("no turn has failed")
		}
	}
	if last := gathered(t, registry)["runledger_retention_last_timestamp_seconds"]; last != 0 {
		t.Errorf("the last good turn was at %v", last)
	}
}

// gathered are the values of the metrics by their names.
func gathered(t *testing.T, registry prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		metric := family.GetMetric()[0]
		values[family.GetName()] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
	}
	return values
}
