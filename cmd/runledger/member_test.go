package main

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbtest"
)

func TestAUserIsUpdatedWhenTheirNameIs(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.Fresh(t)
	environ := []string{"RUNLEDGER_DATABASE_URL=" + databaseURL}
	does(t, environ, "workspace", "create", "acme")
	conn := dbtest.Connect(t, databaseURL)
	for _, c := range []struct {
		line    string
		updated bool
	}{
		{"member add acme bob", false}, {"member add acme bob", false}, {"member add acme bob --name Bob", true},
		{"member add acme bob --email bob@acme.test", true},
	} {
		if _, err := conn.Exec(t.Context(), "UPDATE users SET updated_at = created_at"); err != nil {
			t.Fatal(err)
		}
		does(t, environ, strings.Fields(c.line)...)
		var updated bool
		if err := conn.QueryRow(t.Context(), "SELECT updated_at > created_at FROM users WHERE subject = 'bob'").Scan(&updated); err != nil {
			t.Fatal(err)
		}
		if updated != c.updated {
			t.Errorf("runledger %s: updated is %t", c.line, updated)
		}
	}
}

func TestAChangeOfWhatAUserIsCalledIsToldAndAudited(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.Fresh(t)
	environ := []string{"RUNLEDGER_DATABASE_URL=" + databaseURL}
	does(t, environ, "workspace", "create", "acme")
	does(t, environ, "workspace", "create", "globex")
	for _, c := range []struct{ line, says string }{
		{"acme bob --role operator --name Bob", "bob is now an operator of acme."},
		{"acme bob --name Bob", "bob is an operator of acme, as before."},
		{"acme bob --name Robert --email r@acme.test", `bob is an operator of acme, as before. Changed the name from "Bob" to "Robert". Set the e-mail address to "r@acme.test".`},
		{"acme bob", "bob is an operator of acme, as before."},
		{"acme bob --role owner --email bob@acme.test", `bob is now an owner of acme. Changed the e-mail address from "r@acme.test" to "bob@acme.test".`},
		{"globex bob --name Bob --email bob@acme.test", `bob is now a readonly member of globex. Changed the name from "Robert" to "Bob".`},
	} {
		if out := does(t, environ, append([]string{"member", "add"}, strings.Fields(c.line)...)...); out != c.says+"\n" {
			t.Errorf("member add %s says %q", c.line, out)
		}
	}
	rows, err := dbtest.Connect(t, databaseURL).Query(t.Context(), `SELECT action, NULL, target, data::text FROM audit_events
		WHERE action = 'user_changed' AND workspace_id IS NULL ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowToStructByPos[audited])
	if err != nil {
		t.Fatal(err)
	}
	want := []audited{
		{"user_changed", nil, "bob", `{"name": "Robert", "email": "r@acme.test", "name_before": "Bob", "email_before": null}`},
		{"user_changed", nil, "bob", `{"email": "bob@acme.test", "email_before": "r@acme.test"}`},
		{"user_changed", nil, "bob", `{"name": "Bob", "name_before": "Robert"}`},
	}
	if asJSON(t, got) != asJSON(t, want) {
		t.Errorf("audited are\n%s\nnot\n%s", asJSON(t, got), asJSON(t, want))
	}
}

func TestEveryFaultOfAMemberIsNamed(t *testing.T) {
	t.Parallel()
	environ := []string{"RUNLEDGER_DATABASE_URL=" + dbtest.Fresh(t)}
	does(t, environ, "workspace", "create", "acme")
	for _, c := range []struct {
		subject, role, name, email string
		says                       []string
	}{
		{"", "readonly", "Ada", "", []string{"SUBJECT cannot be the sub of a token"}},
		{" \u00a0", "king", " ", "ada", []string{"SUBJECT is blank", "--role wants", "--name is blank", `--email wants an address such as ada@example.com, not "ada"`}},
		{"ada", "readonly", "Ada", "@example.com", []string{"--email wants"}},
		{"ada", "readonly", "Ada", "ada@", []string{"--email wants"}},
	} {
		code, _, stderr := command(t, environ, "member", "add", "acme", c.subject, "--role", c.role, "--name", c.name, "--email", c.email)
		for _, says := range c.says {
			if code != exitUsage || !strings.Contains(stderr, says) {
				t.Errorf("%+v: exit code %d and no %s: %s", c, code, says, stderr)
			}
		}
	}
	if out := does(t, environ, "member", "list", "acme"); strings.Count(out, "\n") != 1 {
		t.Errorf("the members are %s", out)
	}
}
