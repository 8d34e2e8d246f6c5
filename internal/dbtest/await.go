package dbtest

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Await waits until the database says that the condition, a boolean expression of SQL, holds, and
// fails the test if it does not within a minute.
func Await(tb testing.TB, pool *pgxpool.Pool, condition string, args ...any) {
	tb.Helper()
	const patience, pause = time.Minute, 5 * time.Millisecond
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		var holds bool
		if err := pool.QueryRow(ctx, "SELECT "+condition, args...).Scan(&holds); err != nil {
			tb.Fatalf("waiting for %s: %v", condition, err)
		}
		if holds {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			tb.Fatalf("waited in vain for %s: %v", condition, ctx.Err())
		}
	}
}

// AwaitBlocked waits until so many sessions wait for locks that tx's session holds.
func AwaitBlocked(tb testing.TB, pool *pgxpool.Pool, tx pgx.Tx, sessions int) {
	tb.Helper()
	Await(tb, pool, "count(*) >= $1 FROM pg_stat_activity WHERE $2 = ANY (pg_blocking_pids(pid))", sessions, tx.Conn().PgConn().PID())
}
