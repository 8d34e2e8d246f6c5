package legacy

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// obstacle is something in the application's database that the removal can do nothing about.
type obstacle struct {
	plant, clear string
	want         string // in plan's report, and in the refusal
	early        bool   // whether it can only be planted before Expand
}

// expandObstacles make Expand refuse, and all that comes after it.
var expandObstacles = map[string]obstacle{
	"own table": {
		"CREATE TABLE audit_events (id bigserial PRIMARY KEY, event text, data text, workspace_id bigint, created_at timestamp); INSERT INTO audit_events (event) VALUES ('mine')",
		"DROP TABLE audit_events", "table audit_events: is there already", false,
	},
	"own version table":      {"CREATE TABLE goose_db_version (id int)", "DROP TABLE goose_db_version", "table goose_db_version: is there already", false},
	"table of a view's name": {"CREATE TABLE workspace_members (id int)", "DROP TABLE workspace_members", "table workspace_members: is there already", false},
	"own column, filled by the backfill": {
		"ALTER TABLE findings ADD COLUMN workspace_id bigint", "ALTER TABLE findings DROP COLUMN workspace_id", "column findings.workspace_id: is there already", true,
	},
	"own column, new at contract": {
		"ALTER TABLE operation_runs ADD COLUMN attempt int", "ALTER TABLE operation_runs DROP COLUMN attempt", "column operation_runs.attempt: is there already", true,
	},
	"own column of a small table":    {"ALTER TABLE users ADD COLUMN subject text", "ALTER TABLE users DROP COLUMN subject", "column users.subject: is there already", true},
	"own column of a renamed one":    {"ALTER TABLE findings ADD COLUMN evidence text", "ALTER TABLE findings DROP COLUMN evidence", "column findings.evidence: is there already", false},
	"index of a canonical name":      {"CREATE INDEX findings_tenant_id_idx ON audit_logs (tenant_id)", "DROP INDEX findings_tenant_id_idx", "index findings_tenant_id_idx: is there already", false},
	"index over a column that stays": {"CREATE INDEX findings_status_idx ON findings (deleted_at)", "DROP INDEX findings_status_idx", "index findings_status_idx: is there already", false},
	"type of a table's name":         {"CREATE TYPE server_keys AS ENUM ('a')", "DROP TYPE server_keys", "type server_keys: is there already", false},
	"own function": {
		"CREATE FUNCTION runledger_merge_patch(jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1'", "DROP FUNCTION runledger_merge_patch",
		"function runledger_merge_patch(jsonb,jsonb): is there already", false,
	},
	"own tables in the archive's schema": {
		"CREATE TABLE legacy_archive.mine (id int)", "DROP TABLE legacy_archive.mine", "table legacy_archive.mine: is there already", false,
	},
	"trigger that stamps rows": {
		"CREATE TRIGGER stamp BEFORE UPDATE ON findings FOR EACH ROW EXECUTE FUNCTION touch()", "DROP TRIGGER stamp ON findings", "trigger stamp on findings", false,
	},
	"trigger behind ours": {
		"CREATE TRIGGER touch BEFORE UPDATE OF summary_counts ON operation_runs FOR EACH ROW EXECUTE FUNCTION touch()", "DROP TRIGGER touch ON operation_runs",
		"trigger touch on operation_runs", false,
	},
	"trigger of a statement": {
		"CREATE TRIGGER audit AFTER INSERT OR UPDATE ON inventory_items EXECUTE FUNCTION touch()", "DROP TRIGGER audit ON inventory_items", "trigger audit on inventory_items", false,
	},
}

// contractObstacles make Contract refuse.
var contractObstacles = map[string]obstacle{
	"long code of a failure": {
		`UPDATE operation_runs SET failure_summary = format('[{"message": "\u0000", "code": "%s"}]', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 200) AS i))::json WHERE id = 100`,
		`UPDATE operation_runs SET failure_summary = '[]' WHERE id = 100`,
		"1 rows of operation_runs have a failure_summary[0].code that is too long", false,
	},
	"long value of a context": {
		`UPDATE operation_runs SET context = jsonb_build_object('operation_run_id', (SELECT jsonb_agg(md5(i::text)) FROM generate_series(1, 200) AS i)) WHERE id IN (100, 107)`,
		`UPDATE operation_runs SET context = CASE id WHEN 100 THEN '{"x": 1}' ELSE '{}' END::jsonb WHERE id IN (100, 107)`,
		"2 rows of operation_runs have a context.operation_run_id that is too long for the index operation_runs_context_run_idx (more than 2600 bytes), ids 100, 107", false,
	},
	"duplicates of a key": {
		"ALTER TABLE findings DROP CONSTRAINT findings_tenant_id_fingerprint_unique; INSERT INTO findings (id, tenant_id, finding_type, fingerprint) VALUES (8000, 10, 'drift', 'f1')",
		"DELETE FROM findings WHERE id = 8000; ALTER TABLE findings ADD CONSTRAINT findings_tenant_id_fingerprint_unique UNIQUE (tenant_id, fingerprint)",
		"2 rows of findings share their (tenant_id, fingerprint) with another, (10, f1) for example", false,
	},
}

// harmless are no obstacles, although they look like some.
const harmless = `
	CREATE TRIGGER sleeping BEFORE UPDATE ON findings FOR EACH ROW EXECUTE FUNCTION touch();
	ALTER TABLE findings DISABLE TRIGGER sleeping;
	CREATE TRIGGER welcome AFTER INSERT OR DELETE ON inventory_items EXECUTE FUNCTION touch();
	CREATE TRIGGER told AFTER UPDATE OF summary_counts ON operation_runs FOR EACH ROW EXECUTE FUNCTION touch();
	CREATE INDEX findings_severity_idx ON findings (severity);
	CREATE SCHEMA legacy_archive;
`

