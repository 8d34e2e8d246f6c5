package legacy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Counts are rows by what became of them, and why.
type Counts map[string]int64

// add adds the counts of other.
func (c Counts) add(other Counts) {
	for reason, n := range other {
		c[reason] += n
	}
}

// TaskReport says how many rows a part of the backfill has read, in all its runs together, and
// what became of them. For each group of Results its counts add up to Rows.
type TaskReport struct {
	Table   string            `json:"table"`
	Rows    int64             `json:"rows_read"`
	Results map[string]Counts `json:"results"`
	Already bool              `json:"already_done"`
}

// BackfillReport is what Backfill did.
type BackfillReport struct {
	Step      string        `json:"step"`
	State     State         `json:"state"`
	Message   string        `json:"message"`
	Tasks     []*TaskReport `json:"tasks"`
	CaughtUp  int64         `json:"rows_caught_up"` // written by the application meanwhile
	ElapsedMS int64         `json:"elapsed_ms"`
}

// task is the backfill of one table.
type task struct {
	table string
	// lock locks the rows for which {which} holds, if it is not empty, before update fills them;
	// every row that update returns has one reason for each of groups.
	lock   string
	update string
	groups []string
}

// tasks are the parts of the backfill, in order.
func tasks() []task {
	runReasons := `
		CASE WHEN r.runledger_type IS DISTINCT FROM r.type THEN 'standardised'
		     WHEN EXISTS (SELECT FROM runledger_removal.type_map m WHERE m.standard = r.type) THEN 'already_standard'
		     ELSE 'not_in_map' END AS a,
		CASE WHEN r.runledger_context IS DISTINCT FROM r.context THEN 'schedule_added' ELSE 'unchanged' END AS b,
		CASE WHEN r.failure_summary IS NULL THEN 'null'
		     WHEN r.runledger_failure_summary::text = r.failure_summary::text THEN 'unchanged'
		     ELSE 'rewritten' END AS c`
	return []task{
		{
			table: "backup_schedules", groups: []string{"workspace_id"},
			update: `UPDATE public.backup_schedules r
				SET workspace_id = (SELECT ` + workspaceOf + ` FROM public.tenants t WHERE t.id = r.tenant_id)
				WHERE {which} RETURNING CASE WHEN workspace_id IS NULL THEN 'tenant_missing' ELSE 'mapped' END AS a`,
		},
		{
			table: "operation_runs", groups: []string{"type", "context", "failure_summary"},
			update: `UPDATE public.operation_runs r
				SET (runledger_type, runledger_context) = (` + runValues + `),
				    runledger_failure_summary = ` + failureValue + `,
				    runledger_status = r.status, runledger_outcome = r.outcome,
				    runledger_run_identity_hash = r.run_identity_hash,
				    runledger_started_at = r.started_at AT TIME ZONE 'UTC',
				    runledger_completed_at = r.completed_at AT TIME ZONE 'UTC',
				    runledger_created_at = r.created_at AT TIME ZONE 'UTC',
				    runledger_updated_at = r.updated_at AT TIME ZONE 'UTC'
				WHERE {which} RETURNING ` + runReasons,
		},
		{
			table: "findings", groups: []string{"baseline_run_id", "current_run_id"},
			update: `UPDATE public.findings r
				SET (workspace_id, baseline_operation_run_id, current_operation_run_id) = (` + findingValues + `)
				WHERE {which} RETURNING
				CASE WHEN baseline_operation_run_id IS NOT NULL THEN 'mapped' ELSE ` + reasonFor("r.baseline_run_id", "r.workspace_id") + ` END AS a,
				CASE WHEN current_operation_run_id IS NOT NULL THEN 'mapped' ELSE ` + reasonFor("r.current_run_id", "r.workspace_id") + ` END AS b`,
		},
		{
			table: "inventory_items", groups: []string{"last_seen_run_id"},
			// An update sees of a row that it had to wait for what was committed meanwhile, but nothing
			// else of it: an item that the application has just given a reference to a new run would
			// seem to lead nowhere.
			lock: `SELECT count(*) FROM (SELECT FROM public.inventory_items r WHERE {which} ORDER BY r.id FOR NO KEY UPDATE) AS locked`,
			update: `UPDATE public.inventory_items r
				SET (workspace_id, last_seen_operation_run_id, runledger_reference) = (` + itemValues + `)
				WHERE {which} RETURNING
				CASE WHEN runledger_reference = 0 THEN 'mapped'
				     WHEN runledger_reference > 0 THEN 'own_reference_cleared'
				     WHEN EXISTS (SELECT FROM public.inventory_sync_runs s WHERE s.id = r.last_seen_run_id
				                  AND s.operation_run_id <> r.last_seen_operation_run_id) THEN 'own_reference_conflict'
				     WHEN last_seen_operation_run_id IS NOT NULL THEN 'own_reference_kept'
				     ELSE ` + reasonFor("r.last_seen_run_id", "r.workspace_id") + ` END AS a`,
		},
	}
}

