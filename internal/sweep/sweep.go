// Package sweep finds the runs whose workers are gone.
//
// A running run that has sent no heartbeat for longer than its type's stale_after is marked
// no_heartbeat, and if it stays silent as long again, it is completed as failed with the code
// run_stalled. A run that sends heartbeats while its counts do not move is marked no_progress and
// never failed for it. Queued runs are nobody's yet and are left alone.
//
// It marks what rests on runs that were just recalled and was under way when they were (see recalls.go).
//
// It also looks after the backup schedules, once a minute: it notes edits that were made past the
// service, and tells of slots that were missed (see the packages agenda and schedule).
//
// One server sweeps at a time, by an advisory lock that saves work and nothing more: each change is
// one guarded statement with its event, and any number of sweepers may run them at once.
package sweep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/db"
	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/ledger"
)

const (
	// message is the failure of a run that was given up, beside ledger.CodeRunStalled.
	message = "The run was silent until it was taken for dead. A report from its worker overrules this."
	// batchSize is how many runs a statement changes at most, so that none holds its locks for long.
	batchSize = 200
	// longestTurn keeps a connection that has died without a word from ending all sweeps.
	longestTurn = 5 * time.Minute
	// farewell is how long a connection may take to close.
	farewell = 2 * time.Second
)

// Options is what a Sweeper needs. All are required.
type Options struct {
	Config   *pgx.ConnConfig       // how to reach the database; the Sweeper has one connection of its own
	Interval time.Duration         // from the end of a sweep to the next; a tenth more or less at random
	Log      *slog.Logger          // what was found, and why a sweep failed
	Registry prometheus.Registerer // where the metrics are registered

	ByWorkspace bool // a series of schedules for each workspace, not one for all of them
}

// Sweeper sweeps again and again. Make one with New.
type Sweeper struct {
	options Options
	queries *dbsqlc.Queries
	metrics *metrics
	conn    *pgx.Conn // nil while there is none
	leads   bool      // conn holds the lock
	watched time.Time // when the backup schedules were last looked after
}

// New makes a Sweeper and registers its metrics. It does not touch the database. It fails if the
// registry has such metrics already.
func New(o Options) (*Sweeper, error) {
	m := newMetrics(&o)
	if err := o.Registry.Register(m); err != nil {
		return nil, fmt.Errorf("register the metrics of the sweep: %w", err)
	}
	return &Sweeper{options: o, queries: dbsqlc.New(), metrics: m}, nil
}

// Run sweeps until ctx ends. A sweep that fails is logged, counted and tried again after the interval,
// on a new connection if the database is away.
func (s *Sweeper) Run(ctx context.Context) {
	defer s.disconnect(ctx)
	timer := time.NewTimer(jitter(s.options.Interval))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if err := s.turn(ctx); err != nil && ctx.Err() == nil {
			s.metrics.errors.Inc()
			s.options.Log.LogAttrs(ctx, slog.LevelWarn, "the sweep for stalled runs failed", slog.Any("error", err))
			if !s.canWrite(ctx) {
				s.disconnect(ctx)
			}
		}
		timer.Reset(jitter(s.options.Interval))
	}
}

// jitter spreads servers that were started together.
func jitter(d time.Duration) time.Duration {
	tenth := max(d/10, 1)
	return d - tenth + rand.N(2*tenth) //nolint:gosec // nobody gains from guessing it
}

// turn sweeps if this server is the one to do it, or becomes it.
func (s *Sweeper) turn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, longestTurn)
	defer cancel()
	if err := s.connect(ctx); err != nil {
		return err
	}
	if !s.leads {
		if err := s.conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", db.SweepLock).Scan(&s.leads); err != nil {
			return fmt.Errorf("ask for the lock: %w", err)
		}
		if !s.leads {
			return nil
		}
		s.options.Log.LogAttrs(ctx, slog.LevelInfo, "this server sweeps for stalled runs")
	}
	found, err := s.sweep(ctx, s.conn)
	if total := found.NoHeartbeat + found.NoProgress + found.Failed; total > 0 {
		s.options.Log.LogAttrs(ctx, slog.LevelInfo, "found stalled runs", slog.Int("no_heartbeat", found.NoHeartbeat),
			slog.Int("no_progress", found.NoProgress), slog.Int("failed", found.Failed))
	}
	err = errors.Join(err, s.reconcileRecalls(ctx, s.conn))
	if now := time.Now(); now.Sub(s.watched) >= watchEvery {
		s.watched = now
		err = errors.Join(err, s.watchSchedules(ctx, s.conn, now))
	}
	return err
}

