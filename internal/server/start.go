package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/workspace"
)

// start is a request to start a run.
type start struct {
	runType        string
	tenantID       int64 // 0 for none
	initiatorName  string
	identityHash   string
	context        string
	idempotencyKey string // empty for none
	requestHash    string
	retryOfID      int64 // 0 for none
	attempt        int64
}

// result is the answer to one write: the run as it is now, or why not.
type result struct {
	status   int
	run      dbsqlc.OperationRun
	err      error
	replayed bool // what the Idempotency-Key was answered with before
	named    bool // of the run there is the id alone
}

// recording lets only members pass who may record runs, in a workspace that takes writes.
func recording(h scopedHandler) scopedHandler {
	return func(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
		switch {
		case !ws.CanRecord():
			return errForbidden
		case ws.Archived():
			return errArchived
		default:
			return h(w, r, ws)
		}
	}
}

// managing lets only members pass who may decide about runs, in a workspace that takes writes.
func managing(h scopedHandler) scopedHandler {
	return recording(func(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
		if !ws.CanManage() {
			return errNotManager
		}
		return h(w, r, ws)
	})
}

func (s *Server) startRun(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	p := parseParams(r).noCondition(r)
	key := p.idempotencyKey(r)
	if err := p.done(); err != nil {
		return err
	}
	body, err := readBody(r)
	if err != nil {
		return err
	}
	f := parseFields(body, "")
	item := parseStart(f, ws)
	if faults := f.faultless(); len(faults) > 0 {
		return errInvalidFields(append(faults, s.alsoWrong(r.Context(), ws, []start{item})[0]...)...)
	}
	item.idempotencyKey, item.requestHash = key, requestHash(body)
	return s.answerStart(w, r, ws, s.starts.ask(r.Context(), ws, item))
}

// retryRun starts a completed run again as a new run that names the old one.
func (s *Server) retryRun(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	id, err := rowID(r)
	if err != nil {
		return err
	}
	p := parseParams(r).noCondition(r)
	key := p.idempotencyKey(r)
	if err := p.done(); err != nil {
		return err
	}
	if err := noBody(r); err != nil {
		return err
	}
	item := start{idempotencyKey: key, requestHash: requestHash([]byte("retry " + strconv.FormatInt(id, 10)))}
	old, err := s.queries.GetRun(r.Context(), s.db, dbsqlc.GetRunParams{WorkspaceID: ws.ID(), ID: id})
	if err == nil && ledger.Status(old.Status) != ledger.StatusCompleted {
		err = errConflict(&old, "The run is still active; only a completed run can be started again.")
	}
	if err != nil {
		// However the old run is by now, or if it is gone: the same request has the same answer.
		before := make([]result, 1)
		if fresh, lookErr := s.startedBefore(r.Context(), s.db, ws, []start{item}, before); lookErr == nil && len(fresh) == 0 {
			return s.answerStart(w, r, ws, before[0])
		}
		return err
	}
	item.runType, item.initiatorName, item.identityHash, item.context = old.Type, ws.UserName(), old.RunIdentityHash, string(old.Context)
	item.retryOfID, item.attempt = old.ID, old.Attempt+1
	if old.Context == nil {
		item.context = "{}"
	}
	if old.TenantID != nil {
		item.tenantID = *old.TenantID
	}
	started := s.starts.ask(r.Context(), ws, item)
	if refused, ok := errors.AsType[*apiError](started.err); ok && refused.kind == errInvalidFields().kind {
		// The faults are none of a body, which a retry has not.
		why := "The run cannot be started again as it was."
		for _, f := range refused.faults {
			why += " " + f.Detail
		}
		return errConflict(&old, why)
	}
	return s.answerStart(w, r, ws, started)
}

