package legacy

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Difference is a value that is not what the legacy tables say it must be.
type Difference struct {
	Table  string `json:"table"`
	ID     int64  `json:"id"`
	Column string `json:"column"`
	Reason string `json:"reason"` // why the value must be what is wanted
	Want   string `json:"want"`
	Got    string `json:"got"`
}

func (d Difference) String() string {
	return fmt.Sprintf("%s %d: %s is %s, must be %s (%s)", d.Table, d.ID, d.Column, shorten(d.Got), shorten(d.Want), d.Reason)
}

// shorten keeps a long value from filling the screen.
func shorten(value string) string {
	const longest = 100
	if len(value) > longest {
		return strings.ToValidUTF8(value[:longest], "") + "…"
	}
	return value
}

// VerifyReport is what Verify found.
type VerifyReport struct {
	Step    string `json:"step"`
	State   State  `json:"state"`
	Message string `json:"message"`
	// Rows are the rows compared, by table; Skipped those made or changed after Contract.
	Rows    Counts `json:"rows_compared"`
	Skipped Counts `json:"rows_changed_since"`
	// Pending are differences of rows that the application wrote meanwhile and that Backfill or
	// Contract is going to look at again; they are not among the Total.
	Pending Counts `json:"rows_to_look_at_again"`
	// Total counts the differences, ByReason and Differences (the first 1,000) show them.
	Total       int64        `json:"differences_total"`
	ByReason    Counts       `json:"differences_by_reason"`
	Differences []Difference `json:"differences"`
	UnknownType Counts       `json:"types_not_in_map"`
	ElapsedMS   int64        `json:"elapsed_ms"`
}

// Verify recomputes from the legacy tables what every row must be, and compares. It shares no SQL
// with Backfill: it reads plain rows and computes here. It writes nothing, and may run before,
// between and after the other steps. The report tells of differences; they are no error.
func (r *Removal) Verify(ctx context.Context) (*VerifyReport, error) { return r.verify(ctx, false) }

// verify is Verify; for Contract's own sake it also forgives the application its own references that
// Contract is going to look at.
func (r *Removal) verify(ctx context.Context, forContract bool) (*VerifyReport, error) {
	report := &VerifyReport{
		Step: "verify", Rows: Counts{}, Skipped: Counts{}, Pending: Counts{}, ByReason: Counts{}, UnknownType: Counts{}, Differences: []Difference{},
	}
	began := time.Now()
	state, err := Detect(ctx, r.conn)
	if err != nil {
		return nil, err
	}
	report.State = state
	switch state {
	case Foreign:
		return nil, errForeign
	case Empty, Canonical:
		report.Message = nothingToDo(state)
		return report, nil
	case Uncontracted, Expanding, Expanded, Backfilled, Undoing, Contracted:
	}
	snapshot := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, r.conn, snapshot, func(tx pgx.Tx) error {
		v := &verifier{tx: tx, report: report, progress: r.progress, after: state == Contracted}
		if state != Undoing { // where nobody is going to look again
			var err error
			if v.pending, err = pendingRows(ctx, tx, forContract); err != nil {
				return err
			}
		}
		return v.run(ctx, r.opt.TypeMap)
	})
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	report.ElapsedMS = time.Since(began).Milliseconds()
	report.Message = "Every row is what it must be."
	if report.Total > 0 {
		report.Message = fmt.Sprintf("%d values are not what they must be.", report.Total)
		switch state {
		case Uncontracted, Expanding, Expanded:
			report.Message += " The database is not backfilled yet; next step: " + state.Next()
		case Undoing:
			report.Message += " An undo has begun; next step: " + state.Next()
		case Backfilled, Contracted, Empty, Foreign, Canonical:
		}
	}
	return report, nil
}

