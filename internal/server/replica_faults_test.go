//go:build unix

package server_test

import (
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbtest"
)

// underLoad reads lists from the replica without a pause, half of them behind writes, while do runs.
// Every one must be answered, and show what it is to show. answered waits until every reader has got
// an answer to what it asked after the call.
func (r *replicated) underLoad(t *testing.T, do func(answered func())) {
	t.Helper()
	r.client = &http.Client{Transport: r.plainTransport(t), Timeout: 40 * time.Second}
	var done atomic.Bool
	var all sync.WaitGroup
	const readers = 4
	var rounds [readers]atomic.Int64
	answered := func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for reader := range rounds {
			for seen := rounds[reader].Load(); rounds[reader].Load() < seen+2 && !t.Failed(); {
				<-tick.C
			}
		}
	}
	for reader := range readers {
		all.Go(func() {
			id, at := r.begin(t)
			for !done.Load() && !t.Failed() {
				if reader%2 == 0 {
					id, at = r.begin(t)
				}
				if !r.shows(t, id, at) {
					t.Errorf("the list with the position %s does not show the run %d", at, id)
				}
				got, err := r.send(http.MethodGet, r.path("/count"), r.bearer, "", position, "any")
				if err != nil || got.status != http.StatusOK {
					t.Errorf("a count answers %d, %v: %s", got.status, err, got.body)
				}
				rounds[reader].Add(1)
			}
		})
	}
	defer all.Wait()
	defer done.Store(true)
	do(answered)
}

func conflicts(t *testing.T, c *cluster) {
	r := c.serve(t, time.Hour)
	r.awaitInUse(t)
	for _, sql := range []string{"ALTER SYSTEM SET max_standby_streaming_delay = 0", "SELECT pg_reload_conf()"} {
		if _, err := c.onStandby.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	dbtest.Await(t, c.onStandby, "current_setting('max_standby_streaming_delay') = '0'")
	r.underLoad(t, func(func()) {
		deadline := time.Now().Add(time.Minute)
		for landed := 0; landed < 3 && !t.Failed(); {
			// Replaying the lock ends whoever reads the table.
			if _, err := c.onPrimary.Exec(t.Context(), "BEGIN; LOCK TABLE operation_runs IN ACCESS EXCLUSIVE MODE; COMMIT"); err != nil {
				t.Error(err)
			}
			err := c.onStandby.QueryRow(t.Context(), "SELECT confl_lock FROM pg_stat_database_conflicts WHERE datname = 'postgres'").Scan(&landed)
			if err != nil || time.Now().After(deadline) {
				t.Errorf("%d conflicts: %v", landed, err)
			}
		}
	})
	if fell := r.metric(t, "runledger_replica_fallbacks_total", "failed"); fell < 1 {
		t.Error("no list met a conflict")
	}
}

// hanging stops the processes of the replica in the middle of what they do: it neither answers nor
// refuses, as when the network is cut.
func hanging(t *testing.T, c *cluster) {
	r := c.serve(t, time.Hour)
	r.awaitInUse(t)
	r.underLoad(t, func(answered func()) {
		r.await(t, "runledger_list_reads_total", "replica", 20)
		rows, err := c.onStandby.Query(t.Context(),
			"SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
		if err != nil {
			t.Fatal(err)
		}
		pids, err := pgx.CollectRows(rows, pgx.RowTo[int32])
		if err != nil {
			t.Fatal(err)
		}
		each := func(signal syscall.Signal) {
			for _, pid := range append(pids, int32(c.standby.PID())) {
				_ = syscall.Kill(int(pid), signal)
			}
		}
		each(syscall.SIGSTOP)
		defer each(syscall.SIGCONT)
		r.awaitLeftOut(t, "unreachable")
		answered() // those, too, who were in the middle of a list
		each(syscall.SIGCONT)
		r.awaitInUse(t)
	})
}

func dying(t *testing.T, c *cluster) {
	r := c.serve(t, time.Hour)
	r.awaitInUse(t)
	r.underLoad(t, func(answered func()) {
		r.await(t, "runledger_list_reads_total", "replica", 20)
		c.standby.Kill()
		r.awaitLeftOut(t, "unreachable")
		answered()
		if err := c.standby.Restart(t.Context()); err != nil {
			t.Error(err)
		}
		r.awaitInUse(t)
		replica, _ := r.reads(t)
		r.await(t, "runledger_list_reads_total", "replica", replica+20)
	})
}

func promoted(t *testing.T, c *cluster) {
	r := c.serve(t, time.Hour)
	r.awaitInUse(t)
	r.underLoad(t, func(answered func()) {
		r.await(t, "runledger_list_reads_total", "replica", 20)
		if _, err := c.onStandby.Exec(t.Context(), "SELECT pg_promote()"); err != nil {
			t.Error(err)
		}
		r.awaitLeftOut(t, "not_standby")
		answered()
	})
	replica, _ := r.reads(t)
	if id, at := r.begin(t); !r.shows(t, id, at) || !r.shows(t, id, "any") {
		t.Error("the list does not show the run")
	}
	if after, _ := r.reads(t); after != replica {
		t.Errorf("what had been the replica answered %v lists", after-replica)
	}
}
