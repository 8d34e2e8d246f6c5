package legacy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// ContractReport is what Contract did.
type ContractReport struct {
	Step    string `json:"step"`
	State   State  `json:"state"`
	Message string `json:"message"`
	// LockedMS is how long the transaction held its locks, in milliseconds.
	LockedMS int64 `json:"locked_ms"`
	// CaughtUp are the rows that the application had written since the backfill.
	CaughtUp int64 `json:"rows_caught_up"`
	// Duplicates are the active runs that got a derived identity hash.
	Duplicates int64 `json:"identity_hashes_derived"`
	// Archived are the rows of each table of the archive.
	Archived map[string]int64 `json:"archived,omitempty"`
	// NotValid are the constraints that old rows break.
	NotValid []string `json:"constraints_not_valid"`
	// RecreatedViews are those that had to be made anew over columns of another type.
	RecreatedViews []string `json:"views_recreated"`
	// NotDone is what was to follow the transaction and could not be done, with the reason.
	NotDone []string `json:"not_done"`
}

func newContractReport() *ContractReport {
	return &ContractReport{Step: "contract", NotValid: []string{}, RecreatedViews: []string{}, NotDone: []string{}}
}

// Contract puts the canonical schema in the place of the application's, in one transaction after
// its preparations, and moves the legacy stores to the archive. The application must have stopped.
// It refuses with a *BlockedError, having changed nothing that the application sees.
func (r *Removal) Contract(ctx context.Context) (*ContractReport, error) {
	report := newContractReport()
	if err := r.lock(ctx); err != nil {
		return nil, err
	}
	state, err := Detect(ctx, r.conn)
	if err != nil {
		return nil, err
	}
	switch state {
	case Foreign:
		return nil, errForeign
	case Empty, Canonical:
		report.State, report.Message = state, nothingToDo(state)
		return report, nil
	case Contracted:
		report.State = state
		return report, r.finish(ctx, report)
	case Uncontracted, Expanding, Expanded:
		return nil, &BlockedError{Step: "contract", Blockers: []string{"the database is not backfilled yet: run " + state.Next()}}
	case Undoing:
		return nil, refuseUndoing("contract")
	case Backfilled:
	}
	if err := r.prepare(ctx); err != nil {
		return nil, unprepared(err)
	}
	if r.opt.PrepareOnly {
		if err := r.dropRefusing(ctx); err != nil { // the application goes on
			return nil, fmt.Errorf("contract: %w", err)
		}
		report.State, report.Message = Backfilled, "Everything that can be done without locks is done; contract will be short."
		return report, nil
	}
	if err := r.swapPrepared(ctx, report); err != nil {
		return nil, err
	}
	return report, r.finish(ctx, report)
}

// swapPrepared builds the indexes that may refuse what the application writes, and swaps. The
// application may go on if that fails, so that they go again then.
func (r *Removal) swapPrepared(ctx context.Context, report *ContractReport) error {
	err, explain := r.buildRefusing(ctx), unprepared
	if err == nil {
		err, explain = r.swap(ctx, report), refusal
	}
	if err == nil {
		return nil
	}
	state, cleanErr := r.cleanUp(ctx)
	switch {
	case cleanErr != nil:
		r.progress.Note("contract: indexes that may refuse what the application writes may be left: %s; run runledger legacy contract --prepare-only before the application goes on", cleanErr)
	case state == Contracted:
		return fmt.Errorf("contract was interrupted when it had committed; run it again for what follows: %w", err)
	}
	return explain(err)
}

// cleanUp drops those indexes after a failure, and tells how far the removal is. An interrupt has closed the
// session that was at work, so that there may have to be another.
func (r *Removal) cleanUp(ctx context.Context) (State, error) {
	const patience = time.Minute // a second interrupt ends the process
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if !r.conn.IsClosed() {
		return Backfilled, r.dropRefusing(ctx)
	}
	again, err := Open(ctx, r.databaseURL, "contract", r.opt, r.progress)
	if err != nil {
		return "", err
	}
	defer again.Close()
	if err := again.lock(ctx); err != nil { // which the first one has until it is seen to be gone
		return "", err
	}
	state, err := Detect(ctx, again.conn)
	if err != nil || state == Contracted {
		return state, err
	}
	return state, again.dropRefusing(ctx)
}

