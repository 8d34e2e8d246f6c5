package sweep

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/ledger"
)

// recallsSince is how long ago a run may have been recalled for a start or a report that was under way
// to commit only now: longer than any statement of a server takes, and its clock is off.
const recallsSince = 15 * time.Minute

// reconcileRecalls marks and unmarks what the statements that were under way at a recall left as it was.
func (s *Sweeper) reconcileRecalls(ctx context.Context, db dbsqlc.DBTX) error {
	since := pgtype.Timestamptz{Time: time.Now().Add(-recallsSince), Valid: true}
	workspaces, err := s.queries.ListWorkspacesWithRecalls(ctx, db, since)
	if err != nil {
		return fmt.Errorf("look for recalled runs: %w", err)
	}
	var failures []error
	for _, id := range workspaces {
		if _, err := s.queries.ReconcileRecalls(ctx, db, dbsqlc.ReconcileRecallsParams{
			WorkspaceID: id, Since: since, Actor: ledger.Service,
		}); err != nil { // a fault in one workspace is none of the others'
			failures = append(failures, fmt.Errorf("the recalled runs of workspace %d: %w", id, err))
		}
	}
	return errors.Join(failures...)
}
