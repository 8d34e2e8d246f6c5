package db_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runledger/runledger/db"
	"github.com/runledger/runledger/internal/dbtest"
)

// applicationRole makes a role of the test's own in the database, with no rights but to connect,
// and returns its name and its own address of the database.
func applicationRole(t *testing.T, databaseURL string) (role, address string) {
	t.Helper()
	conn := connect(t, databaseURL)
	if err := conn.QueryRow(t.Context(), "SELECT 'app_' || replace(gen_random_uuid()::text, '-', '')").Scan(&role); err != nil {
		t.Fatal(err)
	}
	const password = "a-role-of-a-test"
	if _, err := conn.Exec(t.Context(), fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", role, password)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		conn, err := pgx.Connect(ctx, databaseURL)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close(ctx) }()
		if _, err := conn.Exec(ctx, "DROP OWNED BY "+role+"; DROP ROLE "+role); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(role, password)
	return role, u.String()
}

func connect(t *testing.T, databaseURL string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func TestEveryTableHasItsPrivilegesForTheServersRole(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.Fresh(t)
	role, _ := applicationRole(t, databaseURL)
	if err := db.Grant(t.Context(), databaseURL, role); err != nil {
		t.Fatal(err)
	}
	rows, err := connect(t, databaseURL).Query(t.Context(), `SELECT relname FROM pg_class
		WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT has_table_privilege($1, oid, 'SELECT')`, role)
	if err != nil {
		t.Fatal(err)
	}
	unnamed, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(unnamed) > 0 {
		t.Errorf("not named among the privileges: %v; %v", unnamed, err)
	}
}

func TestTheServersRoleCannotAlterTheAuditNorLetAnybodyIn(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.Fresh(t)
	role, address := applicationRole(t, databaseURL)
	for range 2 { // a second time it changes nothing
		if err := db.Grant(t.Context(), databaseURL, role); err != nil {
			t.Fatal(err)
		}
	}
	app := connect(t, address)
	if _, err := app.Exec(t.Context(), "INSERT INTO audit_events (action, actor, target) VALUES ('runs_let_go', 'a test', 'x')"); err != nil {
		t.Errorf("the audit cannot be added to: %v", err)
	}
	for _, refused := range []string{
		"UPDATE audit_events SET actor = 'nobody'", "DELETE FROM audit_events", "TRUNCATE audit_events",
		"INSERT INTO workspace_memberships (workspace_id, user_id, role) VALUES (1, 1, 'owner')", "UPDATE workspace_memberships SET role = 'owner'",
		"INSERT INTO users (subject, name) VALUES ('x', 'x')", "UPDATE users SET subject = 'x'", "UPDATE operation_types SET accepts_new_runs = true",
		"DELETE FROM workspaces", "UPDATE operation_run_events SET actor = 'nobody'", "UPDATE goose_db_version SET version_id = 0",
		"INSERT INTO audit_events (action, actor, target, database_role) VALUES ('member_added', 'a test', 'x', 'postgres')",
		"INSERT INTO audit_events (action, actor, target, at) VALUES ('member_added', 'a test', 'x', '2020-01-01')",
		"UPDATE server_keys SET key = ''", "CREATE TABLE public.mine (id bigint)",
	} {
		const insufficientPrivilege = "42501"
		_, err := app.Exec(t.Context(), refused)
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != insufficientPrivilege {
			t.Errorf("%s: %v", refused, err)
		}
	}
}

func TestGrantTakesWhatItDoesNotGive(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.Fresh(t)
	role, _ := applicationRole(t, databaseURL)
	owner := connect(t, databaseURL)
	if _, err := owner.Exec(t.Context(), "GRANT ALL ON audit_events TO "+role+"; GRANT CREATE ON SCHEMA public TO "+role); err != nil {
		t.Fatal(err)
	}
	if err := db.Grant(t.Context(), databaseURL, role); err != nil {
		t.Fatal(err)
	}
	var may bool
	if err := owner.QueryRow(t.Context(), "SELECT has_table_privilege($1, 'audit_events', 'UPDATE')", role).Scan(&may); err != nil || may {
		t.Errorf("the role kept a privilege: %t, %v", may, err)
	}
	if err := db.Grant(t.Context(), databaseURL, owner.Config().User); !errors.Is(err, db.ErrOwnerRole) {
		t.Errorf("the owner's own role: %v", err)
	}
	if err := db.Grant(t.Context(), databaseURL, "nobody of that name"); !errors.Is(err, db.ErrNoRole) {
		t.Errorf("a role that is none: %v", err)
	}
}

func TestGrantSaysThatItGrantedNothingOrTooMuch(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.Fresh(t)
	owner := connect(t, databaseURL)
	role, address := applicationRole(t, databaseURL)
	if err := db.Grant(t.Context(), address, role); !errors.Is(err, db.ErrOwnerRole) && !errors.Is(err, db.ErrNotOwner) {
		t.Errorf("asked by the role itself: %v", err)
	}
	for _, c := range []struct {
		sql, more string
		want      error
	}{
		{"GRANT " + pgx.Identifier{owner.Config().User}.Sanitize() + " TO " + role, "", db.ErrOwnerRole},
		{"GRANT INSERT ON workspace_memberships TO PUBLIC", "INSERT on workspace_memberships", db.ErrMore},
		{"GRANT CREATE ON SCHEMA public TO PUBLIC", "CREATE on schema public", db.ErrMore},
	} {
		sql := c.sql
		if _, err := owner.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		err := db.Grant(t.Context(), databaseURL, role)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.more) {
			t.Errorf("after %s: %v", sql, err)
		}
		if _, err := owner.Exec(t.Context(), strings.NewReplacer("GRANT", "REVOKE", " TO ", " FROM ").Replace(sql)); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Grant(t.Context(), databaseURL, role); err != nil {
		t.Error(err)
	}
}
