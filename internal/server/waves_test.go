package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/server"
)

// batchedRuns are what random operations refer to: two active runs, one that the sweeper has given
// up, one that it has given up and that was started anew since, and one that has completed. The last
// two identities have a run with the key "old", and none.
const batchedRuns = 6

// identityMember is the member of a start that gives it an identity.
func identityMember(n int) string { return fmt.Sprintf(`"run_identity_hash":"%064x"`, n) }

// batchedWorld empties the workspace and makes those runs. It returns their ids.
func (w *worker) batchedWorld(t testing.TB) []int64 {
	t.Helper()
	w.exec(t, "DELETE FROM operation_run_idempotency_keys WHERE workspace_id = $1", w.ID)
	w.empty(t)
	var ids []int64
	start := func(identity int, more string) {
		got := w.operations(t, fmt.Sprintf(`{"start":{"type":"inventory_sync",%s%s}}`, identityMember(identity), more))
		ids = append(ids, got.Results[0].OperationRun.ID)
	}
	report := func(n int, body string) {
		if got := w.operations(t, fmt.Sprintf(`{"report":{"id":%d,%s}}`, ids[n], body)); got.Results[0].Status != http.StatusOK {
			t.Fatalf("%+v", got)
		}
	}
	for identity, more := range []string{"", "", "", "", `,"idempotency_key":"old"`} {
		start(identity, more)
	}
	for _, n := range []int{1, 2, 3} {
		report(n, `"status":"running"`)
	}
	w.giveUp(t, ids[2])
	w.giveUp(t, ids[3])
	start(3, "")
	report(4, `"status":"completed","outcome":"succeeded"`)
	return ids
}

// drawOperation draws an operation on the runs and identities of batchedWorld.
func drawOperation(t *rapid.T) func(ids []int64) string {
	if rapid.IntRange(0, 2).Draw(t, "kind") == 0 {
		members := []string{
			`"type":` + rapid.SampledFrom([]string{`"inventory_sync"`, `"inventory_sync"`, `"inventory_sync"`, `"nonsense"`, `7`}).Draw(t, "type"),
		}
		if identity := rapid.IntRange(-1, 5).Draw(t, "identity"); identity >= 0 {
			members = append(members, identityMember(identity))
		}
		if key := rapid.SampledFrom([]string{"", "", "a", "b", "old"}).Draw(t, "key"); key != "" {
			members = append(members, fmt.Sprintf(`"idempotency_key":%q`, key))
		}
		if rapid.IntRange(0, 9).Draw(t, "foreign tenant") == 0 {
			members = append(members, `"tenant_id":9223372036854775807`)
		}
		return func([]int64) string { return `{"start":{` + strings.Join(members, ",") + `}}` }
	}
	run := rapid.IntRange(0, batchedRuns).Draw(t, "run")
	members := []string{rapid.SampledFrom([]string{
		`"status":"queued"`, `"status":"running"`, `"status":"running"`, `"status":"completed","outcome":"succeeded"`,
		`"status":"completed","outcome":"failed"`, `"status":"completed"`, `"summary_counts":{"n":1}`, `"summary_counts":{"n":2}`,
		`"context":{"a":1}`, `"context":{"a":null,"b":2}`,
	}).Draw(t, "says")}
	if revision := rapid.IntRange(-3, 5).Draw(t, "revision"); revision > 0 {
		members = append(members, fmt.Sprintf(`"revision":%d`, revision))
	}
	return func(ids []int64) string {
		id := int64(1<<63 - 1)
		if run < len(ids) {
			id = ids[run]
		}
		return fmt.Sprintf(`{"report":{"id":%d,%s}}`, id, strings.Join(members, ","))
	}
}

