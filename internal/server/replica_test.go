package server_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
		"GRANT SELECT ON operation_runs, findings, inventory_items, backup_schedules TO runledger_reader",
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

// The tests of a replica share one, which takes seconds to make, and follow each other: each stops,
// kills or promotes it.
func TestListsAreReadFromAReplicaThatHasReplayedWhatTheyAreToShow(t *testing.T) { //nolint:tparallel // see above
	t.Parallel()
	c := newCluster(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *cluster)
	}{
		{"OnlyListsThatSayWhatTheyAreToShowComeFromTheReplica", onlyWithAPosition},
		{"AWriterReadsItsOwnWritesWhileReplayIsPaused", ownWritesWhilePaused},
		{"AReplicaThatLagsIsLeftOutAndComesBack", lagging},
		{"APositionThatNoReplicaReachesIsThePrimarys", fromTheFuture},
		{"AMalformedPositionIsNamed", malformed},
		{"AStrangerGetsTheSameWithAndWithoutAPosition", strangers},
		{"AServerThatIsNoStandbyOfThePrimaryIsRefused", refused},
		{"AConflictWithRecoveryIsNobodysError", conflicts},
		{"AReplicaThatHangsFailsNoRequest", hanging},
		{"AReplicaThatDiesAndReturnsFailsNoRequest", dying},
		{"AReplicaThatIsPromotedIsRefused", promoted},
	} {
		if !t.Run(test.name, func(t *testing.T) { test.run(t, c) }) { //nolint:paralleltest // see above
			return // what it left behind is not what the next one begins with
		}
	}
}

func onlyWithAPosition(t *testing.T, c *cluster) {
	r := c.serve(t, time.Hour)
	r.awaitInUse(t)
	f := newFixture(t, r.harness)
	token := r.token(t, f.Operator.Subject)
	started, err := r.send(http.MethodPost, fmt.Sprintf("/workspaces/%d/operation-runs", f.ID), token, `{"type": "inventory_sync"}`)
	if err != nil {
		t.Fatal(err)
	}
	at := started.header.Get(position)
	c.awaitReplayed(t, at)
	for _, path := range []string{
		"operation-runs", "operation-runs?limit=1", "operation-runs?fields=id&type=inventory_sync,backup_schedule_run", "operation-runs/count",
		"operation-runs/stats?from=2020-01-01T00:00:00Z&before=2020-01-02T00:00:00Z", "findings", "inventory-items", "backup-schedules",
		fmt.Sprintf("backup-schedules/%d/runs", f.schedule),
	} {
		path = fmt.Sprintf("/workspaces/%d/%s", f.ID, path)
		var bodies []string
		for _, ask := range []struct {
			header           []string
			replica, primary float64
		}{{nil, 0, 1}, {[]string{position, at}, 1, 0}, {[]string{position, "any"}, 1, 0}} {
			var got answer
			for {
				fell := r.metric(t, "runledger_replica_fallbacks_total", "")
				replica, primary := r.reads(t)
				if got = r.do(t, http.MethodGet, path, token, ask.header...); got.status != http.StatusOK {
					t.Fatalf("%s answers %d: %s", path, got.status, got.body)
				}
				gotReplica, gotPrimary := r.reads(t)
				if r.metric(t, "runledger_replica_fallbacks_total", "") > fell {
					continue // the replica was asked, and did not answer in time on a busy machine
				}
				if gotReplica-replica != ask.replica || gotPrimary-primary != ask.primary {
					t.Errorf("%s with %v: %v of the replica, %v of the primary", path, ask.header, gotReplica-replica, gotPrimary-primary)
				}
				break
			}
			bodies = append(bodies, got.comparable())
		}
		if bodies[1] != bodies[0] || bodies[2] != bodies[0] {
			t.Errorf("%s differs:\n%s", path, strings.Join(bodies, "\n"))
		}
	}
	// What follows a page must not be older than it, and rows are as fresh as can be.
	replica, _ := r.reads(t)
	first := decode[page](t, r.do(t, http.MethodGet, fmt.Sprintf("/workspaces/%d/operation-runs?limit=1", f.ID), token).body)
	for _, path := range []string{
		"operation-runs?limit=1&cursor=" + *first.NextCursor, fmt.Sprintf("operation-runs/%d", f.run), "operation-types",
		"operation-runs/changes", fmt.Sprintf("operation-runs/%d/events", f.run), fmt.Sprintf("findings/%d", f.finding),
	} {
		if got := r.do(t, http.MethodGet, fmt.Sprintf("/workspaces/%d/%s", f.ID, path), token, position, "any"); got.status != http.StatusOK {
			t.Errorf("%s answers %d: %s", path, got.status, got.body)
		}
	}
	if after, _ := r.reads(t); after != replica {
		t.Errorf("the replica answered %v more", after-replica)
	}
	if got := r.do(t, http.MethodGet, "/readyz?verbose", ""); !strings.Contains(got.body, "[i] replica in use\n") {
		t.Errorf("readiness tells %q", got.body)
	}
}

