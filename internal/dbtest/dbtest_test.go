package dbtest

import (
	"strings"
	"sync"
	"testing"

	"github.com/runledger/runledger/db"
)

func TestMain(m *testing.M) { Main(m) }

func TestASharedDatabaseIsMigratedAndHasAnOddTimeZone(t *testing.T) {
	t.Parallel()
	pool := Pool(t)
	version, err := db.Version(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	if version != db.LatestVersion() {
		t.Errorf("schema version %d, want %d", version, db.LatestVersion())
	}
	for _, databaseURL := range []string{URL(t), Fresh(t), Empty(t)} {
		var zone string
		if err := Connect(t, databaseURL).QueryRow(t.Context(), "SELECT current_setting('timezone')").Scan(&zone); err != nil {
			t.Fatal(err)
		}
		if zone != timezone {
			t.Errorf("time zone %s", zone)
		}
	}
}

func TestAFreshDatabaseIsMigratedAndAnEmptyOneIsNot(t *testing.T) {
	t.Parallel()
	for databaseURL, want := range map[string]bool{Fresh(t): true, Empty(t): false} {
		var migrated bool
		err := Connect(t, databaseURL).QueryRow(t.Context(), "SELECT to_regclass('operation_runs') IS NOT NULL").Scan(&migrated)
		if err != nil {
			t.Fatal(err)
		}
		if migrated != want {
			t.Errorf("has a schema: %v, want %v", migrated, want)
		}
	}
}

func TestFreshDatabasesMayBeMadeAtOnce(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string]bool{}
	t.Run("together", func(t *testing.T) {
		t.Parallel()
		for range 8 {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				databaseURL := Fresh(t)
				mu.Lock()
				defer mu.Unlock()
				if seen[databaseURL] {
					t.Errorf("%s was given twice", databaseURL)
				}
				seen[databaseURL] = true
			})
		}
	})
}

func TestAWorkspaceHasOneMemberOfEachRoleAndNothingOfOthers(t *testing.T) {
	t.Parallel()
	pool := Pool(t)
	w, other := NewWorkspace(t, pool), NewWorkspace(t, pool)
	stranger := NewUser(t, pool)
	if w.ID == other.ID || w.Slug == other.Slug {
		t.Errorf("workspaces %+v and %+v", w, other)
	}
	rows, err := pool.Query(t.Context(), `SELECT role || ' ' || subject FROM workspace_memberships
		JOIN users ON users.id = user_id WHERE workspace_id = $1 ORDER BY role`, w.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var members []string
	for rows.Next() {
		var member string
		if err := rows.Scan(&member); err != nil {
			t.Fatal(err)
		}
		members = append(members, member)
	}
	if rows.Err() != nil {
		t.Fatal(rows.Err())
	}
	want := []string{
		"manager " + w.Manager.Subject, "operator " + w.Operator.Subject,
		"owner " + w.Owner.Subject, "readonly " + w.Readonly.Subject,
	}
	if strings.Join(members, ",") != strings.Join(want, ",") {
		t.Errorf("members %v, want %v", members, want)
	}
	if strings.Contains(strings.Join(members, ","), stranger.Subject) {
		t.Error("a stranger is a member")
	}
	if a, b := NewTenant(t, pool, w.ID), NewTenant(t, pool, w.ID); a == b || a == 0 {
		t.Errorf("tenants %d and %d", a, b)
	}
}
