package server

import (
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
)

// httpMetrics are the four golden signals of the interface, per route: traffic and errors in the
// requests by status, latency in their duration, saturation in those that run and those refused.
type httpMetrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight *prometheus.GaugeVec
	refused  *prometheus.CounterVec
	waits    prometheus.Histogram
	polls    *prometheus.CounterVec
	pages    *Lookups // that others were reading as well
	visitors *Lookups // whom the gate had let in

	routes   map[routeKey]*routeMetrics // complete once the routes are; never written to after that
	unrouted *routeMetrics              // of requests that no route takes, or that came to none
}

// routeKey is a route as the router knows it.
type routeKey struct{ method, pattern string }

// routeMetrics are the handles of one route, looked up once.
type routeMetrics struct {
	pattern  string
	duration prometheus.Observer // nil for a route whose answers last as long as their readers like
	inFlight prometheus.Gauge
	counter  func(status int) prometheus.Counter
	byStatus atomic.Pointer[[]statusCounter] // those that were needed so far: a handful
}

// statusCounter counts the answers of a route that have one status.
type statusCounter struct {
	status  int
	counter prometheus.Counter
}

// The reasons for which requests are refused, or answered with less than they asked for.
const (
	refusedAddressRate = "address_rate"
	refusedSubjectRate = "subject_rate"
	refusedShare       = "subject_share"
	refusedWorkspace   = "workspace_share"
	refusedCapacity    = "capacity"
	refusedMemory      = "memory"
	refusedQueue       = "queue"
	refusedStreams     = "streams"
	refusedExports     = "exports"
)

func newHTTPMetrics() *httpMetrics {
	m := &httpMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runledger_http_requests_total",
			Help: "Requests that were answered, by route and status. The route is empty where none takes the request or it came to none.",
		}, []string{"method", "route", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "runledger_http_request_duration_seconds",
			Help:    "How long answers took, by route, without the streams of events and exports, which take as long as their readers.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"method", "route"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "runledger_http_requests_in_flight",
			Help: "Requests that are being answered, by route, streams of events among them.",
		}, []string{"method", "route"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runledger_http_refused_total",
			Help: "Requests that were refused, or answered with less than they asked for, to protect the server, by reason.",
		}, []string{"reason"}),
		waits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "runledger_queue_wait_seconds",
			Help:    "How long statements of requests have waited for one of the connections to the database, those that were given up included; those that need not wait are not counted.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}),
		polls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runledger_http_polls_total",
			Help: "Requests with If-None-Match for lists and rows: answered from memory, because nothing was committed since, the answer is recent or its rows are the same, or queried.",
		}, []string{"answer"}),
		pages: NewLookups("pages"), visitors: NewLookups("visitors"),
		routes: map[routeKey]*routeMetrics{},
	}
	for _, reason := range []string{
		refusedAddressRate, refusedSubjectRate, refusedShare, refusedWorkspace,
		refusedCapacity, refusedMemory, refusedQueue, refusedStreams, refusedExports,
	} {
		m.refused.WithLabelValues(reason) // a series that starts at 0 has a rate from the first refusal on
	}
	m.unrouted = m.newRoute("", "")
	return m
}

// newRoute makes the handles of a route.
func (m *httpMetrics) newRoute(method, pattern string) *routeMetrics {
	route := &routeMetrics{
		pattern:  pattern,
		duration: m.duration.WithLabelValues(method, pattern),
		inFlight: m.inFlight.WithLabelValues(method, pattern),
		counter: func(status int) prometheus.Counter {
			return m.requests.WithLabelValues(method, pattern, strconv.Itoa(status))
		},
	}
	if pattern == streamPattern {
		m.duration.DeleteLabelValues(method, pattern)
		route.duration = nil
	}
	// A series that starts at 0 has an increase at the first of these, of which nobody should need a second.
	const defect = http.StatusInternalServerError
	route.byStatus.Store(&[]statusCounter{{defect, route.counter(defect)}})
	return route
}

// know makes the handles of every route of a router.
func (m *httpMetrics) know(routes chi.Routes) {
	_ = chi.Walk(routes, func(method, pattern string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		m.routes[routeKey{method, pattern}] = m.newRoute(method, pattern)
		return nil // so that Walk does not fail either
	})
}

// refusal counts the refusals of one reason.
func (m *httpMetrics) refusal(reason string) func() { return m.refused.WithLabelValues(reason).Inc }

// poll counts the polls that were answered in one way.
func (m *httpMetrics) poll(answer string) func() { return m.polls.WithLabelValues(answer).Inc }

// of are the handles of the route that has taken a request.
func (m *httpMetrics) of(routed *chi.Context) *routeMetrics {
	method := routed.RouteMethod
	if found := m.routes[routeKey{method, routed.RoutePattern()}]; found != nil {
		return found
	}
	return m.unrouted
}

// running counts a request among those in flight while its route answers it.
func (m *httpMetrics) running(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		route := m.of(chi.RouteContext(r.Context()))
		requestOf(r).route = route
		route.inFlight.Inc()
		defer route.inFlight.Dec()
		next.ServeHTTP(w, r)
	})
}

// took notes how long an answer took.
func (r *routeMetrics) took(d time.Duration) {
	if r.duration != nil {
		r.duration.Observe(d.Seconds())
	}
}

// answered counts an answer.
func (r *routeMetrics) answered(status int) {
	known := r.byStatus.Load()
	for _, c := range *known {
		if c.status == status {
			c.counter.Inc()
			return
		}
	}
	counter := r.counter(status)
	counter.Inc()
	// Should another request add one at the same moment, this one is found anew by the next.
	added := append(slices.Clone(*known), statusCounter{status, counter})
	r.byStatus.CompareAndSwap(known, &added)
}

// collectors are everything that is collected.
func (m *httpMetrics) collectors() collectors {
	return collectors{m.requests, m.duration, m.inFlight, m.refused, m.waits, m.polls, m.pages, m.visitors}
}

// collectors are several that are registered as one.
type collectors []prometheus.Collector

// Describe implements prometheus.Collector.
func (c collectors) Describe(descriptions chan<- *prometheus.Desc) {
	for _, each := range c {
		each.Describe(descriptions)
	}
}

// Collect implements prometheus.Collector.
func (c collectors) Collect(collected chan<- prometheus.Metric) {
	for _, each := range c {
		each.Collect(collected)
	}
}