// verifier compares within one snapshot.
type verifier struct {
	tx       pgx.Tx
	report   *VerifyReport
	progress *Progress
	after    bool // after Contract
	columns  map[string]bool
	types    map[string]string
	standard map[string]bool

	workspaces map[int64]int64 // of tenants
	runs       map[int64]int64 // workspaces of operation runs
	syncs      map[int64]int64 // operation runs of inventory sync runs, 0 for none
	schedules  map[int64]int64 // workspaces of schedules
	named      map[int64]int64 // the schedule that the rows bridged to a run name, 0 if several
	contracted time.Time
	last       map[string]int64
	pending    map[string]map[int64]bool
	sizes      map[string]int64 // rows of tables, about
	changed    bool             // whether the row at hand was changed after Contract
}

func (v *verifier) run(ctx context.Context, types *TypeMap) error {
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return v.loadTypes(ctx, types) },
		v.loadColumns, v.loadRemoval, v.loadWorkspaces, v.loadBridges,
		v.compareSchedules, v.compareRuns, v.compareFindings, v.compareItems,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if v.after {
		return v.compareDerived(ctx)
	}
	return nil
}

// differ notes a difference.
func (v *verifier) differ(table string, id int64, column, reason, want, got string) {
	const shown = 1000
	if v.changed {
		v.report.Skipped[table]++
		return
	}
	if v.pending[table][id] {
		v.report.Pending[table]++
		return
	}
	v.report.Total++
	v.report.ByReason[table+"."+column+": "+reason]++
	if len(v.report.Differences) < shown {
		v.report.Differences = append(v.report.Differences, Difference{table, id, column, reason, want, got})
	}
}

// each runs a query and calls fn after each row is scanned into targets.
func (v *verifier) each(ctx context.Context, query string, targets []any, fn func() error) error {
	rows, err := v.tx.Query(ctx, query)
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(rows, targets, fn)
	return err
}

// loadTypes reads the map that the removal uses: the one in the database, if it has begun.
func (v *verifier) loadTypes(ctx context.Context, given *TypeMap) error {
	v.types = map[string]string{}
	source := ""
	err := v.tx.QueryRow(ctx, `SELECT CASE
		WHEN to_regclass('runledger_removal.type_map') IS NOT NULL THEN 'SELECT old, standard FROM runledger_removal.type_map'
		WHEN to_regclass('legacy_archive.removal') IS NOT NULL THEN
			'SELECT key, value FROM legacy_archive.removal, jsonb_each_text(type_map)' ELSE '' END`).Scan(&source)
	if err != nil {
		return err
	}
	if source == "" {
		if given == nil {
			given = defaultTypeMap()
		}
		v.types = given.standard
	} else {
		var old, standard string
		if err := v.each(ctx, source, []any{&old, &standard}, func() error { v.types[old] = standard; return nil }); err != nil {
			return err
		}
	}
	v.standard = map[string]bool{}
	for _, name := range v.types {
		v.standard[name] = true
	}
	return nil
}

// loadColumns notes which columns there are: before Expand the canonical ones are missing.
func (v *verifier) loadColumns(ctx context.Context) error {
	v.columns, v.sizes = map[string]bool{}, map[string]int64{}
	var name string
	var size int64
	err := v.each(ctx, "SELECT relname::text, greatest(reltuples, 0)::bigint FROM pg_class WHERE relnamespace = 'public'::regnamespace",
		[]any{&name, &size}, func() error { v.sizes[name] = size; return nil })
	if err != nil {
		return err
	}
	return v.each(ctx, `SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = 'public'`,
		[]any{&name}, func() error { v.columns[name] = true; return nil })
}

// column is r.name, or a null of that type where there is no such column.
func (v *verifier) column(table, name, kind string) string {
	if v.columns[table+"."+name] {
		return "r." + name
	}
	return "NULL::" + kind
}

// loadRemoval reads what Contract left a note of.
func (v *verifier) loadRemoval(ctx context.Context) error {
	v.last = map[string]int64{}
	if !v.after {
		return nil
	}
	var runs, findings, items int64
	err := v.tx.QueryRow(ctx, "SELECT contracted_at, last_run_id, last_finding_id, last_item_id FROM legacy_archive.removal").
		Scan(&v.contracted, &runs, &findings, &items)
	v.last["operation_runs"], v.last["findings"], v.last["inventory_items"] = runs, findings, items
	return err
}

