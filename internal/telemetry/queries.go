package telemetry

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
)

// Queries measures statements by their names. It is a tracer for connections of pgx and a
// collector of what it has measured.
type Queries struct {
	durations *prometheus.HistogramVec
	failures  *prometheus.CounterVec

	// known are the handles by name. Finding one takes neither a lock nor memory; adding one,
	// which happens once a name, replaces the map.
	known  atomic.Pointer[map[string]*query]
	adding sync.Mutex
}

// query is what is measured of one statement.
type query struct {
	duration prometheus.Observer
	failed   prometheus.Counter
}

// NewQueries makes a Queries that has measured nothing yet.
func NewQueries() *Queries {
	q := &Queries{
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "runledger_query_duration_seconds",
			Help:    "How long statements took, from sending them to having read their last row, by name.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"query"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runledger_query_errors_total",
			Help: "Statements that failed, by name. To find no row is no failure.",
		}, []string{"query"}),
	}
	q.known.Store(&map[string]*query{})
	return q
}

// Describe implements prometheus.Collector.
func (q *Queries) Describe(descriptions chan<- *prometheus.Desc) {
	q.durations.Describe(descriptions)
	q.failures.Describe(descriptions)
}

// Collect implements prometheus.Collector.
func (q *Queries) Collect(collected chan<- prometheus.Metric) {
	q.durations.Collect(collected)
	q.failures.Collect(collected)
}

// handles are those of the statement with that name.
func (q *Queries) handles(name string) *query {
	if found := (*q.known.Load())[name]; found != nil {
		return found
	}
	q.adding.Lock()
	defer q.adding.Unlock()
	known := maps.Clone(*q.known.Load())
	if known[name] == nil {
		known[name] = &query{duration: q.durations.WithLabelValues(name), failed: q.failures.WithLabelValues(name)}
		q.known.Store(&known)
	}
	return known[name]
}

// running is the context of a statement that runs.
type running struct {
	context.Context //nolint:containedctx // it is a context, which carries two values without an allocation for each

	query   *query
	started time.Time
}

type runningKey struct{}

// Value is the running statement itself for its key.
func (r *running) Value(key any) any {
	if key == (runningKey{}) {
		return r
	}
	return r.Context.Value(key)
}

// TraceQueryStart implements pgx.QueryTracer.
func (q *Queries) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	return &running{Context: ctx, query: q.handles(QueryName(data.SQL)), started: time.Now()}
}

// TraceQueryEnd implements pgx.QueryTracer.
func (*Queries) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	r, ok := ctx.Value(runningKey{}).(*running)
	if !ok {
		return
	}
	r.query.duration.Observe(time.Since(r.started).Seconds())
	if data.Err != nil && !errors.Is(data.Err, pgx.ErrNoRows) {
		r.query.failed.Inc()
	}
}
