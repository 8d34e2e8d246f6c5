package faults

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runledger/runledger/db"
	"github.com/runledger/runledger/internal/dbtest"
)

// selectThenInsert starts runs as it must not be done: it looks for an active run first and makes
// one if it saw none. meet is called in between.
type selectThenInsert struct {
	pool        *pgxpool.Pool
	workspaceID int64
	meet        func()
}

func (s *selectThenInsert) ask(in request) (reply, bool) {
	ctx := context.Background()
	var id int64
	err := s.pool.QueryRow(ctx, `SELECT coalesce(min(id), 0) FROM operation_runs
		WHERE workspace_id = $1 AND run_identity_hash = $2 AND status IN ('queued', 'running')`, s.workspaceID, in.identity).Scan(&id)
	if err != nil {
		return reply{verdict: unknown}, true
	}
	if id != 0 {
		return reply{verdict: found, id: id}, true
	}
	s.meet()
	err = s.pool.QueryRow(ctx, `INSERT INTO operation_runs (workspace_id, type, run_identity_hash)
		VALUES ($1, 'inventory_sync', $2) RETURNING id`, s.workspaceID, in.identity).Scan(&id)
	if err != nil {
		return reply{verdict: unknown}, true
	}
	return reply{verdict: created, id: id}, true
}

func TestTheCheckerNoticesASelectBeforeAnInsert(t *testing.T) {
	t.Parallel()
	postgres := newPostgres(t, nil)
	if _, err := db.Up(t.Context(), postgres.URL("postgres")); err != nil {
		t.Fatal(err)
	}
	pool := dbtest.Connect(t, postgres.URL("postgres"))
	workspace := dbtest.NewWorkspace(t, pool)
	if _, err := pool.Exec(t.Context(), "DROP INDEX operation_runs_active_identity_idx"); err != nil {
		t.Fatal(err)
	}
	for _, overlapping := range []bool{false, true} {
		planted := &selectThenInsert{pool: pool, workspaceID: workspace.ID, meet: func() {}}
		h := newHistory()
		in := request{identity: fmt.Sprint(overlapping), kind: "start"}
		if overlapping { // both have looked before either makes one
			var looked sync.WaitGroup
			looked.Add(2)
			planted.meet = func() {
				looked.Done()
				looked.Wait()
			}
		}
		var asking sync.WaitGroup
		for number := range 2 {
			asking.Go(func() { h.record(number, in, planted.ask) })
			if !overlapping {
				asking.Wait()
			}
		}
		asking.Wait()
		if got := h.check(t); got == overlapping {
			h.explain(t)
			t.Errorf("overlapping %t: linearizable is %t", overlapping, got)
		}
	}
}

func TestTheCheckerNoticesACommitThatDidNotWaitForTheLog(t *testing.T) {
	t.Parallel()
	for _, setting := range []string{"on", "off"} {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, map[string]string{"synchronous_commit": setting, "wal_writer_delay": "10s"})
			client, h := newClient(t, s), newHistory()
			for _, again := range []bool{false, true} {
				for n := range 10 {
					if out := h.record(0, request{identity: fmt.Sprint(n), kind: "start"}, client.ask); out.verdict == unknown {
						t.Fatal("a start has no answer")
					}
				}
				if !again {
					s.postgres.Kill()
					if err := s.postgres.Restart(t.Context()); err != nil {
						t.Fatal(err)
					}
					s.kill() // with its connections, so that the next answer is one
					s.launch(t)
					s.awaitReady(t)
				}
			}
			if got, want := h.check(t), setting == "on"; got != want {
				h.explain(t)
				t.Errorf("linearizable is %t", got)
			}
		})
	}
}
