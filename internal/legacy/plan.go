package legacy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// PlanReport is what an operator should know before anything is done.
type PlanReport struct {
	Step    string `json:"step"`
	State   State  `json:"state"`
	Message string `json:"message"`
	// Differences say where the schema is not the expected one, or what of the application's is in the
	// way; Expand refuses while there are any.
	Differences []string `json:"schema_differences"`
	// Tables are the rows of each table concerned, and Counts what becomes of them, by reason.
	Tables []TableSize       `json:"tables"`
	Counts map[string]Counts `json:"counts"`
	// Types are the run types with what each becomes.
	Types      []TypeCount `json:"types"`
	Dependents []Dependent `json:"dependents"`
	// Recreated are the dependents that stand on columns of another type.
	Recreated []Dependent `json:"dependents_of_changed_columns"`
	// Blockers make Contract refuse.
	Blockers []string `json:"blockers"`
	Estimate Estimate `json:"estimate"`
	// NotJudged says what no query can tell.
	NotJudged []string `json:"not_judged"`
}

// TableSize is how large a table is.
type TableSize struct {
	Table string `json:"table"`
	Rows  int64  `json:"rows"`
	Bytes int64  `json:"bytes"` // with its indexes
}

// TypeCount is a run type, how many runs have it, and what it becomes.
type TypeCount struct {
	Type    string `json:"type"`
	Becomes string `json:"becomes"`
	Rows    int64  `json:"rows"`
	InMap   bool   `json:"in_map"`
}

// Estimate is what the removal is going to take.
type Estimate struct {
	BackfillSeconds int64 `json:"backfill_seconds"`
	PrepareSeconds  int64 `json:"contract_preparation_seconds"`
	LockSeconds     int64 `json:"contract_lock_seconds"`
	DiskBytes       int64 `json:"disk_bytes"` // needed beside what there is, for as long as it lasts
}

// notJudged is what a plan cannot know.
var notJudged = []string{
	"text of functions, and of the application itself: what names a legacy table without its schema fails after contract",
	"jobs, reports and replicas outside this database that read the legacy tables",
	"numbers in failure_summary that jsonb cannot hold: they are found by the backfill, and archived",
	"the duration on this machine: the estimate goes by the number of rows alone",
}

// Plan looks at everything and writes nothing: it runs in a read-only transaction.
func (r *Removal) Plan(ctx context.Context) (*PlanReport, error) {
	report := &PlanReport{
		Step: "plan", Differences: []string{}, Tables: []TableSize{}, Counts: map[string]Counts{}, Types: []TypeCount{},
		Dependents: []Dependent{}, Recreated: []Dependent{}, Blockers: []string{}, NotJudged: notJudged,
	}
	var err error
	if report.State, err = Detect(ctx, r.conn); err != nil {
		return nil, err
	}
	switch report.State {
	case Foreign:
		return nil, errForeign
	case Empty, Canonical, Contracted:
		report.Message = nothingToDo(report.State)
		return report, nil
	case Uncontracted, Expanding, Expanded, Backfilled, Undoing:
	}
	r.progress.Note("plan: looks at every row in a read-only transaction; nothing is changed")
	err = pgx.BeginTxFunc(ctx, r.conn, readOnly, func(tx pgx.Tx) error {
		return r.plan(ctx, tx, report)
	})
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	report.Message = "Next step: " + report.State.Next()
	switch {
	case len(report.Differences) > 0:
		report.Message = "The schema is not the expected one, or something is in the way: expand refuses until that is changed."
	case len(report.Blockers) > 0:
		report.Message = "Expand and backfill can be run; contract refuses until what blocks it is gone."
	case report.State == Uncontracted:
		report.Message = "Nothing stands in the way. Next step: runledger legacy expand"
	}
	return report, nil
}

func (r *Removal) plan(ctx context.Context, tx pgx.Tx, report *PlanReport) error {
	missing, err := schemaDifferences(ctx, tx)
	if err != nil {
		return err
	}
	hidden, err := hiddenRows(ctx, tx)
	if err != nil {
		return err
	}
	differences, err := expandBlockers(ctx, tx)
	if err != nil {
		return err
	}
	report.Differences = append(report.Differences, differences...)
	if len(missing)+len(hidden) > 0 {
		return nil // The rest would only fail on what is missing.
	}
	if err := sizes(ctx, tx, report); err != nil {
		return err
	}
	c, err := newClassifier(ctx, tx, r.opt.TypeMap)
	if err != nil {
		return err
	}
	all := classifications()
	r.progress.begin("plan", 0, int64(len(all)))
	defer r.progress.wipe() // they are no rows to be counted, and the plan comes next
	for _, k := range all {
		if report.Counts[k.group], err = c.counts(ctx, k); err != nil {
			return err
		}
		r.progress.advance(1)
	}
	if report.Types, err = typeCounts(ctx, tx, c.types); err != nil {
		return err
	}
	found, err := dependents(ctx, tx)
	if err != nil {
		return err
	}
	report.Dependents = append(report.Dependents, found...)
	retyped, err := retypedDependents(ctx, tx)
	if err != nil {
		return err
	}
	report.Recreated = append(report.Recreated, retyped...)
	blockers, err := contractBlockers(ctx, tx)
	report.Blockers = append(report.Blockers, slices.DeleteFunc(blockers, func(b string) bool { return slices.Contains(differences, b) })...)
	report.Estimate = estimate(report.Tables)
	return err
}