// fill updates the rows for which a condition holds and counts them, by group and reason.
func (t task) fill(ctx context.Context, tx pgx.Tx, unassigned int64, which string, args ...any) (map[string]Counts, int64, error) {
	if t.lock != "" {
		if _, err := tx.Exec(ctx, strings.Replace(t.lock, "{which}", which, 1), args...); err != nil {
			return nil, 0, fmt.Errorf("lock rows of %s: %w", t.table, err)
		}
	}
	return updateAndCount(ctx, tx, t.groups, t.statement(which, unassigned), args...)
}

// statement counts, in one round trip, what updating the rows for which a condition holds gives.
func (t task) statement(which string, unassigned int64) string {
	columns := []string{"a", "b", "c"}[:len(t.groups)]
	list := columns[0]
	for _, c := range columns[1:] {
		list += ", " + c
	}
	update := forRow(t.update, "r", unassigned)
	update = strings.Replace(update, "{which}", which, 1)
	return fmt.Sprintf("WITH done AS (%s) SELECT ARRAY[%s], count(*) FROM done GROUP BY %[2]s", update, list)
}

// Backfill gives every row its canonical values, batch by batch, each in a transaction of its own
// together with the note of how far it came. It can be stopped at any point and goes on there.
func (r *Removal) Backfill(ctx context.Context) (*BackfillReport, error) {
	report := &BackfillReport{Step: "backfill", Tasks: []*TaskReport{}}
	began := time.Now()
	if err := r.lock(ctx); err != nil {
		return nil, err
	}
	state, err := Detect(ctx, r.conn)
	if err != nil {
		return nil, err
	}
	switch state {
	case Foreign:
		return nil, errForeign
	case Empty, Canonical, Contracted:
		report.State, report.Message = state, nothingToDo(state)
		return report, nil
	case Uncontracted, Expanding:
		return nil, &BlockedError{Step: "backfill", Blockers: []string{"the database is not expanded yet: run " + state.Next()}}
	case Undoing:
		return nil, refuseUndoing("backfill")
	case Expanded, Backfilled:
	}
	r.progress.Note("backfill: fills the new columns in batches of about %s; it can be interrupted and goes on where it was", r.opt.BatchDuration)
	unassigned, err := r.unassigned(ctx)
	if err != nil {
		return nil, err
	}
	for whole := false; !whole; {
		if report.Tasks, whole, err = r.fillAll(ctx, unassigned); err != nil {
			return nil, fmt.Errorf("backfill %w", err)
		}
	}
	if report.CaughtUp, err = r.catchUp(ctx); err != nil {
		return nil, fmt.Errorf("backfill: catch up with the application: %w", err)
	}
	report.State = Backfilled
	report.Message = "Every row has its canonical values."
	if state == Backfilled {
		report.Message = "The backfill was already done."
	}
	report.ElapsedMS = time.Since(began).Milliseconds()
	return report, nil
}

// fillAll does all tasks, and says that they are done. whole is false if the application has truncated a table
// meanwhile, so that they are not.
func (r *Removal) fillAll(ctx context.Context, unassigned int64) (reports []*TaskReport, whole bool, err error) {
	var names []string
	for _, t := range tasks() {
		done, err := r.fill(ctx, t, unassigned)
		if err != nil {
			return nil, false, fmt.Errorf("%s: %w", t.table, err)
		}
		reports, names = append(reports, done), append(names, t.table)
	}
	// It waits for a TRUNCATE that is under way; what that has taken back is seen by the next statement.
	if _, err := r.conn.Exec(ctx, "UPDATE runledger_removal.state SET phase = 'backfilled' WHERE phase IN ('expanded', 'backfilled')"); err != nil {
		return nil, false, fmt.Errorf("is done: %w", err)
	}
	err = r.conn.QueryRow(ctx, "SELECT count(*) = cardinality($1::text[]) FROM runledger_removal.progress WHERE done AND task = ANY ($1)", names).Scan(&whole)
	if err == nil && !whole {
		_, err = r.conn.Exec(ctx, "UPDATE runledger_removal.state SET phase = 'expanded' WHERE phase = 'backfilled'")
	}
	if err != nil {
		return nil, false, fmt.Errorf("is done: %w", err)
	}
	return reports, whole, nil
}

// unassigned is the workspace of the tenants without one.
func (r *Removal) unassigned(ctx context.Context) (int64, error) {
	var id int64
	if err := r.conn.QueryRow(ctx, "SELECT unassigned_workspace_id FROM runledger_removal.state").Scan(&id); err != nil {
		return 0, fmt.Errorf("read the removal's state: %w", err)
	}
	return id, nil
}

// position is how far a task has come.
type position struct {
	last   int64
	rows   int64
	counts map[string]Counts
	done   bool
}

// fill does one table, from where it was left.
func (r *Removal) fill(ctx context.Context, t task, unassigned int64) (*TaskReport, error) {
	at, err := r.position(ctx, t.table)
	if err != nil {
		return nil, err
	}
	report := &TaskReport{Table: t.table, Already: at.done}
	if !at.done {
		if err := r.fillBatches(ctx, t, unassigned, at); err != nil {
			return nil, err
		}
	}
	report.Rows, report.Results = at.rows, at.counts
	return report, nil
}

