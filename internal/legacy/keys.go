package legacy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// uniqueKey is a canonical key on the application's own columns.
type uniqueKey struct {
	table         string
	columns       []string
	nullsDistinct bool // as in NULLS DISTINCT
}

// uniqueKeys are the keys of the tables that the application has. The workspace is left out where the
// tenant tells it.
var uniqueKeys = []uniqueKey{
	{"workspaces", []string{"id"}, false},
	{"workspaces", []string{"slug"}, true},
	{"users", []string{"id"}, false},
	{"workspace_memberships", []string{"workspace_id", "user_id"}, false},
	{"tenants", []string{"id"}, false},
	{"tenants", []string{"workspace_id", "external_id"}, true},
	{"operation_runs", []string{"id"}, false},
	{"backup_schedules", []string{"id"}, false},
	{"findings", []string{"id"}, false},
	{"findings", []string{"tenant_id", "fingerprint"}, false},
	{"inventory_items", []string{"id"}, false},
	{"inventory_items", []string{"tenant_id", "policy_type", "external_id"}, false},
}

// assured tells whether a key of the application's own sees to it that the columns are unique.
func (t *table) assured(columns []string, nullsDistinct bool) bool {
	for _, idx := range t.indexes {
		within := !slices.ContainsFunc(idx.columns, func(c string) bool {
			return !slices.Contains(columns, c) || !nullsDistinct && !t.columns[c].notNull
		})
		if idx.unique && idx.valid && idx.whole && within {
			return true
		}
	}
	return false
}

// duplicates says which canonical keys the application's rows break.
func duplicates(ctx context.Context, tx pgx.Tx) ([]string, error) {
	have, err := readCatalog(ctx, tx, "public")
	if err != nil {
		return nil, err
	}
	var blockers []string
	for _, key := range uniqueKeys {
		if have[key.table].assured(key.columns, key.nullsDistinct) {
			continue
		}
		list, filter := strings.Join(key.columns, ", "), "true"
		if key.nullsDistinct {
			filter = strings.Join(key.columns, " IS NOT NULL AND ") + " IS NOT NULL"
		}
		found, err := collect(ctx, tx, "look for duplicates in "+key.table, fmt.Sprintf(`
			SELECT format('%%s rows of %[1]s share their (%[2]s) with another, (%%s) for example: Runledger needs it to be unique: change or delete all but one of each',
			              sum(n), min(example))
			FROM (SELECT count(*) AS n, concat_ws(', ', %[2]s) AS example FROM %[3]s WHERE %[4]s GROUP BY %[2]s HAVING count(*) > 1) AS shared
			HAVING count(*) > 0`, key.table, list, public(key.table), filter))
		if err != nil {
			return nil, err
		}
		blockers = append(blockers, found...)
	}
	return blockers, nil
}

// longestKey is how many bytes of values an index takes for sure: a third of a page, less what the
// entry itself needs. More may fit, if it can be compressed.
const longestKey = 2600

// firstFailureCode is the code of a run's first failure, before expand has made a function that can
// do better: escapes, which jsonb may refuse, count for as many characters.
const firstFailureCode = `CASE WHEN octet_length(r.failure_summary::text) > 1000 THEN
		regexp_replace(replace(r.failure_summary::text, '\\', '__'), '\\u[0-9a-fA-F]{4}', '____', 'g')::json -> 0 ->> 'code' END`

// longKey is a canonical index over a value that the application does not bound, and over columns that
// it does.
type longKey struct{ table, index, value, rest string }

// longKeys are all of those.
var longKeys = []longKey{
	{"operation_runs", "operation_runs_backup_schedule_id_idx", "r.context ->> 'backup_schedule_id'", "outcome, type"},
	{"operation_runs", "operation_runs_context_baseline_idx", "r.context ->> 'baseline_operation_run_id'", ""},
	{"operation_runs", "operation_runs_context_current_idx", "r.context ->> 'current_operation_run_id'", ""},
	{"operation_runs", "operation_runs_context_run_idx", "r.context ->> 'operation_run_id'", ""},
	{"operation_runs", "operation_runs_failure_code_idx", firstFailureCode, "type, outcome, status, run_identity_hash"},
}

// named is what people call the value of an index.
var named = map[string]string{
	"operation_runs_failure_code_idx": "failure_summary[0].code",
}

// tooLong says which rows have values that a canonical index may have no room for.
func tooLong(ctx context.Context, tx pgx.Tx) ([]string, error) {
	var blockers []string
	for _, key := range longKeys {
		name, ok := named[key.index]
		if !ok {
			name = strings.ReplaceAll(strings.TrimPrefix(key.value, "r."), " ->> ", ".")
			name = strings.ReplaceAll(name, "'", "")
		}
		rest := "0"
		if key.rest != "" {
			rest = "octet_length(concat(" + key.rest + "))"
		}
		found, err := collect(ctx, tx, "look for long values in "+key.table, fmt.Sprintf(`
			SELECT format('%%s rows of %[1]s have a %[2]s that is too long for the index %[3]s (more than %[6]d bytes), ids %%s: shorten it', count(*),
			              array_to_string((array_agg(id ORDER BY id))[:5], ', ') || CASE WHEN count(*) > 5 THEN ', …' ELSE '' END)
			FROM (SELECT r.id FROM %[4]s r WHERE octet_length(%[5]s) + %[7]s > %[6]d) AS long
			HAVING count(*) > 0`, key.table, name, key.index, public(key.table), key.value, longestKey, rest))
		if err != nil {
			return nil, err
		}
		blockers = append(blockers, found...)
	}
	return blockers, nil
}

// refuses tells whether a canonical index, once it is there, may refuse what the application writes:
// a value that it has no room for, or a second row of a key that is unique nowhere else. Such an
// index is built when the application has stopped.
func refuses(name string, have *table, idx index) bool {
	keys, _, _ := strings.Cut(idx.definition, " WHERE ")
	if strings.Contains(keys, "->>") {
		return true
	}
	if !idx.unique || builtLate(name, idx) {
		return false
	}
	nullsDistinct := !strings.Contains(keys, "NULLS NOT DISTINCT")
	columns := make([]string, 0, len(idx.columns))
	for _, c := range idx.columns {
		now := current(name, c)
		if nullsDistinct && !isExpected(name, now) && now != "workspace_id" {
			return false // Expand has added it, and nobody fills it before Contract.
		}
		columns = append(columns, now)
	}
	return !have.assured(columns, nullsDistinct)
}
