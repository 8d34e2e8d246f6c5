package server

import (
	"fmt"
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
		want string
	}{
		{&room{left: 2500}, "[false false true true true]"},
		{&room{left: 0}, "[true true true true true]"},
		{nil, "[false false false false false]"},
	} {
		runs, err := dbsqlc.New().ListRunsByID(t.Context(), c.room.sparing(pool), dbsqlc.ListRunsByIDParams{WorkspaceID: w.ID, Ids: ids})
		if err != nil {
			t.Fatal(err)
		}
		var spared []bool
		for i := range runs {
			spared = append(spared, isSpared(&runs[i]))
			kept := len(runs[i].Context) + len(runs[i].FailureSummary) + len(runs[i].SummaryCounts)
			if isSpared(&runs[i]) != (kept == 0) || runs[i].ID == 0 {
				t.Errorf("run %d has %d bytes of JSON, spared: %t", runs[i].ID, kept, isSpared(&runs[i]))
			}
		}
		if got := fmt.Sprint(spared); got != c.want {
			t.Errorf("with room %+v the runs that were spared are %s, want %s", c.room, got, c.want)
		}
	}
}
