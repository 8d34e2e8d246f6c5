package server

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/workspace"
)

func TestRunsThatABatchHasNoRoomForAreNotKept(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	w := dbtest.NewWorkspace(t, pool)
	var ids []int64
	for range 5 {
		var id int64
		if err := pool.QueryRow(t.Context(), `INSERT INTO operation_runs (workspace_id, type, context)
			VALUES ($1, 'inventory_sync', jsonb_build_object('note', $2::text)) RETURNING id`, w.ID, strings.Repeat("x", 1000)).Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	for _, c := range []struct {
		room *room
		kept int // runs
	}{
		{&room{left: 2500}, 2}, {&room{left: 0}, 0}, {nil, 5},
	} {
		runs, err := dbsqlc.New().ListRunsByID(t.Context(), c.room.sparing(pool), dbsqlc.ListRunsByIDParams{WorkspaceID: w.ID, Ids: ids})
		if err != nil {
			t.Fatal(err)
		}
		kept := 0
		for i := range runs {
			size := len(runs[i].Context) + len(runs[i].FailureSummary) + len(runs[i].SummaryCounts)
			if isSpared(&runs[i]) != (size == 0) || runs[i].ID == 0 {
				t.Errorf("run %d has %d bytes of JSON, spared: %t", runs[i].ID, size, isSpared(&runs[i]))
			}
			if size > 0 {
				kept++
			}
		}
		if len(runs) != len(ids) || kept != c.kept {
			t.Errorf("with room %+v %d of %d runs are kept, want %d of %d", c.room, kept, len(runs), c.kept, len(ids))
		}
	}
}

// TestRoomIsThatOfAllAttempts holds that the halves of a statement that failed have no room each.
func TestRoomIsThatOfAllAttempts(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	w := dbtest.NewWorkspace(t, pool)
	s := &Server{db: &database{pool: pool, acquireTimeout: time.Minute, queryTimeout: time.Minute}, queries: dbsqlc.New()}
	answers, err := workspace.Resolve(t.Context(), pool, workspace.Question{Subject: w.Operator.Subject, WorkspaceID: w.ID})
	if err != nil {
		t.Fatal(err)
	}
	ws, err := answers[0].Scope()
	if err != nil {
		t.Fatal(err)
	}
	// Each run was given up by the sweeper, and another one of its identity is active by now, so that no two
	// reports can be done at once and each is refused alone.
	var reports []report
	for range 8 {
		var id int64
		if err := pool.QueryRow(t.Context(), `INSERT INTO operation_runs (workspace_id, type, status, outcome, stalled, stalled_at, started_at, completed_at, context)
			VALUES ($1, 'inventory_sync', 'completed', 'failed', 'no_heartbeat', current_timestamp, '2026-01-01Z', now(), jsonb_build_object('note', $2::text)) RETURNING id`,
			w.ID, strings.Repeat("x", 1000)).Scan(&id); err != nil {
			t.Fatal(err)
		}
		if _, err := pool.Exec(t.Context(), `INSERT INTO operation_runs (workspace_id, type, run_identity_hash)
			SELECT workspace_id, type, run_identity_hash FROM operation_runs WHERE workspace_id = $1 AND id = $2`, w.ID, id); err != nil {
			t.Fatal(err)
		}
		reports = append(reports, report{id: id, status: ledger.StatusRunning})
	}
	kept := 0
	for i, result := range s.reportMany(t.Context(), (&room{left: 2500}).sparing(s.db), ws, reports) {
		conflict, ok := errors.AsType[*apiError](result.err)
		if !ok || conflict.run == nil {
			t.Fatalf("report %d: %+v", i, result)
		}
		if !isSpared(conflict.run) {
			kept++
		}
	}
	if kept != 2 {
		t.Errorf("%d runs are kept in room for 2", kept)
	}
}
