package sweep

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/runledger/runledger/internal/dbsqlc"
)

// Every run has as many events of a kind as the query says; these are the runs that have not.
const (
	withoutOneMark = `SELECT count(*) FROM operation_runs AS r WHERE workspace_id = $1 AND 1 <> (
		SELECT count(*) FROM operation_run_events AS e WHERE e.workspace_id = r.workspace_id AND e.run_id = r.id AND e.kind = 'stalled')`
	withoutOneEnd = `SELECT count(*) FROM operation_runs AS r WHERE workspace_id = $1 AND (status, outcome, 1) <> ('completed', 'failed', (
		SELECT count(*) FROM operation_run_events AS e WHERE e.workspace_id = r.workspace_id AND e.run_id = r.id AND e.kind = 'completed'))`
	// A mark without its event, or an event without its mark; an end likewise.
	tornChanges = `SELECT count(*) FROM operation_runs AS r WHERE workspace_id = $1 AND (stalled_at IS NOT NULL, status = 'completed') <> (
		EXISTS (SELECT FROM operation_run_events AS e WHERE e.workspace_id = r.workspace_id AND e.run_id = r.id AND e.kind = 'stalled'),
		EXISTS (SELECT FROM operation_run_events AS e WHERE e.workspace_id = r.workspace_id AND e.run_id = r.id AND e.kind = 'completed'))`
)

