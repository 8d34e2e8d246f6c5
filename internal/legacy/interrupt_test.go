package legacy

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/internal/dbtest"
)

// prepared takes a database up to where contract has only to build the last indexes and to swap.
func prepared(t *testing.T, address string) {
	t.Helper()
	throughBackfill(t, address)
	r := open(t, address, Options{PrepareOnly: true})
	defer r.Close()
	must(t, r.Contract)
}

// What was at work when somebody interrupted it has lost its connection, and the application goes on.
func TestAnInterruptedContractDropsTheIndexesThatRefuse(t *testing.T) {
	t.Parallel()
	for name, standsInTheWay := range map[string]string{
		"while it builds them": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT FROM users", // a build waits for who sees what was
		"while it swaps":       "SELECT FROM inventory_items LIMIT 0",                                // and it for whoever reads what it alters
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := legacyDatabase(t)
			prepared(t, address)
			// Whose names the catalog has, whatever is locked.
			const built = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relkind = 'i' AND relname LIKE 'runledger%'"
			before := one(t, address, built)
			pool := dbtest.Connect(t, address)
			inTheWay := underWay(t, pool, standsInTheWay)
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			r := open(t, address, Options{LockTimeout: time.Minute})
			done := make(chan error, 1)
			go func() {
				_, err := r.Contract(ctx)
				done <- err
			}()
			dbtest.AwaitBlocked(t, pool, inTheWay, 1)
			if one(t, address, built) == before {
				t.Error("there is nothing to drop yet")
			}
			interrupt()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("contract ends with %v", err)
			}
			if after := one(t, address, built); after != before {
				t.Errorf("it leaves %s, there were %s", after, before)
			}
			if err := inTheWay.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
			must(t, open(t, address, Options{}).Contract)
		})
	}
}

func TestWhatAnInterruptedContractCannotDropIsToldWithWhatDoes(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	prepared(t, address)
	var told bytes.Buffer
	r := open(t, address, Options{})
	r.progress = NewProgress(&told, false)
	must(t, func(ctx context.Context) (any, error) { return nil, r.buildRefusing(ctx) })
	r.Close()
	r.databaseURL = "postgres://nobody@127.0.0.1:1/nowhere"
	if err := r.swapPrepared(t.Context(), newContractReport()); err == nil {
		t.Error("it swaps without a connection")
	}
	if text := told.String(); !strings.Contains(text, "run runledger legacy contract --prepare-only before the application goes on") || strings.Contains(text, "undo") {
		t.Errorf("it tells %q", text)
	}
	anew := open(t, address, Options{PrepareOnly: true})
	must(t, anew.Contract)
	if got := must(t, anew.refusingLeft); len(got) > 0 {
		t.Errorf("what it advises leaves %q", got)
	}
}

func TestAContractThatWasInterruptedWhenItHadCommittedSaysSo(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	throughContract(t, address)
	r := open(t, address, Options{})
	before := fingerprint(t, address)
	r.Close() // as the interrupt leaves it
	err := r.swapPrepared(t.Context(), newContractReport())
	if err == nil || !strings.Contains(err.Error(), "when it had committed; run it again") || strings.Contains(err.Error(), "changed nothing") {
		t.Errorf("it ends with %v", err)
	}
	if diff := cmp.Diff(before, fingerprint(t, address)); diff != "" {
		t.Errorf("it changes what it has committed: %s", diff)
	}
}

// What comes next would stand behind a line that is rewritten in place.
func TestNoStepLeavesItsLineOpen(t *testing.T) {
	t.Parallel()
	address := legacyDatabase(t)
	throughBackfill(t, address)
	run(t, address, "UPDATE operation_runs SET status = status WHERE id = 100")
	for name, step := range map[string]func(context.Context, *Removal) error{
		"plan":     func(ctx context.Context, r *Removal) error { _, err := r.Plan(ctx); return err },
		"catch up": func(ctx context.Context, r *Removal) error { _, err := r.catchUp(ctx); return err },
	} {
		var told bytes.Buffer
		r := open(t, address, Options{})
		r.progress = NewProgress(&told, true)
		now := time.Now()
		r.progress.now = func() time.Time { // slow enough for a line of each advance
			now = now.Add(time.Minute)
			return now
		}
		if err := step(t.Context(), r); err != nil || !strings.Contains(told.String(), name+": ") || r.progress.open {
			t.Errorf("%s: %v, and it tells %q", name, err, told.String())
		}
		r.Close()
	}
}
