package server

import (
	"strings"
	"testing"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/dbtest"
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