// sizes measures the tables concerned.
func sizes(ctx context.Context, tx pgx.Tx, report *PlanReport) error {
	for _, name := range slices.Concat(legacyTables, largeTables, []string{"backup_schedules", "tenants"}) {
		size := TableSize{Table: name}
		err := tx.QueryRow(ctx, fmt.Sprintf("SELECT count(*), pg_total_relation_size(%s) FROM %s", literal("public."+name), public(name))).
			Scan(&size.Rows, &size.Bytes)
		if err != nil {
			return fmt.Errorf("measure %s: %w", name, err)
		}
		report.Tables = append(report.Tables, size)
	}
	return nil
}

// estimate goes by rates that were measured on a small machine.
func estimate(tables []TableSize) Estimate {
	const backfilled, indexed, swapped = 15_000, 20_000, 500_000 // rows a second
	var rows, bytes int64
	for _, t := range tables {
		if slices.Contains(largeTables, t.Table) {
			rows += t.Rows
			bytes += t.Bytes
		}
	}
	return Estimate{
		BackfillSeconds: rows/backfilled + 1,
		PrepareSeconds:  rows/indexed + 1,
		LockSeconds:     rows/swapped + 1,
		DiskBytes:       bytes * 2, // a second version of every row, the new indexes and the archive
	}
}

// typeCounts lists the run types, the most frequent first.
func typeCounts(ctx context.Context, tx pgx.Tx, types *TypeMap) ([]TypeCount, error) {
	rows, err := tx.Query(ctx, "SELECT type, lower(btrim(type)), count(*) FROM public.operation_runs GROUP BY type ORDER BY count(*) DESC, type")
	if err != nil {
		return nil, fmt.Errorf("count the types: %w", err)
	}
	counts := []TypeCount{}
	var t TypeCount
	var key string
	_, err = pgx.ForEachRow(rows, []any{&t.Type, &key, &t.Rows}, func() error {
		t.Becomes, t.InMap = types.standard[key]
		if !t.InMap {
			t.Becomes = t.Type
		}
		counts = append(counts, t)
		return nil
	})
	return counts, err
}

// StatusReport says how far the removal is.
type StatusReport struct {
	Step    string       `json:"step"`
	State   State        `json:"state"`
	Next    string       `json:"next_step"`
	Tasks   []TaskStatus `json:"tasks"`
	Noted   int64        `json:"rows_to_look_at_again"` // written by the application since the last look
	Pending bool         `json:"contract_unfinished"`   // whether contract has to be run again for what follows it
	Holder  string       `json:"at_work,omitempty"`     // who is at work on it now
	// Refusing are indexes that may refuse what the application writes, left by a contract that was killed.
	Refusing []string `json:"indexes_that_may_refuse,omitempty"`
}

// TaskStatus is how far a part of the backfill is.
type TaskStatus struct {
	Task string `json:"task"`
	Rows int64  `json:"rows_read"`
	Of   int64  `json:"rows_about"`
	Done bool   `json:"done"`
}

// Status tells how far the removal is. It changes nothing and waits for nobody.
func (r *Removal) Status(ctx context.Context) (*StatusReport, error) {
	report := &StatusReport{Step: "status", Tasks: []TaskStatus{}}
	var err error
	if report.State, err = Detect(ctx, r.conn); err != nil {
		return nil, err
	}
	report.Next = report.State.Next()
	if holder, err := r.holder(ctx); err == nil {
		report.Holder = fmt.Sprintf("%s, backend %d", holder.Application, holder.PID)
		if holder.Since != nil {
			report.Holder += ", since " + holder.Since.UTC().Format(time.RFC3339)
		}
	}
	switch report.State {
	case Expanding, Expanded, Backfilled, Undoing:
		return report, r.taskStatus(ctx, report)
	case Contracted:
		report.Pending, err = r.aftermathPending(ctx)
		if report.Pending {
			report.Next = "runledger legacy contract, to finish what follows it"
		}
		return report, err
	case Empty, Foreign, Uncontracted, Canonical:
	}
	return report, nil
}

func (r *Removal) taskStatus(ctx context.Context, report *StatusReport) error {
	rows, err := r.conn.Query(ctx, `
		SELECT p.task, p.rows_read, coalesce(greatest(c.reltuples, 0)::bigint, 0), p.done
		FROM runledger_removal.progress p LEFT JOIN pg_class c ON c.oid = to_regclass('public.' || p.task) ORDER BY p.task`)
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	tasks, err := pgx.CollectRows(rows, pgx.RowToStructByPos[TaskStatus])
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	report.Tasks = append(report.Tasks, tasks...)
	if report.Holder != "" { // whoever is at work may have locked what is looked at, and knows of them
		return r.noted(ctx, report)
	}
	const lockNotAvailable = "55P03"
	if report.Refusing, err = r.refusingLeft(ctx); err != nil && sqlState(err) != lockNotAvailable {
		return fmt.Errorf("status: %w", err)
	}
	if len(report.Refusing) > 0 && report.State == Backfilled {
		report.Next = "runledger legacy contract, or before the application goes on: runledger legacy contract --prepare-only"
	}
	return r.noted(ctx, report)
}

// noted counts what is to be looked at again.
func (r *Removal) noted(ctx context.Context, report *StatusReport) error {
	if err := r.conn.QueryRow(ctx, "SELECT count(*) FROM runledger_removal.dirty").Scan(&report.Noted); err != nil {
		return fmt.Errorf("status: %w", err)
	}
	return nil
}
