package legacy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// takesIDs tells whether a default gives out the next number of a sequence.
func takesIDs(fallback string) bool { return strings.HasPrefix(fallback, "nextval(") }

// idsWithoutSequence lists the canonical ids that the application gives out in another way than by a
// default that takes them from a sequence.
func idsWithoutSequence(ctx context.Context, tx pgx.Tx) ([]string, error) {
	have, err := readCatalog(ctx, tx, "public")
	if err != nil {
		return nil, err
	}
	var blockers []string
	for _, c := range canonicalObjects {
		if c.kind != "sequence" || !slices.Contains(sharedTables, c.of) {
			continue
		}
		if id := have[c.of].columns["id"]; id.generated || !takesIDs(id.fallback) {
			blockers = append(blockers, fmt.Sprintf("column %s.id: has no default that takes the next number of a sequence, as Runledger's has: give it one (an identity column loses its own with DROP IDENTITY)", c.of))
		}
	}
	return blockers, nil
}

// renameSequence gives the sequence behind a column's default the canonical name, if the column owns it
// and the name is free. Any other stays as it is: the ids go on from there all the same.
func (s *swapping) renameSequence(ctx context.Context, table, columnName string, have, want column) error {
	if !takesIDs(have.fallback) || !takesIDs(want.fallback) || have.fallback == want.fallback {
		return nil
	}
	var rename *string
	err := s.tx.QueryRow(ctx, `
		SELECT format('ALTER SEQUENCE %s RENAME TO %I', own, $4::text)
		FROM (SELECT pg_get_serial_sequence($1, $2)::regclass AS own) AS owned
		WHERE $3 = format('nextval(%L::regclass)', own) AND to_regclass('public.' || quote_ident($4)) IS NULL
		  AND (SELECT relnamespace FROM pg_class WHERE oid = own) = 'public'::regnamespace
		UNION ALL SELECT NULL LIMIT 1`,
		public(table), columnName, have.fallback, table+"_"+columnName+"_seq").Scan(&rename)
	if err != nil || rename == nil {
		return err
	}
	return s.exec(ctx, *rename)
}
