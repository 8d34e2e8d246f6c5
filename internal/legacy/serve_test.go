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
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runledger/runledger/db"
	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/retention"
	"github.com/runledger/runledger/internal/server"
)

// serve serves a contracted database, with a role's rights in it if one is named, to a member of workspace 1. The
// returned function sends a request below that workspace.
func serve(t *testing.T, address, databaseRole, memberRole string) (call func(method, path, body string) (status int, answer string)) {
	t.Helper()
	one(t, address, "UPDATE users SET subject = 'reader' WHERE id = (SELECT min(id) FROM users) RETURNING ''")
	one(t, address, `INSERT INTO workspace_memberships (workspace_id, user_id, role)
		SELECT 1, id, '`+memberRole+`' FROM users WHERE subject = 'reader'
		ON CONFLICT (workspace_id, user_id) DO UPDATE SET role = '`+memberRole+`' RETURNING ''`)
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(config.ConnConfig.RuntimeParams, server.SessionSettings())
	if databaseRole != "" {
		config.ConnConfig.RuntimeParams["role"] = databaseRole
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	s := server.New(server.Options{
		Pool: pool, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), SchemaVersion: db.LatestVersion(),
		Verify: func(context.Context, string) (auth.Subject, error) { return "reader", nil },
	})
	t.Cleanup(func() { s.Close(); pool.Close() })
	return func(method, path, body string) (status int, answer string) {
		r := httptest.NewRequestWithContext(t.Context(), method, "/workspaces/1/"+path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer x")
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
}

// serveContracted serves a contracted database to a member of workspace 1. The returned function
// lists, page by page, the ids at an address below that workspace, in ascending order.
func serveContracted(t *testing.T, address string) (list func(path string) []int64) {
	t.Helper()
	call := serve(t, address, "", "readonly")
	return func(path string) []int64 {
		t.Helper()
		var ids []int64
		for cursor := ""; ; {
			status, answer := call(http.MethodGet, path+cursor, "")
			var page struct {
				Data       []struct{ ID int64 }
				NextCursor string `json:"next_cursor"`
			}
			if err := json.Unmarshal([]byte(answer), &page); err != nil || status != http.StatusOK {
				t.Fatalf("%s: %d %s", path, status, answer)
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
		"tenants?limit=1":                         "SELECT id FROM tenants WHERE workspace_id = 1 ORDER BY id",
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

// Rows from before the constraints held may break them, and PostgreSQL lets nobody update those. They are
// nobody else's hindrance.
func TestRunsOutsideTheStatesHinderNobody(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	run(t, address, `INSERT INTO operation_runs (id, workspace_id, tenant_id, type, status, outcome, run_identity_hash, context, started_at, completed_at, created_at, updated_at) VALUES
		(110, 1, 10, 'inventory_sync', 'running', 'failed', repeat('a', 64), '{}', '2024-01-01', '2024-01-02', '2024-01-01', '2024-01-01'),
		(111, 1, 10, 'inventory_sync', 'running', 'pending', repeat('b', 64), '{}', '2024-01-01', NULL, '2024-01-01', '2024-01-01'),
		(112, 1, 10, 'inventory_sync', 'completed', 'succeeded', repeat('c', 64), '{}', '2024-01-01', '2024-01-02', '2024-01-01', '2024-01-01'),
		(113, 1, 10, 'drift_generate_findings', 'completed', 'succeeded', repeat('d', 64), '{"baseline_operation_run_id": 112}', '2024-01-03', NULL, '2024-01-03', '2024-01-03'),
		(114, 1, 10, 'drift_generate_findings', 'completed', 'succeeded', repeat('e', 64), '{"baseline_operation_run_id": 112}', NULL, '2024-01-03', '2024-01-03', '2024-01-03')`)
	throughContract(t, address)
	conn := connect(t, address)
	swept, err := dbsqlc.New().SweepRuns(t.Context(), conn, dbsqlc.SweepRunsParams{WorkspaceID: 1, BatchSize: 500, Message: "It is silent.", Actor: "runledger"})
	if err != nil || !slices.ContainsFunc(swept, func(row dbsqlc.SweepRunsRow) bool { return row.ID == 111 }) {
		t.Errorf("swept: %v, %v", swept, err)
	}
	call := serve(t, address, "", "owner")
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{http.MethodGet, "operation-runs/110", "", http.StatusOK},
		{http.MethodPost, "operation-runs/110/heartbeat", "", http.StatusConflict},
		{http.MethodPost, "operation-runs/110/cancel", "", http.StatusConflict},
		{http.MethodPost, "operation-runs", `{"type":"inventory_sync","tenant_id":10,"run_identity_hash":"` + strings.Repeat("a", 64) + `"}`, http.StatusConflict},
		{http.MethodPost, "operation-runs/113/recall", `{"reason":"bad"}`, http.StatusConflict},
		{http.MethodPost, "operation-runs/112/recall", `{"reason":"bad"}`, http.StatusOK},
		{http.MethodPatch, "operation-runs/110", `{"status":"completed","outcome":"failed"}`, http.StatusOK}, // which makes it whole
		{http.MethodPost, "operation-runs/110/recall", `{"reason":"bad"}`, http.StatusOK},
	} {
		if status, answer := call(c.method, c.path, c.body); status != c.want {
			t.Errorf("%s %s: %d %s", c.method, c.path, status, answer)
		}
	}
	if got := one(t, address, "SELECT string_agg(id || ' ' || recalled, ', ' ORDER BY id) FROM operation_runs WHERE id IN (112, 113, 114)"); got != "112 true, 113 false, 114 true" {
		t.Errorf("recalled: %s", got)
	}
	// What they look like, the preview of retention sees as the deed does.
	never := int64(0)
	o := retention.Options{Types: []string{"inventory_sync"}, Override: &retention.Policy{KeepDays: &never}, WorkspaceID: 1}
	run(t, address, "INSERT INTO operation_runs (id, workspace_id, tenant_id, type, status, outcome, completed_at, created_at) VALUES (120, 1, 10, 'inventory_sync', 'completed', 'failed', now() - interval '1 day', '2024-01-01')")
	preview, err := retention.Preview(t.Context(), conn, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	done, err := retention.Run(t.Context(), conn, o, func(int, int) {})
	if diff := cmp.Diff(preview, done); err != nil || diff != "" {
		t.Errorf("the preview and what was done: %s, %v", diff, err)
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
