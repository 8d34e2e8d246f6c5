package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runledger/runledger/internal/dbsqlc"
)

const (
	bareCommand     = "bare-handler"
	bareApplication = "runledger-bench-bare"
)

// serveBare serves one list of runs to anybody: the query of the real list out of a pool of the
// same size, the same scan, the same encoding, and nothing else.
func serveBare() error {
	workspaceID, err := strconv.ParseInt(os.Getenv("BENCH_WORKSPACE"), 10, 64)
	if err != nil {
		return err
	}
	limit, err := strconv.ParseInt(os.Getenv("BENCH_LIMIT"), 10, 31)
	if err != nil {
		return err
	}
	config, err := pgxpool.ParseConfig(os.Getenv("BENCH_DATABASE"))
	if err != nil {
		return err
	}
	config.MaxConns = 8
	maps.Copy(config.ConnConfig.RuntimeParams, map[string]string{
		"application_name": bareApplication, "timezone": "UTC", "enable_seqscan": "off",
	})
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer pool.Close()
	server := &http.Server{
		Addr: os.Getenv("BENCH_ADDR"), Handler: bareHandler(pool, workspaceID, int32(limit)),
		ReadHeaderTimeout: 5 * time.Second,
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServe(); ctx.Err() == nil {
		return err
	}
	return nil
}

func bareHandler(pool *pgxpool.Pool, workspaceID int64, limit int32) http.Handler {
	queries := dbsqlc.New()
	buffers := sync.Pool{New: func() any { return new([]byte) }}
	newest := dbsqlc.ListRunsParams{
		WorkspaceID: workspaceID, PositionID: math.MaxInt64, PageSize: limit + 1,
		Position: pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		runs, err := queries.ListRuns(r.Context(), pool, newest)
		if err != nil {
			http.Error(w, "the query failed", http.StatusInternalServerError)
			return
		}
		kept := buffers.Get().(*[]byte) //nolint:forcetypeassert // nothing else is put there
		b := (*kept)[:0]
		b = append(b, `{"data":[`...)
		for i := range runs[:min(len(runs), int(limit))] {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendRun(append(b, '{'), &runs[i]), '}')
		}
		b = append(b, `],"next_cursor":null}`...)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		_, _ = w.Write(b)
		*kept = b
		buffers.Put(kept)
	})
}

// appendRun appends the members of a run as the real list has them.
func appendRun(b []byte, run *dbsqlc.OperationRun) []byte {
	b = strconv.AppendInt(append(b, `"id":`...), run.ID, 10)
	b = strconv.AppendInt(append(b, `,"workspace_id":`...), run.WorkspaceID, 10)
	b = appendOptionalInt(append(b, `,"tenant_id":`...), run.TenantID)
	b = appendOptionalInt(append(b, `,"user_id":`...), run.UserID)
	b = appendOptionalText(append(b, `,"initiator_name":`...), run.InitiatorName)
	b = appendText(append(b, `,"type":`...), run.Type)
	b = appendText(append(b, `,"status":`...), run.Status)
	b = appendText(append(b, `,"outcome":`...), run.Outcome)
	b = appendText(append(b, `,"run_identity_hash":`...), run.RunIdentityHash)
	b = append(append(b, `,"summary_counts":`...), run.SummaryCounts...)
	b = append(append(b, `,"failure_summary":`...), run.FailureSummary...)
	b = append(append(b, `,"context":`...), run.Context...)
	b = appendTime(append(b, `,"started_at":`...), run.StartedAt)
	b = appendTime(append(b, `,"completed_at":`...), run.CompletedAt)
	b = appendTime(append(b, `,"created_at":`...), run.CreatedAt)
	b = appendTime(append(b, `,"updated_at":`...), run.UpdatedAt)
	b = appendTime(append(b, `,"heartbeat_at":`...), run.HeartbeatAt)
	b = appendTime(append(b, `,"progressed_at":`...), run.ProgressedAt)
	b = appendOptionalText(append(b, `,"stalled":`...), run.Stalled)
	b = appendTime(append(b, `,"stalled_at":`...), run.StalledAt)
	b = appendTime(append(b, `,"cancel_requested_at":`...), run.CancelRequestedAt)
	b = appendOptionalInt(append(b, `,"retry_of_id":`...), run.RetryOfID)
	b = strconv.AppendInt(append(b, `,"attempt":`...), run.Attempt, 10)
	return strconv.AppendInt(append(b, `,"revision":`...), run.Revision, 10)
}

func appendOptionalInt(b []byte, v *int64) []byte {
	if v == nil {
		return append(b, "null"...)
	}
	return strconv.AppendInt(b, *v, 10)
}

func appendOptionalText(b []byte, v *string) []byte {
	if v == nil {
		return append(b, "null"...)
	}
	return appendText(b, *v)
}

// appendText appends a JSON string; nearly none needs an escape.
func appendText(b []byte, s string) []byte {
	plain := !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' || r == '\uFFFD' })
	if !plain {
		quoted, err := json.Marshal(s)
		if err != nil {
			panic(fmt.Errorf("a string is JSON: %w", err))
		}
		return append(b, quoted...)
	}
	return append(append(append(b, '"'), s...), '"')
}

func appendTime(b []byte, v pgtype.Timestamptz) []byte {
	if !v.Valid {
		return append(b, "null"...)
	}
	b = v.Time.UTC().AppendFormat(append(b, '"'), "2006-01-02T15:04:05.999999Z")
	return append(b, '"')
}
