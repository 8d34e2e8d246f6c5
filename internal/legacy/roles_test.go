package legacy

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/db"
)

// newRole makes a role of the cluster, which goes with the test and with all that it owns in the database.
func newRole(t *testing.T, address, name string) string {
	t.Helper()
	name += "_" + one(t, address, "SELECT oid::text FROM pg_database WHERE datname = current_database()")
	run(t, address, "CREATE ROLE "+name+"; GRANT ALL ON SCHEMA public TO "+name)
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), address)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close(context.Background()) }()
		if _, err := conn.Exec(context.Background(), "REASSIGN OWNED BY "+name+" TO CURRENT_USER; DROP OWNED BY "+name+"; DROP ROLE "+name); err != nil {
			t.Error(err)
		}
	})
	return name
}

// ownedBy gives the application's tables, and the database, to a role, and returns the address for sessions as
// that role.
func ownedBy(t *testing.T, address, role string) string {
	t.Helper()
	run(t, address, `DO $$ DECLARE n regclass; BEGIN
		FOR n IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm') LOOP
			EXECUTE format('ALTER TABLE %s OWNER TO `+role+`', n);
		END LOOP;
		EXECUTE format('ALTER DATABASE %I OWNER TO `+role+`', current_database());
	END $$`)
	return as(t, address, role)
}

// as is the address for sessions as a role.
func as(t *testing.T, address, role string) string {
	t.Helper()
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	query := parsed.Query()
	query.Set("role", role)
	parsed.RawQuery = query.Encode()
	return parsed.String()
}

func TestTheWholeRoadIsOpenToAnOwnerWhoMayDoNothingElse(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	owner := ownedBy(t, address, newRole(t, address, "owner"))
	throughContract(t, owner)
	run(t, owner, `INSERT INTO backup_retention_holds (backup_schedule_run_id, reason) VALUES (1002, 'law')`)
}

// What row security hides would be deleted with the archive, without having been moved or exported.
func TestRowSecurityThatHidesRowsIsAnObstacle(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	owner := ownedBy(t, address, newRole(t, address, "owner"))
	const hide = `CREATE POLICY mine ON inventory_sync_runs USING (tenant_id = 1);
		ALTER TABLE inventory_sync_runs ENABLE ROW LEVEL SECURITY; ALTER TABLE inventory_sync_runs FORCE ROW LEVEL SECURITY`
	const want = "row security hides rows of inventory_sync_runs"
	run(t, address, hide)
	r := open(t, owner, Options{})
	if got := must(t, r.Plan); len(got.Differences) != 1 || !strings.Contains(got.Differences[0], want) {
		t.Errorf("plan: %q", got.Differences)
	}
	if _, err := r.Expand(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("expand: %v", err)
	}
	r.Close()
	// One that comes later is noticed by whoever reads the rows.
	run(t, address, "ALTER TABLE inventory_sync_runs NO FORCE ROW LEVEL SECURITY")
	throughBackfill(t, owner)
	run(t, address, "ALTER TABLE inventory_sync_runs FORCE ROW LEVEL SECURITY")
	r = open(t, owner, Options{})
	if got, err := r.Verify(t.Context()); err == nil {
		t.Errorf("verify: %+v", got)
	}
	if _, err := r.Contract(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("contract: %v", err)
	}
}

func TestASecondOneOfAnotherRoleSaysWhoIsAtWork(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	owner := ownedBy(t, address, newRole(t, address, "owner"))
	first := open(t, address, Options{})
	if err := first.lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := open(t, owner, Options{Patience: time.Millisecond})
	_, err := second.Expand(t.Context())
	if held, ok := errors.AsType[*HeldError](err); !ok || !strings.Contains(held.Error(), "of another role") || held.PID == 0 {
		t.Errorf("the second one: %v", err)
	}
	if got := must(t, second.Status); !strings.Contains(got.Holder, "runledger legacy") {
		t.Errorf("at work: %q", got.Holder)
	}
}

func TestAViewMadeAnewGrantsWhatItDidAndNothingByDefault(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	reader, other := newRole(t, address, "reader"), newRole(t, address, "other")
	run(t, address, `ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO `+other+`, PUBLIC;
		CREATE VIEW failures AS SELECT id, type, failure_summary FROM operation_runs;
		REVOKE ALL ON failures FROM `+other+`, PUBLIC; GRANT SELECT ON failures TO `+reader)
	rights := "SELECT has_table_privilege('" + reader + "', 'failures', 'SELECT') || ' ' || has_table_privilege('" + other + "', 'failures', 'SELECT')"
	if got := one(t, address, rights); got != "true false" {
		t.Fatalf("before: %s", got)
	}
	throughContract(t, address)
	if got := one(t, address, rights); got != "true false" {
		t.Errorf("after: %s", got)
	}
}

// The servers' role sees of the archive which run a legacy id stands for, and no more.
func TestTheServersRoleFindsTheRunsOfLegacyIDs(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	run(t, address, "UPDATE inventory_sync_runs SET operation_run_id = 100001 WHERE id = 3") // there is none, yet
	throughContract(t, address)
	servers := newRole(t, address, "servers")
	if err := db.Grant(t.Context(), address, servers); err != nil {
		t.Fatal(err)
	}
	call := serve(t, address, servers, "operator")
	find := func(legacyID string) string {
		t.Helper()
		status, body := call(http.MethodGet, "operation-runs?legacy_table=inventory_sync_runs&legacy_id="+legacyID, "")
		if status != http.StatusOK {
			t.Errorf("legacy id %s: %d %s", legacyID, status, body)
		}
		return body
	}
	bridged := one(t, address, `SELECT min(l.id)::text FROM legacy_archive.inventory_sync_runs AS l
		JOIN operation_runs AS r ON r.id = l.operation_run_id AND r.workspace_id = 1`)
	if got := find(bridged); !strings.Contains(got, `"id":`) {
		t.Errorf("the run of legacy id %s: %s", bridged, got)
	}
	if status, body := call(http.MethodPost, "operation-runs", `{"type":"backup_schedule_run"}`); status != http.StatusCreated || !strings.Contains(body, `"id":100001,`) {
		t.Fatalf("%d %s: the test needs that number", status, body)
	}
	if got := find("3"); strings.Contains(got, `"id":`) {
		t.Errorf("a row that never had a run has one: %s", got)
	}
	conn := connect(t, as(t, address, servers))
	if _, err := conn.Exec(t.Context(), "SELECT * FROM legacy_archive.inventory_sync_runs"); sqlState(err) != "42501" {
		t.Errorf("the servers' role reads the archive: %v", err)
	}
}
