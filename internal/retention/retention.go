// Package retention lets old runs go.
//
// A type's policy says what is kept: completed runs that ended within keep_days, and the keep_last
// latest of each tenant. A run goes when no part of the policy keeps it, and a type without a policy
// keeps all. An active run never goes, nor one that a finding or an inventory item refers to, unless
// those references are to be cleared with it, nor one that a kept run is a retry of: retention
// deletes runs and never changes one. Its events and idempotency keys go with it, in one transaction.
package retention

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/runledger/runledger/internal/dbsqlc"
)

// Policy is how long the runs of a type are kept. A nil asks nothing; two keep for ever.
type Policy struct {
	KeepDays *int64 // days since the run ended
	KeepLast *int64 // runs of one tenant in one workspace
}

// KeepsNothing tells whether every completed run is past the policy.
func (p Policy) KeepsNothing() bool {
	keeps := func(most *int64) bool { return most != nil && *most > 0 }
	return (p.KeepDays != nil || p.KeepLast != nil) && !keeps(p.KeepDays) && !keeps(p.KeepLast)
}

// Options say what to let go.
type Options struct {
	WorkspaceID         int64    // one workspace, 0 for all
	Types               []string // some types, none for all
	Override            *Policy  // in place of the policies of Types, if not nil
	IncludingReferenced bool     // clear the references of findings and items, and let their runs go as well
	BatchSize           int      // runs in a transaction, 500 if 0
	Actor               string   // who lets them go, for the audit
}

// Group is what becomes of the runs of a type in a workspace.
type Group struct {
	WorkspaceID int64
	Workspace   string // its slug, or its id if it has none
	Type        string
	Expired     int // runs that the policy does not keep
	Released    int // of these, those that go; others refer to the rest
	Findings    int // findings that lose a run
	Items       int // inventory items that lose their run
}

// Released is what goes out of a group, for one who wants to know exactly.
type Released struct {
	WorkspaceID int64
	Type        string
	Runs        []int64
	Findings    []int64 // that lose a run
	Items       []int64 // that lose their run
}

// Preview tells what Run would do, and changes nothing: it reads one snapshot in a read-only
// transaction. list, if not nil, is called with every id. Groups without expired runs are left out.
func Preview(ctx context.Context, conn *pgx.Conn, o Options, list func(Released) error) ([]Group, error) {
	var groups groups
	err := pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		s, err := newSelection(ctx, tx, o)
		if err != nil {
			return err
		}
		return s.each(ctx, tx, func(p part, ids []int64) error {
			released, err := s.releasable(ctx, tx, p, ids)
			if err != nil {
				return err
			}
			groups.add(p, len(ids), released)
			if list == nil {
				return nil
			}
			return list(released)
		})
	})
	if err != nil {
		return nil, fmt.Errorf("preview the retention: %w", err)
	}
	return groups, nil
}

// Run lets go what the policies do not keep, the newest first, a batch in a transaction. It can be
// interrupted at any time and goes on from there the next time; what it returns is what it has done,
// with an error as well. A run to which a table of somebody else's has a foreign key stays; Preview does
// not know of those. A part that fails keeps no other from being looked at. progress is called with how
// many of the expired runs have been.
func Run(ctx context.Context, conn *pgx.Conn, o Options, progress func(done, total int)) ([]Group, error) {
	var groups groups
	s, err := newSelection(ctx, conn, o)
	if err != nil {
		return nil, fmt.Errorf("retention: %w", err)
	}
	done, total := 0, 0
	err = s.each(ctx, conn, func(_ part, ids []int64) error {
		total += len(ids)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("retention: %w", err)
	}
	var failed error
	err = s.each(ctx, conn, func(p part, ids []int64) error {
		for batch := range slices.Chunk(ids, s.options.BatchSize) {
			released, err := s.releaseUnheld(ctx, conn, p, batch)
			if err == nil || len(released.Runs) > 0 {
				groups.add(p, len(batch), released)
			}
			if err != nil {
				err = fmt.Errorf("%s in workspace %s: %w", p.runType, p.workspace, err)
				if ctx.Err() != nil || conn.IsClosed() {
					return err
				}
				failed = errors.Join(failed, err)
				return nil
			}
			done += len(batch)
			progress(done, max(done, total))
		}
		return nil
	})
	if err = errors.Join(failed, err); err != nil {
		return groups, fmt.Errorf("retention: %w", err)
	}
	return groups, nil
}

// releaseUnheld releases a batch but for those runs to which a foreign key of a table that Runledger does not
// know refers: where one is among them, each half is released by itself.
func (s *selection) releaseUnheld(ctx context.Context, conn *pgx.Conn, p part, batch []int64) (Released, error) {
	released, err := s.release(ctx, conn, p, batch)
	if err == nil {
		return released, nil
	}
	if !isHeld(err) {
		return Released{}, err // it was undone
	}
	released = Released{WorkspaceID: p.workspaceID, Type: p.runType}
	if len(batch) == 1 {
		return released, nil
	}
	half := len(batch) / 2 //nolint:mnd // in two
	for _, part := range [][]int64{batch[:half], batch[half:]} {
		some, err := s.releaseUnheld(ctx, conn, p, part)
		released.Runs = append(released.Runs, some.Runs...)
		released.Findings = append(released.Findings, some.Findings...)
		released.Items = append(released.Items, some.Items...)
		if err != nil {
			return released, err
		}
	}
	return released, nil
}

// groups are filled in the order of the selection, so that the last is the one to add to.
type groups []Group

func (g *groups) add(p part, expired int, released Released) {
	if n := len(*g); n == 0 || (*g)[n-1].WorkspaceID != p.workspaceID || (*g)[n-1].Type != p.runType {
		*g = append(*g, Group{WorkspaceID: p.workspaceID, Workspace: p.workspace, Type: p.runType})
	}
	last := &(*g)[len(*g)-1]
	last.Expired += expired
	last.Released += len(released.Runs)
	last.Findings += len(released.Findings)
	last.Items += len(released.Items)
}

// release deletes those of a batch that may go. Two transactions that wait for each other are told
// so by the database, which ends one: that one is tried again.
func (s *selection) release(ctx context.Context, conn *pgx.Conn, p part, batch []int64) (released Released, err error) {
	const attempts = 5
	for range attempts {
		err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
			locked, err := s.queries.LockExpiredRuns(ctx, tx, dbsqlc.LockExpiredRunsParams{
				WorkspaceID: p.workspaceID, Ids: batch, CompletedBefore: p.completedBefore,
			})
			if err != nil {
				return err
			}
			if released, err = s.releasable(ctx, tx, p, locked); err != nil {
				return err
			}
			if err := s.delete(ctx, tx, released); err != nil || len(released.Runs) == 0 {
				return err
			}
			return s.audit(ctx, tx, released)
		})
		if !isRetryable(err) {
			break
		}
	}
	return released, err
}

