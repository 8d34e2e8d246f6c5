package main

import (
	"context"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/runledger/runledger/internal/retention"
	"github.com/runledger/runledger/internal/sweep"
)

// newRegistry holds the metrics of one server: its runtime's and its process's to begin with.
func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// backgroundWork is what a server does beside answering requests, each until its context ends: the
// sweep for stalled runs and the retention, as far as the configuration wants them. Neither takes a
// connection out of the requests' pool.
func backgroundWork(c config, database *pgx.ConnConfig, registry *prometheus.Registry, log *slog.Logger) ([]func(context.Context), error) {
	var work []func(context.Context)
	if c.SweepInterval > 0 {
		sweeper, err := sweep.New(sweep.Options{Config: database, Interval: c.SweepInterval, Log: log, Registry: registry})
		if err != nil {
			return nil, err
		}
		work = append(work, sweeper.Run)
	}
	if c.RetentionInterval > 0 {
		work = append(work, func(ctx context.Context) { retention.Every(ctx, c.RetentionInterval, database, log) })
	}
	return work, nil
}
