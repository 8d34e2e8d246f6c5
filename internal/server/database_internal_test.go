package server

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/dbtest"
)

// TestAStatementThatTheTimeRunsOutOnIsAnsweredBy503 holds that also of where its deadline finds it between two
// messages, so that the connection has nothing to end and stays.
func TestAStatementThatTheTimeRunsOutOnIsAnsweredBy503(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	w := dbtest.NewWorkspace(t, pool)
	db := &database{
		pool: pool, acquireTimeout: time.Minute, queryTimeout: time.Millisecond,
		admit: func(ctx context.Context, _ *loan) error {
			<-ctx.Done()
			return nil
		},
	}
	for name, ctx := range map[string]context.Context{
		"before it is planned": withPlanning(t.Context(), planForAll), "before it is asked": t.Context(),
	} {
		_, err := dbsqlc.New().ListTenants(ctx, db, dbsqlc.ListTenantsParams{WorkspaceID: w.ID, PageSize: 1})
		if got := answerFor(err).status; got != http.StatusServiceUnavailable {
			t.Errorf("%s: %v is answered by %d", name, err, got)
		}
	}
}