// tale is what a client is told by the results of operations, and what the timelines of the runs
// say afterwards. A run is known by its place among those that were told of.
func (w *worker) tale(t testing.TB, ids []int64, results operationResults) []string {
	t.Helper()
	known := slices.Clone(ids)
	var tale []string
	for _, result := range results.Results {
		run, line := result.OperationRun, fmt.Sprint(result.Status)
		if result.Problem != nil {
			run, line = result.Problem.OperationRun, line+" "+result.Problem.Type+" "+result.Problem.Detail
			for _, e := range result.Problem.Errors {
				line += " " + e.Detail
			}
		}
		if run != nil {
			if !slices.Contains(known, run.ID) {
				known = append(known, run.ID)
			}
			line += fmt.Sprintf(" run %d: %s %s %s %v %s %v %d", slices.Index(known, run.ID), run.Type, run.Status, run.Outcome,
				run.SummaryCounts, run.Context, run.Stalled != nil, run.Revision)
		}
		tale = append(tale, line)
	}
	for _, id := range known {
		tale = append(tale, strings.Join(w.events(t, id), " "))
	}
	var rows string
	if err := w.pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM operation_runs WHERE workspace_id = $1) || ' runs ' ||
		coalesce((SELECT string_agg(key, ',' ORDER BY key) FROM operation_run_idempotency_keys WHERE workspace_id = $1), '')`, w.ID).Scan(&rows); err != nil {
		t.Fatal(err)
	}
	return append(tale, rows)
}

func TestABatchIsAnsweredAsItsOperationsOneByOne(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.client.Transport = newWorker(t, h).plainTransport(t) // some of the operations are wrong on purpose
	atOnce, apart := newWorker(t, h), newWorker(t, h)
	rapid.Check(t, func(rt *rapid.T) {
		drawn := rapid.SliceOfN(rapid.Custom(drawOperation), 1, 25).Draw(rt, "operations")
		bodies := func(ids []int64) []string {
			operations := make([]string, 0, len(drawn))
			for _, operation := range drawn {
				operations = append(operations, operation(ids))
			}
			return operations
		}
		ids := atOnce.batchedWorld(t)
		operations := bodies(ids)
		batch := atOnce.tale(t, ids, atOnce.operations(t, operations...))
		ids = apart.batchedWorld(t)
		var singles operationResults
		for _, operation := range bodies(ids) {
			singles.Results = append(singles.Results, apart.operations(t, operation).Results...)
		}
		for i, line := range apart.tale(t, ids, singles) {
			if batch[i] != line {
				text, _ := json.MarshalIndent(operations, "", " ")
				rt.Fatalf("line %d of %d operations is\n%s\nand one by one\n%s\n%s", i, len(drawn), batch[i], line, text)
			}
		}
	})
}

// statementCounter counts the statements of a pool, and apart those that start runs, that report on
// runs, and those of the gate.
type statementCounter struct{ all, starts, reports, gate atomic.Int64 }

// TraceQueryStart counts one.
func (c *statementCounter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, query pgx.TraceQueryStartData) context.Context {
	c.all.Add(1)
	switch name, _, _ := strings.Cut(strings.TrimPrefix(query.SQL, "-- name: "), " "); name {
	case "StartRuns":
		c.starts.Add(1)
	case "ReportRuns":
		c.reports.Add(1)
	case "ResolveMemberships":
		c.gate.Add(1)
	}
	return ctx
}

// TraceQueryEnd does nothing.
func (*statementCounter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// newTracedPool is a pool whose statements a tracer sees.
func newTracedPool(t testing.TB, databaseURL string, tracer pgx.QueryTracer) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.Tracer = tracer
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// newCountedWorker is a worker with a server whose statements are counted.
func newCountedWorker(t testing.TB) (*worker, *statementCounter) {
	t.Helper()
	counter := &statementCounter{}
	return newWorker(t, newHarnessOn(t, newTracedPool(t, dbtest.URL(t), counter), server.Options{})), counter
}

func TestALargeMixedBatchIsAnsweredInOrderInFewStatements(t *testing.T) {
	t.Parallel()
	w, counter := newCountedWorker(t)
	const each, identities = 100, 70
	started := w.operations(t, slices.Repeat([]string{`{"start":{"type":"inventory_sync"}}`}, each)...)
	var operations []string
	for i, result := range started.Results {
		operations = append(operations,
			fmt.Sprintf(`{"start":{"type":"inventory_sync","idempotency_key":"key %d"}}`, i),
			fmt.Sprintf(`{"report":{"id":%d,"status":"running"}}`, result.OperationRun.ID),
			fmt.Sprintf(`{"start":{"type":"inventory_sync","identity":%d}}`, i%identities),
			fmt.Sprintf(`{"report":{"id":%d,"status":"completed","outcome":"succeeded"}}`, result.OperationRun.ID),
			fmt.Sprintf(`{"report":{"id":%d,"summary_counts":{"n":1}}}`, result.OperationRun.ID), // refused
		)
	}
	// The membership; two looks at what the operations have to do with each other; and of each wave
	// the starts, the reports, the keys where a start has one, and the runs where a report is refused.
	const most = 12
	for again, want := range [][]int{{201, 200, 201, 200, 409}, {200, 409, 200, 200, 409}} {
		before := counter.all.Load()
		got := w.operations(t, operations...)
		if took := counter.all.Load() - before; took > most {
			t.Errorf("time %d: %d operations took %d statements, want at most %d", again+1, len(operations), took, most)
		}
		for i, result := range got.Results {
			n, status, run := i/5, want[i%5], result.OperationRun
			if i%5 == 2 && n >= identities {
				status = http.StatusOK // there is one already
			}
			if result.Problem != nil {
				run = result.Problem.OperationRun
			}
			if result.Status != status || run == nil {
				t.Fatalf("time %d: operation %d, %s, is answered %d with the run %v, want %d", again+1, i, operations[i], result.Status, run, status)
			}
			switch i % 5 {
			case 0:
				if told := w.keyed(t, fmt.Sprintf("key %d", n)); run.ID != told {
					t.Errorf("time %d: operation %d, %s, is answered with run %d, want %d", again+1, i, operations[i], run.ID, told)
				}
			case 2:
				hash, err := ledger.IdentityHash(w.ID, nil, "inventory_sync", json.RawMessage(strconv.Itoa(n%identities)))
				if err != nil || run.RunIdentityHash != hash {
					t.Errorf("time %d: operation %d, %s, is answered with a run of %s, want %s, error %v", again+1, i, operations[i], run.RunIdentityHash, hash, err)
				}
			default:
				if run.ID != started.Results[n].OperationRun.ID {
					t.Errorf("time %d: operation %d, %s, is answered with run %d", again+1, i, operations[i], run.ID)
				}
			}
		}
	}
	var runs int
	if err := w.pool.QueryRow(t.Context(), "SELECT count(*) FROM operation_runs WHERE workspace_id = $1", w.ID).Scan(&runs); err != nil || runs != 2*each+identities {
		t.Errorf("%d runs, want the %d of before, one of each key and one of each of %d identities, error %v", runs, each, identities, err)
	}
}

// keyed is the run that has an Idempotency-Key.
func (w *worker) keyed(t testing.TB, key string) int64 {
	t.Helper()
	var id int64
	if err := w.pool.QueryRow(t.Context(), "SELECT id FROM operation_runs WHERE workspace_id = $1 AND idempotency_key = $2", w.ID, key).Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}
