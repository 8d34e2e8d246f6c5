package legacy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// addBridgeIndexes makes sure that the rows that depend on an operation run can be found: the runs of
// a legacy table by their bridge, and the items by the reference that was cleared.
func (r *Removal) addBridgeIndexes(ctx context.Context, report *ExpandReport) error {
	application, _, err := r.catalogs(ctx)
	if err != nil {
		return err
	}
	for _, name := range legacyTables {
		if err := r.addIndex(ctx, report, application, name, "operation_run_id", "(operation_run_id)"); err != nil {
			return err
		}
	}
	// Empty as yet, and small afterwards.
	return r.addIndex(ctx, report, application, "inventory_items", referenceColumn,
		fmt.Sprintf("(%[1]s) WHERE %[1]s > 0", referenceColumn))
}

// addIndex builds an index over a column of a table unless there is one.
func (r *Removal) addIndex(ctx context.Context, report *ExpandReport, application map[string]*table, name, column, definition string) error {
	indexName := ours + name + "_" + strings.TrimPrefix(column, ours)
	for existing, idx := range application[name].indexes {
		switch {
		case existing == indexName && idx.valid:
			return nil
		case existing == indexName:
			if err := r.alter(ctx, "DROP INDEX CONCURRENTLY public."+quoted(existing)); err != nil {
				return err
			}
		case idx.valid && idx.whole && slices.Equal(idx.columns, []string{column}):
			return nil
		}
	}
	if err := r.buildIndex(ctx, indexName, fmt.Sprintf("CREATE INDEX CONCURRENTLY %s ON %s %s", quoted(indexName), public(name), definition)); err != nil {
		return err
	}
	report.Indexes = append(report.Indexes, indexName)
	return nil
}

// buildIndex builds an index beside the application's work. An attempt that fails leaves an
// invalid index behind, which is dropped before the next.
func (r *Removal) buildIndex(ctx context.Context, name, statement string) error {
	// The build has to wait until all transactions older than itself are over, holding a lock that
	// is in nobody's way, so it may wait for long.
	if _, err := r.conn.Exec(ctx, "SET lock_timeout = '60s'"); err != nil {
		return fmt.Errorf("build the index %s: %w", name, err)
	}
	defer func() { _, _ = r.conn.Exec(context.WithoutCancel(ctx), r.lockTimeoutSQL()) }()
	return r.patiently(ctx, "build the index "+name, func() error {
		if _, err := r.conn.Exec(ctx, "DROP INDEX CONCURRENTLY IF EXISTS public."+quoted(name)); err != nil {
			return fmt.Errorf("drop what is left of the index %s: %w", name, err)
		}
		if _, err := r.conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("build the index %s: %w", name, err)
		}
		return nil
	})
}

func (r *Removal) lockTimeoutSQL() string {
	return fmt.Sprintf("SET lock_timeout = %d", r.opt.LockTimeout.Milliseconds())
}

// prebuilt is the name that a canonical index has until Contract.
func prebuilt(name string) string {
	const longest = 63
	return (ours + name)[:min(len(ours+name), longest)]
}

// builtLate tells whether an index can only be built by Contract: one that is to be unique over
// values that are unique only when the application has stopped.
func builtLate(table string, idx index) bool {
	return idx.unique && slices.ContainsFunc(idx.columns, func(c string) bool { return isShadowed(table, c) })
}

// buildIndexes builds the canonical indexes beside the application's work, but for those that may
// refuse what it writes.
func (r *Removal) buildIndexes(ctx context.Context) error {
	todo, err := r.missingIndexes(ctx, func(name string, have *table, idx index) bool { return !refuses(name, have, idx) })
	if err != nil {
		return err
	}
	keys, err := r.missingIDKeys(ctx)
	if err != nil {
		return err
	}
	return r.build(ctx, append(todo, keys...), "beside the application's work")
}

