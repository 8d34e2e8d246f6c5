package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/runledger/runledger/db"
	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/legacy"
	"github.com/runledger/runledger/internal/server"
)

func (a *app) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Serve the HTTP interface",
		Long: `Serve answers requests until it gets SIGINT or SIGTERM: then it turns unready,
lets running requests finish and exits with 0. A second signal ends it at once.
It starts while the database is away and becomes ready by itself.

Environment (durations like 500ms, 5s, 2m):
` + environmentHelp,
		Example: `  export RUNLEDGER_DATABASE_URL=postgres://runledger@localhost/runledger
  export RUNLEDGER_JWT_JWKS_URL=https://login.example.com/.well-known/jwks.json
  export RUNLEDGER_JWT_ISSUER=https://login.example.com RUNLEDGER_JWT_AUDIENCE=runledger
  runledger migrate up && runledger serve`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := readConfig(a.environ, needDatabase, needVerifier)
			if err != nil {
				return err
			}
			return a.serve(cmd.Context(), c, c.listen, nil)
		},
	}
}

// environmentHelp lists the variables that serve reads.
const environmentHelp = `  RUNLEDGER_DATABASE_URL              postgres://user:password@host:5432/database (required)
  RUNLEDGER_ADDR                      where to listen (:8080)
  RUNLEDGER_ADMIN_ADDR                where metrics and profiles are served (127.0.0.1:9090)
  RUNLEDGER_JWT_HS256_SECRET          secret of at least 32 bytes that tokens are signed with,
  RUNLEDGER_JWT_PUBLIC_KEY_FILE         or a PEM file with the issuer's public key,
  RUNLEDGER_JWT_JWKS_URL                or the address of its JWKS: exactly one of the three
  RUNLEDGER_JWT_ALGORITHMS            algorithms to accept, comma-separated (those of the key)
  RUNLEDGER_JWT_ISSUER                iss of valid tokens (required)
  RUNLEDGER_JWT_AUDIENCE              aud of valid tokens (required)
  RUNLEDGER_CONSOLE_OIDC_CLIENT_ID    what the console is called at the issuer, an OpenID Connect provider;
                                        without it people sign in to the console with a token
  RUNLEDGER_CONSOLE_OIDC_SCOPE        what the console asks the issuer for (openid)
  RUNLEDGER_CONSOLE_OIDC_ORIGINS      further origins that the issuer answers at, comma-separated
  RUNLEDGER_DATABASE_REPLICA_URL      a streaming replica that lists may be read from (none)
  RUNLEDGER_DATABASE_REPLICA_MAX_LAG  how far behind it may be (5s)
  RUNLEDGER_DATABASE_MAX_CONNS        connections in the pool (8)
  RUNLEDGER_DATABASE_ACQUIRE_TIMEOUT  longest wait for a connection, then 503 (2s)
  RUNLEDGER_STATEMENT_TIMEOUT         longest run of a statement, then 503 (5s)
  RUNLEDGER_MAX_STALENESS             how far "not modified" may be behind what others commit; 0 is not at all (1s)
  RUNLEDGER_IDLE_TRANSACTION_TIMEOUT  longest idle time in a transaction (10s)
  RUNLEDGER_RATE_PER_ADDRESS          requests a second of one address, a /64 of IPv6; 0 is no limit (4000)
  RUNLEDGER_RATE_PER_SUBJECT          requests a second of one subject of tokens; 0 is no limit (2000)
  RUNLEDGER_RATE_BURST                for how long who has not asked may save up requests (2s)
  RUNLEDGER_TRUSTED_PROXIES           networks whose X-Forwarded-For counts, comma-separated (none)
  RUNLEDGER_MAX_REQUESTS              requests answered at once, then 503 (2048)
  RUNLEDGER_MAX_STREAMS               streams of events open at once, then 503 (4096)
  RUNLEDGER_MAX_CONNECTIONS           connections open at once; for one more an idle one is closed (16384)
  RUNLEDGER_HEADER_TIMEOUT            how long a request's header may take to come (5s)
  RUNLEDGER_READ_TIMEOUT              how long a whole request may take to come (30s)
  RUNLEDGER_WRITE_TIMEOUT             how long an answer may take to leave; streams and exports apart (60s)
  RUNLEDGER_IDLE_TIMEOUT              how long a connection is kept for the next request (2m)
  RUNLEDGER_CORS_ORIGINS              origins whose pages may read answers, comma-separated (none)
  RUNLEDGER_SWEEP_INTERVAL            how often to look for stalled runs; 0 is never (15s)
  RUNLEDGER_RETENTION_INTERVAL        how often to let old runs go, such as 24h; 0 is never (0s)
  RUNLEDGER_SURVEY_INTERVAL           how often to look at the runs for the metrics; 0 is never (1m)
  RUNLEDGER_METRICS_BY_WORKSPACE      metrics of runs and schedules for each workspace, not for all together (false)
  RUNLEDGER_SHUTDOWN_DELAY            how long to go on unready before refusing connections (1s)
  RUNLEDGER_SHUTDOWN_GRACE            how long running requests may take at the end (20s)
  RUNLEDGER_LOG_LEVEL                 debug, info, warn or error (info)
  RUNLEDGER_LOG_FORMAT                auto (text on a terminal, else JSON), json or text (auto)
  GOMAXPROCS                          processors to use (all, or half where PostgreSQL is on this machine)
  OTEL_EXPORTER_OTLP_ENDPOINT         collector that takes traces over HTTP, such as http://localhost:4318;
                                        nothing is traced without it. OTEL_EXPORTER_OTLP_… HEADERS,
                                        TIMEOUT, COMPRESSION and CERTIFICATE, their …_TRACES_… forms,
                                        OTEL_TRACES_SAMPLER, OTEL_BSP_…, OTEL_SERVICE_NAME and
                                        OTEL_RESOURCE_ATTRIBUTES count as well; OTEL_SDK_DISABLED=true and
                                        OTEL_TRACES_EXPORTER=none switch traces off. Other formats,
                                        client certificates and propagators there are none
`

