package server

import (
	"context"
	"slices"
	"strings"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/workspace"
)

// explainMissing writes to results why the statement left out the starts at places. Where that cannot be found
// out, those have failed and no others: they were made, and are not to be made again.
func (s *Server) explainMissing(ctx context.Context, ws workspace.Scope, items []start, places []int, results []result) {
	if len(places) == 0 {
		return
	}
	missing := make([]start, len(places))
	for n, i := range places {
		missing[n] = items[i]
	}
	faults, err := s.wrongReferences(ctx, ws, missing)
	for n, i := range places {
		if results[i].err = err; err == nil {
			results[i].err = s.whyNotStarted(ctx, ws, missing[n], faults[n])
		}
	}
}

// whyNotStarted is why the statement left a start out whose references have these faults.
func (s *Server) whyNotStarted(ctx context.Context, ws workspace.Scope, item start, faults []fault) error {
	switch {
	case len(faults) > 0:
		return errInvalidFields(faults...)
	case item.retryOfID == 0:
		return errUnavailable // what was wrong with it has passed meanwhile, so that it may be tried again
	}
	old, err := s.queries.GetRun(ctx, s.db, dbsqlc.GetRunParams{WorkspaceID: ws.ID(), ID: item.retryOfID})
	if err != nil {
		return err // it may be gone by now
	}
	return errConflict(&old, "The run became active again; only a completed run can be started again.")
}

// wrongReferences are, for each of items, the faults of what it refers to: its type, if it has one, and its tenant.
func (s *Server) wrongReferences(ctx context.Context, ws workspace.Scope, items []start) ([][]fault, error) {
	types, err := s.queries.ListOperationTypes(ctx, s.db)
	if err != nil {
		return nil, err
	}
	var accepted []string
	for _, t := range types {
		if t.AcceptsNewRuns {
			accepted = append(accepted, t.Name)
		}
	}
	wanted := make([]int64, 0, len(items))
	for _, item := range items {
		wanted = append(wanted, item.tenantID)
	}
	tenants, err := s.queries.FindTenants(ctx, s.db, dbsqlc.FindTenantsParams{WorkspaceID: ws.ID(), Ids: wanted})
	if err != nil {
		return nil, err
	}
	faults := make([][]fault, len(items))
	for i, item := range items {
		if item.runType != "" && !slices.Contains(accepted, item.runType) {
			faults[i] = append(faults[i], fault{
				Pointer: "/type", Detail: "No new runs of this type. Types that take new runs: " + strings.Join(accepted, ", ") + ".",
			})
		}
		if item.tenantID != 0 && !slices.Contains(tenants, item.tenantID) {
			faults[i] = append(faults[i], fault{Pointer: "/tenant_id", Detail: noSuchTenant})
		}
	}
	return faults, nil
}

// completeFaults adds to the faults of faulty starts those of what they refer to.
func (s *Server) completeFaults(ctx context.Context, ws workspace.Scope, operations []operation) {
	var places []int
	var faulty []start
	for i, op := range operations {
		if op.start != nil && len(op.faults) > 0 {
			places, faulty = append(places, i), append(faulty, *op.start)
		}
	}
	if len(faulty) == 0 {
		return
	}
	for n, faults := range s.alsoWrong(ctx, ws, faulty) {
		op := &operations[places[n]]
		op.faults = append(op.faults, pointedFrom(op.at, faults)...)
	}
}

// alsoWrong are the faults of what each of items refers to, which have others already. If the database does not tell
// them, those others are enough of an answer.
func (s *Server) alsoWrong(ctx context.Context, ws workspace.Scope, items []start) [][]fault {
	faults, err := s.wrongReferences(ctx, ws, items)
	if err != nil {
		return make([][]fault, len(items))
	}
	return faults
}
