// Package server is the HTTP interface: the only package besides the command that knows HTTP.
//
// A request to a workspace's rows goes through four places: the route table in this file, the
// gate (gate.go), the noun's own file, and the noun's queries under sql/queries.
package server

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/console"
	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/feed"
	"github.com/runledger/runledger/internal/workspace"
)

// Options is what a Server needs. Pool, Verify, Log and SchemaVersion are required.
type Options struct {
	Pool           *pgxpool.Pool                                                 // the database of the requests
	Verify         func(ctx context.Context, token string) (auth.Subject, error) // decides on bearer tokens
	HaveKeys       func() error                                                  // why no token can be judged yet; nil if any can from the start
	Log            *slog.Logger                                                  // one line a request
	SchemaVersion  int64                                                         // the schema this binary knows
	AcquireTimeout time.Duration                                                 // longest wait for a connection, 2 s if 0
	QueryTimeout   time.Duration                                                 // longest a statement may take, 10 s if 0
	Staleness      time.Duration                                                 // how far a 304 may be behind other servers' commits, 0 for not at all
	MaxStreams     int                                                           // open streams of events, 4096 if 0
	Replica        *pgxpool.Pool                                                 // a standby that lists may be read from; nil for none
	ReplicaMaxLag  time.Duration                                                 // how far behind it may be, 5 s if 0
	Console        console.Settings                                              // how people sign in to the console

	Registry prometheus.Registerer // takes the metrics; nil for none
	Tracer   trace.TracerProvider  // takes a span for each request; nil for none
	Limits   Limits                // what one client, and all together, may ask
	Origins  []string              // of pages that may read the answers: https://host[:port]
}

// Limits protect a server from being asked too much. Probes of its health are exempt.
type Limits struct {
	PerAddress     Rate           // of one client's address, a /64 of IPv6
	PerSubject     Rate           // of one subject of tokens
	TrustedProxies []netip.Prefix // whose X-Forwarded-For counts
	MaxRequests    int            // answered at once, 2048 if 0, without streams and files for everybody
}

// Server answers requests. Make one with New.
type Server struct {
	db      *database
	replica *replica // nil if there is none
	queries *dbsqlc.Queries
	verify  func(ctx context.Context, token string) (auth.Subject, error)
	log     *slog.Logger
	health  *health
	cursors cursorKeeper
	feed    *feed.Feed
	streams streamLimits
	gate    *database
	members *gatherer[struct{}, workspace.Question, membership]
	met     *visitors
	sheets  *gatherer[address, reader, reading]
	polls   *polls
	starts  *gatherer[workspace.Scope, start, result]
	exports exportLimits
	router  *chi.Mux

	console       *console.Site
	consolePolicy string
	metrics       *httpMetrics
	tracer        trace.Tracer // nil where nothing is traced
	addresses     *buckets[netip.Addr]
	subjects      *buckets[auth.Subject]
	tooMany       seldom
	doubtful      seldom
	proxies       []netip.Prefix
	capacity      *capacity
	shares        *shares[auth.Subject]           // of the capacity
	shared        func(http.Handler) http.Handler // with pages of other origins
	compressed    func(http.Handler) http.Handler
}

