//go:build unix

package server_test

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/db"
	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/localpg"
	"github.com/runledger/runledger/internal/server"
)

const position = "Runledger-Position"

// cluster is a primary and a streaming replica of it, each with a way around the service.
type cluster struct {
	primary, standby     *localpg.Server
	onPrimary, onStandby *pgxpool.Pool
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{primary: dbtest.Cluster(t)}
	c.onPrimary = dbtest.Connect(t, c.primary.URL("postgres"))
	// The roles that docs/operations.md tells operators to make.
	for _, sql := range []string{
		"CREATE ROLE runledger_app",
		"CREATE ROLE runledger_reader",
		"GRANT USAGE ON SCHEMA public TO runledger_reader",
		"GRANT SELECT ON operation_runs, tenants, findings, inventory_items, backup_schedules TO runledger_reader",
	} {
		if _, err := c.onPrimary.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Grant(t.Context(), c.primary.URL("postgres"), "runledger_app"); err != nil {
		t.Fatal(err)
	}
	c.standby = dbtest.Replica(t, c.primary)
	c.onStandby = dbtest.Connect(t, c.standby.URL("postgres"))
	return c
}

// replicated is a server with a replica.
type replicated struct {
	*cluster
	*worker
	registry *prometheus.Registry
}

// connect is a pool as a server has it, in a role.
func (c *cluster) connect(t *testing.T, s *localpg.Server, role string) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 8
	config.ConnConfig.RuntimeParams["role"] = role
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// serve is a server on the cluster, with a replica that may be so far behind.
func (c *cluster) serve(t *testing.T, maxLag time.Duration) *replicated {
	t.Helper()
	return c.serveOn(t, c.connect(t, c.primary, "runledger_app"), c.onPrimary, c.connect(t, c.standby, "runledger_reader"), maxLag)
}

func (c *cluster) serveOn(t *testing.T, primary, around, replica *pgxpool.Pool, maxLag time.Duration) *replicated {
	t.Helper()
	r := &replicated{cluster: c, registry: prometheus.NewRegistry()}
	h := newHarnessOn(t, primary, server.Options{
		Replica: replica, ReplicaMaxLag: maxLag, Registry: r.registry, QueryTimeout: 50 * time.Second,
	})
	h.pool = around
	r.worker = newWorker(t, h)
	return r
}

// metric is the sum of a metric's series with that value of its label; an empty value is all.
func (r *replicated) metric(t testing.TB, name, value string) float64 {
	t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			if value == "" || m.GetLabel()[0].GetValue() == value {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// reads are how many lists the replica and the primary have answered.
func (r *replicated) reads(t testing.TB) (replica, primary float64) {
	t.Helper()
	return r.metric(t, "runledger_list_reads_total", "replica"), r.metric(t, "runledger_list_reads_total", "primary")
}

// await waits until a metric of the server has a value of at least least.
func (r *replicated) await(t testing.TB, name, value string, least float64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for r.metric(t, name, value) < least {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s{%s} to be %v", name, value, least)
		}
	}
}

func (r *replicated) awaitInUse(t testing.TB) {
	t.Helper()
	r.await(t, "runledger_replica_in_use", "", 1)
}

func (r *replicated) awaitLeftOut(t testing.TB, reason string) {
	t.Helper()
	r.await(t, "runledger_replica_left_out", reason, 1)
}

// awaitReplayed waits until the replica has replayed the log up to a position.
func (c *cluster) awaitReplayed(t testing.TB, at string) {
	t.Helper()
	dbtest.Await(t, c.onStandby, "pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0') >= ('x' || $1)::bit(64)::bigint", at)
}

// replay lets the replica go on or stops it.
func (c *cluster) replay(t testing.TB, on bool) {
	t.Helper()
	call, state := "pg_wal_replay_pause()", "paused"
	if on {
		call, state = "pg_wal_replay_resume()", "not paused"
	}
	if _, err := c.onStandby.Exec(t.Context(), "SELECT "+call); err != nil {
		t.Fatal(err)
	}
	dbtest.Await(t, c.onStandby, "pg_get_wal_replay_pause_state() = $1", state)
}

// begin starts a run and returns it with the position of the answer. It may be called from any goroutine.
func (w *worker) begin(t testing.TB) (id int64, at string) {
	t.Helper()
	got, err := w.send(http.MethodPost, w.path(""), w.bearer, `{"type": "inventory_sync"}`)
	if err != nil || got.status != http.StatusCreated {
		t.Errorf("a start answers %d, %v: %s", got.status, err, got.body)
		return 0, ""
	}
	return decode[runBody](t, got.body).ID, got.header.Get(position)
}

// shows tells whether the list of runs, asked for with a position unless it is empty, has a run. It
// may be called from any goroutine.
func (w *worker) shows(t testing.TB, id int64, at string) bool {
	t.Helper()
	var header []string
	if at != "" {
		header = []string{position, at}
	}
	got, err := w.send(http.MethodGet, w.path("?limit=200"), w.bearer, "", header...)
	if err != nil || got.status != http.StatusOK {
		t.Errorf("a list answers %d, %v: %s", got.status, err, got.body)
		return false
	}
	return slices.Contains(decode[page](t, got.body).ids(), id)
}

// shownByReplica is shows of a list that the replica answers. On a machine that is busy enough the
// primary may have answered in its place; then it is asked for again.
func (r *replicated) shownByReplica(t testing.TB, id int64, at string) bool {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline) && !t.Failed(); {
		before, _ := r.reads(t)
		shown := r.shows(t, id, at)
		if after, _ := r.reads(t); after > before {
			return shown
		}
	}
	t.Fatalf("the replica never answered a list with the position %s", at)
	return false
}