// delete deletes runs with all that is theirs, and clears what refers to them.
func (s *selection) delete(ctx context.Context, tx pgx.Tx, r Released) error {
	if len(r.Findings) > 0 {
		if err := s.queries.ClearBaselinesOfFindings(ctx, tx, dbsqlc.ClearBaselinesOfFindingsParams{WorkspaceID: r.WorkspaceID, Ids: r.Runs}); err != nil {
			return err
		}
		if err := s.queries.ClearCurrentsOfFindings(ctx, tx, dbsqlc.ClearCurrentsOfFindingsParams{WorkspaceID: r.WorkspaceID, Ids: r.Runs}); err != nil {
			return err
		}
	}
	if len(r.Items) > 0 {
		if err := s.queries.ClearRunsOfItems(ctx, tx, dbsqlc.ClearRunsOfItemsParams{WorkspaceID: r.WorkspaceID, Ids: r.Runs}); err != nil {
			return err
		}
	}
	if err := s.queries.DeleteEventsOfRuns(ctx, tx, dbsqlc.DeleteEventsOfRunsParams{WorkspaceID: r.WorkspaceID, Ids: r.Runs}); err != nil {
		return err
	}
	if err := s.queries.DeleteIdempotencyKeysOfRuns(ctx, tx, dbsqlc.DeleteIdempotencyKeysOfRunsParams{WorkspaceID: r.WorkspaceID, Ids: r.Runs}); err != nil {
		return err
	}
	deleted, err := s.queries.DeleteCompletedRuns(ctx, tx, dbsqlc.DeleteCompletedRunsParams{WorkspaceID: r.WorkspaceID, Ids: r.Runs})
	if err == nil && int(deleted) != len(r.Runs) {
		err = fmt.Errorf("%d runs were to be deleted, and %d were", len(r.Runs), deleted) // they are locked
	}
	return err
}

// audit records what a batch let go: nothing else tells of a run once it is gone.
func (s *selection) audit(ctx context.Context, tx pgx.Tx, r Released) error {
	data, err := json.Marshal(map[string]any{"run_ids": r.Runs, "finding_ids": r.Findings, "inventory_item_ids": r.Items})
	if err != nil {
		return fmt.Errorf("record what was let go: %w", err)
	}
	return s.queries.AppendAuditEvent(ctx, tx, dbsqlc.AppendAuditEventParams{
		Action: "runs_let_go", Actor: s.options.Actor, WorkspaceID: &r.WorkspaceID, Target: r.Type, Data: data,
	})
}

// position is where a list of runs in the order of their creation begins.
type position struct {
	at pgtype.Timestamptz
	id int64
}

// newest is before all runs in that order.
var newest = position{at: pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}, id: math.MaxInt64}

// cutoff is the instant before which runs have to have ended.
func (p Policy) cutoff(now time.Time) pgtype.Timestamptz {
	if p.KeepDays == nil {
		return pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}
	}
	return pgtype.Timestamptz{Time: now.Add(-time.Duration(*p.KeepDays) * 24 * time.Hour), Valid: true}
}

// errOverride says that an override is not to hit types that nobody named.
var errOverride = errors.New("an override of the policies wants the types that it is for")