func (s *Server) answerStart(w http.ResponseWriter, r *http.Request, ws workspace.Scope, started result) error {
	if started.err != nil {
		return started.err
	}
	if started.status == http.StatusCreated {
		w.Header().Set("Location", fmt.Sprintf("/workspaces/%d/operation-runs/%d", ws.ID(), started.run.ID))
	}
	if started.replayed {
		w.Header().Set(replayedHeader, "true")
	}
	return answerRun(w, r, started.status, &started.run)
}

// parseStart reads what a start says.
func parseStart(f *fields, ws workspace.Scope) start {
	item := start{initiatorName: ws.UserName(), context: "{}", attempt: 1}
	if _, given := f.value("type"); !given {
		f.fault("type", "It is required: one of the operation types.")
	}
	item.runType, _ = f.text("type", maxName)
	if name, ok := f.text("initiator_name", maxName); ok {
		item.initiatorName = name
	}
	tenantID := f.id("tenant_id")
	if tenantID != nil {
		item.tenantID = *tenantID
	}
	if object, ok := f.freeObject("context"); ok {
		item.context = string(object)
	}
	item.identityHash = parseIdentity(f, ws, tenantID, item.runType)
	return item
}

// parseIdentity is the identity of a start: what it says, or one that no other has.
func parseIdentity(f *fields, ws workspace.Scope, tenantID *int64, runType string) string {
	identity, hasIdentity := f.value("identity")
	hash, hasHash := f.text("run_identity_hash", maxName)
	switch {
	case hasIdentity && hasHash:
		f.fault("run_identity_hash", "Give either this or identity.")
	case hasHash:
		hash, ok := parseHash(hash)
		if !ok {
			f.fault("run_identity_hash", notAHash)
		}
		return hash
	case hasIdentity:
		hash, err := ledger.IdentityHash(ws.ID(), tenantID, runType, identity)
		if err != nil {
			f.fault("identity", "It has no canonical form by RFC 8785, or a whole number beyond 2^53, which a double would round: write it as a text.")
		}
		return hash
	}
	unique := make([]byte, sha256.Size)
	_, _ = rand.Read(unique) // never fails
	return hex.EncodeToString(unique)
}

// startMany starts runs of which no two have the same identity or the same Idempotency-Key. One with
// a key that was used before is the run of then. If a key is used, or something that a start refers
// to is removed, between the two statements of an attempt, the next attempt finds it so.
func (s *Server) startMany(ctx context.Context, db *sparing, ws workspace.Scope, items []start) []result {
	return together(items, func(items []start) ([]result, error) {
		results, left := make([]result, len(items)), db.left
		fresh, err := s.startedBefore(ctx, db, ws, items, results)
		if err == nil && len(fresh) > 0 {
			err = s.startFresh(ctx, db, ws, items, fresh, results)
		}
		if err != nil {
			db.left = left // of which nothing is kept
		}
		return results, err
	}, failedResult)
}

// failedResult is the answer to a write that could not be done.
func failedResult(err error) result { return result{err: err} }

// startFresh starts the runs at places, in one statement, and writes their results.
func (s *Server) startFresh(
	ctx context.Context, db dbsqlc.DBTX, ws workspace.Scope, items []start, places []int, results []result,
) error {
	p := dbsqlc.StartRunsParams{WorkspaceID: ws.ID(), Actor: ws.UserName()}
	user := ws.UserID()
	p.UserID = &user
	for _, i := range places {
		item := items[i]
		p.Types = append(p.Types, item.runType)
		p.TenantIds = append(p.TenantIds, item.tenantID)
		p.InitiatorNames = append(p.InitiatorNames, item.initiatorName)
		p.RunIdentityHashes = append(p.RunIdentityHashes, item.identityHash)
		p.Contexts = append(p.Contexts, item.context)
		p.IdempotencyKeys = append(p.IdempotencyKeys, item.idempotencyKey)
		p.RequestHashes = append(p.RequestHashes, item.requestHash)
		p.RetryOfIds = append(p.RetryOfIds, item.retryOfID)
		p.Attempts = append(p.Attempts, item.attempt)
	}
	rows, err := s.queries.StartRuns(ctx, db, p)
	if err != nil {
		return err
	}
	started := make(map[identity]result, len(rows))
	for i := range rows {
		run, status := startedRun(&rows[i]), http.StatusOK
		if rows[i].Created {
			status = http.StatusCreated
		}
		started[identityOf(run.TenantID, run.RunIdentityHash)] = result{status: status, run: run}
	}
	var missing []int
	for _, i := range places {
		found, ok := started[items[i].identity()]
		if !ok {
			missing = append(missing, i)
		}
		results[i] = found
	}
	s.explainMissing(ctx, ws, items, missing, results)
	return nil
}

