package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runledger/runledger/internal/server"
)

const (
	bareCommand     = "bare-handler"
	bareApplication = "bench-bare"
	unchangedPath   = "/unchanged" // a 304 for the asking
)

// The bare handler is the limit: net/http, the query of the real list out of a pool of the same
// size, and the bytes that PostgreSQL sends appended straight to JSON. It serves anybody: no
// token, no membership, no parameters, no cursor, no tags, no log.
func serveBare() error {
	place, limit, err := barePlace()
	if err != nil {
		return err
	}
	const seldom = 400 // percent of garbage, as the real server lets it grow
	debug.SetGCPercent(seldom)
	config, err := pgxpool.ParseConfig(os.Getenv("BENCH_DATABASE"))
	if err != nil {
		return err
	}
	config.MaxConns = 8
	if n, err := environmentInt("BENCH_POOL"); err == nil {
		config.MaxConns = int32(n)
	}
	maps.Copy(config.ConnConfig.RuntimeParams, referenceSettings())
	config.ConnConfig.RuntimeParams["application_name"] = bareApplication
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer pool.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc(unchangedPath, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) })
	for _, l := range lists(place) {
		handler, err := l.bareHandler(ctx, pool, limit)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		mux.Handle("/"+l.name, handler)
	}
	listening := &http.Server{Addr: os.Getenv("BENCH_ADDR"), Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = listening.Close() })
	if err := listening.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// referenceSettings are the server's own settings of PostgreSQL's sessions, and one plan for all
// values: without these a page costs PostgreSQL two times as much, and a page of findings twenty.
func referenceSettings() map[string]string {
	settings := server.SessionSettings()
	settings["plan_cache_mode"] = "force_generic_plan"
	return settings
}

// barePlace is what the bare handler is told to serve.
func barePlace() (p place, limit int, err error) {
	var errs [3]error
	var n int64
	p.workspaceID, errs[0] = environmentInt("BENCH_WORKSPACE")
	p.scheduleID, errs[1] = environmentInt("BENCH_SCHEDULE")
	n, errs[2] = environmentInt("BENCH_LIMIT")
	return p, int(n), errors.Join(errs[:]...)
}

// bareEnvironment tells the bare handler what to serve.
func bareEnvironment(p place, limit int) []string {
	return []string{
		"BENCH_WORKSPACE=" + strconv.FormatInt(p.workspaceID, 10), "BENCH_SCHEDULE=" + strconv.FormatInt(p.scheduleID, 10),
		"BENCH_LIMIT=" + strconv.Itoa(limit),
	}
}

// bareHandler serves the first page of a list.
func (l list) bareHandler(ctx context.Context, pool *pgxpool.Pool, limit int) (http.Handler, error) {
	q, err := l.query(ctx, limit+1)
	if err != nil {
		return nil, err
	}
	encode, err := l.encoder(ctx, pool, q)
	if err != nil {
		return nil, err
	}
	buffers := sync.Pool{New: func() any { return new([]byte) }}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rows, err := pool.Query(r.Context(), q.sql, q.args...)
		if err != nil {
			http.Error(w, "the query failed", http.StatusInternalServerError)
			return
		}
		defer rows.Close()
		kept := buffers.Get().(*[]byte) //nolint:forcetypeassert // nothing else is put there
		b := (*kept)[:0]
		b = append(b, `{"data":[`...)
		for n := 0; rows.Next(); n++ {
			if n == limit {
				continue // the row that tells that another page follows
			}
			if n > 0 {
				b = append(b, ',')
			}
			b = encode(b, rows.RawValues())
		}
		if rows.Err() != nil {
			http.Error(w, "the query failed", http.StatusInternalServerError)
			return
		}
		b = append(b, `],"next_cursor":null}`...)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		_, _ = w.Write(b)
		*kept = b
		buffers.Put(kept)
	}), nil
}