func ownWritesWhilePaused(t *testing.T, c *cluster) {
	r := c.serve(t, time.Hour)
	r.awaitInUse(t)
	_, before := r.begin(t)
	c.awaitReplayed(t, before)
	c.replay(t, false)
	defer c.replay(t, true)
	r.client = &http.Client{Transport: r.plainTransport(t), Timeout: time.Minute}
	replica, _ := r.reads(t)
	const writers, writes = 8, 5
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range writes {
				id, at := r.begin(t)
				if !r.shows(t, id, at) {
					t.Errorf("the list with the position %s does not show the run %d", at, id)
				}
				if !r.shows(t, id, "") {
					t.Errorf("the list without a position does not show the run %d", id)
				}
			}
		})
	}
	all.Wait()
	if after, _ := r.reads(t); after != replica {
		t.Errorf("the replica answered %v lists that it could not know", after-replica)
	}
	if fell := r.metric(t, "runledger_replica_fallbacks_total", ""); fell != writers*writes {
		t.Errorf("%v lists fell back to the primary, want %d", fell, writers*writes)
	}
	// The replica does answer, with what it has: here is its proof.
	id, at := r.begin(t)
	if r.shownByReplica(t, id, "any") || r.shownByReplica(t, id, before) {
		t.Error("the replica shows what it cannot know")
	}
	c.replay(t, true)
	c.awaitReplayed(t, at)
	if !r.shownByReplica(t, id, at) {
		t.Error("the replica does not show what it has replayed")
	}
}

func lagging(t *testing.T, c *cluster) {
	r := c.serve(t, 300*time.Millisecond)
	r.awaitInUse(t)
	c.replay(t, false)
	defer c.replay(t, true)
	id, _ := r.begin(t)
	r.awaitLeftOut(t, "lagging")
	if !r.shows(t, id, "any") {
		t.Error("a list is older than a replica may be behind")
	}
	if lag := r.metric(t, "runledger_replica_lag_bytes", ""); lag <= 0 {
		t.Errorf("the lag is %v bytes", lag)
	}
	if got := r.do(t, http.MethodGet, "/readyz?verbose", ""); got.status != http.StatusOK || !strings.Contains(got.body, "[i] replica left out\n") {
		t.Errorf("readiness is %d and tells %q", got.status, got.body)
	}
	c.replay(t, true)
	r.awaitInUse(t)
	if !r.shownByReplica(t, id, "any") {
		t.Error("the replica is back and does not show what it missed")
	}
}

func fromTheFuture(t *testing.T, c *cluster) {
	r := c.serve(t, time.Hour)
	r.awaitInUse(t)
	id, at := r.begin(t)
	c.awaitReplayed(t, at)
	var near uint64
	if _, err := fmt.Sscanf(at, "%X", &near); err != nil {
		t.Fatal(err)
	}
	replica, _ := r.reads(t)
	for _, future := range []string{"FFFFFFFFFFFFFFFF", "7FFFFFFFFFFFFFFF", fmt.Sprintf("%016X", near+200_000)} {
		if !r.shows(t, id, future) {
			t.Errorf("the list with the position %s does not show the run", future)
		}
	}
	if after, _ := r.reads(t); after != replica {
		t.Errorf("the replica answered %v lists, want none", after-replica)
	}
}

func malformed(t *testing.T, c *cluster) {
	r := c.serve(t, time.Hour)
	f := newFixture(t, r.harness)
	token := r.token(t, f.Readonly.Subject)
	for _, value := range []string{
		"x", "", "ANY", "any, any", "0", "00000000000000ab", "0x00000000000000", "+000000000000001", "0000000000000000F", "0/16B3748",
	} {
		for _, path := range []string{
			"operation-runs", "operation-runs/count", "operation-runs/stats", "findings", "inventory-items", "backup-schedules",
			fmt.Sprintf("backup-schedules/%d/runs", f.schedule),
		} {
			r.client = &http.Client{Transport: r.plainTransport(t)} // the contract's own tests hold what it says
			got := r.do(t, http.MethodGet, fmt.Sprintf("/workspaces/%d/%s", f.ID, path), token, position, value)
			if got.status != http.StatusBadRequest || !strings.Contains(got.body, `"parameter":"`+position+`"`) {
				t.Errorf("%s with %q answers %d: %s", path, value, got.status, got.body)
			}
		}
	}
	got := r.do(t, http.MethodGet, fmt.Sprintf("/workspaces/%d/operation-runs", f.ID), token, position, "x", "Accept", "text/csv")
	if got.status != http.StatusBadRequest {
		t.Errorf("an export answers %d: %s", got.status, got.body)
	}
}

