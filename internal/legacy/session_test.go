package legacy

import (
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbtest"
)

// byDefault gives new sessions of the database a setting.
func byDefault(t *testing.T, address, setting, value string) {
	t.Helper()
	config, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(config.RuntimeParams, settings) // free from what was set before
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), "ALTER DATABASE "+pgx.Identifier{config.Database}.Sanitize()+" SET "+setting+" = '"+value+"'"); err != nil {
		t.Fatal(err)
	}
}

// What the application writes between the last look and contract's locks is seen under the locks.
func TestContractSeesWhatIsCommittedBeforeItsLocks(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"read committed", "repeatable read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			address := smallDatabase(t)
			throughBackfill(t, address)
			byDefault(t, address, "default_transaction_isolation", level)
			prepare(t, address)
			pool := dbtest.Connect(t, address)
			writing := underWay(t, pool, "update inventory_sync_runs set operation_run_id = 102 where id = 1")
			r := open(t, address, Options{LockTimeout: time.Minute})
			done := make(chan error, 1)
			go func() {
				report := &ContractReport{}
				err := r.swap(t.Context(), report)
				if err == nil {
					err = r.finish(t.Context(), report)
				}
				done <- err
			}()
			dbtest.AwaitBlocked(t, pool, writing, 1)
			if err := writing.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			r.Close()
			holds(t, address)
			if got := reference(t, address, 1); got != "102" {
				t.Errorf("the item refers to %s, want 102", got)
			}
		})
	}
}

func TestTheBackfillWorksBesideWritersWhateverTheDefaultIsolation(t *testing.T) {
	t.Parallel()
	address := smallDatabase(t)
	byDefault(t, address, "default_transaction_isolation", "repeatable read")
	step(t, address, (*Removal).Expand)
	pool := dbtest.Connect(t, address)
	writing := underWay(t, pool, "update findings set current_run_id = 3 where id = 1")
	r := open(t, address, Options{LockTimeout: time.Minute})
	done := make(chan error, 1)
	go func() {
		_, err := r.Backfill(t.Context())
		done <- err
	}()
	dbtest.AwaitBlocked(t, pool, writing, 1)
	if err := writing.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r.Close()
	step(t, address, (*Removal).Backfill)
	holds(t, address)
}

// A replica that was promoted, or a careful administrator, may have left these.
func TestTheRemovalWorksWhateverTheSessionDefaults(t *testing.T) {
	t.Parallel()
	address := smallDatabase(t)
	byDefault(t, address, "idle_session_timeout", "10ms")
	byDefault(t, address, "idle_in_transaction_session_timeout", "10ms")
	byDefault(t, address, "statement_timeout", "10ms")
	byDefault(t, address, "standard_conforming_strings", "off")
	byDefault(t, address, "quote_all_identifiers", "on")
	byDefault(t, address, "default_transaction_read_only", "on") // now nobody else can change anything
	throughContract(t, address)
	holds(t, address)
}

// The application's sessions are their own as well, and the removal's triggers run in them.
func TestTheApplicationWritesWhateverItsSessionsAre(t *testing.T) {
	t.Parallel()
	address := smallDatabase(t)
	step(t, address, (*Removal).Expand)
	conn := connect(t, address)
	_, err := conn.Exec(t.Context(), `SET standard_conforming_strings = off; SET escape_string_warning = off;
		INSERT INTO operation_runs (id, workspace_id, tenant_id, type, status, outcome, run_identity_hash, failure_summary, created_at)
		VALUES (150, 1, 10, 'policy.sync', 'completed', 'failed', 'h150', '[{"code":"x","message":"y"}]', now())`)
	if err != nil {
		t.Error(err)
	}
}

func TestBothFormsOfAnAddressTakeTheSettings(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"postgres://somebody@localhost:5433/books?sslmode=disable&options=-c%20work_mem%3D8MB",
		"host=localhost port=5433 user=somebody dbname=books sslmode=disable options='-c work_mem=8MB'",
	} {
		with, err := withSettings(address, "canonical")
		if err != nil {
			t.Fatal(err)
		}
		config, err := pgx.ParseConfig(with)
		if err != nil {
			t.Fatalf("%s: %v", with, err)
		}
		want := map[string]string{"search_path": "canonical", "options": "-c work_mem=8MB"}
		maps.Copy(want, settings)
		if diff := cmp.Diff(want, config.RuntimeParams); diff != "" || config.Port != 5433 || config.Database != "books" {
			t.Errorf("%s:\n%s", with, diff)
		}
	}
}