// position reads how far a task has come.
func (r *Removal) position(ctx context.Context, name string) (*position, error) {
	at := &position{counts: map[string]Counts{}}
	var counts []byte
	err := r.conn.QueryRow(ctx, "SELECT last_id, rows_read, counts, done FROM runledger_removal.progress WHERE task = $1", name).
		Scan(&at.last, &at.rows, &counts, &at.done)
	if errors.Is(err, pgx.ErrNoRows) {
		const first = -1 << 63
		at.last = first
		return at, nil
	}
	if err != nil {
		return nil, err
	}
	return at, json.Unmarshal(counts, &at.counts)
}

// fillBatches goes through a table by its key until its end.
func (r *Removal) fillBatches(ctx context.Context, t task, unassigned int64, at *position) error {
	var total int64
	err := r.conn.QueryRow(ctx, "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass($1)", public(t.table)).Scan(&total)
	if err != nil {
		return err
	}
	r.progress.begin("backfill "+t.table, at.rows, total)
	defer r.progress.end()
	const first, least, most = 500, 50, 20000
	size := first
	if r.opt.Rate > 0 {
		size = min(size, max(r.opt.Rate/4, 1))
	}
	for !at.done {
		began := time.Now()
		rows, err := r.batch(ctx, t, unassigned, size, at)
		if err != nil {
			return err
		}
		took := time.Since(began)
		r.progress.advance(rows)
		// Half as many, or twice as many, at most; a batch holds the locks of its rows.
		factor := min(max(float64(r.opt.BatchDuration)/float64(max(took, time.Millisecond)), 0.5), 2)
		size = int(min(max(float64(size)*factor, least), most))
		if r.opt.Rate > 0 {
			size = min(size, max(r.opt.Rate/4, 1))
			if due := time.Duration(float64(rows) / float64(r.opt.Rate) * float64(time.Second)); due > took {
				if err := sleep(ctx, due-took); err != nil {
					return err
				}
			}
		}
		if r.opt.Pause > 0 && !at.done {
			if err := sleep(ctx, r.opt.Pause); err != nil {
				return err
			}
		}
	}
	return nil
}

// batch fills the next size rows, and moves at behind them with the transaction's commit.
func (r *Removal) batch(ctx context.Context, t task, unassigned int64, size int, at *position) (int64, error) {
	next := *at
	err := r.inTx(ctx, "backfill a batch of "+t.table, func(tx pgx.Tx) error {
		next = position{last: at.last, rows: at.rows, counts: cloned(at.counts)}
		var upper *int64
		err := tx.QueryRow(ctx, fmt.Sprintf(
			"SELECT max(id) FROM (SELECT id FROM %s WHERE id > $1 ORDER BY id LIMIT $2) AS batch", public(t.table)),
			at.last, size).Scan(&upper)
		if err != nil {
			return err
		}
		if upper == nil {
			next.done = true
		} else {
			// Every row is looked up by a key; a small table read whole for each of them costs more.
			if _, err := tx.Exec(ctx, "SET LOCAL enable_seqscan = off"); err != nil {
				return err
			}
			counts, rows, err := t.fill(ctx, tx, unassigned, "r.id > $1 AND r.id <= $2", at.last, *upper)
			if err != nil {
				return err
			}
			next.last, next.rows = *upper, at.rows+rows
			for group, c := range counts {
				if next.counts[group] == nil {
					next.counts[group] = Counts{}
				}
				next.counts[group].add(c)
			}
		}
		return savePosition(ctx, tx, t.table, &next)
	})
	if err != nil {
		return 0, err
	}
	rows := next.rows - at.rows
	*at = next
	return rows, nil
}

// updateAndCount runs a task's statement and counts its rows, by group and reason.
func updateAndCount(ctx context.Context, tx pgx.Tx, groups []string, statement string, args ...any) (map[string]Counts, int64, error) {
	rows, err := tx.Query(ctx, statement, args...)
	if err != nil {
		return nil, 0, err
	}
	counts := map[string]Counts{}
	for _, group := range groups {
		counts[group] = Counts{}
	}
	var total, n int64
	var reasons []string
	_, err = pgx.ForEachRow(rows, []any{&reasons, &n}, func() error {
		total += n
		for i, group := range groups {
			counts[group][reasons[i]] += n
		}
		return nil
	})
	return counts, total, err
}

// savePosition notes how far a task has come.
func savePosition(ctx context.Context, tx pgx.Tx, name string, at *position) error {
	counts, err := json.Marshal(at.counts)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO runledger_removal.progress (task, last_id, rows_read, counts, done) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (task) DO UPDATE SET last_id = excluded.last_id, rows_read = excluded.rows_read,
			counts = excluded.counts, done = excluded.done`, name, at.last, at.rows, string(counts), at.done)
	return err
}

// cloned is a deep copy of counts.
func cloned(counts map[string]Counts) map[string]Counts {
	all := make(map[string]Counts, len(counts))
	for group, c := range counts {
		all[group] = maps.Clone(c)
	}
	return all
}

// results are the names of the groups in order.
func (t *TaskReport) results() []string { return slices.Sorted(maps.Keys(t.Results)) }
