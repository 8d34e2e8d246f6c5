package server

import (
	"cmp"
	"context"
	"errors"
	"math/bits"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/workspace"
)

// subject is what operations of a batch can have in common: an identity, a key or, where the run
// of a report is not there, the id of that. Of two operations with a subject in common the second
// one may be answered differently for what the first one did; others can be done in any order.
type subject struct {
	identity identity
	key      string
	runID    int64
}

// doOperations does operations as if one after the other, and returns their results, with as many of the runs as
// there is room for.
func (s *Server) doOperations(ctx context.Context, ws workspace.Scope, operations []operation, room *room) []result {
	results := make([]result, len(operations))
	s.completeFaults(ctx, ws, operations)
	subjects, err := s.subjectsOf(ctx, ws, operations)
	for i, op := range operations {
		if len(op.faults) > 0 {
			results[i].err = errInvalidFields(op.faults...)
		} else {
			results[i].err = err
		}
	}
	if err != nil {
		return results
	}
	s.doWaves(ctx, ws, operations, subjects, results, room)
	for i, op := range operations {
		if len(op.faults) == 0 {
			results[i].err = beneath(op.at, results[i].err)
		}
	}
	return results
}

// doWaves does operations that have those subjects, one wave after the other. An outage ends it: what comes
// behind would wait as long again, for as many times as there are waves, and is told to come again. So is what
// has a subject in common with an operation whose row somebody holds.
func (s *Server) doWaves(
	ctx context.Context, ws workspace.Scope, operations []operation, subjects [][]subject, results []result, room *room,
) {
	const mostHeld = 3 // waves in which a row was held, after which it is an outage
	var outage error
	held, heldWaves := map[subject]error{}, 0
	for _, wave := range waves(subjects) {
		if outage == nil {
			outage = ctx.Err() // nobody waits for an answer any more
		}
		free := make([]int, 0, len(wave))
		for _, i := range wave {
			why := outage
			for _, each := range subjects[i] {
				why = cmp.Or(why, held[each])
			}
			if why == nil {
				free = append(free, i)
				continue
			}
			results[i].err = errUnavailable.because(why)
			for _, each := range subjects[i] {
				held[each] = why
			}
		}
		s.doWave(ctx, ws, operations, free, results, room)
		locked := false
		for _, i := range free {
			results[i].fit(room)
			switch err := results[i].err; {
			case isLocked(err):
				locked = true
				for _, each := range subjects[i] {
					held[each] = err
				}
			case isOutage(err):
				outage = err
			}
		}
		if locked {
			if heldWaves++; heldWaves == mostHeld {
				outage = errHeld
			}
		}
	}
}

var errHeld = errors.New("somebody holds many rows")

// waves divides operations into waves that can be done at once, and returns their places. An
// operation comes in the wave behind the last one that has a subject in common with it; one without
// subjects in none.
func waves(subjects [][]subject) [][]int {
	var waves [][]int
	next := map[subject]int{} // the first wave that may have the subject again
	for place, own := range subjects {
		if len(own) == 0 {
			continue
		}
		wave := 0
		for _, each := range own {
			wave = max(wave, next[each])
		}
		for _, each := range own {
			next[each] = wave + 1
		}
		if wave == len(waves) {
			waves = append(waves, nil)
		}
		waves[wave] = append(waves[wave], place)
	}
	return waves
}

// subjectsOf are the subjects of operations, in their order; those with faults have none.
func (s *Server) subjectsOf(ctx context.Context, ws workspace.Scope, operations []operation) ([][]subject, error) {
	var ids []int64
	var keys []string
	for _, op := range operations {
		switch {
		case len(op.faults) > 0:
		case op.report != nil:
			ids = append(ids, op.report.id)
		case op.start.idempotencyKey != "":
			keys = append(keys, op.start.idempotencyKey)
		}
	}
	ofRun, err := s.identitiesOfRuns(ctx, ws, ids)
	if err != nil {
		return nil, err
	}
	ofKey, err := s.identitiesByKeys(ctx, ws, keys)
	if err != nil {
		return nil, err
	}
	subjects := make([][]subject, len(operations))
	for i, op := range operations {
		switch {
		case len(op.faults) > 0:
		case op.start != nil:
			subjects[i] = op.start.subjects()
			if earlier, ok := ofKey[op.start.idempotencyKey]; ok {
				subjects[i] = append(subjects[i], subject{identity: earlier})
			}
		default:
			subjects[i] = []subject{{runID: op.report.id}}
			if run, ok := ofRun[op.report.id]; ok {
				subjects[i] = []subject{{identity: run}}
			}
		}
	}
	return subjects, nil
}

