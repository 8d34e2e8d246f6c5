package legacy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATEs that mean that somebody else has the lock, or was faster: step back and try again.
const (
	lockNotAvailable     = "55P03"
	deadlockDetected     = "40P01"
	serializationFailure = "40001"
)

// checkViolation is the SQLSTATE of a row that breaks a CHECK.
const checkViolation = "23514"

// sqlState is the SQLSTATE of a database error, empty for any other.
func sqlState(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code
	}
	return ""
}

// patiently runs work, which is undone by its own error, again and again while it fails only
// because somebody else holds a lock or was faster. It never waits long in the queue for a lock, since everybody
// who comes after would have to wait behind it; it rests between its attempts instead.
func (r *Removal) patiently(ctx context.Context, what string, work func() error) error {
	deadline := time.Now().Add(cmp.Or(r.opt.Patience, 10*time.Minute))
	rest := 50 * time.Millisecond
	for attempt := 1; ; attempt++ {
		err := work()
		state := sqlState(err)
		if state == lockNotAvailable && attempt%10 == 1 {
			err = r.outlastAutovacuum(ctx, err, work)
			state = sqlState(err)
		}
		if state != lockNotAvailable && state != deadlockDetected && state != serializationFailure {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: gave up after %d attempts, somebody holds a lock for long: %w", what, attempt, err)
		}
		if attempt%10 == 0 {
			r.progress.Note("%s: still waiting for a lock after %d attempts", what, attempt)
		}
		if err := sleep(ctx, rest); err != nil {
			return err
		}
		rest = min(rest*3/2, 2*time.Second)
	}
}

// outlastAutovacuum tries work once more if an autovacuum holds a lock, waiting for as long as it takes
// the database to see that somebody waits behind it and to cancel it: it does so after
// deadlock_timeout, and not for a vacuum against wraparound. Else it returns err.
func (r *Removal) outlastAutovacuum(ctx context.Context, err error, work func() error) error {
	// Of a session without a user nothing else is shown to a role that may not see others' sessions.
	var vacuuming bool
	var before, longer string
	const query = `
		SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid) JOIN pg_class c ON c.oid = l.relation
		               WHERE l.granted AND l.mode = 'ShareUpdateExclusiveLock' AND a.usesysid IS NULL
		                 AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
		                 AND c.relnamespace = 'public'::regnamespace),
		       lock.setting, greatest(lock.setting::bigint, deadlock.setting::bigint + $1)::text
		FROM pg_settings lock, pg_settings deadlock WHERE lock.name = 'lock_timeout' AND deadlock.name = 'deadlock_timeout'`
	if scanErr := r.conn.QueryRow(ctx, query, r.opt.LockTimeout.Milliseconds()).Scan(&vacuuming, &before, &longer); scanErr != nil || !vacuuming {
		return err
	}
	const set = "SELECT set_config('lock_timeout', $1, false)"
	if _, setErr := r.conn.Exec(ctx, set, longer); setErr != nil {
		return err
	}
	err = work()
	if _, setErr := r.conn.Exec(context.WithoutCancel(ctx), set, before); setErr != nil && err == nil {
		return setErr
	}
	return err
}

// alter runs one statement of definition, patiently.
func (r *Removal) alter(ctx context.Context, statement string) error {
	what := summarise(statement)
	err := r.patiently(ctx, what, func() error {
		_, err := r.conn.Exec(ctx, statement)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// inTx runs work in a transaction, patiently.
func (r *Removal) inTx(ctx context.Context, what string, work func(tx pgx.Tx) error) error {
	return r.patiently(ctx, what, func() error {
		if err := pgx.BeginFunc(ctx, r.conn, work); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	})
}

// summarise is the beginning of a statement on one line, for messages.
func summarise(statement string) string {
	const longest = 120
	line := strings.Join(strings.Fields(statement), " ")
	if len(line) > longest {
		line = line[:longest] + "…"
	}
	return line
}

// quoted is name as an SQL identifier.
func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }

// public is the table of that name in the schema public, as an SQL identifier.
func public(table string) string { return pgx.Identifier{"public", table}.Sanitize() }

// literal is s as an SQL string.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
