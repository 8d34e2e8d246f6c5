package main

import (
	"context"
	"log/slog"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel/trace"

	"github.com/runledger/runledger/internal/retention"
	"github.com/runledger/runledger/internal/sweep"
	"github.com/runledger/runledger/internal/telemetry"
)

// newRegistry holds the metrics of one server: those of its build, its runtime and its process to
// begin with, and those given.
func newRegistry(more ...prometheus.Collector) *prometheus.Registry {
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "runledger_build_info", Help: "1, with what was built as labels.",
		ConstLabels: prometheus.Labels{"version": version(), "goversion": runtime.Version()},
	})
	build.Set(1)
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		build,
	)
	registry.MustRegister(more...)
	return registry
}

// observed lets the statements of a pool, and of what is configured like its connections, be
// measured, and traced where that is configured; traces are nil where it is not.
func (*app) observed(
	ctx context.Context, c config, pool *pgxpool.Config, log *slog.Logger,
) (*telemetry.Traces, *telemetry.Queries, error) {
	queries := telemetry.NewQueries()
	pool.ConnConfig.Tracer = queries
	if c.Exporter == nil {
		return nil, queries, nil
	}
	traces, err := telemetry.NewTraces(ctx, *c.Exporter, version(), log)
	if err != nil {
		return nil, nil, err
	}
	pool.ConnConfig.Tracer = multitracer.New(queries, traces.Queries())
	return traces, queries, nil
}

// provider is what makes spans; nil, which is no provider, where nothing is traced.
func provider(traces *telemetry.Traces) trace.TracerProvider { //nolint:ireturn // OpenTelemetry's way
	if traces == nil {
		return nil
	}
	return traces.Provider()
}

// closeTraces sends the spans that are left.
func closeTraces(traces *telemetry.Traces, log *slog.Logger) {
	if traces == nil {
		return
	}
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := traces.Close(ctx); err != nil {
		log.Warn("the last traces were not sent", slog.Any("error", err))
	}
}

// backgroundWork is what a server does beside answering requests, each until its context ends: the
// sweep for stalled runs, the retention and the survey for the metrics, as far as the configuration
// wants them. None of them takes a connection out of the requests' pool.
func backgroundWork(c config, database *pgx.ConnConfig, registry *prometheus.Registry, log *slog.Logger) ([]func(context.Context), error) {
	var work []func(context.Context)
	if c.SweepInterval > 0 {
		sweeper, err := sweep.New(sweep.Options{
			Config: database, Interval: c.SweepInterval, Log: log, Registry: registry, ByWorkspace: c.MetricsByWorkspace,
		})
		if err != nil {
			return nil, err
		}
		work = append(work, sweeper.Run)
	}
	if c.RetentionInterval > 0 {
		metrics := retention.NewMetrics(registry)
		work = append(work, func(ctx context.Context) { retention.Every(ctx, c.RetentionInterval, database, metrics, log) })
	}
	if c.SurveyInterval > 0 {
		survey := telemetry.NewSurvey(telemetry.SurveyOptions{
			Config: database, Interval: c.SurveyInterval, ByWorkspace: c.MetricsByWorkspace, Log: log,
		})
		registry.MustRegister(survey)
		work = append(work, survey.Run)
	}
	return work, nil
}
