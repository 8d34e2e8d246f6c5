// Package workspace is the one gate to what belongs to a workspace.
package workspace

import (
	"context"
	"errors"
	"fmt"

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
	subject  string
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

// Claim remembers that the scope was given.
func (s Scope) Claim() Claim {
	return Claim{question: Question{Subject: s.subject, WorkspaceID: s.id}, userID: s.userID}
}

// Claim is that somebody was a member of a workspace a while ago. It is no proof: a statement that
// reads under a claim has to ask again, with its Condition.
type Claim struct {
	question Question
	userID   int64
}

// Question is what the gate was asked.
func (c Claim) Question() Question { return c.question }

// WorkspaceID is the workspace's id.
func (c Claim) WorkspaceID() int64 { return c.question.WorkspaceID }

// UserID is the user's id.
func (c Claim) UserID() int64 { return c.userID }

// Condition is SQL that holds where the claim does at the moment of the statement, and is asked
// once for all of its rows. Each ? in it stands for the next of args.
func (c Claim) Condition() (sql string, args []any) {
	return "EXISTS (SELECT FROM workspace_members AS member" +
			" WHERE member.workspace_id = ? AND member.subject = ? AND member.user_id = ?)",
		[]any{c.question.WorkspaceID, c.question.Subject, c.userID}
}

// ErrNotMember is the answer for whoever is not a member of the workspace asked for, whether or
// not there is such a workspace.
var ErrNotMember = errors.New("not a member of the workspace")

// Question asks whether the user with that subject is a member of the workspace with that id.
type Question struct {
	Subject     string
	WorkspaceID int64
}

// Answer is the answer to a Question.
type Answer struct {
	scope  Scope
	moment Moment
}

// Scope is the proof that the answer is yes. The error is ErrNotMember if it is no.
func (a Answer) Scope() (Scope, error) {
	if a.scope == (Scope{}) {
		return Scope{}, ErrNotMember
	}
	return a.scope, nil
}

// Moment is when the answer held.
func (a Answer) Moment() Moment { return a.moment }

// Moment is a state of the database: what had been committed when a statement began. Its zero
// value is a state of which nothing is known.
type Moment struct {
	snapshot   string
	postmaster int64 // when the database was started, in microseconds
}

// Is tells whether two moments are known to be one state: nothing at all was committed in between,
// by anybody.
//
// A snapshot names the transactions that had ended when it was taken, by a number below which all
// had and a list of those above it that had not. Whatever ends after that changes the one or the
// other, and a transaction that has ended does not change any more, so that equal snapshots see the
// same rows. Numbers are not used twice as long as the database does not crash: it may come back
// without those of transactions that had changed nothing durable. Where it was started at another
// time it is another one; that a crash does not change this time is for whoever holds the
// connections to see, none of which survives it.
func (m Moment) Is(other Moment) bool { return m == other && m.snapshot != "" }

// Resolve asks the database all of questions at this moment, in one statement with one plan
// whatever the answers are, so that the cost does not tell a workspace of others from one that does
// not exist. The answers stand in the order of the questions.
func Resolve(ctx context.Context, db dbsqlc.DBTX, questions ...Question) ([]Answer, error) {
	asked := make(map[Question][]int, len(questions))
	var p dbsqlc.ResolveMembershipsParams
	for i, q := range questions {
		if asked[q] == nil {
			p.Places = append(p.Places, int64(i))
			p.WorkspaceIds = append(p.WorkspaceIds, q.WorkspaceID)
			p.Subjects = append(p.Subjects, q.Subject)
		}
		asked[q] = append(asked[q], i)
	}
	rows, err := dbsqlc.New().ResolveMemberships(ctx, db, p)
	if err != nil {
		return nil, fmt.Errorf("resolve memberships: %w", err)
	}
	answers := make([]Answer, len(questions))
	for _, row := range rows {
		answer := Answer{
			scope: Scope{
				id:       row.WorkspaceID,
				subject:  questions[row.Place].Subject,
				userID:   row.UserID,
				userName: row.UserName,
				role:     Role(row.Role),
				archived: row.ArchivedAt.Valid,
			},
			moment: Moment{snapshot: row.Snapshot, postmaster: row.Postmaster.Time.UnixMicro()},
		}
		for _, i := range asked[questions[row.Place]] {
			answers[i] = answer
		}
	}
	return answers, nil
}
