package telemetry

import (
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// poolMetric is one of the figures that a pool keeps of itself.
type poolMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*pgxpool.Stat) float64
}

func newPoolMetric(name, help string, kind prometheus.ValueType, value func(*pgxpool.Stat) float64) poolMetric {
	return poolMetric{prometheus.NewDesc("runledger_pool_"+name, help, nil, nil), kind, value}
}

var poolMetrics = []poolMetric{
	newPoolMetric("max_connections", "Connections that the pool may have.", prometheus.GaugeValue,
		func(s *pgxpool.Stat) float64 { return float64(s.MaxConns()) }),
	newPoolMetric("connections", "Connections that the pool has.", prometheus.GaugeValue,
		func(s *pgxpool.Stat) float64 { return float64(s.TotalConns()) }),
	newPoolMetric("acquired_connections", "Connections that statements run on.", prometheus.GaugeValue,
		func(s *pgxpool.Stat) float64 { return float64(s.AcquiredConns()) }),
	newPoolMetric("acquires_total", "How often a connection was lent.", prometheus.CounterValue,
		func(s *pgxpool.Stat) float64 { return float64(s.AcquireCount()) }),
	newPoolMetric("acquire_seconds_total", "How long was waited for connections that were lent.", prometheus.CounterValue,
		func(s *pgxpool.Stat) float64 { return s.AcquireDuration().Seconds() }),
	newPoolMetric("waited_acquires_total", "How often a connection was lent that had to be waited for.", prometheus.CounterValue,
		func(s *pgxpool.Stat) float64 { return float64(s.EmptyAcquireCount()) }),
	newPoolMetric("canceled_acquires_total", "How often the wait for a connection was given up.", prometheus.CounterValue,
		func(s *pgxpool.Stat) float64 { return float64(s.CanceledAcquireCount()) }),
	newPoolMetric("new_connections_total", "Connections that were made.", prometheus.CounterValue,
		func(s *pgxpool.Stat) float64 { return float64(s.NewConnsCount()) }),
}

// Pool collects what a pool of connections tells of itself.
type Pool struct{ pool *pgxpool.Pool }

// NewPool makes a collector for pool.
func NewPool(pool *pgxpool.Pool) Pool { return Pool{pool} }

// Describe implements prometheus.Collector.
func (Pool) Describe(descriptions chan<- *prometheus.Desc) {
	for _, m := range poolMetrics {
		descriptions <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (p Pool) Collect(collected chan<- prometheus.Metric) {
	stat := p.pool.Stat()
	for _, m := range poolMetrics {
		collected <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(stat))
	}
}