func (s *Sweeper) connect(ctx context.Context) error {
	if s.conn != nil && !s.conn.IsClosed() {
		return nil
	}
	s.disconnect(ctx)
	conn, err := pgx.ConnectConfig(ctx, s.options.Config.Copy())
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	s.conn = conn
	return nil
}

// canWrite tells whether the connection is there and leads to a primary, so that what failed was a fault
// in some workspace.
func (s *Sweeper) canWrite(ctx context.Context) bool {
	if s.conn == nil || s.conn.IsClosed() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	var readOnly bool
	err := s.conn.QueryRow(ctx, "SELECT current_setting('transaction_read_only')::boolean").Scan(&readOnly)
	return err == nil && !readOnly
}

// disconnect gives the lock to whoever wants it next. What this server knew of the runs is void.
func (s *Sweeper) disconnect(ctx context.Context) {
	s.leads = false
	s.watched = time.Time{}
	s.metrics.survey.Store(nil)
	s.metrics.schedules.Store(nil)
	if s.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	_ = s.conn.Close(ctx) // the server ends the session either way
	s.conn = nil
}

// swept is what a sweep has changed, in runs.
type swept struct {
	NoHeartbeat int // marked: silent for longer than stale_after
	NoProgress  int // marked: alive, and its counts have not moved for longer than stale_after
	Failed      int // completed as failed: silent as long again after the mark
}

// sweep goes through all workspaces once, and then looks at what is left.
func (s *Sweeper) sweep(ctx context.Context, db dbsqlc.DBTX) (swept, error) {
	var total swept
	workspaces, err := s.queries.SurveyActiveRuns(ctx, db)
	if err != nil {
		return total, fmt.Errorf("look for active runs: %w", err)
	}
	var failures []error
	for _, w := range workspaces {
		if w.Running == 0 {
			continue
		}
		found, err := s.sweepWorkspace(ctx, db, w.WorkspaceID)
		total.NoHeartbeat += found.NoHeartbeat
		total.NoProgress += found.NoProgress
		total.Failed += found.Failed
		if err != nil { // a fault in one workspace is none of the others'
			failures = append(failures, fmt.Errorf("workspace %d: %w", w.WorkspaceID, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	completed := s.metrics.lastCompleted()
	if len(failures) == 0 {
		completed = time.Now()
	}
	if left, err := s.queries.SurveyActiveRuns(ctx, db); err == nil {
		s.metrics.observe(left, completed)
	} else {
		failures = append(failures, fmt.Errorf("look for active runs: %w", err))
	}
	return total, errors.Join(failures...)
}

// sweepWorkspace changes every run of a workspace that is due, a batch at a time.
func (s *Sweeper) sweepWorkspace(ctx context.Context, db dbsqlc.DBTX, workspaceID int64) (swept, error) {
	var total swept
	for {
		runs, err := s.queries.SweepRuns(ctx, db, dbsqlc.SweepRunsParams{
			WorkspaceID: workspaceID, BatchSize: batchSize, Message: message, Actor: ledger.Service,
		})
		if err != nil {
			return total, err
		}
		for _, run := range runs {
			s.metrics.swept.WithLabelValues(run.Finding).Inc()
			switch run.Finding {
			case string(ledger.StalledNoHeartbeat):
				total.NoHeartbeat++
			case string(ledger.StalledNoProgress):
				total.NoProgress++
			default: // ledger.CodeRunStalled
				total.Failed++
			}
		}
		if len(runs) < batchSize {
			return total, nil
		}
	}
}
