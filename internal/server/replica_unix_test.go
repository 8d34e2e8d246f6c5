//go:build unix

package server_test

import (
	"syscall"
	"testing"
	"time"
)

// hanging stops the processes of the replica in the middle of what they do: it neither answers nor
// refuses, as when the network is cut.
func hanging(t *testing.T, c *cluster) {
	r := c.serve(t, time.Hour)
	r.awaitInUse(t)
	r.underLoad(t, func() {
		r.await(t, "runledger_list_reads_total", "replica", 20)
		rows, err := c.onStandby.Query(t.Context(),
			"SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
		if err != nil {
			t.Fatal(err)
		}
		pids := []int{c.standby.PID()}
		for rows.Next() {
			var pid int
			if err := rows.Scan(&pid); err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
		each := func(signal syscall.Signal) {
			for _, pid := range pids {
				_ = syscall.Kill(pid, signal)
			}
		}
		each(syscall.SIGSTOP)
		defer each(syscall.SIGCONT)
		r.awaitLeftOut(t, "unreachable")
		_, primary := r.reads(t)
		r.await(t, "runledger_list_reads_total", "primary", primary+20)
		each(syscall.SIGCONT)
		r.awaitInUse(t)
	})
}
