package sweep

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/schedule"
)

// metrics are what a Sweeper tells of itself. Gauges of the runs are there only on the server that
// sweeps, so that no server shows what it has not looked at for long.
type metrics struct {
	swept  *prometheus.CounterVec
	errors prometheus.Counter
	survey atomic.Pointer[survey]

	slots     *prometheus.CounterVec
	states    *prometheus.Desc // of schedules
	schedules atomic.Pointer[scheduleSurvey]
}

// survey is what the last sweep has left.
type survey struct {
	completed   time.Time // when the last sweep of all workspaces ended; zero if none has
	oldest      time.Time // zero if no run is active
	noHeartbeat float64
	noProgress  float64
}

var (
	oldestActive = prometheus.NewDesc("runledger_oldest_active_run_age_seconds",
		"Age of the oldest run that is queued or running, since its creation; 0 if there is none.", nil, nil)
	stalledRuns = prometheus.NewDesc("runledger_stalled_runs",
		"Runs that are not completed and marked as stalled, by what they lack.", []string{"stalled"}, nil)
	lastSweep = prometheus.NewDesc("runledger_sweep_last_timestamp_seconds",
		"When this server last completed a sweep of all workspaces, in seconds since 1970.", nil, nil)
)

func newMetrics(o *Options) *metrics {
	m := &metrics{
		states: o.describeSchedules(),
		swept: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runledger_sweep_runs_total",
			Help: "Runs that this server has marked (no_heartbeat, no_progress) or completed as failed (run_stalled).",
		}, []string{"finding"}),
		errors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "runledger_sweep_errors_total", Help: "Sweeps of this server that failed.",
		}),
		slots: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runledger_schedule_events_total",
			Help: "Slots of backup schedules that this server was the first to tell of, as missed or as a recovery.",
		}, []string{"kind"}),
	}
	for _, kind := range []string{schedule.EventMissed, schedule.EventRecovered} {
		m.slots.WithLabelValues(kind)
	}
	for _, finding := range []string{string(ledger.StalledNoHeartbeat), string(ledger.StalledNoProgress), ledger.CodeRunStalled} {
		m.swept.WithLabelValues(finding) // a series that starts at 0 has a rate from the first run on
	}
	return m
}

// lastCompleted is when the last sweep of all workspaces ended, as far as is known.
func (m *metrics) lastCompleted() time.Time {
	if last := m.survey.Load(); last != nil {
		return last.completed
	}
	return time.Time{}
}

// observe notes what a sweep has left.
func (m *metrics) observe(workspaces []dbsqlc.SurveyActiveRunsRow, completed time.Time) {
	seen := survey{completed: completed}
	for _, w := range workspaces {
		seen.noHeartbeat += float64(w.NoHeartbeat)
		seen.noProgress += float64(w.NoProgress)
		if at := w.OldestCreatedAt; at.Valid && (seen.oldest.IsZero() || at.Time.Before(seen.oldest)) {
			seen.oldest = at.Time
		}
	}
	m.survey.Store(&seen)
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(descriptions chan<- *prometheus.Desc) {
	m.swept.Describe(descriptions)
	m.errors.Describe(descriptions)
	m.slots.Describe(descriptions)
	descriptions <- m.states
	descriptions <- oldestActive
	descriptions <- stalledRuns
	descriptions <- lastSweep
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(collected chan<- prometheus.Metric) {
	m.swept.Collect(collected)
	m.errors.Collect(collected)
	m.slots.Collect(collected)
	if schedules := m.schedules.Load(); schedules != nil {
		schedules.collect(m.states, collected)
	}
	seen := m.survey.Load()
	if seen == nil {
		return
	}
	age := 0.0
	if !seen.oldest.IsZero() {
		age = time.Since(seen.oldest).Seconds()
	}
	collected <- prometheus.MustNewConstMetric(oldestActive, prometheus.GaugeValue, age)
	collected <- prometheus.MustNewConstMetric(stalledRuns, prometheus.GaugeValue, seen.noHeartbeat, string(ledger.StalledNoHeartbeat))
	collected <- prometheus.MustNewConstMetric(stalledRuns, prometheus.GaugeValue, seen.noProgress, string(ledger.StalledNoProgress))
	if !seen.completed.IsZero() {
		collected <- prometheus.MustNewConstMetric(lastSweep, prometheus.GaugeValue, float64(seen.completed.UnixMilli())/1000)
	}
}