// opening opens the two listeners of a server: the one for everybody and the operators' own.
type opening func(context.Context) (public, admin net.Listener, err error)

// warnOfMistyped logs which variables of the environment nothing reads, and what was probably meant.
func (a *app) warnOfMistyped(ctx context.Context, log *slog.Logger) {
	for _, v := range findMistyped(a.environ) {
		attrs := []slog.Attr{slog.String("variable", v.name)}
		if v.meant != "" {
			attrs = append(attrs, slog.String("meant", v.meant))
		}
		log.LogAttrs(ctx, slog.LevelWarn, "the environment has a variable that nothing reads", attrs...)
	}
}

// serve answers requests until ctx ends. ready, if not nil, is called with the two addresses once
// connections are accepted.
func (a *app) serve(ctx context.Context, c config, open opening, ready func(addr, admin string)) error {
	tuneCollector()
	log := a.logger(c)
	a.warnOfMistyped(ctx, log)
	database, err := c.pool(c.DatabaseURL)
	if err != nil {
		return err
	}
	leaveProcessors(database.ConnConfig)
	if err := refuseUncontracted(ctx, c.DatabaseURL, log); err != nil {
		return err
	}
	traces, queries, err := a.observed(ctx, c, database, log)
	if err != nil {
		return err
	}
	defer closeTraces(traces, log)
	pools, err := c.openPools(ctx, database)
	if err != nil {
		return err
	}
	defer pools.close()
	registry := newRegistry(append(pools.collectors(), queries)...)
	// Tokens are verified until the last request is answered, after ctx has ended.
	verifying, stopVerifying := context.WithCancel(context.WithoutCancel(ctx))
	defer stopVerifying()
	verifier, err := c.verifier(verifying, registry, log)
	if err != nil {
		return err
	}
	handler := server.New(server.Options{
		Pool: pools.primary, Verify: verifier.Verify, HaveKeys: verifier.HaveKeys, Log: log, SchemaVersion: db.LatestVersion(),
		AcquireTimeout: c.DatabaseAcquireTimeout, QueryTimeout: c.StatementTimeout + time.Second, Staleness: c.MaxStaleness,
		Replica: pools.replica, ReplicaMaxLag: c.DatabaseReplicaMaxLag,
		Console:    c.console(),
		MaxStreams: c.MaxStreams, Registry: registry, Tracer: provider(traces), Limits: c.limits(), Origins: c.CORSOrigins,
	})
	defer handler.Close()
	work, err := backgroundWork(c, database.ConnConfig, registry, log)
	if err != nil {
		return err
	}
	return (&service{config: c, log: log, handler: handler, operators: adminHandler(registry), work: work}).run(ctx, open, ready)
}

