package dbtest_test

import (
	"testing"

	"github.com/runledger/runledger/internal/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

func TestASharedDatabaseIsMigratedAndHasAnOddTimeZone(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	w := dbtest.NewWorkspace(t, pool)
	var zone string
	var members int
	if err := pool.QueryRow(t.Context(), `SELECT current_setting('timezone'),
		(SELECT count(*) FROM workspace_memberships WHERE workspace_id = $1)`, w.ID).Scan(&zone, &members); err != nil {
		t.Fatal(err)
	}
	if zone != "Asia/Kathmandu" || members != 4 {
		t.Errorf("time zone %s, %d members", zone, members)
	}
}

func TestAFreshDatabaseIsMigratedAndAnEmptyOneIsNot(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]bool{dbtest.Fresh(t): true, dbtest.Empty(t): false} {
		var migrated bool
		err := dbtest.Connect(t, url).QueryRow(t.Context(), "SELECT to_regclass('operation_runs') IS NOT NULL").Scan(&migrated)
		if err != nil {
			t.Fatal(err)
		}
		if migrated != want {
			t.Errorf("has a schema: %v, want %v", migrated, want)
		}
	}
}
