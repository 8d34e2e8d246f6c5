package retention

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/runledger/runledger/internal/dbsqlc"
)

// selection finds the runs that policies do not keep. The preview and the work use the same.
type selection struct {
	options    Options
	queries    *dbsqlc.Queries
	now        time.Time // the database's, once for the whole selection
	policies   []typePolicy
	workspaces []dbsqlc.ListWorkspacesRow
}

// typePolicy is the policy of a type that has one.
type typePolicy struct {
	name string
	Policy
}

// part is what is selected from at once: the runs of a type and a tenant in a workspace.
type part struct {
	workspaceID     int64
	workspace       string
	runType         string
	tenantID        *int64 // nil for the runs without a tenant
	completedBefore pgtype.Timestamptz
}

func newSelection(ctx context.Context, db dbsqlc.DBTX, o Options) (*selection, error) {
	if o.Override != nil && len(o.Types) == 0 {
		return nil, errOverride
	}
	const defaultBatchSize = 500
	if o.BatchSize == 0 {
		o.BatchSize = defaultBatchSize
	}
	s := &selection{options: o, queries: dbsqlc.New()}
	if err := db.QueryRow(ctx, "SELECT now()").Scan(&s.now); err != nil {
		return nil, err
	}
	if err := s.loadPolicies(ctx, db); err != nil {
		return nil, err
	}
	workspaces, err := s.queries.ListWorkspaces(ctx, db)
	if err != nil {
		return nil, err
	}
	s.workspaces = slices.DeleteFunc(workspaces, func(w dbsqlc.ListWorkspacesRow) bool {
		return o.WorkspaceID != 0 && w.ID != o.WorkspaceID
	})
	return s, nil
}

// loadPolicies reads the policies of the types that are asked for and have one.
func (s *selection) loadPolicies(ctx context.Context, db dbsqlc.DBTX) error {
	types, err := s.queries.ListOperationTypes(ctx, db)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, t := range types {
		known[t.Name] = true
		p := typePolicy{name: t.Name, Policy: Policy{KeepDays: t.KeepDays, KeepLast: t.KeepLast}}
		if s.options.Override != nil {
			p.Policy = *s.options.Override
		}
		asked := len(s.options.Types) == 0 || slices.Contains(s.options.Types, t.Name)
		if asked && (p.KeepDays != nil || p.KeepLast != nil) {
			s.policies = append(s.policies, p)
		}
	}
	for _, name := range s.options.Types {
		if !known[name] {
			return fmt.Errorf("there is no type %q", name)
		}
	}
	return nil
}

// each calls f with the expired runs of each part that has some, the newest first.
func (s *selection) each(ctx context.Context, db dbsqlc.DBTX, f func(p part, ids []int64) error) error {
	for _, w := range s.workspaces {
		if len(s.policies) == 0 {
			return nil
		}
		ids, err := s.queries.ListTenantIDs(ctx, db, w.ID)
		if err != nil {
			return err
		}
		tenants := []*int64{nil}
		for _, id := range ids {
			tenants = append(tenants, &id)
		}
		for _, policy := range s.policies {
			p := part{workspaceID: w.ID, workspace: strconv.FormatInt(w.ID, 10), runType: policy.name, completedBefore: policy.cutoff(s.now)}
			if w.Slug != nil {
				p.workspace = *w.Slug
			}
			for _, p.tenantID = range tenants {
				expired, err := s.expired(ctx, db, p, policy.KeepLast)
				if err != nil {
					return err
				}
				if len(expired) == 0 {
					continue
				}
				if err := f(p, expired); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// expired lists the runs of a part that its policy does not keep.
func (s *selection) expired(ctx context.Context, db dbsqlc.DBTX, p part, keepLast *int64) ([]int64, error) {
	after := newest
	if keepLast != nil && *keepLast > 0 {
		kept, err := s.queries.FindKeptPosition(ctx, db, dbsqlc.FindKeptPositionParams{
			WorkspaceID: p.workspaceID, Type: p.runType, TenantID: p.tenantID, Newer: int32(min(*keepLast, math.MaxInt32) - 1),
		})
		if errors.Is(err, pgx.ErrNoRows) {
			return nil, nil // there are no more than are kept
		}
		if err != nil {
			return nil, err
		}
		after = position{at: kept.Position, id: kept.ID}
	}
	return s.queries.ListExpiredRuns(ctx, db, dbsqlc.ListExpiredRunsParams{
		WorkspaceID: p.workspaceID, Type: p.runType, TenantID: p.tenantID, CompletedBefore: p.completedBefore,
		Position: after.at, PositionID: after.id,
	})
}

// releasable finds those of the runs that may go, and what loses its run with them.
func (s *selection) releasable(ctx context.Context, db dbsqlc.DBTX, p part, ids []int64) (Released, error) {
	r := Released{WorkspaceID: p.workspaceID, Type: p.runType}
	var err error
	r.Runs, err = s.queries.ListReleasableRuns(ctx, db, dbsqlc.ListReleasableRunsParams{
		WorkspaceID: p.workspaceID, Ids: ids, IncludingReferenced: s.options.IncludingReferenced,
	})
	if err != nil || !s.options.IncludingReferenced || len(r.Runs) == 0 {
		return r, err
	}
	r.Findings, err = s.queries.ListFindingsOfRuns(ctx, db, dbsqlc.ListFindingsOfRunsParams{WorkspaceID: p.workspaceID, Ids: r.Runs})
	if err != nil {
		return r, err
	}
	r.Items, err = s.queries.ListItemsOfRuns(ctx, db, dbsqlc.ListItemsOfRunsParams{WorkspaceID: p.workspaceID, Ids: r.Runs})
	return r, err
}

// isRetryable tells whether the database ended a transaction for the sake of another.
func isRetryable(err error) bool {
	const serializationFailure, deadlockDetected = "40001", "40P01"
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pgErr.Code == serializationFailure || pgErr.Code == deadlockDetected)
}

// isHeld tells whether a row that was to be deleted is referred to.
func isHeld(err error) bool {
	const foreignKeyViolation = "23503"
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == foreignKeyViolation
}
