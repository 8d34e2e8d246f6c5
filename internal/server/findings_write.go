package server

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/workspace"
)

// The severities of findings that are written, from the least to the most.
var severities = []string{"low", "medium", "high", "critical"}

// The statuses that members give to findings.
const (
	findingNew          = "new"
	findingAcknowledged = "acknowledged"
)

// reportedFinding is a finding as a worker saw it. What is empty or 0 was not given.
type reportedFinding struct {
	pointer           string // where it stands in the body
	tenantID          int64
	findingType       string
	fingerprint       string
	scopeKey          string
	subjectType       string
	subjectExternalID string
	severity          string
	evidence          string
	baselineRunID     int64
	currentRunID      int64
}

// findingKey is what makes two findings of a workspace the same.
type findingKey struct {
	tenantID    int64
	fingerprint string
}

func (f reportedFinding) key() findingKey { return findingKey{f.tenantID, f.fingerprint} }

// batchFindings records many findings by their fingerprints, answered one by one in order.
func (s *Server) batchFindings(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	if err := unconditional(r); err != nil {
		return err
	}
	body, flaws, err := readBatch(r, "findings")
	if err != nil {
		return err
	}
	room := roomForParts(r)
	f := parseFields(body, "")
	findings := parseObservations(f, "findings", flaws, room, parseFinding)
	if faults := f.faultless(); len(faults) > 0 {
		return errInvalidFields(withObservations(faults, findings)...)
	}
	results := observe(r.Context(), findings, reportedFinding.key,
		func(ctx context.Context, items []reportedFinding) ([]observed, error) {
			return s.writeFindings(ctx, ws, items, room)
		})
	return s.answerObserved(w, r, "finding", results)
}

// parseFinding reads one finding of a batch.
func parseFinding(f *fields) reportedFinding {
	item := reportedFinding{
		pointer:     f.pointer,
		tenantID:    f.idOrZero("tenant_id"),
		findingType: f.requiredText("finding_type", maxName), fingerprint: f.requiredText("fingerprint", maxName),
		severity:      "medium",
		baselineRunID: f.idOrZero("baseline_operation_run_id"), currentRunID: f.idOrZero("current_operation_run_id"),
	}
	item.scopeKey, _ = f.text("scope_key", maxName)
	item.subjectType, _ = f.text("subject_type", maxName)
	item.subjectExternalID, _ = f.text("subject_external_id", maxName)
	if severity, ok := f.choice("severity", severities); ok {
		item.severity = severity
	}
	if evidence, ok := f.freeObject("evidence"); ok {
		item.evidence = string(evidence)
	}
	return item
}

// writeFindings records findings no two of which have one key, and reads them again as they are
// then.
func (s *Server) writeFindings(
	ctx context.Context, ws workspace.Scope, items []reportedFinding, room *room,
) ([]observed, error) {
	p := dbsqlc.UpsertFindingsParams{WorkspaceID: ws.ID(), BySeverity: severities}
	for i, item := range items {
		p.Places = append(p.Places, int64(i))
		p.TenantIds = append(p.TenantIds, item.tenantID)
		p.FindingTypes = append(p.FindingTypes, item.findingType)
		p.Fingerprints = append(p.Fingerprints, item.fingerprint)
		p.ScopeKeys = append(p.ScopeKeys, item.scopeKey)
		p.SubjectTypes = append(p.SubjectTypes, item.subjectType)
		p.SubjectExternalIds = append(p.SubjectExternalIds, item.subjectExternalID)
		p.Severities = append(p.Severities, item.severity)
		p.Evidence = append(p.Evidence, item.evidence)
		p.BaselineOperationRunIds = append(p.BaselineOperationRunIds, item.baselineRunID)
		p.CurrentOperationRunIds = append(p.CurrentOperationRunIds, item.currentRunID)
	}
	ctx = withPlanning(ctx, planForValues) // many rows at once, also into a table that was empty a moment ago
	written, err := s.queries.UpsertFindings(ctx, s.db, p)
	if err != nil {
		return nil, err
	}
	results := make([]observed, len(items))
	for i := range results {
		results[i].err = pgx.ErrNoRows // removed in between
	}
	_, err = s.queries.ListFindingsByFingerprint(ctx, observedRows(s.db, findingMembers, results, room), dbsqlc.ListFindingsByFingerprintParams{
		WorkspaceID: ws.ID(), Places: p.Places, TenantIds: p.TenantIds, Fingerprints: p.Fingerprints,
	})
	if err != nil {
		return nil, err
	}
	for i := range written {
		w, result := &written[i], &results[written[i].Place]
		if w.Created {
			result.status = http.StatusCreated
		}
		if faults := items[w.Place].foreign(w); len(faults) > 0 {
			result.err = errInvalidFields(faults...)
		}
	}
	return results, nil
}

// foreign names the references to what is not in the workspace, whether or not it is elsewhere.
func (f reportedFinding) foreign(w *dbsqlc.UpsertFindingsRow) []fault {
	var faults []fault
	if !w.HasTenant {
		faults = append(faults, fault{Pointer: f.pointer + "/tenant_id", Detail: noSuchTenant})
	}
	if !w.HasBaseline {
		faults = append(faults, fault{Pointer: f.pointer + "/baseline_operation_run_id", Detail: noSuchRun})
	}
	if !w.HasCurrent {
		faults = append(faults, fault{Pointer: f.pointer + "/current_operation_run_id", Detail: noSuchRun})
	}
	return faults
}

const (
	noSuchTenant = "There is no such tenant in this workspace."
	noSuchRun    = "There is no such operation run in this workspace."
)

// patchFinding acknowledges a finding or opens it again. What it is already, it stays, with the
// name of who did it first.
func (s *Server) patchFinding(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	id, err := rowID(r)
	if err != nil {
		return err
	}
	status, revision, err := readFindingStatus(r)
	if err != nil {
		// What is wrong with a change of nothing is of no interest.
		_, missing := s.queries.GetFinding(r.Context(), s.db, dbsqlc.GetFindingParams{WorkspaceID: ws.ID(), ID: id})
		return cmp.Or(missing, err)
	}
	changed, err := s.queries.SetFindingStatus(r.Context(), s.db, dbsqlc.SetFindingStatusParams{
		WorkspaceID: ws.ID(), ID: id, Status: status, UserID: ws.UserID(), Actor: ws.UserName(), Revision: revision,
	})
	if err != nil {
		return err
	}
	body, latest, err := s.finding(r.Context(), ws, id)
	if err != nil {
		return err
	}
	if changed == 0 && revision != 0 && revision != latest {
		return errRevision
	}
	return answerBody(w, r, http.StatusOK, entityTag(revisionMark(latest), body), body)
}

// readFindingStatus reads what a request makes of a finding, and the revision that it wants.
func readFindingStatus(r *http.Request) (status string, revision int64, err error) {
	if err := noParams(r); err != nil {
		return "", 0, err
	}
	revision, ok := wantedRevision(r)
	if !ok {
		return "", 0, errRevision
	}
	body, err := readBody(r)
	if err != nil {
		return "", 0, err
	}
	status, err = parseFindingStatus(body)
	return status, revision, err
}

// parseFindingStatus reads what a finding is to become.
func parseFindingStatus(body json.RawMessage) (string, error) {
	f := parseFields(body, "")
	if _, given := f.value("status"); !given {
		f.fault("status", "It is required: %s or %s.", findingAcknowledged, findingNew)
	}
	status, _ := f.choice("status", []string{findingAcknowledged, findingNew})
	if faults := f.faultless(); len(faults) > 0 {
		return "", errInvalidFields(faults...)
	}
	return status, nil
}
