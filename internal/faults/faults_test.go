package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
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

const (
	clients     = 12
	slots       = 4   // identities that are in use at a time
	perIdentity = 60  // operations, after which an identity is left alone
	perFault    = 120 // answered operations between a fault and the next
)

// crowd is many clients that start and end runs, and somebody who breaks things meanwhile.
type crowd struct {
	system   *system
	history  *history
	wanted   int64        // answered operations
	asked    atomic.Int64 // operations so far
	answered atomic.Int64
	turn     chan struct{}

	mu   sync.Mutex
	runs map[string][]int64 // what the clients know of each identity

	faults map[string]int // that were made, by kind
}

// identity is the one of a slot now.
func (c *crowd) identity(slot int) string {
	return fmt.Sprintf("%d.%d", slot, c.asked.Load()/(perIdentity*slots))
}

// client starts and ends runs until enough was asked.
func (c *crowd) client(t *testing.T, number int, client *client) {
	dice := rand.New(rand.NewPCG(uint64(number), 1))
	for c.answered.Load() < c.wanted {
		in := c.choose(dice, number)
		out := c.history.record(number, in, client.ask)
		c.asked.Add(1)
		if out.verdict != unknown && c.answered.Add(1)%perFault == 0 {
			select {
			case c.turn <- struct{}{}:
			default: // the one who breaks is busy
			}
		}
		switch out.verdict {
		case created, found:
			c.mu.Lock()
			c.runs[in.identity] = append(c.runs[in.identity], out.id)
			c.mu.Unlock()
		case unknown:
			if !c.system.awaitReady(t) {
				return
			}
		}
	}
}

// choose is a start as often as an end, and an end is of the latest run more often than of an
// older one; now and then it is one that was sent before.
func (c *crowd) choose(dice *rand.Rand, number int) request {
	identity := c.identity(dice.IntN(slots))
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.runs[identity]
	if len(known) == 0 || dice.IntN(2) == 0 {
		return request{identity: identity, kind: "start", op: fmt.Sprintf("%d.%d", number, dice.Uint64())}
	}
	id := known[len(known)-1]
	if dice.IntN(4) == 0 {
		id = known[dice.IntN(len(known))]
	}
	return request{identity: identity, kind: "end", id: id, token: fmt.Sprintf("%d.%d", number, dice.IntN(2))}
}

// breakThings makes a fault at every turn until there are no more.
func (c *crowd) breakThings(t *testing.T, pool *pgxpool.Pool) {
	kinds := []struct {
		name  string
		fault func()
	}{
		{"connections of clients cut", c.system.front.cut},
		{"answers to clients lost", func() { c.system.front.lose(3) }},
		{"server killed", func() {
			c.system.kill()
			c.system.launch(t)
		}},
		{"backends killed", func() {
			_, err := pool.Exec(context.Background(),
				"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'runledger'")
			if err != nil {
				t.Errorf("kill the backends: %v", err)
			}
		}},
		{"connections to the database cut", c.system.back.cut},
		{"answers of the database lost", func() { c.system.back.lose(3) }},
		{"database restarted at once", func() {
			c.system.postgres.Kill()
			if err := c.system.postgres.Restart(context.Background()); err != nil {
				t.Errorf("restart: %v", err)
			}
			pool.Reset()
		}},
	}
	for n := 0; ; n++ {
		if _, more := <-c.turn; !more {
			return
		}
		kind := kinds[n%len(kinds)]
		kind.fault()
		c.faults[kind.name]++
	}
}

