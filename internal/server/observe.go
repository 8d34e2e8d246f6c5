package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"go.opentelemetry.io/otel/trace"

	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/workspace"
)

// request is what is known of a request while it is answered.
type request struct {
	id          string
	userID      int64
	workspaceID int64
	route       *routeMetrics // nil until a route has taken it
	subject     auth.Subject  // of its token
	place       place         // what it has of the capacity
	refused     bool          // because there was no place for it
	moment      moment        // what the gate saw
	exported    bool          // so that it takes as long as its reader, which tells nothing of the server
	brokenOff   bool          // after its answer had begun
	poll        poll          // by what its answer is remembered, if it is
	body        received      // what a write came with
	compressors slots         // of the server
	compressing bool          // whether it has one of them
}

// pattern is that of its route, empty if none has taken it.
func (r *request) pattern() string {
	if r.route == nil {
		return ""
	}
	return r.route.pattern
}

type requestKey struct{}

// requestOf is the request that r is; every request has one.
func requestOf(r *http.Request) *request {
	req, _ := r.Context().Value(requestKey{}).(*request) // put there by observe
	return req
}

// identify notes for the log who asks and about which workspace; of a stranger, who has no claim,
// nothing.
func (r *request) identify(c workspace.Claim) { r.userID, r.workspaceID = c.UserID(), c.WorkspaceID() }

// requestIDPattern is what a caller may send as X-Request-Id: safe in a header, a log and JSON.
var requestIDPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// observe wraps the answering of every request: it names the request, survives a panic, and tells
// of the answer in a line of the log, the metrics and a span. The line holds no token, no body and
// no query.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		req := &request{id: r.Header.Get("X-Request-Id")}
		if !requestIDPattern.MatchString(req.id) {
			req.id = rand.Text()
		}
		w.Header().Set("X-Request-Id", req.id)
		secure(w.Header())
		if s.health.draining.Load() && r.ProtoMajor == 1 {
			// A client that would send its next request on this connection may find it closed.
			w.Header().Set("Connection", "close")
		}
		ctx := r.Context()
		if s.tracer != nil && !isProbe(r) { // probes come all the time, and tell nothing that they do not answer
			var span trace.Span
			ctx, span = s.startSpan(r)
			defer span.End()
		}
		r = r.WithContext(context.WithValue(ctx, requestKey{}, req))
		written := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		defer func() {
			if cause := recover(); cause != nil {
				s.recovered(written, r, cause)
			}
			s.answered(r, written, time.Since(start))
			if req.brokenOff {
				panic(http.ErrAbortHandler)
			}
		}()
		next.ServeHTTP(written, r)
	})
}

// recovered answers a request whose handler panicked. Where the answer had begun, it is broken off, so
// that nobody takes it for whole.
func (s *Server) recovered(w middleware.WrapResponseWriter, r *http.Request, cause any) {
	req := requestOf(r)
	if req.brokenOff = cause == http.ErrAbortHandler; req.brokenOff { //nolint:errorlint,err113 // net/http compares it the same way
		return
	}
	err := fmt.Errorf("panic: %v\n%s", cause, debug.Stack())
	if req.brokenOff = w.Status() != 0; req.brokenOff {
		s.log.LogAttrs(r.Context(), slog.LevelError, "panic after the answer had begun",
			slog.String("request_id", req.id), slog.Any("error", err), traceID(r.Context()))
		return
	}
	s.fail(w, r, err)
}

// answered tells operators of an answer.
func (s *Server) answered(r *http.Request, w middleware.WrapResponseWriter, took time.Duration) {
	req := requestOf(r)
	route := req.pattern()
	measured := req.route
	if measured == nil {
		measured = s.metrics.unrouted
	}
	measured.answered(w.Status())
	if !req.exported {
		measured.took(took)
	}
	if s.tracer != nil {
		describeSpan(trace.SpanFromContext(r.Context()), req, r.Method, w.Status())
	}
	level := slog.LevelInfo
	switch route {
	case "/livez", "/readyz", "/healthz":
		level = slog.LevelDebug
	}
	if req.refused {
		level = slog.LevelDebug // there may be thousands a second, which the metrics count
	}
	log := s.log.Handler()
	if !log.Enabled(r.Context(), level) {
		return
	}
	line := slog.NewRecord(time.Now(), level, "request", 0) // it is of no use to know that it comes from here
	line.AddAttrs(
		slog.String("method", r.Method),
		slog.String("route", route),
		slog.Int("status", w.Status()),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000),
		slog.Int("bytes", w.BytesWritten()),
		slog.String("request_id", req.id),
		slog.String("client", s.clientAddress(r).String()),
		slog.Int64("user_id", req.userID),
		slog.Int64("workspace_id", req.workspaceID),
		traceID(r.Context()),
	)
	if req.brokenOff {
		line.AddAttrs(slog.Bool("broken_off", true))
	}
	_ = log.Handle(r.Context(), line) // nobody to tell
}

// allowedMethods lists the methods that the address of r takes.
func (s *Server) allowedMethods(r *http.Request) []string {
	path := r.URL.RawPath // what the router goes by
	if path == "" {
		path = r.URL.Path
	}
	var all, literal []string
	for _, method := range []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
	} {
		looked := method
		if method == http.MethodHead {
			looked = http.MethodGet // every GET answers HEAD too
		}
		found := chi.NewRouteContext()
		if !s.router.Match(found, looked, path) {
			continue
		}
		all = append(all, method)
		if pattern := found.RoutePattern(); pattern[strings.LastIndexByte(pattern, '/')+1:] == path[strings.LastIndexByte(path, '/')+1:] {
			literal = append(literal, method)
		}
	}
	if literal != nil {
		return literal // what is the address of something else is no row's, though it stands where an id does
	}
	return all
}