// New makes a Server. It does not touch the database, so that it can be made while there is none.
func New(o Options) *Server {
	if o.AcquireTimeout == 0 {
		o.AcquireTimeout = 2 * time.Second
	}
	if o.QueryTimeout == 0 {
		o.QueryTimeout = 10 * time.Second
	}
	if o.Limits.MaxRequests == 0 {
		o.Limits.MaxRequests = defaultMaxRequests
	}
	m := newHTTPMetrics()
	own := database{pool: o.Pool, acquireTimeout: o.AcquireTimeout, queryTimeout: o.QueryTimeout, used: new(atomic.Int64)}
	queued := own
	queued.turns = newTurns(int(o.Pool.Config().MaxConns), o.AcquireTimeout, m.refusal(refusedQueue), m.waits.Observe)
	s := &Server{
		db:      &queued,
		gate:    &own,
		polls:   newPolls(o.Staleness, own.used, m),
		queries: dbsqlc.New(),
		verify:  o.Verify,
		log:     o.Log,
		health:  newHealth(o.Pool.Config().ConnConfig, o.SchemaVersion, o.HaveKeys, o.Log),
		streams: newStreamLimits(o.MaxStreams, m),
		exports: newExportLimits(int(o.Pool.Config().MaxConns), m),

		metrics:   m,
		addresses: newBuckets[netip.Addr]("address", o.Limits.PerAddress, m.refusal(refusedAddressRate)),
		subjects:  newBuckets[auth.Subject]("subject", o.Limits.PerSubject, m.refusal(refusedSubjectRate)),
		proxies:   o.Limits.TrustedProxies,
		capacity: &capacity{
			most: int64(o.Limits.MaxRequests), busiest: max(int64(requestsPerTurn*o.Pool.Config().MaxConns), leastBusiest),
			turns: queued.turns, weights: newWeights(m), refused: m.refusal(refusedCapacity),
		},
		shares:     newSubjectShares("requests", largestShare(o.Limits.MaxRequests), m.refusal(refusedShare)),
		compressed: compressed(make(slots, mostCompressors)),
	}
	site, err := console.New(o.Console)
	if err != nil {
		panic(err) // made of files in the binary, which the tests have tried
	}
	s.console, s.consolePolicy = site, consolePolicy(o.Console)
	s.shared = s.shareWith(o.Origins)
	s.met = newVisitors()
	s.members = newGatherer(maxQuestions, membership{err: errUnavailable.because(errAbandoned)}, s.resolveGathered)
	s.sheets = newGatherer(maxReadings, reading{err: errUnavailable.because(errAbandoned)}, s.readGathered)
	s.starts = newGatherer(maxStarts, result{err: errUnavailable.because(errAbandoned)}, s.startGathered)
	if o.Tracer != nil {
		s.tracer = o.Tracer.Tracer("github.com/runledger/runledger/internal/server")
	}
	s.feed = feed.New(&own, s.frame, o.Log) // what everybody who follows waits for does not queue
	if o.Replica != nil {
		s.replica = newReplica(o.Replica, &own, o.ReplicaMaxLag, o.Log)
	}
	s.router = s.routes()
	m.know(s.router)
	if o.Registry != nil {
		o.Registry.MustRegister(m.collectors(), s.feed)
		if s.replica != nil {
			o.Registry.MustRegister(s.replica.metrics.collectors())
		}
	}
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.router.ServeHTTP(w, r) }

// Drain makes readiness fail from now on, so that no new traffic is sent here.
func (s *Server) Drain() { s.health.draining.Store(true) }

// EndStreams ends the streams of events, which would outlast any grace, and refuses new ones. It waits for nothing.
func (s *Server) EndStreams() { s.feed.End() }

// Close frees what the Server holds besides its Options.
func (s *Server) Close() {
	s.feed.Close()
	if s.replica != nil {
		s.replica.close()
	}
	s.health.close()
}

