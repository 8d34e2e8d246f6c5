package legacy

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// expandBlockers says everything that makes Expand refuse: what the schema lacks, and what of the
// application's the removal would take for its own.
func expandBlockers(ctx context.Context, tx pgx.Tx) ([]string, error) {
	blockers, err := schemaDifferences(ctx, tx)
	if err != nil || len(blockers) > 0 {
		return blockers, err // The rest would only fail on what is missing.
	}
	for _, find := range []func(context.Context, pgx.Tx) ([]string, error){takenNames} {
		found, err := find(ctx, tx)
		if err != nil {
			return nil, err
		}
		blockers = append(blockers, found...)
	}
	return blockers, nil
}