// subjects are what no other start in the same statement may have.
func (i *start) subjects() []subject {
	own := []subject{{identity: i.identity()}}
	if i.idempotencyKey != "" {
		own = append(own, subject{key: i.idempotencyKey})
	}
	return own
}

// identitiesOfRuns are the identities of those runs that are there. They never change.
func (s *Server) identitiesOfRuns(ctx context.Context, ws workspace.Scope, ids []int64) (map[int64]identity, error) {
	found := map[int64]identity{}
	if len(ids) == 0 {
		return found, nil
	}
	rows, err := s.queries.ListIdentitiesOfRuns(ctx, s.db, dbsqlc.ListIdentitiesOfRunsParams{WorkspaceID: ws.ID(), Ids: ids})
	for _, row := range rows {
		found[row.ID] = identityOf(row.TenantID, row.RunIdentityHash)
	}
	return found, err
}

// identitiesByKeys are the identities of the runs that keys were answered with before.
func (s *Server) identitiesByKeys(ctx context.Context, ws workspace.Scope, keys []string) (map[string]identity, error) {
	found := map[string]identity{}
	if len(keys) == 0 {
		return found, nil
	}
	rows, err := s.queries.ListIdentitiesByIdempotencyKeys(ctx, s.db, dbsqlc.ListIdentitiesByIdempotencyKeysParams{
		WorkspaceID: ws.ID(), Keys: keys,
	})
	for _, row := range rows {
		found[row.Key] = identityOf(row.TenantID, row.RunIdentityHash)
	}
	return found, err
}

// doWave does the operations at places, which have nothing to do with each other: the starts in one
// statement, the reports in another.
func (s *Server) doWave(
	ctx context.Context, ws workspace.Scope, operations []operation, places []int, results []result, room *room,
) {
	var starts []start
	var reports []report
	for _, i := range places {
		if op := operations[i]; op.start != nil {
			starts = append(starts, *op.start)
		} else {
			reports = append(reports, *op.report)
		}
	}
	db := room.sparing(s.db)
	started, reported := s.startMany(ctx, db, ws, starts), s.reportMany(ctx, db, ws, reports)
	for _, i := range places {
		from := &reported
		if operations[i].start != nil {
			from = &started
		}
		results[i], *from = (*from)[0], (*from)[1:]
	}
}

// together does items at once and returns a result for each. A deadlock, or a row that another
// transaction made or removed at that moment, passes by another attempt. Where one of the items
// cannot be stored, or its row is held by somebody, each half is done by itself, so that in the end that
// one alone has failed. As long as it takes to find one that is held is waited for any number of them.
func together[Item, Result any](
	items []Item, do func(items []Item) ([]Result, error), failed func(err error) Result,
) []Result {
	waits := bits.Len(uint(len(items))) + 2 // from all of them to one, and what is left goes on
	return halves(items, do, failed, &waits)
}

// halves is together, with so many waits for rows that are held.
func halves[Item, Result any](
	items []Item, do func(items []Item) ([]Result, error), failed func(err error) Result, waits *int,
) []Result {
	if len(items) == 0 {
		return nil
	}
	const attempts = 3
	done, err := do(items)
	for attempt := 1; attempt < attempts && hasClass(err, "23", "40"); attempt++ {
		done, err = do(items)
	}
	if isLocked(err) {
		*waits--
	}
	switch {
	case err == nil:
		return done
	case len(items) > 1 && (!isOutage(err) || isLocked(err) && *waits > 0):
		half := len(items) / 2 //nolint:mnd // in two
		first := halves(items[:half], do, failed, waits)
		if *waits > 0 {
			return append(first, halves(items[half:], do, failed, waits)...)
		}
		for range items[half:] { // nobody has tried
			first = append(first, failed(err))
		}
		return first
	}
	results := make([]Result, len(items))
	for i := range results {
		results[i] = failed(err)
	}
	return results
}