func TestSweepersAtOnceMarkAndFailEachRunOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const runs, sweepers = 1500, 4
	w.silentRuns(t, runs, false)
	sweepAll := func() (all swept) {
		var group errgroup.Group
		var mu sync.Mutex
		for range sweepers {
			s, _ := w.sweeper(t)
			group.Go(func() error {
				for range 3 { // what another has locked is left for the next time
					found, err := s.sweep(t.Context(), w.pool)
					if err != nil {
						return err
					}
					mu.Lock()
					all.NoHeartbeat += found.NoHeartbeat
					all.Failed += found.Failed
					mu.Unlock()
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		return all
	}
	if got, want := sweepAll(), (swept{NoHeartbeat: runs}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	w.age(t, "16 minutes")
	if got, want := sweepAll(), (swept{Failed: runs}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	for name, query := range map[string]string{"one mark": withoutOneMark, "one end": withoutOneEnd} {
		if n := one[int64](t, w, query, w.workspace); n > 0 {
			t.Errorf("%d runs without exactly %s", n, name)
		}
	}
}

// report sends one report for each of ids; it returns for how many it was accepted.
func (w *world) report(ctx context.Context, status, outcome string, ids []int64) (int, error) {
	n := len(ids)
	texts := func(v string) []string {
		all := make([]string, n)
		for i := range all {
			all[i] = v
		}
		return all
	}
	runs, err := dbsqlc.New().ReportRuns(ctx, w.pool, dbsqlc.ReportRunsParams{
		WorkspaceID: w.workspace, Ids: ids, Statuses: texts(status), Outcomes: texts(outcome), SummaryCounts: texts(""),
		FailureSummaries: texts(""), ContextPatches: texts(""), Ats: make([]pgtype.Timestamptz, n), Revisions: make([]int64, n),
		ContextLimit: 65536, Actor: "worker",
	})
	return len(runs), err
}

func TestAReportWinsOverTheVerdictWhicheverIsFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const runs, each = 1000, 7
	ids := w.silentRuns(t, runs, true)
	s, _ := w.sweeper(t)
	var group errgroup.Group
	begin := make(chan struct{})
	group.Go(func() error {
		<-begin
		for range 5 {
			if _, err := s.sweep(t.Context(), w.pool); err != nil {
				return err
			}
		}
		return nil
	})
	group.Go(func() error {
		<-begin
		for len(ids) > 0 {
			n := min(each, len(ids))
			accepted, err := w.report(t.Context(), "completed", "succeeded", ids[len(ids)-n:]) // towards the sweeper
			if err != nil {
				return err
			}
			if accepted != n {
				return errors.New("a report was refused")
			}
			ids = ids[:len(ids)-n]
		}
		return nil
	})
	close(begin)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := one[int64](t, w, `SELECT count(*) FROM operation_runs WHERE workspace_id = $1
		AND (outcome <> 'succeeded' OR stalled_at IS NOT NULL OR failure_summary <> '[]')`, w.workspace); n > 0 {
		t.Errorf("%d runs are not as their worker reported", n)
	}
	if n := one[int64](t, w, `SELECT count(*) FROM operation_run_events AS verdict JOIN operation_run_events AS report
		ON report.workspace_id = verdict.workspace_id AND report.run_id = verdict.run_id AND report.id < verdict.id
		WHERE verdict.workspace_id = $1 AND verdict.actor = 'runledger' AND report.actor = 'worker'`, w.workspace); n > 0 {
		t.Errorf("%d verdicts were passed after the report", n)
	}
	verdicts := one[int64](t, w, "SELECT count(*) FROM operation_run_events WHERE workspace_id = $1 AND actor = 'runledger'", w.workspace)
	t.Logf("%d of %d runs were failed before their report came", verdicts, runs)
}

func TestARunWhoseHeartbeatIsOnItsWayIsLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.silentRuns(t, 1, true)[0]
	tx, err := w.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := dbsqlc.New().HeartbeatRun(t.Context(), tx, dbsqlc.HeartbeatRunParams{WorkspaceID: w.workspace, ID: id, Actor: "worker"}); err != nil {
		t.Fatal(err)
	}
	w.config.RuntimeParams["lock_timeout"] = "10s" // a sweep that waits for the heartbeat fails
	s, _ := w.sweeper(t)
	defer s.disconnect(t.Context())
	if err := s.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := s.sweep(t.Context(), s.conn); err != nil || got != (swept{}) {
		t.Errorf("%+v, %v", got, err)
	}
}

// Each heartbeat races the verdict: one of the two comes first, and the other has no effect.
func TestAHeartbeatIsEitherRefusedOrKeepsItsRunAlive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.silentRuns(t, 600, true)
	s, _ := w.sweeper(t)
	heard := map[int64]bool{}
	var group errgroup.Group
	group.Go(func() error {
		_, err := s.sweep(t.Context(), w.pool)
		return err
	})
	group.Go(func() error {
		for _, id := range ids {
			_, err := dbsqlc.New().HeartbeatRun(t.Context(), w.pool, dbsqlc.HeartbeatRunParams{WorkspaceID: w.workspace, ID: id, Actor: "worker"})
			if err != nil && !errors.Is(err, pgx.ErrNoRows) {
				return err
			}
			heard[id] = err == nil
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if got := w.state(t, id); (got.Status == "running") != heard[id] {
			t.Errorf("run %d: the heartbeat was accepted: %t; it is %s", id, heard[id], got.Status)
		}
	}
}

// cut ends the connection of a server that is changing runs, if one is at it.
const cut = `SELECT coalesce(bool_or(pg_terminate_backend(pid)), false) FROM pg_stat_activity
	WHERE datname = current_database() AND state = 'active' AND query LIKE '-- name: SweepRuns%'`

func TestAServerThatIsCutOffLeavesNoChangeWithoutItsEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.silentRuns(t, 2000, false)
	s, _ := w.sweeper(t)
	stop := w.start(t, s)
	cuts := 0
	for marked := int64(0); marked < 2000; {
		marked = one[int64](t, w, "SELECT count(*) FROM operation_runs WHERE workspace_id = $1 AND stalled_at IS NOT NULL", w.workspace)
		if cuts < 25 && one[bool](t, w, cut) {
			cuts++
		}
		if n := one[int64](t, w, tornChanges, w.workspace); n > 0 {
			t.Fatalf("%d runs have a change without its event, or an event without its change", n)
		}
	}
	stop()
	if cuts == 0 {
		t.Error("no connection was cut")
	}
	t.Logf("%d connections were cut", cuts)
	if n := one[int64](t, w, withoutOneMark, w.workspace); n > 0 {
		t.Errorf("%d runs without exactly one mark", n)
	}
}

func TestOneServerSweepsUntilItGoesAndThenAnotherDoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	registries := map[*Sweeper]*prometheus.Registry{}
	stops := map[*Sweeper]func(){}
	for range 2 {
		s, registry := w.sweeper(t)
		registries[s], stops[s] = registry, w.start(t, s)
	}
	w.silentRuns(t, 1, false)
	w.until(t, "EXISTS (SELECT FROM operation_runs WHERE stalled_at IS NOT NULL)")
	// A server that has swept tells when; within ten sweeps of one, the other has had its turns.
	var first *Sweeper
	sweeps := map[float64]bool{}
	for len(sweeps) < 10 {
		for s, registry := range registries {
			at, found := gather(t, registry)["runledger_sweep_last_timestamp_seconds"][""]
			if !found {
				continue
			}
			if first != nil && first != s {
				t.Fatal("both servers sweep")
			}
			first = s
			sweeps[at] = true
		}
	}
	stops[first]()
	delete(registries, first)
	w.silentRuns(t, 1, false)
	w.until(t, "NOT EXISTS (SELECT FROM operation_runs WHERE stalled_at IS NULL)")
	// Its turns do all that there is to do.
	bad := w.run(t, "type, status, outcome, completed_at, recalled, recalled_at", "'inventory_sync', 'completed', 'succeeded', now(), true, now()")
	w.run(t, "type, context", fmt.Sprintf("'inventory_sync', jsonb_build_object('operation_run_id', %d)", bad))
	w.until(t, "EXISTS (SELECT FROM operation_runs WHERE recalled AND status = 'queued')")
}

func TestSweepingGoesOnWhenTheDatabaseComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, registry := w.sweeper(t)
	reachable := s.options.Config
	away := reachable.Copy()
	away.Port = 1
	s.options.Config = away
	if err := s.turn(t.Context()); err == nil {
		t.Fatal("there is no database, and nothing failed")
	}
	s.options.Config = reachable
	w.silentRuns(t, 1, false)
	w.start(t, s)
	w.until(t, "EXISTS (SELECT FROM operation_runs WHERE stalled_at IS NOT NULL)")
	if got := gather(t, registry)["runledger_sweep_errors_total"][""]; got != 0 {
		t.Errorf("%v errors counted; turn counts none itself", got)
	}
}

func TestJitterStaysWithinATenth(t *testing.T) {
	t.Parallel()
	for range 1000 {
		if d := jitter(time.Second); d < 900*time.Millisecond || d >= 1100*time.Millisecond {
			t.Fatalf("%s", d)
		}
	}
}
