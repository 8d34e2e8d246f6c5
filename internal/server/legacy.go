package server

import (
	"errors"
	"net/http"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// legacyTables are the archived legacy run stores.
var legacyTables = []string{"inventory_sync_runs", "entra_group_sync_runs", "backup_schedule_runs"}

// bridgedFrom keeps the run that a row of a legacy run store stands for. It works for as long as
// the archive of those stores stands; without it, no run is found.
func (s *Server) bridgedFrom(r *http.Request, p *params, f *filter) error {
	table := p.list("legacy_table", legacyTables...)
	id, hasID := p.id("legacy_id")
	if len(table) == 0 && !hasID {
		return nil
	}
	if len(table) != 1 || !hasID {
		p.fault("legacy_id", "Give legacy_table and legacy_id together, one of each.")
		return nil
	}
	name := pgx.Identifier{"legacy_archive", table[0]}.Sanitize()
	runs, err := s.int64s(r, "SELECT operation_run_id FROM legacy_archive.imported_runs WHERE legacy_id = $1 AND legacy_table = $2", id, table[0])
	if err != nil {
		return err
	}
	// The number of a run that there was none of, or of another workspace, may be another run's by now.
	broken, err := s.int64s(r, "SELECT legacy_id FROM legacy_archive.broken_bridges WHERE legacy_id = $1 AND legacy_table = $2", id, table[0])
	if err != nil {
		return err
	}
	if len(broken) == 0 {
		bridged, err := s.int64s(r, "SELECT operation_run_id FROM "+name+" WHERE id = $1 AND operation_run_id IS NOT NULL", id)
		if err != nil {
			return err
		}
		runs = append(runs, bridged...)
	}
	// Whose run it is, the list's own statement decides.
	f.and("operation_runs.id = ANY (?::bigint[])", runs)
	f.selective = true
	return nil
}

// int64s reads a column of numbers; a table that is not there has none.
func (s *Server) int64s(r *http.Request, sql string, args ...any) ([]int64, error) {
	rows, err := s.db.Query(r.Context(), sql, args...)
	if err == nil {
		defer rows.Close()
		var numbers []int64
		numbers, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		if err == nil {
			return numbers, nil
		}
	}
	const undefinedTable = "42P01"
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == undefinedTable {
		return nil, nil
	}
	return nil, err
}
