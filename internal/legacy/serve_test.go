package legacy

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runledger/runledger/db"
	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/server"
)

// serveContracted serves a contracted database to a member of workspace 1. The returned function
// lists, page by page, the ids at an address below that workspace, in ascending order.
func serveContracted(t *testing.T, address string) (list func(path string) []int64) {
	t.Helper()
	one(t, address, "UPDATE users SET subject = 'reader' WHERE id = (SELECT min(id) FROM users) RETURNING ''")
	one(t, address, `INSERT INTO workspace_memberships (workspace_id, user_id, role)
		SELECT 1, id, 'readonly' FROM users WHERE subject = 'reader'
		ON CONFLICT (workspace_id, user_id) DO UPDATE SET role = 'readonly' RETURNING ''`)
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(config.ConnConfig.RuntimeParams, server.SessionSettings())
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	s := server.New(server.Options{
		Pool: pool, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), SchemaVersion: db.LatestVersion(),
		Verify: func(context.Context, string) (auth.Subject, error) { return "reader", nil },
	})
	t.Cleanup(func() { s.Close(); pool.Close() })
	return func(path string) []int64 {
		t.Helper()
		var ids []int64
		for cursor := ""; ; {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/workspaces/1/"+path+cursor, http.NoBody)
			r.Header.Set("Authorization", "Bearer x")
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			var page struct {
				Data       []struct{ ID int64 }
				NextCursor string `json:"next_cursor"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != http.StatusOK {
				t.Fatalf("%s: %d %s", path, w.Code, w.Body)
			}
			for _, row := range page.Data {
				ids = append(ids, row.ID)
			}
			if cursor = "&cursor=" + page.NextCursor; page.NextCursor == "" {
				slices.Sort(ids)
				return ids
			}
		}
	}
}

func TestAContractedDatabaseIsServedToItsLastRow(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	throughContract(t, address)
	list := serveContracted(t, address)
	for path, query := range map[string]string{
		"operation-runs?limit=7":                  "SELECT id FROM operation_runs WHERE workspace_id = 1 ORDER BY id",
		"operation-runs?limit=7&order=created_at": "SELECT id FROM operation_runs WHERE workspace_id = 1 ORDER BY id",
		"operation-runs?limit=7&order=updated_at": "SELECT id FROM operation_runs WHERE workspace_id = 1 ORDER BY id",
		"findings?limit=7":                        "SELECT id FROM findings WHERE workspace_id = 1 ORDER BY id",
		"inventory-items?limit=7":                 "SELECT id FROM inventory_items WHERE workspace_id = 1 ORDER BY id",
		"backup-schedules?limit=7":                "SELECT id FROM backup_schedules WHERE workspace_id = 1 ORDER BY id",
		// A legacy id finds the run that it was bridged to.
		"operation-runs?legacy_table=backup_schedule_runs&legacy_id=" + one(t, address, `SELECT min(b.id)::text FROM legacy_archive.backup_schedule_runs AS b
			JOIN operation_runs AS r ON r.id = b.operation_run_id AND r.workspace_id = 1`): `SELECT operation_run_id FROM legacy_archive.backup_schedule_runs
			WHERE id = (SELECT min(b.id) FROM legacy_archive.backup_schedule_runs AS b JOIN operation_runs AS r ON r.id = b.operation_run_id AND r.workspace_id = 1)`,
	} {
		want := ids(t, address, query)
		if diff := cmp.Diff(want, list(path)); diff != "" || len(want) == 0 {
			t.Errorf("%s: %d rows; %s", path, len(want), diff)
		}
	}
	for schedule, want := range map[string][]int64{"12": {200, 201, 202, 204, 205, 211, 218}, "13": {203, 222}, "14": nil} {
		// As Eloquent asks: ->whereIn('type', …)->where('context->backup_schedule_id', $id).
		eloquent := ids(t, address, `select "id" from "operation_runs" where "workspace_id" = 1
			and "type" in ('backup_schedule_run', 'backup_schedule_retention', 'backup_schedule_purge')
			and "context"->>'backup_schedule_id' = '`+schedule+`' order by "id"`)
		if diff := cmp.Diff(eloquent, list("operation-runs?limit=2&backup_schedule_id="+schedule)); diff != "" && len(eloquent) > 0 {
			t.Errorf("schedule %s, the application against the service: %s", schedule, diff)
		}
		if fmt.Sprint(want) != fmt.Sprint(eloquent) {
			t.Errorf("schedule %s: %v, want %v", schedule, eloquent, want)
		}
	}
}

func TestIDsThatWereLoadedAreNotGivenOutAgain(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	names := []string{"workspaces", "users", "tenants", "operation_runs", "findings", "inventory_items", "backup_schedules"}
	for _, name := range names { // as after a load of all rows with their ids
		one(t, address, fmt.Sprintf("SELECT setval(pg_get_serial_sequence('%s', 'id'), 1, false)::text", name))
	}
	throughContract(t, address)
	for _, name := range names {
		if behind := one(t, address, fmt.Sprintf("SELECT (nextval(pg_get_serial_sequence('%s', 'id')) <= max(id))::text FROM %[1]s", name)); behind != "false" {
			t.Errorf("%s: the sequence is behind the highest id: %s", name, behind)
		}
	}
}
