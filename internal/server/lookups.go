package server

import "github.com/prometheus/client_golang/prometheus"

// Lookups counts how often something was remembered and how often it was not (a prometheus.Collector).
// Make one with NewLookups.
type Lookups struct {
	collectors

	byResult map[bool]prometheus.Counter // whether it was found
}

// NewLookups counts the lookups in the cache of that name, a label of the metric.
func NewLookups(cache string) *Lookups {
	counter := func(result string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{
			Name:        "runledger_cache_lookups_total",
			Help:        "How often something was looked for that is remembered or shared, by what it is and whether it was found.",
			ConstLabels: prometheus.Labels{"cache": cache, "result": result},
		})
	}
	l := &Lookups{byResult: map[bool]prometheus.Counter{true: counter("hit"), false: counter("miss")}}
	l.collectors = collectors{l.byResult[true], l.byResult[false]}
	return l
}

// Count counts one.
func (l *Lookups) Count(found bool) { l.byResult[found].Inc() }
