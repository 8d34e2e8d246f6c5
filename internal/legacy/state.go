package legacy

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// State says how far the removal has come in a database.
type State string

// The states of a database, in the order in which the removal goes through them.
const (
	// Empty has no tables at all.
	Empty State = "empty"
	// Foreign has tables, but neither the legacy stores nor the canonical schema.
	Foreign State = "foreign"
	// Uncontracted has the three legacy stores and nothing of the removal's.
	Uncontracted State = "legacy"
	// Expanding was left in the middle of Expand.
	Expanding State = "expanding"
	// Expanded has the canonical columns and the triggers that keep them right.
	Expanded State = "expanded"
	// Backfilled has every row's canonical columns filled.
	Backfilled State = "backfilled"
	// Undoing was left in the middle of Undo, which alone can go on from there.
	Undoing State = "undoing"
	// Contracted serves; the legacy stores stand in the archive.
	Contracted State = "contracted"
	// Canonical has the canonical schema and nothing legacy: it was never there, or was purged.
	Canonical State = "canonical"
)

// Next is the step that a database in this state waits for, empty if it waits for none.
func (s State) Next() string {
	switch s {
	case Uncontracted:
		return "runledger legacy plan, then runledger legacy expand"
	case Expanding:
		return "runledger legacy expand"
	case Expanded:
		return "runledger legacy backfill"
	case Backfilled:
		return "runledger legacy verify, then runledger legacy contract"
	case Undoing:
		return "runledger legacy undo"
	case Contracted:
		return "runledger legacy purge --export DIR, when nothing reads the archive any more"
	case Empty, Foreign, Canonical:
	}
	return ""
}

// Querier is what Detect needs of a connection: a pgx connection, pool or transaction.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// UncontractedError refuses to serve or migrate a database that still has its legacy stores.
type UncontractedError struct{ State State }

func (e *UncontractedError) Error() string {
	return fmt.Sprintf("this database still has the legacy run stores (state: %s); next step: %s", e.State, e.State.Next())
}

// Refuse returns an *UncontractedError if the database has legacy stores that are not yet
// contracted, so that serving and migrating it would be wrong, and nil for all others.
func Refuse(ctx context.Context, conn Querier) error {
	state, err := Detect(ctx, conn)
	if err != nil {
		return err
	}
	switch state {
	case Uncontracted, Expanding, Expanded, Backfilled, Undoing:
		return &UncontractedError{State: state}
	case Empty, Foreign, Contracted, Canonical:
	}
	return nil
}

// Detect tells how far the removal has come in the database behind conn. It changes nothing.
func Detect(ctx context.Context, conn Querier) (State, error) {
	var seen struct {
		legacy, archived, tables int
		removal, versioned       bool
	}
	err := conn.QueryRow(ctx, `
		SELECT count(*) FILTER (WHERE n.nspname = 'public' AND c.relname = ANY($1)),
		       count(*) FILTER (WHERE n.nspname = 'legacy_archive' AND c.relname = ANY($1)),
		       count(*) FILTER (WHERE n.nspname = 'public'),
		       coalesce(bool_or(n.nspname = 'runledger_removal' AND c.relname = 'state'), false),
		       coalesce(bool_or(n.nspname = 'public' AND c.relname = 'goose_db_version'), false)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p') AND n.nspname IN ('public', 'legacy_archive', 'runledger_removal')`,
		legacyTables).Scan(&seen.legacy, &seen.archived, &seen.tables, &seen.removal, &seen.versioned)
	if err != nil {
		return "", fmt.Errorf("look at the database: %w", err)
	}
	switch {
	case seen.archived > 0 && seen.versioned:
		return Contracted, nil
	case seen.legacy == len(legacyTables) && seen.removal:
		return phase(ctx, conn)
	case seen.legacy == len(legacyTables):
		return Uncontracted, nil
	case seen.legacy == 0 && seen.versioned:
		return Canonical, nil
	case seen.tables == 0:
		return Empty, nil
	default:
		return Foreign, nil
	}
}

// phase reads how far a removal that has begun says it is.
func phase(ctx context.Context, conn Querier) (State, error) {
	var state State
	err := conn.QueryRow(ctx, "SELECT phase FROM runledger_removal.state").Scan(&state)
	if errors.Is(err, pgx.ErrNoRows) {
		return Expanding, nil
	}
	if err != nil {
		return "", fmt.Errorf("read the removal's state: %w", err)
	}
	return state, nil
}

// errForeign says what was expected of a database that is neither legacy nor canonical.
var errForeign = errors.New("this database is neither: expected either the tables of the legacy application " +
	"(inventory_sync_runs, entra_group_sync_runs, backup_schedule_runs and operation_runs among them, in the schema public), " +
	"or the canonical schema as `runledger migrate up` makes it, or no tables at all")

// nothingToDo explains why there is nothing to do in a database of this state.
func nothingToDo(state State) string {
	switch state {
	case Empty:
		return "There is nothing to do: the database has no tables, and so no legacy run stores."
	case Canonical:
		return "There is nothing to do: the database has the canonical schema and no legacy run stores."
	case Contracted:
		return "There is nothing to do: the legacy run stores are already in the schema " + ArchiveSchema + "."
	case Foreign, Uncontracted, Expanding, Expanded, Backfilled, Undoing:
	}
	return ""
}

// refuseUndoing is how the steps refuse that would go on where an undo has begun.
func refuseUndoing(step string) error {
	return &BlockedError{Step: step, Blockers: []string{"an undo has begun and is not finished: run " + Undoing.Next()}}
}