// buildRefusing builds those that may, when it has stopped.
func (r *Removal) buildRefusing(ctx context.Context) error {
	todo, err := r.missingIndexes(ctx, refuses)
	if err != nil {
		return err
	}
	return r.build(ctx, todo, "that may refuse what the application writes; it must have stopped")
}

// missing is an index to be built: its name until Contract, and the statement.
type missing struct{ name, statement string }

// missingIndexes lists the canonical indexes that can be built before Contract and are not there yet.
func (r *Removal) missingIndexes(ctx context.Context, wanted func(name string, have *table, idx index) bool) ([]missing, error) {
	application, canonical, err := r.catalogs(ctx)
	if err != nil {
		return nil, err
	}
	var todo []missing
	for _, name := range tableNames(canonical) {
		have, ok := application[name]
		if !ok {
			continue
		}
		for _, key := range sortedKeys(canonical[name].indexes) {
			want := canonical[name].indexes[key]
			if !builtLate(name, want) && !sameIndex(have.indexes[key], want) && !have.indexes[prebuilt(key)].valid && wanted(name, have, want) {
				todo = append(todo, missing{prebuilt(key), currentIndex(name, prebuilt(key), key, want.definition)})
			}
		}
	}
	return todo, nil
}

// missingIDKeys lists the keys over the id alone that have to stay for what refers to them, and are not
// built yet.
func (r *Removal) missingIDKeys(ctx context.Context) ([]missing, error) {
	var todo []missing
	err := pgx.BeginTxFunc(ctx, r.conn, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		s := &swapping{tx: tx}
		err := s.prepare(ctx)
		for _, k := range s.foreign {
			key := missing{name: prebuilt(k.references + "_id_key")}
			key.statement = fmt.Sprintf("CREATE UNIQUE INDEX CONCURRENTLY %s ON %s (id)", quoted(key.name), public(k.references))
			if !s.application[k.references].indexes[key.name].valid && !slices.Contains(todo, key) {
				todo = append(todo, key)
			}
		}
		return err
	})
	return todo, err
}

// build builds indexes, and says what is special about them.
func (r *Removal) build(ctx context.Context, todo []missing, how string) error {
	if len(todo) == 0 {
		return nil
	}
	r.progress.Note("contract: builds %d indexes %s", len(todo), how)
	for i, idx := range todo {
		began := time.Now()
		if err := r.buildIndex(ctx, idx.name, idx.statement); err != nil {
			return err
		}
		if took := time.Since(began); took > time.Second {
			r.progress.Note("contract: index %d of %d built in %s", i+1, len(todo), took.Round(100*time.Millisecond))
		}
	}
	return nil
}

// dropRefusing drops the prepared indexes that may refuse what the application writes.
func (r *Removal) dropRefusing(ctx context.Context) error {
	left, err := r.refusingLeft(ctx)
	if err != nil {
		return err
	}
	for _, name := range left {
		if err := r.alter(ctx, "DROP INDEX CONCURRENTLY IF EXISTS public."+quoted(name)); err != nil {
			return err
		}
	}
	return nil
}

// refusingLeft lists those that are there: a contract that was killed leaves them.
func (r *Removal) refusingLeft(ctx context.Context) ([]string, error) {
	application, canonical, err := r.catalogs(ctx)
	if err != nil {
		return nil, err
	}
	var left []string
	for _, name := range tableNames(canonical) {
		have, ok := application[name]
		if !ok {
			continue
		}
		for _, indexName := range sortedKeys(canonical[name].indexes) {
			if _, built := have.indexes[prebuilt(indexName)]; built && refuses(name, have, canonical[name].indexes[indexName]) {
				left = append(left, prebuilt(indexName))
			}
		}
	}
	return left, nil
}

// sameIndex tells whether the application's index is the canonical one already.
func sameIndex(have, want index) bool {
	return have.valid && inPublic(want.definition) == have.definition
}
