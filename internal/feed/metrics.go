package feed

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what a Feed tells of itself.
type metrics struct {
	delay    prometheus.Histogram
	failures prometheus.Counter
	round    atomic.Int64 // when the poller last read everything there was, in nanoseconds since 1970
	held     atomic.Int64 // since when a transaction holds changes back, likewise; 0 if none does
}

var (
	subscribers = prometheus.NewDesc("runledger_feed_subscribers", "Readers that follow a workspace.", nil, nil)
	followed    = prometheus.NewDesc("runledger_feed_workspaces", "Workspaces that somebody follows.", nil, nil)
	lag         = prometheus.NewDesc("runledger_feed_lag_seconds",
		"How far the readers may be behind: the time since everything settled was last read, or since a transaction holds changes back; "+
			"0 without readers.", nil, nil)
)

func newMetrics() *metrics {
	return &metrics{
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "runledger_feed_delay_seconds",
			Help:    "How long after the start of its transaction a change was handed to the readers.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "runledger_feed_errors_total", Help: "Rounds of reading changes that failed.",
		}),
	}
}

// behind is how far the readers may be behind at an instant.
func (m *metrics) behind(now time.Time) time.Duration {
	behind := now.Sub(time.Unix(0, m.round.Load()))
	if held := m.held.Load(); held != 0 {
		behind = max(behind, now.Sub(time.Unix(0, held)))
	}
	return max(behind, 0)
}

// counts are the readers and the workspaces that they follow.
func (f *Feed) counts() (readers, workspaces int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.topics {
		readers += t.subscribers
	}
	return readers, len(f.topics)
}

// Describe implements prometheus.Collector.
func (f *Feed) Describe(descriptions chan<- *prometheus.Desc) {
	f.metrics.delay.Describe(descriptions)
	f.metrics.failures.Describe(descriptions)
	for _, desc := range []*prometheus.Desc{subscribers, followed, lag} {
		descriptions <- desc
	}
}

// Collect implements prometheus.Collector.
func (f *Feed) Collect(collected chan<- prometheus.Metric) {
	f.metrics.delay.Collect(collected)
	f.metrics.failures.Collect(collected)
	readers, workspaces := f.counts()
	behind := time.Duration(0)
	if readers > 0 {
		behind = f.metrics.behind(time.Now())
	}
	collected <- prometheus.MustNewConstMetric(subscribers, prometheus.GaugeValue, float64(readers))
	collected <- prometheus.MustNewConstMetric(followed, prometheus.GaugeValue, float64(workspaces))
	collected <- prometheus.MustNewConstMetric(lag, prometheus.GaugeValue, behind.Seconds())
}
