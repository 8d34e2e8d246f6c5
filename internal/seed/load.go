package seed

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/db"
)

// loader writes a world in one transaction, table after table. Each table that is made from the runs
// is one pass over a timeline of its own, so that memory does not grow with their number.
type loader struct {
	tx       pgx.Tx
	world    *world
	summary  Summary // what there is to write
	firstRun int64
	done     int
	total    int
	progress func(done, total int)
}

// load writes the world and returns what it was.
func load(ctx context.Context, tx pgx.Tx, w *world, progress func(done, total int)) (Summary, error) {
	l := &loader{tx: tx, world: w, progress: progress}
	l.summary = w.tally()
	// Limits that are right for a server's statements are wrong for these.
	if _, err := tx.Exec(ctx, `SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;
		SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL maintenance_work_mem = '512MB'`); err != nil {
		return Summary{}, fmt.Errorf("prepare the transaction: %w", err)
	}
	if err := l.number(ctx); err != nil {
		return Summary{}, err
	}
	rest, err := l.setAside(ctx)
	if err != nil {
		return Summary{}, err
	}
	indexWork := w.runs / 30
	l.total = l.summary.rows() + len(rest)*indexWork
	for _, table := range l.tables() {
		if err := l.copy(ctx, table); err != nil {
			return Summary{}, err
		}
	}
	for _, definition := range rest {
		if _, err := tx.Exec(ctx, definition); err != nil {
			return Summary{}, fmt.Errorf("restore operation_runs: %w", err)
		}
		l.advance(indexWork)
	}
	return l.summary, nil
}

// table is what is copied into one table.
type table struct {
	name    string
	columns []string
	// next returns the next row, which it may use again, or nil at the end.
	next func() []any
}

// copy writes a table in portions: the server remembers every row of a statement until it has
// checked its foreign keys at the end, and is to do so without growing with the table.
func (l *loader) copy(ctx context.Context, t table) error {
	const portion, step = 100_000, 1000
	for more := true; more; {
		rows := 0
		_, err := l.tx.CopyFrom(ctx, pgx.Identifier{t.name}, t.columns, pgx.CopyFromFunc(func() ([]any, error) {
			if rows == portion {
				return nil, nil
			}
			row := t.next()
			if row == nil {
				more = false
				return nil, nil
			}
			if rows++; rows%step == 0 {
				l.advance(step)
			}
			return row, nil
		}))
		if err != nil {
			return fmt.Errorf("copy into %s: %w", t.name, err)
		}
		l.advance(rows % step)
	}
	return nil
}

func (l *loader) advance(n int) {
	if l.done += n; l.progress != nil && n > 0 {
		l.progress(l.done, l.total)
	}
}

// tally counts the rows that the world will be.
func (w *world) tally() Summary {
	s := Summary{Workspaces: len(w.workspaces)}
	for _, ws := range w.workspaces {
		s.Users += len(ws.users)
		s.Tenants += len(ws.tenants)
		s.Schedules += len(ws.schedules)
	}
	events, findings := newChronicle(w), newDrift()
	t := newTimeline(w, 1)
	for r := t.step(); r != nil; r = t.step() {
		s.Runs++
		s.Events += len(events.of(r))
		s.Findings += findings.count(t, r)
	}
	for _, l := range t.lanes {
		s.InventoryItems += l.items()
	}
	return s
}

// number takes the ids of the small tables' rows and of the runs out of the sequences.
func (l *loader) number(ctx context.Context) error {
	// Another seeding at the same moment would take ids out of the middle of these.
	if _, err := l.tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", db.SeedLock); err != nil {
		return fmt.Errorf("wait for other seedings: %w", err)
	}
	if err := db.AdvanceSequences(ctx, l.tx, "workspaces", "users", "tenants", "backup_schedules", "operation_runs",
		"operation_run_events", "findings", "inventory_items"); err != nil {
		return err
	}
	s := &l.summary
	var ids [4]int64
	for i, r := range []struct {
		sequence string
		n        int
	}{
		{"workspaces_id_seq", s.Workspaces},
		{"users_id_seq", s.Users},
		{"tenants_id_seq", s.Tenants},
		{"backup_schedules_id_seq", s.Schedules},
	} {
		first, err := l.reserve(ctx, r.sequence, r.n)
		if err != nil {
			return err
		}
		ids[i] = first
	}
	l.world.number(ids[0], ids[1], ids[2], ids[3])
	for _, ws := range l.world.workspaces {
		s.WorkspaceIDs = append(s.WorkspaceIDs, ws.id)
	}
	var err error
	l.firstRun, err = l.reserve(ctx, "operation_runs_id_seq", s.Runs)
	return err
}

// reserve takes n ids in a row from a sequence, and some more, and returns the first. An id that
// somebody else takes in the instant between the two calls could be among them; the rows here are of
// new workspaces, so that not even that is a conflict of keys. Nor does the sequence go back by it, for
// which the rest is there.
func (l *loader) reserve(ctx context.Context, sequence string, n int) (int64, error) {
	if n == 0 {
		return 0, nil
	}
	const rest = 1000
	var last int64
	err := l.tx.QueryRow(ctx, "SELECT setval($1::regclass, nextval($1::regclass) + $2 - 1)", sequence, n+rest).Scan(&last)
	if err != nil {
		return 0, fmt.Errorf("reserve ids of %s: %w", sequence, err)
	}
	return last - int64(n+rest) + 1, nil
}

// worthwhile is from how many runs on building the indexes at the end is the faster way.
const worthwhile = 5_000

// setAside drops the secondary indexes of operation_runs, if the table is empty and much is to come,
// and returns the statements that bring them back.
func (l *loader) setAside(ctx context.Context) ([]string, error) {
	if l.world.runs < worthwhile {
		return nil, nil
	}
	var occupied bool
	if err := l.tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM operation_runs)").Scan(&occupied); err != nil {
		return nil, fmt.Errorf("look into operation_runs: %w", err)
	}
	if occupied {
		return nil, nil
	}
	rows, err := l.tx.Query(ctx, `
		SELECT format('DROP INDEX %s', i.indexrelid::regclass), pg_get_indexdef(i.indexrelid)
		FROM pg_index AS i
		WHERE i.indrelid = 'operation_runs'::regclass
		  AND NOT EXISTS (SELECT FROM pg_constraint AS c WHERE c.conindid = i.indexrelid)
		ORDER BY i.indexrelid`)
	if err != nil {
		return nil, fmt.Errorf("list the indexes of operation_runs: %w", err)
	}
	var drops, definitions []string
	var drop, definition string
	_, err = pgx.ForEachRow(rows, []any{&drop, &definition}, func() error {
		drops, definitions = append(drops, drop), append(definitions, definition)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the indexes of operation_runs: %w", err)
	}
	for _, statement := range drops {
		if _, err := l.tx.Exec(ctx, statement); err != nil {
			return nil, fmt.Errorf("set an index of operation_runs aside: %w", err)
		}
	}
	return definitions, nil
}
