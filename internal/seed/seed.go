// Package seed fills a database with operation runs and everything around them, as many as one
// likes, for demonstrations, benchmarks and tests of query plans. The data is skewed as life is, and
// the same options make the same data.
package seed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Options say how much data there is to be.
type Options struct {
	// Workspaces is how many workspaces there are, at least 1. From four on, the first owns 30 % of
	// the runs; from five on, the last is archived.
	Workspaces int
	// Runs is how many operation runs there are in all workspaces together. What hangs on
	// them (events, findings, inventory items) follows from it.
	Runs int
	// Seed chooses the data. On two databases without rows the same options make the same rows,
	// down to the ids.
	Seed uint64
	// Until is the instant that the data looks back from, over 18 months, rounded down to the hour.
	// Nothing but a schedule's next run is later. The zero value is the present.
	Until time.Time
}

func (o *Options) check() error {
	var faults []error
	if o.Workspaces < 1 {
		faults = append(faults, fmt.Errorf("%d workspaces: there must be at least one", o.Workspaces))
	}
	if o.Runs < 0 {
		faults = append(faults, fmt.Errorf("%d runs: there cannot be fewer than none", o.Runs))
	}
	if o.Until.IsZero() {
		o.Until = time.Now()
	}
	o.Until = o.Until.UTC().Truncate(time.Hour)
	return errors.Join(faults...)
}

// Summary counts the rows that were written, and names where they are.
type Summary struct {
	WorkspaceIDs   []int64 // of the workspaces, the one with the most runs first
	Workspaces     int
	Users          int
	Tenants        int
	Schedules      int
	Runs           int
	Events         int
	Findings       int
	InventoryItems int
}

// String says the counts in a sentence.
func (s Summary) String() string {
	return fmt.Sprintf("%d workspaces with %d users, %d tenants, %d backup schedules, %d runs, %d events, %d findings and %d inventory items",
		s.Workspaces, s.Users, s.Tenants, s.Schedules, s.Runs, s.Events, s.Findings, s.InventoryItems)
}

func (s Summary) rows() int {
	return s.Workspaces + 2*s.Users + s.Tenants + s.Schedules + s.Runs + s.Events + s.Findings + s.InventoryItems
}

// Run writes the data that o describes into the database behind conn, which must have the current
// schema, beside whatever it already holds. All of it is written in one transaction, so that a
// failure or the end of ctx leaves nothing behind; conn may be closed then. Run leaves the tables
// vacuumed and analyzed, outside of that transaction.
//
// Into a table without runs many runs are copied faster by dropping its secondary indexes and
// building them again in the same transaction, which keeps everybody else out of the table.
//
// Progress, if not nil, is called from time to time with how much of the work is done; total is
// always the same.
func Run(ctx context.Context, conn *pgx.Conn, o Options, progress func(done, total int)) (Summary, error) {
	if err := o.check(); err != nil {
		return Summary{}, fmt.Errorf("seed: %w", err)
	}
	w, err := newWorld(o)
	if err != nil {
		return Summary{}, fmt.Errorf("seed: %w", err)
	}
	var summary Summary
	err = transact(ctx, conn, func(tx pgx.Tx) error {
		var err error
		summary, err = load(ctx, tx, w, progress)
		return err
	})
	if err != nil {
		return Summary{}, fmt.Errorf("seed: %w", err)
	}
	if err := vacuum(ctx, conn); err != nil {
		return summary, fmt.Errorf("seed: the data is written, but: %w", err)
	}
	return summary, nil
}

// transact commits what f does, or nothing of it. If ctx is done, the error says so: what comes from
// the connection may be no more than that it was closed.
func transact(ctx context.Context, conn *pgx.Conn, f func(pgx.Tx) error) (err error) {
	defer func() {
		if err != nil && ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
			err = fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}()
	tx, err := conn.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	// After a commit this does nothing; after a failure there is nothing to add to it.
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if err := f(tx); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// vacuum brings the planner's statistics and the visibility maps up to date. Without them the first
// queries would be planned badly, and none would be answered from an index alone.
func vacuum(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `VACUUM (ANALYZE) workspaces, users, workspace_memberships, tenants,
		backup_schedules, operation_runs, operation_run_events, findings, inventory_items`)
	if err != nil {
		return fmt.Errorf("vacuum: %w", err)
	}
	return nil
}
