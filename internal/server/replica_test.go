//go:build unix

package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runledger/runledger/internal/dbtest"
)

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
		{"AMalformedPositionIsNamed", malformedPosition},
		{"AStrangerGetsTheSameWithAndWithoutAPosition", strangers},
		{"AServerThatIsNoStandbyOfThePrimaryIsRefused", refused},
		{"AConflictWithRecoveryIsNobodysError", conflicts},
		{"AReplicaThatHangsFailsNoRequest", hanging},
		{"AReplicaThatDiesAndReturnsFailsNoRequest", dying},
		{"AReplicaThatIsPromotedIsRefused", promoted},
	} {
		if !t.Run(test.name, func(t *testing.T) { test.run(t, c) }) {
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
		"operation-runs/stats?from=2020-01-01T00:00:00Z&before=2020-01-02T00:00:00Z", "tenants", "findings", "inventory-items", "backup-schedules",
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

func malformedPosition(t *testing.T, c *cluster) {
	r := c.serve(t, time.Hour)
	f := newFixture(t, r.harness)
	token := r.token(t, f.Readonly.Subject)
	for _, value := range []string{
		"x", "", "ANY", "any, any", "0", "00000000000000ab", "0x00000000000000", "+000000000000001", "0000000000000000F", "0/16B3748",
	} {
		for _, path := range []string{
			"operation-runs", "operation-runs/count", "operation-runs/stats", "tenants", "findings", "inventory-items", "backup-schedules",
			fmt.Sprintf("backup-schedules/%d/runs", f.schedule),
		} {
			r.client = &http.Client{Transport: r.plainTransport(t)} // the contract's own tests hold what it says
			got := r.do(t, http.MethodGet, fmt.Sprintf("/workspaces/%d/%s?x=1", f.ID, path), token, position, value)
			if got.status != http.StatusBadRequest || !strings.Contains(got.body, `"header":"`+position+`"`) || !strings.Contains(got.body, `"parameter":"x"`) {
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
