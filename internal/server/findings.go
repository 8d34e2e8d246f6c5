package server

import (
	"net/http"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/workspace"
)

func (s *Server) listFindings(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	p := parseParams(r)
	f := findingFilter(p)
	pg, err := s.pageOf(r, ws, p, afterAll)
	if err != nil {
		return err
	}
	findings, err := s.queries.ListFindings(r.Context(), narrowed{DBTX: s.db, filter: f},
		dbsqlc.ListFindingsParams{WorkspaceID: ws.ID(), PositionID: pg.after.id, PageSize: pg.rows()})
	if err != nil {
		return err
	}
	return answerPage(s, w, r, pg, findings, appendFinding,
		func(row *dbsqlc.ListFindingsRow) position { return byID(row.Finding.ID) })
}

func (s *Server) getFinding(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	id, err := rowID(r)
	if err != nil {
		return err
	}
	if err := noParams(r); err != nil {
		return err
	}
	found, err := s.queries.GetFinding(r.Context(), s.db, dbsqlc.GetFindingParams{WorkspaceID: ws.ID(), ID: id})
	if err != nil {
		return err
	}
	row := dbsqlc.ListFindingsRow(found)
	return answerTagged(w, r, http.StatusOK, revisionMark(row.Finding.Revision),
		func(b []byte) []byte { return appendFinding(b, &row) })
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

// appendFinding appends a finding, with a summary of the runs that it compares.
func appendFinding(b []byte, row *dbsqlc.ListFindingsRow) []byte {
	finding := &row.Finding
	b = append(b, '{')
	b = appendInt(b, "id", finding.ID)
	b = appendInt(b, "workspace_id", finding.WorkspaceID)
	b = appendOptionalInt(b, "tenant_id", finding.TenantID)
	b = appendText(b, "finding_type", finding.FindingType)
	b = appendOptionalText(b, "scope_key", finding.ScopeKey)
	b = appendText(b, "fingerprint", finding.Fingerprint)
	b = appendOptionalText(b, "subject_type", finding.SubjectType)
	b = appendOptionalText(b, "subject_external_id", finding.SubjectExternalID)
	b = appendText(b, "severity", finding.Severity)
	b = appendText(b, "status", finding.Status)
	b = appendTime(b, "acknowledged_at", finding.AcknowledgedAt)
	b = appendOptionalInt(b, "acknowledged_by_user_id", finding.AcknowledgedByUserID)
	b = appendJSON(b, "evidence", finding.Evidence)
	b = appendOptionalInt(b, "baseline_operation_run_id", finding.BaselineOperationRunID)
	b = appendRunSummary(b, "baseline_operation_run", runSummary{
		id: finding.BaselineOperationRunID, runType: row.BaselineType, status: row.BaselineStatus,
		outcome: row.BaselineOutcome, startedAt: row.BaselineStartedAt, completedAt: row.BaselineCompletedAt,
	})
	b = appendOptionalInt(b, "current_operation_run_id", finding.CurrentOperationRunID)
	b = appendRunSummary(b, "current_operation_run", runSummary{
		id: finding.CurrentOperationRunID, runType: row.CurrentType, status: row.CurrentStatus,
		outcome: row.CurrentOutcome, startedAt: row.CurrentStartedAt, completedAt: row.CurrentCompletedAt,
	})
	b = appendTime(b, "created_at", finding.CreatedAt)
	b = appendTime(b, "updated_at", finding.UpdatedAt)
	b = appendInt(b, "revision", finding.Revision)
	b = appendBool(b, "recalled", row.Recalled)
	return append(b, '}')
}
