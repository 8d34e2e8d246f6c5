package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.yaml.in/yaml/v3"

	"github.com/runledger/runledger/api"
	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

// fieldsOf are the names that api/openapi.yaml has for the parameter fields.
func fieldsOf(t *testing.T, component string) []string {
	t.Helper()
	var document struct {
		Components struct {
			Parameters map[string]struct {
				Schema struct{ Items struct{ Enum []string } }
			}
		}
	}
	if err := yaml.Unmarshal(api.YAML(), &document); err != nil {
		t.Fatal(err)
	}
	names := document.Components.Parameters[component].Schema.Items.Enum
	if len(names) == 0 {
		t.Fatalf("api/openapi.yaml has no names in %s", component)
	}
	return names
}

// fieldLists are the lists that take fields: their addresses with what documents them, and where
// one of their rows is to be had.
func fieldLists(f fixture) map[string]struct{ component, rows string } {
	below := func(path string) string { return fmt.Sprintf("/workspaces/%d/%s", f.ID, path) }
	return map[string]struct{ component, rows string }{
		below("operation-runs"): {"RunFields", below("operation-runs")},
		below(fmt.Sprintf("backup-schedules/%d/runs", f.schedule)): {"RunFields", below("operation-runs")},
		below("findings"):        {"FindingFields", below("findings")},
		below("inventory-items"): {"InventoryItemFields", below("inventory-items")},
		below("tenants"):         {"TenantFields", below("tenants")},
	}
}

// oddRows adds rows that have what most have not, and lack what most have.
func oddRows(t *testing.T, h *harness, f fixture) {
	t.Helper()
	for _, sql := range []string{
		`INSERT INTO operation_runs (workspace_id, type, status, started_at, heartbeat_at, stalled_at, created_at, updated_at, user_id,
				initiator_name, retry_of_id, context)
			SELECT $1, 'backup_schedule_run', 'running', '2026-01-01T00:00:00.000001Z', 'infinity', '2026-02-01', '-infinity', '12026-01-01',
				(SELECT min(user_id) FROM workspace_memberships WHERE workspace_id = $1), E'é "\\\n' || chr(1) || chr(8232), $2,
				jsonb_build_object('backup_schedule_id', $3::bigint::text, 'n', 1e400, 't', E'\u2028"\\')`,
		`INSERT INTO operation_runs (workspace_id, type, created_at, updated_at, summary_counts, failure_summary, context)
			SELECT $1, 'backup_schedule_run', NULL AS created, NULL AS updated, NULL AS counts, NULL AS failures, jsonb_build_object('backup_schedule_id', $3::bigint)
			WHERE $2::bigint > 0`,
		`INSERT INTO findings (workspace_id, finding_type, fingerprint, evidence, created_at) SELECT $1, '', E'\t', '[{}, null]', NULL WHERE $2::bigint + $3::bigint > 0`,
		`INSERT INTO inventory_items (workspace_id, policy_type, external_id, display_name, last_seen_at) SELECT $1, '', '', 'Gerät', '0001-01-01 BC' WHERE $2::bigint + $3::bigint > 0`,
		`INSERT INTO tenants (workspace_id, name, created_at, updated_at) SELECT $1, E'é "\\\n', NULL, 'infinity' WHERE $2::bigint + $3::bigint > 0`,
	} {
		if _, err := h.pool.Exec(t.Context(), sql, f.ID, f.run, f.schedule); err != nil {
			t.Fatalf("%v\n%s", err, sql)
		}
	}
}

// rawPage is a list whose rows are kept as they came.
type rawPage struct{ Data []json.RawMessage }

