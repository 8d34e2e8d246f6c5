// Package workspace is the one gate to what belongs to a workspace.
package workspace

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbsqlc"
)

// Role is what a member may do in a workspace.
type Role string

// The roles, from the most to the least that a member may do.
const (
	RoleOwner    Role = "owner"
	RoleManager  Role = "manager"
	RoleOperator Role = "operator"
	RoleReadonly Role = "readonly"
)

// Roles lists every role, the strongest first.
var Roles = []Role{RoleOwner, RoleManager, RoleOperator, RoleReadonly}

// Scope is the proof that somebody is a member of a workspace. Only [Resolve] makes one; its zero
// value is a member of nothing and matches no row.
type Scope struct {
	id       int64
	userID   int64
	userName string
	role     Role
	archived bool
}

// ID is the workspace's id, 0 in the zero Scope.
func (s Scope) ID() int64 { return s.id }

// UserID is the member's user id.
func (s Scope) UserID() int64 { return s.userID }

// UserName is the member's display name.
func (s Scope) UserName() string { return s.userName }

// Role is the member's role.
func (s Scope) Role() Role { return s.role }

// Archived tells whether the workspace is archived: it can be read as before and takes no writes.
func (s Scope) Archived() bool { return s.archived }

// CanRecord tells whether the member may record runs and acknowledge findings.
func (s Scope) CanRecord() bool {
	return s.role == RoleOwner || s.role == RoleManager || s.role == RoleOperator
}

// CanManage tells whether the member may decide about runs that others recorded.
func (s Scope) CanManage() bool { return s.role == RoleOwner || s.role == RoleManager }

// ErrNotMember is the answer for whoever is not a member of the workspace asked for, whether or
// not there is such a workspace.
var ErrNotMember = errors.New("not a member of the workspace")

// Resolve asks the database whether the user with that subject is a member of the workspace at
// this moment. It asks one question with one plan whatever the answer is, so that its cost does
// not tell a workspace of others from one that does not exist. The error is ErrNotMember or one
// of the database.
func Resolve(ctx context.Context, db dbsqlc.DBTX, subject string, workspaceID int64) (Scope, error) {
	row, err := dbsqlc.New().ResolveMembership(ctx, db, dbsqlc.ResolveMembershipParams{
		WorkspaceID: workspaceID,
		Subject:     &subject,
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return Scope{}, ErrNotMember
	}
	if err != nil {
		return Scope{}, fmt.Errorf("resolve membership: %w", err)
	}
	return Scope{
		id:       row.WorkspaceID,
		userID:   row.UserID,
		userName: row.UserName,
		role:     Role(row.Role),
		archived: row.ArchivedAt.Valid,
	}, nil
}
