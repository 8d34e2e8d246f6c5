package server

import (
	"net/http"
	"time"

	"github.com/rs/cors"
)

// preflightLife is how long a browser may remember what a preflight said.
const preflightLife = 2 * time.Hour

// shareWith lets pages of other origins read the answers, those that the operator names and no
// others. Tokens come in a header, which pages set themselves: no cookie is ever asked for. It stands before the
// limits, so that pages can read a refusal, and answers preflights itself, which count like any request.
func (s *Server) shareWith(origins []string) func(http.Handler) http.Handler {
	if len(origins) == 0 {
		return func(next http.Handler) http.Handler { return next }
	}
	share := cors.New(cors.Options{
		AllowedOrigins: origins,
		AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPatch, http.MethodDelete},
		AllowedHeaders: []string{
			"Accept", "Authorization", "Cache-Control", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID", "X-Request-Id",
			positionHeader,
			"Traceparent", "Tracestate",
		},
		ExposedHeaders: []string{
			"Content-Disposition", "ETag", replayedHeader, "Link", "Location", positionHeader, "RateLimit", "RateLimit-Policy", "Retry-After", "WWW-Authenticate", "X-Request-Id",
		},
		MaxAge: int(preflightLife.Seconds()),
	}).Handler
	return func(next http.Handler) http.Handler {
		shared := share(next)
		preflights := s.limitAddresses(shared)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
				preflights.ServeHTTP(w, r)
				return
			}
			shared.ServeHTTP(w, r)
		})
	}
}

// The values of headers that every answer has. net/http writes them and changes none.
var (
	noSniff    = []string{"nosniff"}
	noContent  = []string{"default-src 'none'; frame-ancestors 'none'"}
	noReferrer = []string{"no-referrer"}
)

// secure sets the headers that keep browsers from taking an answer for something to show, run or
// frame.
func secure(h http.Header) {
	h["X-Content-Type-Options"] = noSniff
	h["Content-Security-Policy"] = noContent
	h["Referrer-Policy"] = noReferrer
}