func TestARowOfAListIsTheRowItselfByteForByte(t *testing.T) {
	t.Parallel()
	h := newHarness(t).hurried(t) // the validator has no numbers as large as these
	f := newFixture(t, h)
	oddRows(t, h, f)
	for path, list := range fieldLists(f) {
		for _, order := range []string{"", "?order=created_at", "?order=updated_at"} {
			if order != "" && list.component != "RunFields" {
				continue
			}
			whole := decode[rawPage](t, h.get(t, http.StatusOK, f.Readonly.Subject, path+order).body)
			if len(whole.Data) < 2 {
				t.Errorf("%s%s has %d rows", path, order, len(whole.Data))
			}
			for _, row := range whole.Data {
				id := decode[struct{ ID int64 }](t, string(row)).ID
				alone := h.get(t, http.StatusOK, f.Readonly.Subject, fmt.Sprintf("%s/%d", list.rows, id)).body
				if string(row) != alone {
					t.Errorf("%s%s has\n%s\nwhere the row is\n%s", path, order, row, alone)
				}
			}
		}
	}
}

func TestFieldsCutRowsToTheirIDAndWhatIsNamed(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	oddRows(t, h, f)
	hurried := h.hurried(t)
	for path, list := range fieldLists(f) {
		names := fieldsOf(t, list.component)
		whole := decode[rawPage](t, hurried.get(t, http.StatusOK, f.Readonly.Subject, path).body)
		all := decode[rawPage](t, hurried.get(t, http.StatusOK, f.Readonly.Subject, path+"?fields="+strings.Join(names, ",")).body)
		if !slices.EqualFunc(all.Data, whole.Data, func(a, b json.RawMessage) bool { return string(a) == string(b) }) {
			t.Errorf("%s: all fields are\n%s\nand the list without the parameter is\n%s", path, all.Data, whole.Data)
		}
		reversed := slices.Clone(names)
		slices.Reverse(reversed)
		for _, name := range append([]string{reversed[0] + "," + names[1]}, names...) {
			wanted := append(strings.Split(name, ","), "id")
			part := decode[rawPage](t, hurried.get(t, http.StatusOK, f.Readonly.Subject, path+"?fields="+name).body)
			if len(part.Data) != len(whole.Data) {
				t.Fatalf("%s?fields=%s has %d rows, not %d", path, name, len(part.Data), len(whole.Data))
			}
			for i, row := range part.Data {
				got, want := decode[map[string]json.RawMessage](t, string(row)), decode[map[string]json.RawMessage](t, string(whole.Data[i]))
				for member := range want {
					if !slices.Contains(wanted, member) {
						delete(want, member)
					}
				}
				if fmt.Sprintf("%s", got) != fmt.Sprintf("%s", want) {
					t.Errorf("%s?fields=%s: %s, want %s", path, name, got, want)
				}
			}
		}
		h.get(t, http.StatusOK, f.Readonly.Subject, path+"?limit=1&fields="+names[1]) // as the contract has it
	}
}

func TestFieldsMayChangeFromPageToPage(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w := dbtest.NewWorkspace(t, h.pool)
	there := newRuns(t, h, w.ID, 60, 7)
	for _, order := range []string{"-created_at", "created_at", "updated_at"} {
		for _, filter := range []string{"", "&status=completed,queued", "&outcome=succeeded,failed&type=inventory_sync,entra_group_sync"} {
			var seen []int64
			cursor := ""
			for page := 0; page == 0 || cursor != ""; page++ {
				fields := []string{"status", "", "created_at,updated_at", "id", "context"}[page%5]
				if fields != "" {
					fields = "&fields=" + fields
				}
				p := h.list(t, w.Readonly.Subject, fmt.Sprintf("/workspaces/%d/operation-runs?limit=9&order=%s%s%s%s", w.ID, order, filter, fields, cursor))
				seen, cursor = append(seen, p.ids()...), ""
				if p.NextCursor != nil {
					cursor = "&cursor=" + *p.NextCursor
				}
			}
			slices.Sort(seen)
			if len(seen) != len(there) || len(slices.Compact(seen)) != len(there) {
				t.Errorf("order=%s%s: %d rows seen of %d", order, filter, len(seen), len(there))
			}
		}
	}
}

