package feed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/runledger/runledger/internal/dbsqlc"
)

// Position is a place in the order of a workspace's changes: that of the change that was read
// last. The zero Position stands before all changes.
type Position struct {
	Transaction int64 // the transaction that wrote the change, as PostgreSQL's xid8 counts them
	ID          int64 // the change's id
}

// Compare is negative if p stands before q, positive if behind it, and 0 if they are the same.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Transaction, q.Transaction), cmp.Compare(p.ID, q.ID))
}

// positionOf is the position of a change.
func positionOf(change *dbsqlc.ListChangesRow) Position {
	return Position{Transaction: change.Transaction, ID: change.ID}
}

// ErrGone says that a position is not in the history that the database has: the database was set
// back to an earlier state. Nobody can tell what its holder has missed.
var ErrGone = errors.New("the position is not in the history of the workspace")

// adoptedAtOnce is how many changes one statement adopts.
const adoptedAtOnce = 5000

// Page is what one reading of a workspace's changes gives.
type Page struct {
	Changes []dbsqlc.ListChangesRow
	Next    Position // behind which the next page begins
	More    bool     // whether it may have some already
}

// Read reads up to limit settled changes behind a position that a reader has.
//
// If the data was restored into another cluster, where transactions count from the start again,
// the restored changes are adopted first, and a position from before goes on behind the same
// change. The error is ErrGone or one of the database.
func Read(ctx context.Context, db dbsqlc.DBTX, workspaceID int64, after Position, limit int32) (Page, error) {
	place, err := settle(ctx, db, workspaceID, after)
	if err != nil {
		return Page{}, err
	}
	at, err := place.now(after)
	if err != nil {
		return Page{}, err
	}
	changes, more, err := list(ctx, db, workspaceID, at, place.Horizon, limit)
	if err != nil {
		return Page{}, err
	}
	if len(changes) > 0 {
		at = positionOf(&changes[len(changes)-1])
	}
	return Page{Changes: changes, Next: at, More: more}, nil
}

// Last is the position of the workspace's last settled change.
func Last(ctx context.Context, db dbsqlc.DBTX, workspaceID int64) (Position, error) {
	place, err := settle(ctx, db, workspaceID, Position{})
	if err != nil {
		return Position{}, err
	}
	return place.last(), nil
}

// list lists the changes behind a position, of transactions below the horizon: as many as the limit, or as fit
// into a page. more tells that others may follow.
func list(ctx context.Context, db dbsqlc.DBTX, workspaceID int64, after Position, horizon int64, limit int32) (changes []dbsqlc.ListChangesRow, more bool, err error) {
	changes, err = dbsqlc.New().ListChanges(ctx, db, dbsqlc.ListChangesParams{
		WorkspaceID: workspaceID, PositionTransaction: after.Transaction, PositionID: after.ID,
		Horizon: horizon, PageSize: limit,
	})
	if err != nil {
		return nil, false, fmt.Errorf("list changes: %w", err)
	}
	more = len(changes) == int(limit)
	if fit := slices.IndexFunc(changes, func(row dbsqlc.ListChangesRow) bool { return !row.Fits }); fit >= 0 {
		return changes[:fit], true, nil
	}
	return changes, more, nil
}

// place is what the database says of a position.
type place dbsqlc.GetFeedPlaceRow

// now is where the change at a position is now.
func (p place) now(at Position) (Position, error) {
	switch {
	case p.IsThere, at == Position{}:
		return at, nil
	case p.IsAdopted:
		return Position{ID: at.ID}, nil
	case p.IsAhead:
		return Position{}, ErrGone
	default: // the change was deleted with its run
		return at, nil
	}
}

func (p place) last() Position {
	return Position{Transaction: p.LastTransaction, ID: p.LastID}
}

// settle adopts what changes of another cluster there are, and finds the place of a position.
func settle(ctx context.Context, db dbsqlc.DBTX, workspaceID int64, at Position) (place, error) {
	queries := dbsqlc.New()
	for {
		found, err := queries.GetFeedPlace(ctx, db, dbsqlc.GetFeedPlaceParams{
			WorkspaceID: workspaceID, PositionTransaction: at.Transaction, PositionID: at.ID,
		})
		if err != nil {
			return place{}, fmt.Errorf("place a position: %w", err)
		}
		if found.LastForeignID == 0 {
			return place(found), nil
		}
		for adopted := int64(adoptedAtOnce); adopted == adoptedAtOnce; {
			adopted, err = queries.AdoptChanges(ctx, db, dbsqlc.AdoptChangesParams{
				WorkspaceID: workspaceID, LastForeignID: found.LastForeignID, PageSize: adoptedAtOnce,
			})
			if err != nil {
				return place{}, fmt.Errorf("adopt the changes of another cluster: %w", err)
			}
		}
	}
}