func TestWhatClientsAreToldIsLinearizableWhateverBreaks(t *testing.T) {
	t.Parallel()
	s := newSystem(t, nil)
	pool := s.pool(t)
	c := &crowd{
		system: s, history: newHistory(), wanted: int64(scale(t, "RUNLEDGER_TEST_OPERATIONS", 1200)),
		turn: make(chan struct{}, 1), runs: map[string][]int64{}, faults: map[string]int{},
	}
	var working, breaking sync.WaitGroup
	all := make([]*client, clients)
	for number := range all {
		all[number] = newClient(t, s)
		working.Go(func() { c.client(t, number, all[number]) })
	}
	breaking.Go(func() { c.breakThings(t, pool) })
	working.Wait()
	close(c.turn)
	breaking.Wait()
	s.front.lose(0)
	s.back.lose(0)
	s.awaitReady(t)

	operations, unanswered := c.history.len()
	t.Logf("%d operations, %d without an answer, %d+%d connections cut, %d+%d answers lost; faults: %v",
		operations, unanswered, s.front.cuts.Load(), s.back.cuts.Load(), s.front.lost.Load(), s.back.lost.Load(), c.faults)
	if len(c.faults) != 7 {
		t.Errorf("of seven kinds of faults %d were made: %v", len(c.faults), c.faults)
	}
	if s.front.lost.Load() == 0 || s.back.lost.Load() == 0 || s.front.cuts.Load() == 0 || s.back.cuts.Load() == 0 || unanswered < 7 {
		t.Error("the faults did not land")
	}
	for _, client := range all {
		if n := client.broken.Load(); n > 0 {
			t.Errorf("%d answers that there are to be none of", n)
		}
	}
	readAll(t, c.history, pool, s.workspace.ID)
	if !c.history.check(t) {
		c.history.explain(t)
		t.Error("what the clients were told is not linearizable")
	}
	wantEventsOfAllRuns(t, pool)
}

// readAll settles the history by what the database holds, and ends it by that of every identity.
func readAll(t *testing.T, h *history, pool *pgxpool.Pool, workspaceID int64) {
	t.Helper()
	hashes := map[string]string{}
	for _, operation := range h.list {
		identity := operation.Input.(request).identity
		hashes[identityHash(t, workspaceID, identity)] = identity
	}
	states, madeBy, endedBy := map[string]ledgerState{}, map[string]int64{}, map[int64]string{}
	rows, err := pool.Query(t.Context(), `SELECT id, run_identity_hash, status = 'completed', coalesce(context->>'by', ''), context->>'op'
		FROM operation_runs WHERE workspace_id = $1 ORDER BY status DESC, id`, workspaceID)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var hash, by, op string
		var completed bool
		if err := rows.Scan(&id, &hash, &completed, &by, &op); err != nil {
			t.Fatal(err)
		}
		madeBy[op], endedBy[id] = id, by
		identity, ok := hashes[hash]
		state := states[identity]
		switch {
		case !ok:
			t.Errorf("run %d is of an identity that nobody asked for", id)
		case completed:
			active := state.active
			state = state.with(id, by)
			state.active = active
		case state.active != 0:
			t.Errorf("runs %d and %d of identity %s are both active", id, state.active, identity)
		default:
			state.active = id
		}
		states[identity] = state
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	h.settle(madeBy, endedBy)
	for _, identity := range hashes {
		state := states[identity]
		h.record(clients, request{identity: identity, kind: "read"}, func(request) (reply, bool) {
			return reply{id: state.active, ended: state.ended}, true
		})
	}
}

// wantEventsOfAllRuns fails the test if a run and its events do not belong together.
func wantEventsOfAllRuns(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	var wrong []string
	err := pool.QueryRow(t.Context(), `
		SELECT coalesce(array_agg(format('%s %s: %s', coalesce(r.id, e.run_id), r.status, e.kinds)), '{}')
		FROM operation_runs AS r
		FULL JOIN (SELECT workspace_id, run_id, string_agg(kind, ' ' ORDER BY id) AS kinds FROM operation_run_events GROUP BY 1, 2) AS e
			ON e.workspace_id = r.workspace_id AND e.run_id = r.id
		WHERE r.type IS DISTINCT FROM 'entra_group_sync' AND e.kinds IS DISTINCT FROM CASE r.status WHEN 'queued' THEN 'created' WHEN 'completed' THEN 'created completed' END`).Scan(&wrong)
	if err != nil {
		t.Fatal(err)
	}
	if len(wrong) > 0 {
		t.Errorf("runs and events do not fit:\n%s", strings.Join(wrong, "\n"))
	}
}
