package server

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// errNoConnection says that the database could not be reached: no connection was to be had in
// time, or it was lost before the answer had come.
var errNoConnection = errors.New("no connection to the database")

// SessionSettings are settings of PostgreSQL that the connections of a server's pool are to have:
// the plans of the lists count on them, whatever the defaults of the database are.
func SessionSettings() map[string]string {
	return map[string]string{
		"timezone": "UTC",
		// How a connection begins; see planning.
		"plan_cache_mode": string(planEither),
		// Estimates for conditions that hardly any row meets are far off; no list may read a
		// table from end to end because of that.
		"enable_seqscan": "off",
		// A list looks up at most a page of runs in a join. Memoize makes room for the whole
		// workspace's first, which takes ten times as long as the page.
		"enable_memoize": "off",
		// To start helpers for a page, or a compiler, takes a hundred times as long as the page.
		"max_parallel_workers_per_gather": "0",
		"jit":                             "off",
		// Of many writes in one statement one may meet a row that somebody holds. The others are done
		// apart from it then, in good time.
		"lock_timeout": "1s",
	}
}

// planning is which plan a statement is to have: a value of PostgreSQL's plan_cache_mode.
//
// Left to itself, PostgreSQL plans a page anew at each request, which takes as long as reading it:
// it guesses that a limit it does not know is a tenth of the table, and never finds that the plan
// for all values is as cheap as one for these. So a list says which it wants.
type planning string

const (
	planEither    planning = "auto"
	planForAll    planning = "force_generic_plan" // made once on each connection
	planForValues planning = "force_custom_plan"  // made at each request
)

type planningKey struct{}

// withPlanning is the context of statements that are to be planned so.
func withPlanning(ctx context.Context, p planning) context.Context {
	return context.WithValue(ctx, planningKey{}, p)
}

// plan makes the connection plan as the statement wants it. A statement without a wish is one of
// those that are planned alike either way.
func (l *loan) plan(ctx context.Context) error {
	wanted, given := ctx.Value(planningKey{}).(planning)
	if !given {
		return nil
	}
	session := l.conn.Conn().PgConn()
	if now, known := session.CustomData()["planning"].(planning); known && now == wanted {
		return nil
	}
	if err := session.Exec(ctx, "SET plan_cache_mode = "+string(wanted)).Close(); err != nil {
		return err
	}
	session.CustomData()["planning"] = wanted
	return nil
}

// database runs the statements of requests (a dbsqlc.DBTX). It bounds the wait for a connection
// and the run of a statement apart from each other, and lets a statement outlive the client that
// hung up: pgx closes the connection of a query that is cancelled, and a crowd of impatient
// clients would leave the pool without any.
type database struct {
	pool           *pgxpool.Pool
	acquireTimeout time.Duration
	queryTimeout   time.Duration
	turns          *turns        // nil for statements that do not queue
	used           *atomic.Int64 // counts the connections that have been used, each once; nil where nobody counts
	// admit decides on each connection whether a statement may run on it; nil admits all.
	admit func(ctx context.Context, l *loan) error
}

// loan is a connection out of the pool for one statement.
type loan struct {
	pool  *pgxpool.Pool
	conn  *pgxpool.Conn
	stop  context.CancelFunc
	turns *turns
}

// borrow lends a connection, with the context for the statement that runs on it.
func (d *database) borrow(ctx context.Context) (*loan, context.Context, error) {
	if err := d.turns.take(ctx); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errNoConnection, err)
	}
	waiting, stop := context.WithTimeout(ctx, d.acquireTimeout)
	defer stop()
	conn, err := d.pool.Acquire(waiting)
	if err != nil {
		d.turns.giveBack()
		return nil, nil, fmt.Errorf("%w: %w", errNoConnection, err)
	}
	d.meet(conn)
	running, stop := context.WithTimeout(context.WithoutCancel(ctx), d.queryTimeout)
	l := &loan{pool: d.pool, conn: conn, stop: stop, turns: d.turns}
	if d.admit != nil {
		err = d.admit(running, l)
	}
	if err == nil {
		err = l.plan(running)
	}
	if err != nil {
		defer l.giveBack()
		return nil, nil, l.explain(err)
	}
	return l, running, nil
}

// meet counts a connection that is used for the first time.
func (d *database) meet(conn *pgxpool.Conn) {
	const met = "met"
	if data := conn.Conn().PgConn().CustomData(); d.used != nil && data[met] == nil {
		data[met] = true
		d.used.Add(1)
	}
}

// endWith ends the statement when ctx ends.
func (l *loan) endWith(ctx context.Context) {
	stop := l.stop
	detach := context.AfterFunc(ctx, stop)
	l.stop = func() {
		detach()
		stop()
	}
}

// explain adds to a statement's error that its connection is gone, where it is. A connection to a
// server that has turned read-only is closed where the database's address says which of several
// servers is wanted, so that the next one is to that. All others go as well: that server may answer
// reads for long, and knows nothing of what is written to the next.
func (l *loan) explain(err error) error {
	if err != nil && l.conn != nil && isReadOnly(err) && l.conn.Conn().Config().ValidateConnect != nil {
		l.pool.Reset()
		closing, stop := context.WithTimeout(context.Background(), time.Second)
		defer stop()
		_ = l.conn.Conn().Close(closing)
	}
	if err != nil && l.conn != nil && l.conn.Conn().IsClosed() {
		return fmt.Errorf("%w: %w", errNoConnection, err)
	}
	return err
}

// giveBack returns the connection; a second call does nothing.
func (l *loan) giveBack() {
	if l.conn != nil {
		l.stop()
		l.conn.Release()
		l.conn = nil
		l.turns.giveBack()
	}
}

// Exec runs a statement that returns no rows.
func (d *database) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	loan, ctx, err := d.borrow(ctx)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	defer loan.giveBack()
	tag, err := loan.conn.Exec(ctx, sql, args...)
	return tag, loan.explain(err)
}

// Query runs a statement; closing its rows gives the connection back.
func (d *database) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	loan, ctx, err := d.borrow(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := loan.conn.Query(ctx, sql, args...)
	if err != nil {
		defer loan.giveBack()
		return nil, loan.explain(err)
	}
	return lentRows{Rows: rows, loan: loan}, nil
}

// QueryRow runs a statement; scanning its row gives the connection back.
func (d *database) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	loan, ctx, err := d.borrow(ctx)
	if err != nil {
		return failedRow{err}
	}
	return lentRow{Row: loan.conn.QueryRow(ctx, sql, args...), loan: loan}
}

// lentRows are rows on a connection that goes back when they are closed.
type lentRows struct {
	pgx.Rows
	loan *loan
}

// Close closes the rows and gives the connection back.
func (r lentRows) Close() {
	r.Rows.Close()
	r.loan.giveBack()
}

// Err is the error that ended the rows, if one did.
func (r lentRows) Err() error { return r.loan.explain(r.Rows.Err()) }

// lentRow is a row on a connection that goes back when it is scanned.
type lentRow struct {
	pgx.Row
	loan *loan
}

// Scan reads the row and gives the connection back.
func (r lentRow) Scan(dest ...any) error {
	defer r.loan.giveBack()
	return r.loan.explain(r.Row.Scan(dest...))
}

// failedRow is the row of a statement that could not be run.
type failedRow struct{ err error }

// Scan returns why.
func (r failedRow) Scan(...any) error { return r.err }
