//go:build unix

package faults

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/localpg"
)

// failover is a way in which a standby takes over from its primary.
type failover struct {
	// wanted is target_session_attrs in the address of the database, which names both of them.
	wanted string
	// synchronous says that the primary acknowledges nothing that the standby does not have.
	synchronous bool
	// fail ends the primary's writing. kept is an instant: what was acknowledged before it must not be lost.
	fail func(t *testing.T, p *standbyPair) (kept func() time.Time)
	// stays says that the old primary goes on answering reads.
	stays bool
}

// standbyPair is a primary and a streaming standby of it, each with a way around the service.
type standbyPair struct {
	primary, standby     *localpg.Server
	onPrimary, onStandby *pgxpool.Pool
}

func newPair(t *testing.T) *standbyPair {
	t.Helper()
	p := &standbyPair{primary: dbtest.Cluster(t)}
	p.standby = dbtest.Replica(t, p.primary)
	p.onPrimary, p.onStandby = dbtest.Connect(t, p.primary.URL("postgres")), dbtest.Connect(t, p.standby.URL("postgres"))
	return p
}

// url names both servers, the primary first.
func (p *standbyPair) url(t *testing.T, wanted string) string {
	t.Helper()
	u, err := url.Parse(p.primary.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	u.Host = hostOf(p.primary) + "," + hostOf(p.standby)
	q := u.Query()
	q.Set("target_session_attrs", wanted)
	u.RawQuery = q.Encode()
	return u.String()
}

// setting changes a setting of the primary.
func (p *standbyPair) setting(t *testing.T, name, value string) {
	t.Helper()
	for _, statement := range []string{"ALTER SYSTEM SET " + name + " = " + value, "SELECT pg_reload_conf()"} {
		if _, err := p.onPrimary.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitCaughtUp returns when the standby has all that the primary had at the call.
func (p *standbyPair) awaitCaughtUp(t *testing.T) {
	t.Helper()
	var at string
	if err := p.onPrimary.QueryRow(t.Context(), "SELECT pg_current_wal_insert_lsn()::text").Scan(&at); err != nil {
		t.Fatal(err)
	}
	dbtest.Await(t, p.onStandby, "pg_last_wal_replay_lsn() >= $1::pg_lsn", at)
}

// promote makes the standby a primary.
func (p *standbyPair) promote(t *testing.T) {
	t.Helper()
	if _, err := p.onStandby.Exec(t.Context(), "SELECT pg_promote(wait => false)"); err != nil {
		t.Fatal(err)
	}
}

// killed is a primary that is gone at once.
func killed(t *testing.T, p *standbyPair) func() time.Time {
	t.Helper()
	before := time.Now()
	p.awaitCaughtUp(t)
	p.primary.Kill()
	return func() time.Time { return before }
}

// demoted is a primary that an operator makes read-only, to switch over without a loss.
func demoted(t *testing.T, p *standbyPair) func() time.Time {
	t.Helper()
	p.setting(t, "default_transaction_read_only", "on")
	await(t, "the primary to be read-only", func() bool {
		_, err := p.onPrimary.Exec(context.Background(), "CREATE TABLE never ()")
		return sqlState(err) == "25006"
	})
	return time.Now
}

// A standby takes over, and the service, whose address of the database names both, goes on with it by
// itself. Nothing that it acknowledged is lost but what replication can lose: nothing at all if it is
// synchronous or was waited for, else what the standby had not got when its primary died.
func TestTheServiceGoesOnWithTheStandbyThatTakesOver(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]failover{
		"a primary that is made read-only":         {wanted: "read-write", fail: demoted, stays: true},
		"a primary that dies":                      {wanted: "primary", fail: killed},
		"a synchronously replicated one that dies": {wanted: "read-write", fail: killed, synchronous: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f.try(t)
		})
	}
}

func (f failover) try(t *testing.T) {
	p := newPair(t)
	if f.synchronous {
		p.setting(t, "synchronous_standby_names", "'*'")
		dbtest.Await(t, p.onPrimary, "EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')")
	}
	s := newSystemOn(t, p.primary, p.url(t, f.wanted))
	p.awaitCaughtUp(t) // with the workspace
	s.useWholePool(t, p)
	l, w := newLoad(t, s, s.front.addr()), newWatch(t, s)
	await(t, "good answers", func() bool { return l.goodSince(time.Time{}) > 100 })

	refusedBefore, began := l.refused(), time.Now()
	kept := f.fail(t, p)
	await(t, "/readyz to be 503", func() bool { _, told := w.turned(false, began); return told })
	await(t, "writes to be refused", func() bool { return l.refused() > refusedBefore })
	if f.stays {
		p.awaitCaughtUp(t)
	}
	p.promote(t)
	back := time.Now()
	await(t, "/readyz to be 200", func() bool { _, told := w.turned(true, back); return told })
	await(t, "good answers", func() bool { return l.goodSince(back) > 100 })
	if f.stays {
		// Whatever is left there answers lists as they were.
		await(t, "no connection to be left to the old primary", func() bool { return p.connections(t, p.onPrimary) == 0 })
	}
	l.end()
	w.end()
	w.wantAlive(t)
	if n := l.cut.Load(); n > 0 {
		t.Errorf("%d requests have no answer, though nothing was wrong between the server and its clients", n)
	}
	f.wantKept(t, l.lost(t, p.onStandby, s.workspace.ID), kept())
}

// useWholePool has the service open all of its connections, most of which a load then leaves idle.
func (s *system) useWholePool(t *testing.T, p *standbyPair) {
	t.Helper()
	await(t, "all connections to be open", func() bool {
		var asking sync.WaitGroup
		for n := range 2 * connectionsAtMost { // a page of its own for each
			asking.Go(func() { _, _, _ = newClient(t, s).send(http.MethodGet, fmt.Sprintf("?limit=%d", n+1), "") })
		}
		asking.Wait()
		return p.connections(t, p.onPrimary) >= poolSize
	})
}

// wantKept fails the test if more is lost than replication can lose.
func (f failover) wantKept(t *testing.T, lost map[int64]promise, kept time.Time) {
	t.Helper()
	for id, promised := range lost {
		if f.synchronous || promised.at.Before(kept) {
			t.Errorf("run %d: what was acknowledged to %q is lost", id, promised.by)
		}
	}
	t.Logf("%d acknowledged answers are lost, of those that the standby did not have yet", len(lost))
}

// connections are those that the service has to a server.
func (p *standbyPair) connections(t *testing.T, at *pgxpool.Pool) (n int) {
	t.Helper()
	if err := at.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'runledger%'").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Reads go well on a server that takes no writes any more, and are of yesterday: none of its
// connections is used again once one of them has refused a write.
func TestTheFirstWriteThatIsRefusedLeavesNoConnectionToAServerThatTakesNone(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	s := newSystemOn(t, p.primary, p.url(t, "read-write"))
	s.useWholePool(t, p)
	demoted(t, p)
	p.awaitCaughtUp(t)
	p.promote(t)
	dbtest.Await(t, p.onStandby, "NOT pg_is_in_recovery()")
	client := newClient(t, s)
	for n, want := range []int{http.StatusServiceUnavailable, http.StatusCreated} {
		status, _, err := client.send(http.MethodPost, "", `{"type":"inventory_sync"}`)
		if err != nil || status != want {
			t.Errorf("write %d answers %d, %v; want %d", n+1, status, err, want)
		}
	}
}