func TestEveryFaultOfFieldsIsNamed(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	for path := range fieldLists(f) {
		for query, want := range map[string]string{
			"fields=":                        "Give it a value",
			"fields=,":                       `Not known: "". Known: id, workspace_id`,
			"fields=id,":                     `Not known: ""`,
			"fields=workspace_id,color,size": `Not known: "color", "size". Known: id, `,
			"fields=idempotency_key":         `Not known: "idempotency_key"`,
			"fields=created_at,id,id,created_at,created_at": `Name each once: "id", "created_at".`,
			"fields=id,id,ID":             `Not known: "ID"`,
			"fields=id&fields=id":         "Give it once",
			"fields=id%20,id":             `Not known: "id ". Known`,
			"fields=id)%20FROM%20users--": "Not known",
		} {
			got := h.get(t, http.StatusBadRequest, f.Readonly.Subject, path+"?"+query)
			if names := faulty(t, got); names[0] != "fields" || !strings.Contains(strings.ReplaceAll(got.body, `\"`, `"`), want) {
				t.Errorf("%s?%s: %s", path, query, got.body)
			}
		}
		got := h.get(t, http.StatusBadRequest, f.Readonly.Subject, path+"?fields=no,id,id&limit=0")
		if names := faulty(t, got); !slices.Equal(names, []string{"fields", "fields", "limit"}) {
			t.Errorf("%s: %q are faulty", path, names)
		}
	}
	rows := fmt.Sprintf("/workspaces/%d/operation-runs/%d?fields=id", f.ID, f.run)
	h.get(t, http.StatusBadRequest, f.Readonly.Subject, rows)
}

// What fields leaves out is not read in PostgreSQL either: neither its column nor a joined table.
func TestWhatFieldsLeaveOutIsNotRead(t *testing.T) {
	t.Parallel()
	config := dbtest.Pool(t).Config()
	seen := &recorder{}
	config.ConnConfig.Tracer = seen
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	h := newHarnessOn(t, pool, server.Options{})
	f := newFixture(t, h)
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Release)
	for _, c := range []struct{ path, name, absent, there string }{
		{"operation-runs?", "ListRuns", "context", "initiator_name"},
		{"operation-runs?order=created_at&", "ListRunsOldestFirst", "context", "initiator_name"},
		{"operation-runs?order=updated_at&status=queued,running&", "ListRunsByUpdate", "context", "initiator_name"},
		{fmt.Sprintf("backup-schedules/%d/runs?", f.schedule), "ListRuns", "failure_summary", "initiator_name"},
		{"findings?", "ListFindings", "evidence", "severity"},
		{"findings?", "ListFindings", "Left Join", "severity"},
		{"inventory-items?", "ListInventoryItems", "Left Join", "display_name"},
		{"inventory-items?", "ListInventoryItems", "meta", "display_name"},
	} {
		path := fmt.Sprintf("/workspaces/%d/%s", f.ID, c.path)
		output := func(query string) string {
			t.Helper()
			h.get(t, http.StatusOK, f.Readonly.Subject, path+query)
			sent := seen.last(t, c.name)
			rows, err := conn.Query(t.Context(), "EXPLAIN (VERBOSE, COSTS OFF) "+sent.sql, append([]any{pgx.QueryExecModeSimpleProtocol}, sent.args...)...)
			if err != nil {
				t.Fatal(err)
			}
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				t.Fatal(err)
			}
			// What an index is looked up by is no column that is read.
			return strings.Join(slices.DeleteFunc(lines, func(l string) bool {
				return strings.Contains(l, "Cond:") || strings.Contains(l, "Key:") || strings.Contains(l, "Filter:") || strings.Contains(l, "Index")
			}), "\n")
		}
		if whole := output(""); !strings.Contains(whole, c.absent) {
			t.Errorf("%s does not read %s at all:\n%s", path, c.absent, whole)
		}
		if part := output("fields=" + c.there); strings.Contains(part, c.absent) || !strings.Contains(part, c.there) {
			t.Errorf("%sfields=%s reads\n%s", path, c.there, part)
		}
	}
}
