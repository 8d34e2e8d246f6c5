package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/runledger/runledger/internal/server"
)

// service is a server with all that it does.
type service struct {
	config    config
	log       *slog.Logger
	handler   *server.Server
	operators http.Handler            // what only they may see
	work      []func(context.Context) // beside answering requests, each until its context ends
}

// run answers requests and works until ctx ends. ready, if not nil, is called with the two addresses once
// connections are accepted.
func (s *service) run(ctx context.Context, open opening, ready func(addr, admin string)) error {
	listener, admin, err := open(ctx)
	if err != nil {
		return err
	}
	public := newGracefulServer(newHTTPServer(s.config, s.handler, s.log), listener, s.config.MaxConnections)
	private := newGracefulServer(newHTTPServer(s.config, s.operators, s.log), admin, maxOperators)
	private.WriteTimeout = 0 // a CPU profile takes as long as was asked for

	group, ctx := errgroup.WithContext(ctx)
	for _, do := range s.work {
		group.Go(func() error {
			do(ctx)
			return nil
		})
	}
	group.Go(public.serve)
	group.Go(private.serve)
	group.Go(func() error {
		<-ctx.Done()
		return s.shutdown(public, private)
	})
	s.log.Info("serving", slog.String("addr", listener.Addr().String()),
		slog.String("admin_addr", admin.Addr().String()), slog.String("version", version()), slog.Int("processors", runtime.GOMAXPROCS(0)))
	if ready != nil {
		ready(listener.Addr().String(), admin.Addr().String())
	}
	return group.Wait()
}

// shutdown ends serving without cutting a request off, within the grace time.
func (s *service) shutdown(public, private *gracefulServer) error {
	grace := s.config.ShutdownGrace
	s.log.Info("shutting down", slog.String("grace", grace.String()))
	s.handler.Drain()
	time.Sleep(s.config.ShutdownDelay) // load balancers notice meanwhile that readiness is gone
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	s.handler.EndStreams() // so that whoever follows connects again to another server
	err := public.shutdown(ctx)
	// A profile that was asked for may take longer than there is time, and is no reason to fail.
	if private.shutdown(ctx) != nil {
		s.log.Info("the requests of operators were cut off")
	}
	if err != nil {
		return fmt.Errorf("requests were still running after the grace time of %s: %w", grace, err)
	}
	s.log.Info("stopped")
	return nil
}

// maxOperators is how many connections may be open to what only operators may see.
const maxOperators = 256

// newHTTPServer is a server that a slow client cannot hold.
func newHTTPServer(c config, handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: c.HeaderTimeout,
		ReadTimeout:       c.ReadTimeout,
		WriteTimeout:      c.WriteTimeout,
		IdleTimeout:       c.IdleTimeout,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// adminHandler serves what only operators may see.
func adminHandler(registry *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}