// prepare does all that needs no lock: what the transaction does then is only a matter of names.
func (r *Removal) prepare(ctx context.Context) error {
	if err := r.makeCanonical(ctx); err != nil {
		return err
	}
	if err := r.refuseBlocked(ctx); err != nil {
		return err
	}
	if _, err := r.catchUp(ctx); err != nil {
		return err
	}
	if err := r.fillArchive(ctx); err != nil {
		return err
	}
	if err := r.proveNotNull(ctx); err != nil {
		return err
	}
	if err := r.buildIndexes(ctx); err != nil {
		return err
	}
	for _, table := range largeTables {
		if err := r.alter(ctx, "ANALYZE "+public(table)); err != nil {
			return err
		}
	}
	return r.refuseDifferent(ctx)
}

// unprepared makes a refusal of what old rows do not allow: nulls, duplicates of a key, or values that
// an index has no room for.
func unprepared(err error) error {
	const notNullViolation, uniqueViolation, programLimitExceeded = "23502", "23505", "54000"
	switch sqlState(err) {
	case "":
		if err == nil {
			return nil
		}
	case notNullViolation, uniqueViolation, checkViolation, programLimitExceeded:
		return &BlockedError{Step: "contract", Blockers: []string{err.Error() + " " + errorDetail(err)}}
	}
	return fmt.Errorf("contract: %w", err)
}