// since tells whether a row was made after Contract, so that the legacy tables say nothing about it.
// Of one that was only changed after it, a difference is not held against it.
func (v *verifier) since(table string, id int64, changed bool) bool {
	v.changed = changed
	if v.after && id > v.last[table] {
		v.report.Skipped[table]++
		return true
	}
	v.report.Rows[table]++
	return false
}

// legacyTable is where a legacy table stands now.
func (v *verifier) legacyTable(name string) string {
	if v.after {
		return ArchiveSchema + "." + name
	}
	return "public." + name
}

func (v *verifier) loadWorkspaces(ctx context.Context) error {
	unassigned := int64(-1) // before Expand there is none, and no run is in it
	if !v.after {
		var begun bool
		if err := v.tx.QueryRow(ctx, "SELECT to_regclass('runledger_removal.state') IS NOT NULL").Scan(&begun); err != nil {
			return err
		}
		if begun {
			err := v.tx.QueryRow(ctx, "SELECT coalesce(max(unassigned_workspace_id), -1) FROM runledger_removal.state").Scan(&unassigned)
			if err != nil {
				return err
			}
		}
	}
	v.workspaces, v.runs, v.schedules = map[int64]int64{}, map[int64]int64{}, map[int64]int64{}
	var id int64
	var workspace *int64
	err := v.each(ctx, "SELECT id, workspace_id FROM public.tenants", []any{&id, &workspace}, func() error {
		v.workspaces[id] = unassigned
		if workspace != nil {
			v.workspaces[id] = *workspace
		}
		return nil
	})
	if err != nil {
		return err
	}
	var owner int64
	if err := v.each(ctx, "SELECT id, workspace_id FROM public.operation_runs", []any{&id, &owner}, func() error {
		v.runs[id] = owner
		return nil
	}); err != nil {
		return err
	}
	var tenant int64
	return v.each(ctx, "SELECT id, tenant_id FROM public.backup_schedules", []any{&id, &tenant}, func() error {
		if workspace, ok := v.workspaces[tenant]; ok {
			v.schedules[id] = workspace
		}
		return nil
	})
}

func (v *verifier) loadBridges(ctx context.Context) error {
	v.syncs, v.named = map[int64]int64{}, map[int64]int64{}
	var id int64
	var run *int64
	err := v.each(ctx, "SELECT id, operation_run_id FROM "+v.legacyTable("inventory_sync_runs"), []any{&id, &run}, func() error {
		v.syncs[id] = 0
		if run != nil {
			v.syncs[id] = *run
		}
		return nil
	})
	if err != nil {
		return err
	}
	var schedule, bridged int64
	query := "SELECT operation_run_id, backup_schedule_id FROM " + v.legacyTable("backup_schedule_runs") + " WHERE operation_run_id IS NOT NULL"
	return v.each(ctx, query, []any{&bridged, &schedule}, func() error {
		if before, ok := v.named[bridged]; ok && before != schedule {
			v.named[bridged] = 0
			return nil
		}
		v.named[bridged] = schedule
		return nil
	})
}

// follow says which run of a workspace a legacy reference leads to, 0 for none, and why.
func (v *verifier) follow(reference *int64, workspace int64) (run int64, reason string) {
	if reference == nil {
		return 0, "no_reference"
	}
	bridged, ok := v.syncs[*reference]
	if !ok {
		return 0, "legacy_row_missing"
	}
	if bridged == 0 {
		return 0, "bridge_null"
	}
	of, ok := v.runs[bridged]
	switch {
	case !ok:
		return 0, "bridge_dangling"
	case of != workspace:
		return 0, "bridge_other_workspace"
	}
	return bridged, "mapped"
}

// expectID compares a nullable id with the wanted one, 0 for null.
func (v *verifier) expectID(table string, id int64, column, reason string, want int64, got *int64) {
	if want == 0 && got == nil || got != nil && *got == want {
		return
	}
	show := func(n *int64) string {
		if n == nil || *n == 0 {
			return "null"
		}
		return strconv.FormatInt(*n, 10)
	}
	v.differ(table, id, column, reason, show(&want), show(got))
}