func TestPlanNamesWhatTheRemovalCannotDo(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	run(t, address, harmless)
	if got := must(t, open(t, address, Options{}).Plan); len(got.Differences)+len(got.Blockers) > 0 {
		t.Fatalf("without an obstacle: %q, %q", got.Differences, got.Blockers)
	}
	for name, o := range expandObstacles {
		t.Run(name, func(t *testing.T) {
			run(t, address, o.plant)
			defer run(t, address, o.clear)
			r := open(t, address, Options{})
			defer r.Close()
			if got := must(t, r.Plan); !slices.ContainsFunc(got.Differences, func(d string) bool { return strings.Contains(d, o.want) }) {
				t.Errorf("plan does not name %q: %q", o.want, got.Differences)
			}
			_, err := r.Expand(t.Context())
			if _, ok := errors.AsType[*BlockedError](err); !ok || !strings.Contains(err.Error(), o.want) {
				t.Errorf("expand does not refuse because of %q: %v", o.want, err)
			}
			if state, err := Detect(t.Context(), r.conn); state != Uncontracted || err != nil {
				t.Fatalf("expand has changed something: %s, %v", state, err)
			}
		})
	}
	for name, o := range contractObstacles {
		t.Run(name, func(t *testing.T) {
			run(t, address, o.plant)
			defer run(t, address, o.clear)
			r := open(t, address, Options{})
			defer r.Close()
			if got := must(t, r.Plan); !slices.ContainsFunc(got.Blockers, func(d string) bool { return strings.Contains(d, o.want) }) {
				t.Errorf("plan does not name %q: %q", o.want, got.Blockers)
			}
		})
	}
}

func TestContractsPreparationRefusesWhatTheRemovalCannotDo(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	run(t, address, harmless)
	throughBackfill(t, address)
	before := fingerprint(t, address)
	for _, obstacles := range []map[string]obstacle{expandObstacles, contractObstacles} {
		for name, o := range obstacles {
			if o.early {
				continue
			}
			t.Run(name, func(t *testing.T) {
				run(t, address, o.plant)
				defer run(t, address, o.clear)
				r := open(t, address, Options{PrepareOnly: true})
				defer r.Close()
				_, err := r.Contract(t.Context())
				if _, ok := errors.AsType[*BlockedError](err); !ok || !strings.Contains(err.Error(), o.want) {
					t.Fatalf("contract does not refuse because of %q: %v", o.want, err)
				}
			})
		}
	}
	for name, after := range fingerprint(t, address) {
		if before[name] != after && !strings.HasPrefix(name, removalSchema) && !strings.HasPrefix(name, "schema of") {
			t.Errorf("%s has changed", name)
		}
	}
	r := open(t, address, Options{})
	must(t, r.Contract) // without them nothing stands in the way
}

// A name that is taken after Expand is the application's as well, so undo must know which columns
// are the removal's.
func TestUndoLeavesAColumnOfACanonicalNameAlone(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	throughBackfill(t, address)
	run(t, address, "ALTER TABLE findings ADD COLUMN evidence text; UPDATE findings SET evidence = 'mine'")
	must(t, open(t, address, Options{}).Undo)
	if got := one(t, address, "SELECT string_agg(DISTINCT evidence, ' ') FROM findings"); got != "mine" {
		t.Errorf("the application's column has %q", got)
	}
}

// A publication of all tables publishes the removal's own, too, and these are updated and deleted from.
func TestAPublicationOfAllTablesIsNoObstacle(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]bool{"before": false, "made after the backfill": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := legacyDatabase(t)
			if !after {
				run(t, address, "CREATE PUBLICATION everything FOR ALL TABLES")
			}
			throughBackfill(t, address)
			if after {
				run(t, address, "CREATE PUBLICATION everything FOR ALL TABLES")
			}
			run(t, address, "UPDATE findings SET tenant_id = tenant_id; UPDATE tenants SET workspace_id = 2 WHERE id = 20")
			filling := open(t, address, Options{})
			must(t, filling.Backfill)
			filling.Close()
			r := open(t, address, Options{})
			must(t, r.Contract)
			must(t, r.ImportUnbridged)
			run(t, address, "UPDATE operation_runs SET attempt = 2 WHERE id = 100; DELETE FROM findings; DELETE FROM inventory_items")
		})
	}
	t.Run("undo", func(t *testing.T) {
		t.Parallel()
		address := legacyDatabase(t)
		run(t, address, "CREATE PUBLICATION everything FOR ALL TABLES")
		throughBackfill(t, address)
		must(t, open(t, address, Options{}).Undo)
	})
}

// A database that an earlier release has expanded does not say which columns were added.
func TestARemovalBegunByAnEarlierReleaseGoesOn(t *testing.T) {
	t.Parallel()
	for name, forget := range map[string]string{"unknown": "DROP TABLE runledger_removal.added_columns", "expanded again": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := legacyDatabase(t)
			before := fingerprint(t, address)
			throughBackfill(t, address)
			run(t, address, "DROP TABLE runledger_removal.added_columns")
			expanding := open(t, address, Options{})
			must(t, expanding.Expand)
			expanding.Close()
			if forget != "" {
				run(t, address, forget)
			}
			preparing := open(t, address, Options{PrepareOnly: true})
			must(t, preparing.Contract)
			preparing.Close()
			must(t, open(t, address, Options{}).Undo)
			for name, sum := range fingerprint(t, address) {
				if before[name] != sum {
					t.Errorf("%s has changed", name)
				}
			}
		})
	}
}
