package server

import (
	"net/http"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/workspace"
)

func (s *Server) listWorkspaces(w http.ResponseWriter, r *http.Request, subject auth.Subject) error {
	p := parseParams(r)
	pg, err := s.page(r, "subject "+string(subject), p, beforeAll)
	if err != nil {
		return err
	}
	name := string(subject)
	rows, err := s.queries.ListWorkspacesOfSubject(r.Context(), s.db, dbsqlc.ListWorkspacesOfSubjectParams{
		Subject: &name, PositionID: pg.after.id, PageSize: pg.rows(),
	})
	if err != nil {
		return err
	}
	return answerPage(s, w, r, pg, rows, appendWorkspace,
		func(row *dbsqlc.ListWorkspacesOfSubjectRow) position { return byID(row.ID) })
}

func (s *Server) getWorkspace(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	if err := noParams(r); err != nil {
		return err
	}
	found, err := s.queries.GetWorkspace(r.Context(), s.db, dbsqlc.GetWorkspaceParams{
		WorkspaceID: ws.ID(), UserID: ws.UserID(),
	})
	if err != nil {
		return err
	}
	row := dbsqlc.ListWorkspacesOfSubjectRow{
		ID: found.ID, Slug: found.Slug, Name: found.Name, ArchivedAt: found.ArchivedAt,
		CreatedAt: found.CreatedAt, UpdatedAt: found.UpdatedAt, Role: string(ws.Role()),
	}
	return answerJSON(w, r, func(b []byte) []byte { return appendWorkspace(b, &row) })
}

func (s *Server) listOperationTypes(w http.ResponseWriter, r *http.Request, _ workspace.Scope) error {
	if err := noParams(r); err != nil {
		return err
	}
	types, err := s.queries.ListOperationTypes(r.Context(), s.db)
	if err != nil {
		return err
	}
	// The allow-list is short and comes whole: no page follows, nor is there a position.
	whole := page{limit: len(types) + 1}
	return answerPage(s, w, r, whole, types, appendOperationType, nil)
}

// appendWorkspace appends a workspace with the caller's role in it.
func appendWorkspace(b []byte, row *dbsqlc.ListWorkspacesOfSubjectRow) []byte {
	b = append(b, '{')
	b = appendInt(b, "id", row.ID)
	b = appendOptionalText(b, "slug", row.Slug)
	b = appendText(b, "name", row.Name)
	b = appendText(b, "role", row.Role)
	b = appendTime(b, "archived_at", row.ArchivedAt)
	b = appendTime(b, "created_at", row.CreatedAt)
	b = appendTime(b, "updated_at", row.UpdatedAt)
	return append(b, '}')
}

// appendOperationType appends an entry of the allow-list.
func appendOperationType(b []byte, row *dbsqlc.ListOperationTypesRow) []byte {
	b = append(b, '{')
	b = appendText(b, "name", row.Name)
	b = appendText(b, "label", row.Label)
	b = appendBool(b, "accepts_new_runs", row.AcceptsNewRuns)
	b = appendOptionalInt(b, "stale_after_seconds", intervalSeconds(row.StaleAfter))
	return append(b, '}')
}

// intervalSeconds is an interval in seconds, counted as PostgreSQL's extract(epoch) does but with
// every month of 30 days; nil for null.
func intervalSeconds(v pgtype.Interval) *int64 {
	if !v.Valid {
		return nil
	}
	const day = 24 * 60 * 60
	seconds := v.Microseconds/1_000_000 + (int64(v.Months)*30+int64(v.Days))*day
	return &seconds
}
