package main

import (
	"encoding/json"
	"os/user"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbtest"
)

// audited is an event as the table has it.
type audited struct {
	Action string
	Slug   *string
	Target string
	Data   string
}

func TestEveryChangeOfTheInstallationIsAudited(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.Fresh(t)
	environ := []string{"RUNLEDGER_DATABASE_URL=" + databaseURL}
	for _, line := range []string{
		"workspace create acme --name Acme", "member add acme alice", "member add acme alice --role owner",
		"member add acme alice --role owner", "member add acme alice --name Alice", // owner already: nothing to tell of the membership
		"member add acme alice --name Alice",
		"types add policy_export --label Export --stale-after 1h", "types disable policy_export", "types disable policy_export", "types enable policy_export",
		"types retain policy_export --keep-days 30", "member remove acme alice",
		"tenant add acme Contoso --external-id ext-1", "tenant add acme Fabrikam", "tenant rename acme 1 Group", "tenant rename acme 1 Group", // called so already
		"workspace archive acme",
		"workspace archive acme", // archived already: nothing to tell
		"workspace unarchive acme", "workspace unarchive acme",
	} {
		does(t, environ, strings.Fields(line)...)
	}
	// What fails changes nothing and tells nothing.
	for _, line := range []string{
		"workspace create acme", "member remove acme bob", "types add policy_export", "types enable nothing", "member add nowhere alice",
		"tenant add acme Other --external-id ext-1", "tenant add nowhere Contoso", "tenant rename acme 1000000 Group",
	} {
		if code, _, _ := command(t, environ, strings.Fields(line)...); code != exitFailure {
			t.Errorf("runledger %s exits with %d", line, code)
		}
	}
	want := []audited{
		{"workspace_created", new("acme"), "acme", `{"name": "Acme"}`},
		{"member_added", new("acme"), "alice", `{"role": "readonly"}`},
		{"member_role_set", new("acme"), "alice", `{"role": "owner", "role_before": "readonly"}`},
		{"user_changed", nil, "alice", `{"name": "Alice", "name_before": "alice"}`},
		{"type_added", nil, "policy_export", `{"label": "Export", "stale_after_seconds": 3600}`},
		{"type_disabled", nil, "policy_export", `{}`},
		{"type_enabled", nil, "policy_export", `{}`},
		{"type_retention_set", nil, "policy_export", `{"keep_days": 30, "keep_last": null}`},
		{"member_removed", new("acme"), "alice", `{"role_before": "owner"}`},
		{"tenant_added", new("acme"), "1", `{"name": "Contoso", "external_id": "ext-1"}`},
		{"tenant_added", new("acme"), "2", `{"name": "Fabrikam", "external_id": null}`},
		{"tenant_renamed", new("acme"), "1", `{"name": "Group", "name_before": "Contoso"}`},
		{"workspace_archived", new("acme"), "acme", `{}`},
		{"workspace_unarchived", new("acme"), "acme", `{}`},
	}
	rows, err := dbtest.Connect(t, databaseURL).Query(t.Context(), `SELECT a.action, w.slug, a.target, a.data::text
		FROM audit_events AS a LEFT JOIN workspaces AS w ON w.id = a.workspace_id ORDER BY a.id`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowToStructByPos[audited])
	if err != nil {
		t.Fatal(err)
	}
	if asJSON(t, got) != asJSON(t, want) {
		t.Errorf("audited are\n%s\nnot\n%s", asJSON(t, got), asJSON(t, want))
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	all := does(t, environ, "audit", "list")
	if lines := strings.Split(strings.TrimSpace(all), "\n"); len(lines) != 1+len(want) || !strings.Contains(lines[1], "workspace_unarchived") || !strings.Contains(lines[1], me.Username+"@") {
		t.Errorf("audit list prints\n%s", all)
	}
	older := does(t, environ, "audit", "list", "--before", strings.Fields(strings.Split(all, "\n")[2])[0])
	if strings.Count(older, "\n") != 1+len(want)-2 || strings.Contains(older, "workspace_archived") || strings.Contains(older, "workspace_unarchived") {
		t.Errorf("audit list of what is older prints\n%s", older)
	}
	if code, _, _ := command(t, environ, "audit", "list", "--before", "0"); code != exitUsage {
		t.Errorf("audit list --before 0 exits with %d", code)
	}
	if of := does(t, environ, "audit", "list", "--workspace", "acme", "--limit", "2"); strings.Count(of, "\n") != 3 || strings.Contains(of, "policy_export") {
		t.Errorf("audit list of a workspace prints\n%s", of)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