// refuseBlocked fails if anything stands in Contract's way.
func (r *Removal) refuseBlocked(ctx context.Context) error {
	var blockers []string
	err := pgx.BeginTxFunc(ctx, r.conn, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		var err error
		blockers, err = contractBlockers(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	tried, err := r.tryViews(ctx)
	if err != nil {
		return err
	}
	if blockers = append(blockers, tried...); len(blockers) > 0 {
		return &BlockedError{Step: "contract", Blockers: blockers}
	}
	return nil
}

// refuseDifferent fails if Verify finds a difference.
func (r *Removal) refuseDifferent(ctx context.Context) error {
	verified, err := r.verify(ctx, true)
	if err != nil {
		return err
	}
	if verified.Total == 0 {
		return nil
	}
	blocked := &BlockedError{Step: "contract"}
	for _, d := range verified.Differences {
		blocked.Blockers = append(blocked.Blockers, d.String())
		if len(blocked.Blockers) == 10 {
			break
		}
	}
	blocked.Blockers = append(blocked.Blockers, fmt.Sprintf("%d differences in all; run runledger legacy verify", verified.Total))
	return blocked
}

// notNullProof is the name of the CHECK that proves that a column has no nulls, so that SET NOT
// NULL need not look for one.
func notNullProof(table, column string) string { return ours + table + "_" + column + "_not_null" }

// proveNotNull has the database check, beside the application's work, that the columns have no
// nulls which must not have any.
func (r *Removal) proveNotNull(ctx context.Context) error {
	application, canonical, err := r.catalogs(ctx)
	if err != nil {
		return err
	}
	for _, name := range tableNames(canonical) {
		have, ok := application[name]
		if !ok || name == "tenants" { // Contract itself gives the tenants their workspace.
			continue
		}
		want := canonical[name]
		var unproved []string
		for _, columnName := range want.order {
			now := current(name, columnName)
			if !want.columns[columnName].notNull || have.columns[now].notNull {
				continue
			}
			proof, ok := have.constraints[notNullProof(name, now)]
			if ok && proof.validated {
				continue
			}
			unproved = append(unproved, now)
			if !ok {
				continue
			}
			// An attempt that was killed has left it.
			if err := r.dropConstraint(ctx, name, notNullProof(name, now)); err != nil {
				return err
			}
		}
		if err := r.refuseNulls(ctx, name, unproved); err != nil {
			return err
		}
		for _, column := range unproved {
			if err := r.prove(ctx, name, column); err != nil {
				return err
			}
		}
	}
	return nil
}

// refuseNulls fails if one of the columns has nulls. A CHECK that is NOT VALID would hold for the
// rows that have them as soon as the application writes anything else of them.
func (r *Removal) refuseNulls(ctx context.Context, table string, columns []string) error {
	if len(columns) == 0 {
		return nil
	}
	counts := make([]string, 0, len(columns))
	for _, column := range columns {
		counts = append(counts, "count(*) FILTER (WHERE "+quoted(column)+" IS NULL)")
	}
	var nulls []int64
	err := r.conn.QueryRow(ctx, fmt.Sprintf("SELECT ARRAY[%s] FROM %s", strings.Join(counts, ", "), public(table))).Scan(&nulls)
	if err != nil {
		return fmt.Errorf("look for nulls in %s: %w", table, err)
	}
	blocked := &BlockedError{Step: "contract"}
	for i, n := range nulls {
		if n > 0 {
			blocked.Blockers = append(blocked.Blockers, fmt.Sprintf("%s.%s is null in %d rows, and must not be", table, columns[i], n))
		}
	}
	if len(blocked.Blockers) > 0 {
		return blocked
	}
	return nil
}

// prove adds the proof that a column has no nulls. It leaves none that a row breaks.
func (r *Removal) prove(ctx context.Context, table, column string) error {
	proof := notNullProof(table, column)
	err := r.alter(ctx, fmt.Sprintf("ALTER TABLE %s ADD CONSTRAINT %s CHECK (%s IS NOT NULL) NOT VALID", public(table), quoted(proof), quoted(column)))
	if err != nil {
		return err
	}
	err = r.alter(ctx, fmt.Sprintf("ALTER TABLE %s VALIDATE CONSTRAINT %s", public(table), quoted(proof)))
	if sqlState(err) == checkViolation {
		err = errors.Join(err, r.dropConstraint(ctx, table, proof))
	}
	return err
}

// swap is the one transaction. It takes all its locks at once, or steps back and tries again.
func (r *Removal) swap(ctx context.Context, report *ContractReport) error {
	r.progress.Note("contract: takes its locks and swaps the schemas; readers and writers wait meanwhile")
	for {
		var locked time.Time
		err := r.inTx(ctx, "contract", func(tx pgx.Tx) error {
			*report = *newContractReport()
			s := &swapping{tx: tx, report: report}
			if err := s.prepare(ctx); err != nil {
				return err
			}
			if err := s.lock(ctx); err != nil {
				return err
			}
			locked = time.Now()
			return s.run(ctx)
		})
		switch {
		case errors.Is(err, errFarBehind):
			r.progress.Note("contract: the application has written much meanwhile; catches up and tries again")
			if _, err := r.catchUp(ctx); err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			report.LockedMS = time.Since(locked).Milliseconds()
			report.State = Contracted
			return nil
		}
	}
}

// errFarBehind says that too much was written for Contract to catch up with under its locks.
var errFarBehind = errors.New("too many rows were written meanwhile")

// refusal makes a database's refusal to drop or change something one that names the object.
func refusal(err error) error {
	const dependentObjectsStillExist, featureNotSupported = "2BP01", "0A000"
	if state := sqlState(err); state == dependentObjectsStillExist || state == featureNotSupported {
		text := err.Error()
		if detail := errorDetail(err); detail != "" {
			text += ": " + strings.ReplaceAll(detail, "\n", "; ")
		}
		return &BlockedError{Step: "contract", Blockers: []string{text}}
	}
	return fmt.Errorf("contract changed nothing: %w", err)
}