// identity is what makes two starts of a workspace the same piece of work.
type identity struct {
	tenantID int64
	hash     string
}

func (i *start) identity() identity { return identity{i.tenantID, i.identityHash} }

func identityOf(tenantID *int64, hash string) identity {
	if tenantID == nil {
		return identity{0, hash}
	}
	return identity{*tenantID, hash}
}

// startedRun is the run in a row of StartRuns.
func startedRun(row *dbsqlc.StartRunsRow) dbsqlc.OperationRun {
	return dbsqlc.OperationRun{
		ID: row.ID, WorkspaceID: row.WorkspaceID, TenantID: row.TenantID, UserID: row.UserID,
		InitiatorName: row.InitiatorName, Type: row.Type, Status: row.Status, Outcome: row.Outcome,
		RunIdentityHash: row.RunIdentityHash, SummaryCounts: row.SummaryCounts, FailureSummary: row.FailureSummary,
		Context: row.Context, StartedAt: row.StartedAt, CompletedAt: row.CompletedAt, CreatedAt: row.CreatedAt,
		UpdatedAt: row.UpdatedAt, IdempotencyKey: row.IdempotencyKey, HeartbeatAt: row.HeartbeatAt,
		ProgressedAt: row.ProgressedAt, StalledAt: row.StalledAt, Stalled: row.Stalled,
		CancelRequestedAt: row.CancelRequestedAt, RetryOfID: row.RetryOfID, Attempt: row.Attempt, Revision: row.Revision,
		RecalledAt: row.RecalledAt, RecalledByUserID: row.RecalledByUserID, RecallReason: row.RecallReason, Recalled: row.Recalled,
	}
}

// maxStarts is how many statements of a member's starts in a workspace are under way at once: one that
// the database works on, and one on its way.
const maxStarts = 2

// startGathered does starts that came at the same moment, in any order. Of two that want the same
// and have no key the second one finds the run of the first.
func (s *Server) startGathered(ctx context.Context, ws workspace.Scope, items []start) []result {
	type wish struct {
		identity identity
		runType  string
	}
	operations, subjects := make([]operation, len(items)), make([][]subject, len(items))
	first, same := map[wish]int{}, map[int]bool{} // the places of wishes, and of those that another has had before
	for i := range items {
		item := &items[i]
		operations[i].start = item
		if item.idempotencyKey == "" && item.retryOfID == 0 {
			if _, ok := first[wish{item.identity(), item.runType}]; ok {
				same[i] = true
				continue
			}
			first[wish{item.identity(), item.runType}] = i
		}
		subjects[i] = item.subjects()
	}
	results := make([]result, len(items))
	s.doWaves(ctx, ws, operations, subjects, results, nil)
	for _, i := range slices.Sorted(maps.Keys(same)) {
		which := wish{items[i].identity(), items[i].runType}
		earlier := results[first[which]]
		if earlier.err != nil && !isOutage(earlier.err) { // it may have been the other one's fault
			results[i] = s.startMany(ctx, sparingNothing(s.db), ws, items[i:i+1])[0]
			first[which] = i
			continue
		}
		if results[i] = earlier; earlier.err == nil {
			results[i].status = http.StatusOK
		}
	}
	return results
}
