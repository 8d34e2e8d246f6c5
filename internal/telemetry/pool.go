package telemetry

import (
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// poolFigure is one of the figures that a pool keeps of itself.
type poolFigure struct {
	name, help string
	kind       prometheus.ValueType
	value      func(*pgxpool.Stat) float64
}

var poolFigures = []poolFigure{
	{"max_connections", "connections that it may have.", prometheus.GaugeValue, func(s *pgxpool.Stat) float64 { return float64(s.MaxConns()) }},
	{"connections", "connections that it has.", prometheus.GaugeValue, func(s *pgxpool.Stat) float64 { return float64(s.TotalConns()) }},
	{"acquired_connections", "connections that statements run on.", prometheus.GaugeValue, func(s *pgxpool.Stat) float64 { return float64(s.AcquiredConns()) }},
	{"acquires_total", "how often a connection was lent.", prometheus.CounterValue, func(s *pgxpool.Stat) float64 { return float64(s.AcquireCount()) }},
	{"acquire_seconds_total", "how long was waited for connections that were lent.", prometheus.CounterValue, func(s *pgxpool.Stat) float64 { return s.AcquireDuration().Seconds() }},
	{"waited_acquires_total", "how often a connection was lent that had to be waited for.", prometheus.CounterValue, func(s *pgxpool.Stat) float64 { return float64(s.EmptyAcquireCount()) }},
	{"canceled_acquires_total", "how often the wait for a connection was given up.", prometheus.CounterValue, func(s *pgxpool.Stat) float64 { return float64(s.CanceledAcquireCount()) }},
	{"new_connections_total", "connections that were made.", prometheus.CounterValue, func(s *pgxpool.Stat) float64 { return float64(s.NewConnsCount()) }},
}

// Pool collects what a pool of connections tells of itself.
type Pool struct {
	pool  *pgxpool.Pool
	descs []*prometheus.Desc // of the figures, in their order
}

// NewPool makes a collector for the pool of connections to the primary.
func NewPool(pool *pgxpool.Pool) Pool { return newPool(pool, "runledger_pool_", "pool") }

// NewReplicaPool makes a collector for the pool of connections to a read replica.
func NewReplicaPool(pool *pgxpool.Pool) Pool {
	return newPool(pool, "runledger_replica_pool_", "replica's pool")
}

func newPool(pool *pgxpool.Pool, prefix, name string) Pool {
	p := Pool{pool: pool}
	for _, f := range poolFigures {
		p.descs = append(p.descs, prometheus.NewDesc(prefix+f.name, "Of the "+name+": "+f.help, nil, nil))
	}
	return p
}

// Describe implements prometheus.Collector.
func (p Pool) Describe(descriptions chan<- *prometheus.Desc) {
	for _, desc := range p.descs {
		descriptions <- desc
	}
}

// Collect implements prometheus.Collector.
func (p Pool) Collect(collected chan<- prometheus.Metric) {
	stat := p.pool.Stat()
	for i, f := range poolFigures {
		collected <- prometheus.MustNewConstMetric(p.descs[i], f.kind, f.value(stat))
	}
}
