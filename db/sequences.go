package db

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// AdvanceSequences lets the sequence behind the id of each table go on behind the highest id in it,
// where rows that were loaded with their ids have left it behind. No sequence goes back, and a table
// whose ids come from none is left alone. Without an index that leads with the id it reads the
// whole table. The error is one of the database.
func AdvanceSequences(ctx context.Context, conn interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}, tables ...string,
) error {
	for _, table := range tables {
		name := pgx.Identifier{"public", table}.Sanitize()
		_, err := conn.Exec(ctx, `
			SELECT setval(s.sequence, newest.id)
			FROM (SELECT max(id) AS id FROM `+name+`) AS newest, (SELECT pg_get_serial_sequence('`+name+`', 'id')::regclass AS sequence) AS s
			WHERE s.sequence IS NOT NULL AND newest.id > coalesce(pg_sequence_last_value(s.sequence), 0)`)
		if err != nil {
			return fmt.Errorf("advance the sequence of %s: %w", table, err)
		}
	}
	return nil
}
