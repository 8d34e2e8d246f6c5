package dbtest

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

// User is a row of users.
type User struct {
	ID      int64
	Subject string // the sub claim of the user's tokens
	Name    string
}

// Workspace is a workspace with one member of each role.
type Workspace struct {
	ID                                 int64
	Slug, Name                         string
	Owner, Manager, Operator, Readonly User
}

// NewUser is a user that is a member of nothing.
func NewUser(tb testing.TB, pool *pgxpool.Pool) User {
	tb.Helper()
	subject := "user-" + unique()
	u := User{Subject: subject, Name: "User " + subject}
	err := pool.QueryRow(tb.Context(), "INSERT INTO users (subject, name) VALUES ($1, $2) RETURNING id",
		u.Subject, u.Name).Scan(&u.ID)
	if err != nil {
		tb.Fatalf("dbtest: %v", err)
	}
	return u
}

// NewWorkspace is a workspace of the test's own. Nothing else is in it.
func NewWorkspace(tb testing.TB, pool *pgxpool.Pool) Workspace {
	tb.Helper()
	slug := "workspace-" + unique()
	w := Workspace{Slug: slug, Name: "Workspace " + slug}
	err := pool.QueryRow(tb.Context(), "INSERT INTO workspaces (slug, name) VALUES ($1, $2) RETURNING id",
		w.Slug, w.Name).Scan(&w.ID)
	if err != nil {
		tb.Fatalf("dbtest: %v", err)
	}
	for _, member := range []struct {
		user *User
		role string
	}{{&w.Owner, "owner"}, {&w.Manager, "manager"}, {&w.Operator, "operator"}, {&w.Readonly, "readonly"}} {
		*member.user = NewUser(tb, pool)
		AddMember(tb, pool, w.ID, member.user.ID, member.role)
	}
	return w
}

// AddMember makes a user a member of a workspace: owner, manager, operator or readonly.
func AddMember(tb testing.TB, pool *pgxpool.Pool, workspaceID, userID int64, role string) {
	tb.Helper()
	_, err := pool.Exec(tb.Context(),
		"INSERT INTO workspace_memberships (workspace_id, user_id, role) VALUES ($1, $2, $3)",
		workspaceID, userID, role)
	if err != nil {
		tb.Fatalf("dbtest: %v", err)
	}
}

// NewTenant is a tenant of a workspace. It returns its id.
func NewTenant(tb testing.TB, pool *pgxpool.Pool, workspaceID int64) int64 {
	tb.Helper()
	name := "tenant-" + unique()
	var id int64
	err := pool.QueryRow(tb.Context(),
		"INSERT INTO tenants (workspace_id, name, external_id) VALUES ($1, $2, $2) RETURNING id",
		workspaceID, name).Scan(&id)
	if err != nil {
		tb.Fatalf("dbtest: %v", err)
	}
	return id
}

// unique is a name that no other test has.
func unique() string { return strings.ToLower(rand.Text()) }
