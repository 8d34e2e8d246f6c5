package legacy

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// longContext is a context with a value of more bytes than an index takes, and none of them twice.
const longContext = `jsonb_build_object('operation_run_id', (SELECT jsonb_agg(md5(i::text)) FROM generate_series(1, 200) AS i))`

// What the application may write without the removal, it may write beside its preparations.
func TestPreparedIndexesRefuseNothing(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	run(t, address, "ALTER TABLE findings DROP CONSTRAINT findings_tenant_id_fingerprint_unique")
	throughBackfill(t, address)
	preparing := open(t, address, Options{PrepareOnly: true})
	must(t, preparing.Contract)
	preparing.Close()
	run(t, address, `
		INSERT INTO operation_runs (id, workspace_id, type, run_identity_hash, context) VALUES (8000, 1, 'x', 'long context', `+longContext+`);
		INSERT INTO operation_runs (id, workspace_id, type, run_identity_hash, failure_summary)
			SELECT 8001, 1, 'x', 'long codes', json_build_array(json_build_object('code', long), json_build_object('code', long))
			FROM (SELECT string_agg(md5(i::text), '') AS long FROM generate_series(1, 200) AS i) AS i;
		INSERT INTO operation_runs (id, workspace_id, type, run_identity_hash, failure_summary) -- no index has a later code
			SELECT 8002, 1, 'x', 'a long later code', json_build_array(json_build_object('code', 'x'), json_build_object('code', string_agg(md5(i::text), '')))
			FROM generate_series(1, 200) AS i;
		INSERT INTO findings (id, tenant_id, finding_type, fingerprint) VALUES (8000, 10, 'drift', 'f1')`)
	r := open(t, address, Options{})
	_, err := r.Contract(t.Context())
	for _, want := range []string{"context.operation_run_id", "failure_summary[0].code", "findings share"} {
		if _, ok := errors.AsType[*BlockedError](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("contract does not name %q: %v", want, err)
		}
	}
	run(t, address, "DELETE FROM operation_runs WHERE id IN (8000, 8001); DELETE FROM findings WHERE id = 8000")
	// Where the swap fails, the application may have to go on.
	run(t, address, `CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''not today''; END';
		CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('CREATE TABLE AS') EXECUTE FUNCTION refuse()`)
	if _, err := r.Contract(t.Context()); err == nil || !strings.Contains(err.Error(), "not today") {
		t.Fatalf("contract: %v", err)
	}
	run(t, address, "INSERT INTO operation_runs (id, workspace_id, type, run_identity_hash, context) VALUES (8000, 1, 'x', 'long context', "+longContext+`);
		DELETE FROM operation_runs WHERE id = 8000; DROP EVENT TRIGGER refuse`)
	must(t, r.Contract)
}

func TestAnIndexOfTheApplicationServesTheRemovalIfItHasEveryRow(t *testing.T) {
	t.Parallel()
	for definition, serves := range map[string]bool{
		"(operation_run_id)":                         true,
		"(operation_run_id) WHERE status = 'failed'": false,
		"((operation_run_id % 2))":                   false,
		"(operation_run_id) INCLUDE (id)":            false,
		"(operation_run_id) WHERE id > 5":            false,
	} {
		address := legacyDatabase(t)
		run(t, address, "DROP INDEX inventory_sync_runs_operation_run_id_index; CREATE INDEX theirs ON inventory_sync_runs "+definition)
		r := open(t, address, Options{})
		report, err := r.Expand(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if built := slices.Contains(report.Indexes, "runledger_inventory_sync_runs_operation_run_id"); built == serves {
			t.Errorf("%s: indexes %q were built", definition, report.Indexes)
		}
		again, err := r.Expand(t.Context())
		if err != nil || len(again.Indexes) > 0 {
			t.Errorf("%s: indexes %q were built again, error %v", definition, again.Indexes, err)
		}
	}
}

func TestEveryCanonicalKeyIsLookedAt(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	r := open(t, address, Options{})
	must(t, r.Expand)
	application, canonical, err := r.catalogs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range sharedTables {
		for name, idx := range canonical[table].indexes {
			var looked bool
			switch {
			case idx.unique && !builtLate(table, idx):
				looked = name == "users_subject_key" || slices.ContainsFunc(uniqueKeys, func(k uniqueKey) bool {
					// The tenant tells the workspace, and the id alone is unique.
					rest := slices.DeleteFunc(slices.Clone(idx.columns), func(c string) bool { return c == "workspace_id" && !slices.Contains(k.columns, c) })
					slices.Sort(rest)
					return k.table == table && slices.Equal(rest, slices.Sorted(slices.Values(k.columns)))
				})
			case refuses(table, application[table], idx):
				looked = slices.ContainsFunc(longKeys, func(k longKey) bool { return k.index == name })
			default:
				continue
			}
			if !looked {
				t.Errorf("plan does not look whether the old rows fit into the index %s", idx.definition)
			}
		}
	}
}