func strangers(t *testing.T, c *cluster) {
	r := c.serve(t, time.Hour)
	r.awaitInUse(t)
	r.client = &http.Client{Transport: r.plainTransport(t)}
	token := r.token(t, dbtest.NewUser(t, r.pool).Subject)
	replica, primary := r.reads(t)
	for _, workspace := range []string{fmt.Sprint(r.ID), "999999999", "x"} {
		for _, path := range []string{"operation-runs", "operation-runs/count", "findings", "backup-schedules/1/runs", "nothing"} {
			path = "/workspaces/" + workspace + "/" + path
			want := withoutID(r.do(t, http.MethodGet, path, token))
			for _, value := range []string{"any", "FFFFFFFFFFFFFFFF", "0000000000000000", "malformed"} {
				got := r.do(t, http.MethodGet, path, token, position, value)
				if got.status != http.StatusNotFound || withoutID(got) != want {
					t.Errorf("%s with %s answers\n%s\nand without\n%s", path, value, got.comparable(), want)
				}
			}
		}
	}
	if gotReplica, gotPrimary := r.reads(t); gotReplica != replica || gotPrimary != primary {
		t.Error("a list was read for a stranger")
	}
}

// withoutID is an answer without the name of its request.
func withoutID(a answer) string {
	return strings.ReplaceAll(a.comparable(), a.header.Get("X-Request-Id"), "")
}

func refused(t *testing.T, c *cluster) {
	for _, test := range []struct {
		reason                   string
		primary, around, replica *pgxpool.Pool
	}{
		{"not_standby", c.connect(t, c.primary, "runledger_app"), c.onPrimary, c.connect(t, c.primary, "runledger_reader")},
		// A standby, of another cluster than the one that the tests share.
		{"other_cluster", dbtest.ApplicationPool(t), dbtest.Pool(t), c.connect(t, c.standby, "runledger_reader")},
	} {
		r := c.serveOn(t, test.primary, test.around, test.replica, time.Hour)
		r.awaitLeftOut(t, test.reason)
		id, at := r.begin(t)
		if !r.shows(t, id, at) || !r.shows(t, id, "any") {
			t.Errorf("%s: the list does not show the run", test.reason)
		}
		if replica, primary := r.reads(t); replica != 0 || primary != 2 {
			t.Errorf("%s: %v lists of the replica, %v of the primary", test.reason, replica, primary)
		}
	}
}

// underLoad reads lists from the replica without a pause, half of them behind writes, while do runs.
// Every one must be answered, and show what it is to show.
func (r *replicated) underLoad(t *testing.T, do func()) {
	t.Helper()
	r.client = &http.Client{Transport: r.plainTransport(t), Timeout: 40 * time.Second}
	var done atomic.Bool
	var all sync.WaitGroup
	const readers = 4
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
			}
		})
	}
	do()
	done.Store(true)
	all.Wait()
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
	r.underLoad(t, func() {
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

func dying(t *testing.T, c *cluster) {
	r := c.serve(t, time.Hour)
	r.awaitInUse(t)
	r.underLoad(t, func() {
		r.await(t, "runledger_list_reads_total", "replica", 20)
		c.standby.Kill()
		r.awaitLeftOut(t, "unreachable")
		_, primary := r.reads(t)
		r.await(t, "runledger_list_reads_total", "primary", primary+20)
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
	r.underLoad(t, func() {
		r.await(t, "runledger_list_reads_total", "replica", 20)
		if _, err := c.onStandby.Exec(t.Context(), "SELECT pg_promote()"); err != nil {
			t.Error(err)
		}
		r.awaitLeftOut(t, "not_standby")
	})
	replica, _ := r.reads(t)
	if id, at := r.begin(t); !r.shows(t, id, at) || !r.shows(t, id, "any") {
		t.Error("the list does not show the run")
	}
	if after, _ := r.reads(t); after != replica {
		t.Errorf("what had been the replica answered %v lists", after-replica)
	}
}
