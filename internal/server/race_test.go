package server_test

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

// scale is a number of the tests' size: what suits every run of the suite, unless the environment
// asks for another.
func scale(t testing.TB, variable string, always int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return always
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// atOnce calls f n times at the same moment and waits for all of them.
func atOnce(n int, f func(i int)) {
	var group sync.WaitGroup
	gate := make(chan struct{})
	for i := range n {
		group.Go(func() {
			<-gate
			f(i)
		})
	}
	close(gate)
	group.Wait()
}

func TestOfManySimultaneousStartsOneMakesTheRun(t *testing.T) {
	t.Parallel()
	const clients = 64
	identities := scale(t, "RUNLEDGER_TEST_IDENTITIES", 25)
	w := newWorker(t, newHarness(t))
	w.client.Transport = w.plainTransport(t)
	for n := range identities {
		answers := make([]answer, clients)
		atOnce(clients, func(i int) {
			got, err := w.send(http.MethodPost, w.path(""), w.bearer, fmt.Sprintf(`{"type":"inventory_sync","identity":%d}`, n))
			if err != nil {
				t.Error(err)
			}
			answers[i] = got
		})
		created := 0
		ids := map[int64]bool{}
		for _, got := range answers {
			if got.status == http.StatusCreated {
				created++
			} else if got.status != http.StatusOK {
				t.Fatalf("status %d: %s", got.status, got.body)
			}
			ids[decode[runBody](t, got.body).ID] = true
		}
		if created != 1 || len(ids) != 1 {
			t.Fatalf("identity %d: %d created, %d runs", n, created, len(ids))
		}
	}
	var runs, events int
	err := w.pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM operation_runs WHERE workspace_id = $1),
		(SELECT count(*) FROM operation_run_events WHERE workspace_id = $1)`, w.ID).Scan(&runs, &events)
	if err != nil || runs != identities || events != identities {
		t.Errorf("%d runs and %d events of %d identities, %v", runs, events, identities, err)
	}
}

func TestOfManyDifferentEndsAtOnceOneWins(t *testing.T) {
	t.Parallel()
	const clients = 32
	w := newWorker(t, newHarness(t))
	w.client.Transport = w.plainTransport(t)
	outcomes := []string{"succeeded", "partially_succeeded", "failed", "blocked", "cancelled"}
	for round, from := range []string{"queued", "running", "verdict"} {
		run := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
		kinds := []string{"created", "completed"}
		if from != "queued" {
			w.report(t, run.ID, `{"status":"running"}`)
			kinds = []string{"created", "started", "completed"}
		}
		if from == "verdict" {
			w.giveUp(t, run.ID)
			kinds = append(kinds, "completed")
		}
		answers := make([]answer, clients)
		atOnce(clients, func(i int) {
			got, err := w.send(http.MethodPatch, w.path(fmt.Sprintf("/%d", run.ID)), w.bearer,
				fmt.Sprintf(`{"status":"completed","outcome":%q,"summary_counts":{"client":%d}}`, outcomes[i%len(outcomes)], i))
			if err != nil {
				t.Error(err)
			}
			answers[i] = got
		})
		final := w.get(t, http.StatusOK, w.Operator.Subject, w.path(fmt.Sprintf("/%d", run.ID)))
		winner := decode[runBody](t, final.body)
		for i, got := range answers {
			want := http.StatusConflict
			if winner.SummaryCounts["client"] == int64(i) {
				want = http.StatusOK
			}
			if got.status != want {
				t.Errorf("from %s, client %d of winner %d: status %d, want %d", from, i, winner.SummaryCounts["client"], got.status, want)
			}
		}
		if winner.Outcome != outcomes[int(winner.SummaryCounts["client"])%len(outcomes)] {
			t.Errorf("round %d: the outcome %s is not that of client %d", round, winner.Outcome, winner.SummaryCounts["client"])
		}
		w.wantEvents(t, run.ID, kinds...)
	}
}

func TestEveryMoveByManyAtOnceHappensOnceAndNoneAfterTheEnd(t *testing.T) {
	t.Parallel()
	const clients = 32
	w := newWorker(t, newHarness(t))
	w.client.Transport = w.plainTransport(t)
	for range scale(t, "RUNLEDGER_TEST_RACES", 5) {
		run := w.start(t, http.StatusCreated, `{"type":"inventory_sync","identity":"race"}`)
		path := w.path(fmt.Sprintf("/%d", run.ID))
		moves := []struct{ method, path, body string }{
			{http.MethodPatch, path, `{"status":"running"}`},
			{http.MethodPatch, path, `{"status":"queued"}`},
			{http.MethodPatch, path, `{"status":"completed","outcome":"succeeded"}`},
			{http.MethodPatch, path, `{"status":"completed","outcome":"failed"}`},
			{http.MethodPatch, path, `{"summary_counts":{"n":1}}`},
			{http.MethodPost, path + "/heartbeat", ""},
			{http.MethodPost, path + "/cancel", ""},
			{http.MethodPost, path + "/retry", ""},
			{http.MethodPost, w.path(""), `{"type":"inventory_sync","identity":"race"}`},
		}
		answers := make([]answer, clients)
		atOnce(clients, func(i int) {
			move := moves[i%len(moves)]
			got, err := w.send(move.method, move.path, w.bearer, move.body)
			if err != nil {
				t.Error(err)
			}
			answers[i] = got
		})
		end := ""
		for i, got := range answers {
			if got.status >= http.StatusInternalServerError {
				t.Fatalf("%v: status %d: %s", moves[i%len(moves)], got.status, got.body)
			}
			if got.status != http.StatusOK {
				continue
			}
			seen := decode[runBody](t, got.body)
			if seen.ID != run.ID || seen.Status != "completed" {
				continue
			}
			if end != "" && end != seen.Outcome {
				t.Errorf("it ended as %s and as %s", end, seen.Outcome)
			}
			end = seen.Outcome
		}
		kinds := map[string]int{}
		events := w.events(t, run.ID)
		for _, kind := range events {
			kinds[kind]++
		}
		if kinds["created"] != 1 || kinds["completed"] != 1 || kinds["started"] > 1 || kinds["cancel_requested"] > 1 || events[len(events)-1] != "completed" {
			t.Errorf("its events are %v", events)
		}
		// A retry or a start after the end may have made a next one, which is to end too.
		var active int64
		err := w.pool.QueryRow(t.Context(), `SELECT count(*) FROM operation_runs WHERE workspace_id = $1 AND status <> 'completed'`, w.ID).Scan(&active)
		if err != nil || active > 1 {
			t.Fatalf("%d active runs of one identity, %v", active, err)
		}
		if active == 1 {
			next := w.start(t, http.StatusOK, `{"type":"inventory_sync","identity":"race"}`)
			w.report(t, next.ID, `{"status":"completed","outcome":"cancelled"}`)
		}
	}
}

func TestStartsAndReportsOfTheSameRunsWaitInOneOrder(t *testing.T) {
	t.Parallel()
	counter := &statementCounter{}
	w := newWorker(t, newHarnessOn(t, newTracedPool(t, dbtest.Fresh(t), counter), server.Options{}))
	start := func(n int) string { return `{"start":{"type":"inventory_sync",` + identityMember(n) + `}}` }
	report := func(id int64) string { return fmt.Sprintf(`{"report":{"id":%d,"status":"running"}}`, id) }
	const first, second = 1, 2 // by identity, and started the other way round
	later := w.operations(t, start(second)).Results[0].OperationRun.ID
	sooner := w.operations(t, start(first)).Results[0].OperationRun.ID
	tx, err := w.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if _, err := tx.Exec(t.Context(), "SELECT FROM operation_runs WHERE id = $1 FOR NO KEY UPDATE", sooner); err != nil {
		t.Fatal(err)
	}
	var both sync.WaitGroup
	send := func(operations ...string) {
		both.Go(func() {
			got, err := w.send(http.MethodPost, w.path("/batch"), w.bearer, `{"operations":[`+strings.Join(operations, ",")+`]}`)
			if err != nil || got.status != http.StatusMultiStatus || strings.Contains(got.body, "problem") {
				t.Errorf("status %d, %v: %s", got.status, err, got.body)
			}
		})
	}
	const waiting = "count(*) >= $1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
	before := counter.starts.Load()
	send(start(first), start(second))
	dbtest.Await(t, w.pool, waiting, 1)
	send(report(later), report(sooner))
	dbtest.Await(t, w.pool, waiting, 2)
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	both.Wait()
	if starts, reports := counter.starts.Load()-before, counter.reports.Load(); starts != 1 || reports != 1 {
		t.Errorf("%d statements of starts and %d of reports: each waited for the other", starts, reports)
	}
}
