package server

import "github.com/prometheus/client_golang/prometheus"

// Why the primary answered a list that a replica might have answered.
const (
	fellLeftOut = "left_out" // no replica was in use
	fellBehind  = "behind"   // it had not replayed what the list had to show
	fellFailed  = "failed"   // something went wrong there
)

// replicaMetrics tell whether a replica is in use and what it takes off the primary.
type replicaMetrics struct {
	inUse     prometheus.Gauge
	leftOut   *prometheus.GaugeVec
	lag       prometheus.Gauge
	reads     *prometheus.CounterVec
	fallbacks *prometheus.CounterVec

	replica, primary prometheus.Counter // reads, by who answered
}

func newReplicaMetrics() *replicaMetrics {
	m := &replicaMetrics{
		inUse: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "runledger_replica_in_use", Help: "1 while lists may be read from the replica, else 0.",
		}),
		leftOut: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "runledger_replica_left_out", Help: "1 at the reason for which the replica is left out, if it is.",
		}, []string{"reason"}),
		lag: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "runledger_replica_lag_bytes", Help: "How much of the primary's log the replica had not replayed when it last told.",
		}),
		reads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runledger_list_reads_total", Help: "Lists that were read, by the database that answered.",
		}, []string{"database"}),
		fallbacks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runledger_replica_fallbacks_total",
			Help: "Lists that the primary answered although the replica might have, by the reason.",
		}, []string{"reason"}),
	}
	m.replica, m.primary = m.reads.WithLabelValues("replica"), m.reads.WithLabelValues("primary")
	for _, reason := range []string{fellLeftOut, fellBehind, fellFailed} {
		m.fallbacks.WithLabelValues(reason)
	}
	return m
}

// fellBack counts a list that the primary has to answer.
func (m *replicaMetrics) fellBack(reason string) { m.fallbacks.WithLabelValues(reason).Inc() }

// stands notes why the replica is left out, if it is.
func (m *replicaMetrics) stands(out string) {
	m.inUse.Set(0)
	if out == "" {
		m.inUse.Set(1)
	}
	for _, reason := range outReasons {
		value := 0.0
		if reason == out {
			value = 1
		}
		m.leftOut.WithLabelValues(reason).Set(value)
	}
}

// collectors are everything that is collected.
func (m *replicaMetrics) collectors() collectors {
	return collectors{m.inUse, m.leftOut, m.lag, m.reads, m.fallbacks}
}
