// Package legacy removes the three legacy run stores (inventory_sync_runs, entra_group_sync_runs
// and backup_schedule_runs) from the database of the application that made them, in place, and
// leaves the canonical tables that the migrations make in an empty database.
//
// It is a parallel change in steps, each of which may be killed and started again: Plan looks,
// Expand adds columns and triggers, Backfill fills them, Verify recomputes and compares, Contract
// swaps in one transaction, Purge exports and deletes the archive. Until Contract the old
// application works on, on its own columns, which nothing here changes but
// inventory_items.last_seen_operation_run_id.
package legacy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/db"
)

const (
	// ArchiveSchema is where Contract moves the legacy tables, until Purge deletes them.
	ArchiveSchema = "legacy_archive"
	// removalSchema holds what the removal itself has to remember between its steps.
	removalSchema = "runledger_removal"
	// canonicalSchema holds the canonical tables, empty, as the migrations make them: the pattern
	// for what Contract does to the tables of the application.
	canonicalSchema = "runledger_canonical"
	// ours is the prefix of every column, index and trigger that exists only until Contract.
	ours = "runledger_"
)

// legacyTables are the stores that go.
var legacyTables = []string{"inventory_sync_runs", "entra_group_sync_runs", "backup_schedule_runs"}

// largeTables are the canonical tables whose size decides how long a step takes.
var largeTables = []string{"operation_runs", "findings", "inventory_items"}

// Options are what an operator may say about a step. The zero value is the usual way.
type Options struct {
	// TypeMap replaces the run types' built-in map, if it is not nil.
	TypeMap *TypeMap
	// Rate is the most rows a second that Backfill writes; 0 is no limit.
	Rate int
	// Pause is how long Backfill rests after each batch.
	Pause time.Duration
	// BatchDuration is what Backfill adapts its batches to; 0 is 150 ms.
	BatchDuration time.Duration
	// LockTimeout is the longest that a statement waits for a lock before it steps back and is
	// tried again; 0 is 300 ms.
	LockTimeout time.Duration
	// Patience is how long a statement is tried again, and how long the removal waits for
	// another one's lock to be released after a crash; 0 is ten minutes for the one and five
	// seconds for the other.
	Patience time.Duration
	// PrepareOnly makes Contract stop before it takes its locks.
	PrepareOnly bool
}

// Removal is one session of the removal on one database. It is not safe for concurrent use.
type Removal struct {
	conn        *pgx.Conn
	databaseURL string
	opt         Options
	progress    *Progress
}

// settings are those that a session of the removal must have, whatever the defaults of the database
// or of the role are. A transaction must see what was committed while it waited for its locks, and a
// step may take its time.
var settings = map[string]string{
	"default_transaction_isolation":       "read committed",
	"default_transaction_read_only":       "off",
	"statement_timeout":                   "0",
	"idle_in_transaction_session_timeout": "0",
	"idle_session_timeout":                "0",
	// Rather an error than fewer rows than there are.
	"row_security":                "off",
	"standard_conforming_strings": "on",
	"quote_all_identifiers":       "off",
}

// Open connects to the database at databaseURL. Step names the step in pg_stat_activity.
// The caller closes what it gets.
func Open(ctx context.Context, databaseURL, step string, opt Options, progress *Progress) (*Removal, error) {
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("read the database address: %w", err)
	}
	host, _ := os.Hostname() // only for people to read
	maps.Copy(config.RuntimeParams, settings)
	maps.Copy(config.RuntimeParams, map[string]string{
		"application_name": fmt.Sprintf("runledger legacy %s (process %d on %s)", step, os.Getpid(), host),
		"timezone":         "UTC",
		"search_path":      "public",
		"datestyle":        "ISO",
		"jit":              "off",
		"plan_cache_mode":  "force_custom_plan",
		// After a crash of this process its statement ends soon, and with it the removal's lock.
		"client_connection_check_interval": "500ms",
	})
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	opt.BatchDuration = cmp.Or(opt.BatchDuration, 150*time.Millisecond)
	opt.LockTimeout = cmp.Or(opt.LockTimeout, 300*time.Millisecond)
	r := &Removal{conn: conn, databaseURL: databaseURL, opt: opt, progress: progress}
	// The triggers leave alone what the removal itself writes.
	prepare := fmt.Sprintf("SELECT set_config('runledger.own', 'on', false), set_config('lock_timeout', '%d', false)",
		opt.LockTimeout.Milliseconds())
	if _, err := conn.Exec(ctx, prepare); err != nil {
		r.Close()
		return nil, fmt.Errorf("prepare the session: %w", err)
	}
	return r, nil
}

// Close ends the session, and with it the removal's lock.
func (r *Removal) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = r.conn.Close(ctx) // nothing is left to lose
}

// HeldError says that another process is at work on the removal of the same database.
type HeldError struct {
	Application string     // as the holder names itself
	PID         int32      // of its backend
	Client      string     // its address, empty for a local socket, or if the holder is of another role
	Since       *time.Time // nil if the holder is of another role
}

func (e *HeldError) Error() string {
	where := "of another role"
	if e.Since != nil {
		where = fmt.Sprintf("client %s, connected since %s", cmp.Or(e.Client, "local"), e.Since.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("the removal is being worked on by %q (backend %d, %s): wait for it to end, or end it", e.Application, e.PID, where)
}

// lock takes the removal's lock for this session. The backend of a process that was killed may
// need a moment to notice, so it is tried for a few seconds.
func (r *Removal) lock(ctx context.Context) error {
	deadline := time.Now().Add(cmp.Or(r.opt.Patience, 5*time.Second))
	for last := false; ; {
		var got bool
		if err := r.conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", db.RemovalLock).Scan(&got); err != nil {
			return fmt.Errorf("lock the removal: %w", err)
		}
		if got {
			return nil
		}
		if time.Now().After(deadline) {
			holder, err := r.holder(ctx)
			switch {
			case err == nil:
				return holder
			case !errors.Is(err, pgx.ErrNoRows) || last:
				return fmt.Errorf("lock the removal, which another session holds: %w", err)
			}
			last = true // for it has just let go
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// holder tells who has the removal's lock.
func (r *Removal) holder(ctx context.Context) (*HeldError, error) {
	var held HeldError
	err := r.conn.QueryRow(ctx, `
		SELECT a.application_name, a.pid, coalesce(host(a.client_addr), ''), a.backend_start
		FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
		  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
		  AND (l.classid::bigint << 32 | l.objid::bigint) = $1`, db.RemovalLock).
		Scan(&held.Application, &held.PID, &held.Client, &held.Since)
	return &held, err
}

// sleep waits for d, or until ctx ends and returns its error.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("interrupted: %w", context.Cause(ctx))
	case <-timer.C:
		return nil
	}
}
