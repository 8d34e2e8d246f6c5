package retention

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/db"
	"github.com/runledger/runledger/internal/ledger"
)

// Metrics are what a server tells of its retention. Make them with NewMetrics.
type Metrics struct {
	released prometheus.Counter
	errors   prometheus.Counter
	last     prometheus.Gauge
}

// NewMetrics makes metrics of a server that has let nothing go yet, and registers them.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		released: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "runledger_retention_runs_total", Help: "Runs that this server has let go by the policies of retention.",
		}),
		errors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "runledger_retention_errors_total", Help: "Turns of the retention on this server that failed.",
		}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "runledger_retention_last_timestamp_seconds",
			Help: "When this server last went through all policies of retention, in seconds since 1970; 0 if it has not yet.",
		}),
	}
	registry.MustRegister(m.released, m.errors, m.last)
	return m
}

// Every runs the policies at each interval until ctx ends, for the first time within a tenth of the
// interval. It leaves what findings and items refer to. What fails is logged, counted and tried again
// the next time.
func Every(ctx context.Context, interval time.Duration, config *pgx.ConnConfig, metrics *Metrics, log *slog.Logger) {
	timer := time.NewTimer(rand.N(max(interval/10, 1))) //nolint:gosec // nobody gains from guessing it
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if err := turn(ctx, config, metrics, log); err != nil && ctx.Err() == nil {
			metrics.errors.Inc()
			log.LogAttrs(ctx, slog.LevelWarn, "the retention of runs failed", slog.Any("error", err))
		}
		timer.Reset(interval)
	}
}

// turn runs the policies once, unless another server is at it, which saves work: nothing is wrong with
// two of them at once.
func turn(ctx context.Context, config *pgx.ConnConfig, metrics *Metrics, log *slog.Logger) error {
	config = config.Copy()
	config.RuntimeParams["statement_timeout"] = "0" // the first time may have years to look through
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = conn.Close(ctx) // the server ends the session, and its lock, either way
	}()
	var ours bool
	if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", db.RetentionLock).Scan(&ours); err != nil || !ours {
		return err
	}
	groups, err := Run(ctx, conn, Options{Actor: ledger.Service}, func(int, int) {})
	if err == nil {
		metrics.last.SetToCurrentTime()
	}
	for _, g := range groups {
		metrics.released.Add(float64(g.Released))
		log.LogAttrs(ctx, slog.LevelInfo, "let runs go", slog.Int64("workspace_id", g.WorkspaceID), slog.String("type", g.Type),
			slog.Int("expired", g.Expired), slog.Int("released", g.Released))
	}
	return err
}