// refuseUncontracted is an error if the database still has the legacy run stores. One that does not answer may be
// there later.
func refuseUncontracted(ctx context.Context, databaseURL string, log *slog.Logger) error {
	err := refuseLegacy(ctx, databaseURL)
	if uncontracted, ok := errors.AsType[*legacy.UncontractedError](err); ok {
		return uncontracted
	}
	if err != nil {
		log.Warn("the database does not answer yet; serving begins and readiness waits for it", slog.Any("error", err))
	}
	return nil
}

// verifier verifies tokens until ctx ends, and is measured.
func (c *config) verifier(ctx context.Context, registry *prometheus.Registry, log *slog.Logger) (*auth.Verifier, error) {
	tokens := server.NewLookups("tokens")
	registry.MustRegister(tokens)
	keys := c.auth()
	keys.Looked = tokens.Count
	verifier, err := auth.NewVerifier(ctx, keys, log)
	if err != nil {
		return nil, usageError{err}
	}
	if c.JWTJWKSURL != "" {
		exposeKeys(registry, verifier)
	}
	return verifier, nil
}

// exposeKeys tells when the keys of tokens were last had from their source. Those known stay in use without it, so
// that nothing else shows that the next ones will not come.
func exposeKeys(registry *prometheus.Registry, verifier *auth.Verifier) {
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "runledger_jwks_last_success_timestamp_seconds",
		Help: "When the keys of the JWKS were last loaded, 0 if they never were.",
	}, func() float64 {
		at := verifier.KeysLoaded()
		if at.IsZero() {
			return 0
		}
		return float64(at.UnixMilli()) / 1000 //nolint:mnd // seconds
	}))
}

// listen opens the listeners where the configuration says.
func (c *config) listen(ctx context.Context) (public, admin net.Listener, err error) {
	public, err = listen(ctx, envPrefix+"ADDR", c.Addr)
	if err != nil {
		return nil, nil, err
	}
	admin, err = listen(ctx, envPrefix+"ADMIN_ADDR", c.AdminAddr)
	if err != nil {
		_ = public.Close()
		return nil, nil, err
	}
	return public, admin, nil
}

// listen opens a TCP listener and says which setting to change if it cannot.
func listen(ctx context.Context, setting, addr string) (net.Listener, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false) // which has no filters, see closeAfterLast
	listener, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s (set %s to another address): %w", addr, setting, err)
	}
	return &lastingListener{TCPListener: listener.(*net.TCPListener)}, nil //nolint:forcetypeassert // so "tcp" is documented
}

// logger writes to stderr: text for people at a terminal, JSON for machines.
func (a *app) logger(c config) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.LogLevel}
	file, isFile := a.stderr.(*os.File)
	if c.LogFormat == "text" || c.LogFormat == "auto" && isFile && term.IsTerminal(int(file.Fd())) {
		return slog.New(slog.NewTextHandler(a.stderr, options))
	}
	return slog.New(slog.NewJSONHandler(a.stderr, options))
}