// routes is the whole interface. Whatever is below a workspace is scoped: its handler takes the
// proof of membership that only the gate gives. Lists are listed: theirs takes a visitor, who has
// that proof or reads by statements that ask for it.
func (s *Server) routes() *chi.Mux {
	router := chi.NewRouter()
	router.Use(s.observe, s.shared, s.limitAddresses, s.limitRequests, s.compressed, middleware.GetHead)
	router.NotFound(s.unrouted(errNotFound))
	router.MethodNotAllowed(s.unrouted(errMethodNotAllowed))
	r := router.With(s.metrics.running)

	r.Get("/livez", s.open(s.livez))
	r.Get("/readyz", s.open(s.readyz))
	r.Get("/healthz", s.open(s.readyz))
	r.Get("/openapi.yaml", s.open(openAPI(openAPIYAML)))
	r.Get("/openapi.json", s.open(openAPI(openAPIJSON)))

	r.Get("/console", s.open(s.consoleHome))
	r.Get("/console/assets/*", s.open(s.consoleAsset))
	r.Get("/console/*", s.open(s.consolePage))

	r.Get("/workspaces", s.signedIn(s.listWorkspaces))
	r.Get("/workspaces/{workspace_id}", s.scoped(s.getWorkspace))
	r.Get("/workspaces/{workspace_id}/operation-types", s.scoped(s.listOperationTypes))
	r.Get("/workspaces/{workspace_id}/tenants", s.listed(s.listTenants))
	r.Get("/workspaces/{workspace_id}/tenants/{id}", s.scoped(s.remembered(s.getTenant)))

	r.Get("/workspaces/{workspace_id}/operation-runs", s.listed(s.listRuns))
	r.Get("/workspaces/{workspace_id}/operation-runs/count", s.scoped(s.remembered(s.countRuns)))
	r.Get("/workspaces/{workspace_id}/operation-runs/stats", s.scoped(s.getRunStats))
	r.Get("/workspaces/{workspace_id}/operation-runs/changes", s.scoped(s.listChanges))
	r.Get(streamPattern, s.scoped(s.streamChanges))
	r.Post("/workspaces/{workspace_id}/operation-runs", s.scoped(recording(s.startRun)))
	r.Post("/workspaces/{workspace_id}/operation-runs/batch", s.scoped(recording(s.batchRuns)))
	r.Get("/workspaces/{workspace_id}/operation-runs/{id}", s.scoped(s.remembered(s.getRun)))
	r.Get("/workspaces/{workspace_id}/operation-runs/{id}/events", s.scoped(s.remembered(s.listRunEvents)))
	r.Get("/workspaces/{workspace_id}/operation-runs/{id}/dependents", s.scoped(s.listDependents))
	r.Get("/workspaces/{workspace_id}/operation-runs/{id}/diff", s.scoped(s.getRunDiff))
	r.Patch("/workspaces/{workspace_id}/operation-runs/{id}", s.scoped(recording(s.patchRun)))
	r.Post("/workspaces/{workspace_id}/operation-runs/{id}/heartbeat", s.scoped(recording(s.heartbeatRun)))
	r.Post("/workspaces/{workspace_id}/operation-runs/{id}/cancel", s.scoped(recording(s.cancelRun)))
	r.Post("/workspaces/{workspace_id}/operation-runs/{id}/retry", s.scoped(recording(s.retryRun)))
	r.Post("/workspaces/{workspace_id}/operation-runs/{id}/recall", s.scoped(managing(s.recallRun)))

	r.Get("/workspaces/{workspace_id}/findings", s.listed(s.listFindings))
	r.Get("/workspaces/{workspace_id}/findings/{id}", s.scoped(s.remembered(s.getFinding)))
	r.Get("/workspaces/{workspace_id}/findings/{id}/diff", s.scoped(s.getFindingDiff))
	r.Patch("/workspaces/{workspace_id}/findings/{id}", s.scoped(recording(s.patchFinding)))
	r.Post("/workspaces/{workspace_id}/findings/batch", s.scoped(recording(s.batchFindings)))

	r.Get("/workspaces/{workspace_id}/inventory-items", s.listed(s.listInventoryItems))
	r.Get("/workspaces/{workspace_id}/inventory-items/{id}", s.scoped(s.remembered(s.getInventoryItem)))
	r.Post("/workspaces/{workspace_id}/inventory-items/batch", s.scoped(recording(s.batchInventoryItems)))

	r.Get("/workspaces/{workspace_id}/backup-schedules", s.scoped(s.remembered(s.listBackupSchedules)))
	r.Post("/workspaces/{workspace_id}/backup-schedules", s.scoped(managing(s.createBackupSchedule)))
	r.Get("/workspaces/{workspace_id}/backup-schedules/health", s.scoped(s.listScheduleHealth))
	r.Get("/workspaces/{workspace_id}/backup-schedules/{id}", s.scoped(s.remembered(s.getBackupSchedule)))
	r.Patch("/workspaces/{workspace_id}/backup-schedules/{id}", s.scoped(managing(s.patchBackupSchedule)))
	r.Delete("/workspaces/{workspace_id}/backup-schedules/{id}", s.scoped(managing(s.deleteBackupSchedule)))
	r.Get("/workspaces/{workspace_id}/backup-schedules/{id}/slots", s.scoped(s.listSlots))
	r.Get("/workspaces/{workspace_id}/backup-schedules/{id}/runs", s.listed(s.listBackupScheduleRuns))
	r.Get("/workspaces/{workspace_id}/backup-schedules/{id}/retention", s.scoped(s.getBackupScheduleRetention))
	return router
}
