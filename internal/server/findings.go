package server

import (
	"context"
	"net/http"
	"slices"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/workspace"
)

func (s *Server) listFindings(w http.ResponseWriter, r *http.Request, v *visitor) error {
	p := parseParams(r)
	f := findingFilter(p)
	show := p.fields(findingMembers)
	p.position(r)
	pg, err := s.pageOf(r, v.workspaceID(), p, afterAll)
	if err != nil {
		return err
	}
	return s.answerRows(w, r, v, pg, show, narrowed{filter: f, joined: []string{"findings", "baseline", "current"}}, func(ctx context.Context, db dbsqlc.DBTX) error {
		_, err := s.queries.ListFindings(ctx, db,
			dbsqlc.ListFindingsParams{WorkspaceID: v.workspaceID(), PositionID: pg.after.id, PageSize: pg.rows()})
		return err
	})
}

func (s *Server) getFinding(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	id, err := rowID(r)
	if err != nil {
		return err
	}
	if err := noParams(r); err != nil {
		return err
	}
	body, revision, err := s.finding(r.Context(), ws, id)
	if err != nil {
		return err
	}
	return answerBody(w, r, http.StatusOK, entityTag(revisionMark(revision), body), body)
}

// finding is a finding as the interface shows it, with its revision.
func (s *Server) finding(ctx context.Context, ws workspace.Scope, id int64) (body []byte, revision int64, err error) {
	db := rawRows{DBTX: s.db, show: findingMembers, each: func(row rawRow) {
		body, revision = row.append(nil), row.int("revision")
	}}
	_, err = s.queries.GetFinding(ctx, db, dbsqlc.GetFindingParams{WorkspaceID: ws.ID(), ID: id})
	return body, revision, err
}

// findingFilter reads the filters of a list of findings.
func findingFilter(p *params) filter {
	var f filter
	if id, ok := p.id("tenant_id"); ok {
		f.and("findings.tenant_id = ?", id)
	}
	f.anyOf("findings.status", p.list("status"))
	f.anyOf("findings.severity", p.list("severity"))
	f.anyOf("findings.finding_type", p.list("finding_type"))
	if key, ok := p.text("scope_key"); ok {
		f.and("findings.scope_key = ?", key)
	}
	if id, ok := p.id("baseline_operation_run_id"); ok {
		f.and("findings.baseline_operation_run_id = ?", id)
	}
	if id, ok := p.id("current_operation_run_id"); ok {
		f.and("findings.current_operation_run_id = ?", id)
	}
	return f
}

// findingMembers are a finding, with a summary of the runs that it compares.
var findingMembers = slices.Concat(
	shown("id", "workspace_id", "tenant_id", "finding_type", "scope_key", "fingerprint", "subject_type", "subject_external_id",
		"severity", "status", "acknowledged_at", "acknowledged_by_user_id", "evidence", "baseline_operation_run_id"),
	runSummary("baseline_operation_run", "baseline_operation_run_id", "baseline_"),
	shown("current_operation_run_id"),
	runSummary("current_operation_run", "current_operation_run_id", "current_"),
	shown("created_at", "updated_at", "revision", "recalled"),
)
