package server_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

// stillClock is a clock that a test moves.
type stillClock struct{ passed atomic.Int64 }

// Now is the time that it shows.
func (c *stillClock) Now() time.Time { return time.Unix(1_700_000_000, c.passed.Load()) }

// advance moves the clock.
func (c *stillClock) advance(d time.Duration) { c.passed.Add(int64(d)) }

// polled is a server that is asked again and again.
type polled struct {
	*harness
	clock    *stillClock
	registry *prometheus.Registry
}

// newPolled makes a server whose answers may be behind by bound, on a clock that stands still.
func newPolled(t testing.TB, pool *pgxpool.Pool, bound time.Duration) polled {
	t.Helper()
	p := polled{clock: &stillClock{}, registry: prometheus.NewRegistry()}
	p.harness = newHarnessOn(t, pool, server.Options{Staleness: bound, Registry: p.registry})
	p.server.SetPollClock(p.clock.Now)
	return p
}

// answers is how many polls have been answered in a way: unchanged, recent or queried.
func (p polled) answers(t testing.TB, way string) int {
	t.Helper()
	families, err := p.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "runledger_http_polls_total" {
			for _, metric := range family.GetMetric() {
				if metric.GetLabel()[0].GetValue() == way {
					return int(metric.GetCounter().GetValue())
				}
			}
		}
	}
	t.Fatalf("no polls are counted as %s", way)
	return 0
}

// poll asks again for what has the tag.
func (p polled) poll(t testing.TB, token, path, tag string) answer {
	t.Helper()
	return p.do(t, http.MethodGet, path, token, "If-None-Match", tag, "X-Request-Id", "poll")
}

// wantPoll is poll with the status that it must have.
func (p polled) wantPoll(t testing.TB, status int, token, path, tag string) answer {
	t.Helper()
	got := p.poll(t, token, path, tag)
	if got.status != status {
		t.Errorf("%s: status %d, want %d", path, got.status, status)
	}
	return got
}

// polledRoutes are what is answered from memory.
var polledRoutes = []string{
	"/workspaces/{workspace_id}/operation-runs",
	"/workspaces/{workspace_id}/operation-runs?limit=1&status=queued&fields=id,type",
	"/workspaces/{workspace_id}/operation-runs/count",
	"/workspaces/{workspace_id}/operation-runs/{id}",
	"/workspaces/{workspace_id}/operation-runs/{id}/events",
	"/workspaces/{workspace_id}/tenants",
	"/workspaces/{workspace_id}/tenants/{id}",
	"/workspaces/{workspace_id}/findings",
	"/workspaces/{workspace_id}/findings/{id}",
	"/workspaces/{workspace_id}/inventory-items",
	"/workspaces/{workspace_id}/inventory-items/{id}",
	"/workspaces/{workspace_id}/backup-schedules",
	"/workspaces/{workspace_id}/backup-schedules/{id}",
	"/workspaces/{workspace_id}/backup-schedules/{id}/runs",
}

func TestAPollIsAnsweredFromMemoryAsItWouldBeByItsQuery(t *testing.T) {
	t.Parallel()
	counter := &statementCounter{}
	pool, statements := newTracedPool(t, dbtest.URL(t), counter), &counter.all
	p := newPolled(t, pool, time.Second)
	f := newFixture(t, p.harness)
	newRuns(t, p.harness, f.ID, 3, 1)
	token, other := p.token(t, f.Readonly.Subject), p.token(t, f.Owner.Subject)
	forgetful := newPolled(t, pool, 0)
	for n, pattern := range polledRoutes {
		path := address(pattern, f.ID, f.row(pattern))
		tag := p.get(t, http.StatusOK, f.Readonly.Subject, path).header.Get("ETag")
		want := forgetful.wantPoll(t, http.StatusNotModified, token, path, tag)
		if got := forgetful.answers(t, "queried"); got != n+1 {
			t.Fatalf("%d polls are counted as queried, want %d", got, n+1)
		}
		for _, bearer := range []string{token, other} {
			before := statements.Load()
			got := p.wantPoll(t, http.StatusNotModified, bearer, path, `"x", `+tag)
			if got.comparable() != want.comparable() {
				t.Errorf("%s: from memory\n%s\nby the query\n%s", path, got.comparable(), want.comparable())
			}
			if asked := statements.Load() - before; asked != 1 { // that of the gate
				t.Errorf("%s: it took %d statements", path, asked)
			}
		}
		head := p.do(t, http.MethodHead, path, token, "If-None-Match", tag, "X-Request-Id", "poll")
		if head.comparable() != want.comparable() {
			t.Errorf("%s: HEAD is answered\n%s", path, head.comparable())
		}
		if got := p.answers(t, "recent") + p.answers(t, "unchanged"); got != 3*(n+1) {
			t.Errorf("%s: %d polls are counted as answered from memory", path, got)
		}
		p.wantPoll(t, http.StatusOK, token, path, `"another"`)
	}
	// What is asked for in other words, or in another form, is another answer.
	path := address(polledRoutes[0], f.ID, 0)
	tag := p.get(t, http.StatusOK, f.Readonly.Subject, path).header.Get("ETag")
	p.wantPoll(t, http.StatusOK, token, path+"?limit=1", tag)
	if got := p.do(t, http.MethodGet, path, token, "If-None-Match", tag, "Accept", "application/x-ndjson"); got.status != http.StatusOK {
		t.Errorf("an export is answered with %d", got.status)
	}
}

func TestWhereNothingIsCommittedThereIsNoAge(t *testing.T) {
	t.Parallel()
	p := newPolled(t, dbtest.Pool(t), 0)
	f := newFixture(t, p.harness)
	token := p.token(t, f.Readonly.Subject)
	path := address(polledRoutes[0], f.ID, 0)
	tag := p.get(t, http.StatusOK, f.Readonly.Subject, path).header.Get("ETag")
	// Others commit in the same PostgreSQL; sooner or later they leave a moment for two requests.
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	for p.answers(t, "unchanged") == 0 {
		p.clock.advance(time.Hour)
		p.get(t, http.StatusOK, f.Readonly.Subject, path) // asks no gate, and takes nothing from what is known
		p.wantPoll(t, http.StatusNotModified, token, path, tag)
		if ctx.Err() != nil {
			t.Fatal("no poll was ever answered from memory")
		}
	}
	if got := p.answers(t, "recent"); got > 0 {
		t.Errorf("%d answers were taken for recent", got)
	}
}

func TestWhoHasWrittenHereSeesItAtOnce(t *testing.T) {
	t.Parallel()
	p := newPolled(t, dbtest.Pool(t), time.Hour)
	w := newWorker(t, p.harness)
	paths := []string{w.path(""), w.path("?status=queued,running&order=updated_at")}
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	paths = append(paths, w.path(fmt.Sprintf("/%d", run.ID)))
	report := func(n int) { w.report(t, run.ID, fmt.Sprintf(`{"summary_counts":{"done":%d}}`, n)) }
	report(0)
	// Others ask for the same all the time, so that there always is an answer from a moment ago.
	var crowd sync.WaitGroup
	done := make(chan struct{})
	for _, path := range paths {
		crowd.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					p.poll(t, w.bearer, path, `"none"`)
				}
			}
		})
	}
	tags := make([]string, len(paths))
	for n := range 25 {
		for i, path := range paths {
			tags[i] = p.get(t, http.StatusOK, w.Operator.Subject, path).header.Get("ETag")
		}
		report(n + 1)
		for i, path := range paths {
			p.wantPoll(t, http.StatusOK, w.bearer, path, tags[i])
		}
	}
	close(done)
	crowd.Wait()
	if p.answers(t, "recent") == 0 { // or nothing was tried
		tag := p.get(t, http.StatusOK, w.Operator.Subject, paths[0]).header.Get("ETag")
		p.wantPoll(t, http.StatusNotModified, w.bearer, paths[0], tag)
		if p.answers(t, "recent")+p.answers(t, "unchanged") == 0 {
			t.Error("no answer was ever taken for recent")
		}
	}
}

// endTracer sees the ends of statements.
type endTracer func(sql string)

type sqlKey struct{}

// TraceQueryStart keeps the statement for its end.
func (endTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, query pgx.TraceQueryStartData) context.Context {
	return context.WithValue(ctx, sqlKey{}, query.SQL)
}

// TraceQueryEnd shows a statement that has ended.
func (e endTracer) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	sql, _ := ctx.Value(sqlKey{}).(string)
	e(sql)
}

// heldList is a pool whose first list of runs ends only when it is let go: its rows are read, and
// its answer is not made.
func heldList(t *testing.T) (pool *pgxpool.Pool, read <-chan struct{}, letGo func()) {
	t.Helper()
	arrived, released := make(chan struct{}), make(chan struct{})
	var once sync.Once
	pool = newTracedPool(t, dbtest.URL(t), endTracer(func(sql string) {
		if strings.HasPrefix(sql, "-- name: ListRuns ") {
			once.Do(func() {
				close(arrived)
				<-released
			})
		}
	}))
	return pool, arrived, sync.OnceFunc(func() { close(released) })
}

func TestTheAnswerOfASlowQueryIsAsOldAsItsBeginning(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(t *testing.T, w *worker, p polled){
		"a write here": func(t *testing.T, w *worker, _ polled) {
			t.Helper()
			w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
		},
		"a write elsewhere, and time": func(t *testing.T, w *worker, p polled) {
			t.Helper()
			w.exec(t, "INSERT INTO operation_runs (workspace_id, type) VALUES ($1, 'inventory_sync')", w.ID)
			p.clock.advance(time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool, read, letGo := heldList(t)
			p := newPolled(t, pool, time.Second)
			w := newWorker(t, p.harness)
			slow := make(chan answer)
			go func() { slow <- p.do(t, http.MethodGet, w.path(""), w.bearer) }()
			defer letGo()
			<-read
			meanwhile(t, w, p)
			letGo()
			answered := <-slow
			tag := answered.header.Get("ETag")
			if answered.status != http.StatusOK || tag == "" {
				t.Fatalf("the slow page is answered with %d and the tag %q", answered.status, tag)
			}
			p.wantPoll(t, http.StatusOK, w.bearer, w.path(""), tag)
		})
	}
}

func TestAWriteCountsWhileItIsUnderWay(t *testing.T) {
	t.Parallel()
	p := newPolled(t, dbtest.Pool(t), time.Hour)
	w := newWorker(t, p.harness)
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	tag := p.get(t, http.StatusOK, w.Operator.Subject, w.path("")).header.Get("ETag")
	// The write waits for the run.
	tx, err := p.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := tx.Exec(t.Context(), "SELECT FROM operation_runs WHERE workspace_id = $1 AND id = $2 FOR UPDATE", w.ID, run.ID); err != nil {
		t.Fatal(err)
	}
	answered := make(chan answer, 1)
	go func() {
		got, err := w.send(http.MethodPatch, w.path("/"+strconv.FormatInt(run.ID, 10)), w.bearer, `{"status":"running"}`)
		if err != nil {
			t.Error(err)
		}
		answered <- got
	}()
	dbtest.AwaitBlocked(t, p.pool, tx, 1)
	before := p.answers(t, "recent")
	p.wantPoll(t, http.StatusNotModified, w.bearer, w.path(""), tag)
	if got := p.answers(t, "recent") - before; got > 0 {
		t.Error("an answer was taken for recent while a write was under way")
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-answered; got.status != http.StatusOK {
		t.Fatal(got)
	}
	p.wantPoll(t, http.StatusOK, w.bearer, w.path(""), tag)
}

func TestNobodyWaitsForWhoReadsAPageSlowly(t *testing.T) {
	t.Parallel()
	p := newPolled(t, dbtest.Pool(t), time.Second)
	w := newWorker(t, p.harness)
	// More than all buffers between the server and its client hold.
	w.exec(t, "INSERT INTO operation_runs (workspace_id, type, context) "+
		"SELECT $1, 'inventory_sync', jsonb_build_object('text', repeat('x', 60000)) FROM generate_series(1, 200)", w.ID)
	for accept, path := range map[string]string{"application/json": w.path("?limit=200"), "text/csv": w.path("")} {
		slow, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = slow.Close() }() //nolint:revive // there are few, and all are wanted to the end
		if _, err := fmt.Fprintf(slow, "GET %s HTTP/1.1\r\nHost: runledger\r\nAuthorization: Bearer %s\r\nAccept: %s\r\nIf-None-Match: \"x\"\r\n\r\n",
			path, w.bearer, accept); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(slow, make([]byte, 1)); err != nil { // it is being sent
			t.Fatal(err)
		}
		if got := p.do(t, http.MethodHead, path, w.bearer, "If-None-Match", `"y"`, "Accept", accept); got.status != http.StatusOK {
			t.Errorf("%s: status %d", accept, got.status)
		}
	}
}

func TestWhoHearsOfAChangeFindsItInTheList(t *testing.T) {
	t.Parallel()
	p := newPolled(t, dbtest.Pool(t), time.Hour)
	f := newFixture(t, p.harness)
	token, path := p.token(t, f.Readonly.Subject), address(polledRoutes[0], f.ID, 0)
	stream := p.follow(t, f.Readonly.Subject, f.ID, "")
	elsewhere := &worker{harness: newHarness(t), Workspace: f.Workspace, bearer: p.token(t, f.Operator.Subject)}
	tag := p.get(t, http.StatusOK, f.Readonly.Subject, path).header.Get("ETag")
	elsewhere.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	stream.next()
	tag = p.wantPoll(t, http.StatusOK, token, path, tag).header.Get("ETag")
	changes := address("/workspaces/{workspace_id}/operation-runs/changes", f.ID, 0)
	after := decode[struct {
		NextAfter string `json:"next_after"`
	}](t, p.get(t, http.StatusOK, f.Readonly.Subject, changes+"?after=now").body).NextAfter
	stream.hangUp()
	elsewhere.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	for heard := false; !heard; {
		heard = strings.Contains(p.get(t, http.StatusOK, f.Readonly.Subject, changes+"?after="+after).body, `"kind"`)
	}
	p.wantPoll(t, http.StatusOK, token, path, tag)
}

func TestAGoodTagOpensNoDoor(t *testing.T) {
	t.Parallel()
	p := newPolled(t, dbtest.Pool(t), time.Hour)
	f := newFixture(t, p.harness)
	member, stranger := p.token(t, f.Operator.Subject), p.token(t, dbtest.NewUser(t, p.pool).Subject)
	other := newFixture(t, p.harness)
	for _, pattern := range polledRoutes {
		path := address(pattern, f.ID, f.row(pattern))
		tag := p.get(t, http.StatusOK, f.Readonly.Subject, path).header.Get("ETag")
		p.wantPoll(t, http.StatusNotModified, member, path, tag)
		want := p.poll(t, stranger, "/workspaces/9223372036854775807", tag)
		if want.status != http.StatusNotFound {
			t.Fatalf("status %d", want.status)
		}
		if got := p.poll(t, stranger, path, tag); got.comparable() != want.comparable() {
			t.Errorf("%s: a stranger gets\n%s", path, got.comparable())
		}
		// The rows of another workspace, by the address of this one.
		if strings.Contains(pattern, "{id}") {
			path := address(pattern, f.ID, other.row(pattern))
			if got := p.poll(t, member, path, "*"); got.comparable() != want.comparable() {
				t.Errorf("%s: a member gets of a row of another workspace\n%s", path, got.comparable())
			}
		}
	}
	path := address(polledRoutes[0], f.ID, 0)
	tag := p.get(t, http.StatusOK, f.Operator.Subject, path).header.Get("ETag")
	p.wantPoll(t, http.StatusNotModified, member, path, tag)
	if _, err := p.pool.Exec(t.Context(), "DELETE FROM workspace_memberships WHERE workspace_id = $1 AND user_id = $2", f.ID, f.Operator.ID); err != nil {
		t.Fatal(err)
	}
	p.wantPoll(t, http.StatusNotFound, member, path, tag)
}

func TestRequestsThatWaitAtTheGateShareAQuestionAskedAfterTheyCame(t *testing.T) {
	t.Parallel()
	w, counter := newCountedWorker(t)
	h := w.hurried(t)
	f, other := newFixture(t, h), newFixture(t, h)
	stranger := h.token(t, dbtest.NewUser(t, h.pool).Subject)
	var crowd sync.WaitGroup
	done := make(chan struct{})
	var answered atomic.Int64
	for i := range 24 {
		crowd.Go(func() {
			workspace, token, want := f, h.token(t, f.Readonly.Subject), http.StatusOK
			switch i % 3 {
			case 1:
				workspace, token = other, h.token(t, other.Owner.Subject)
			case 2:
				token, want = stranger, http.StatusNotFound
			}
			for {
				select {
				case <-done:
					return
				default:
				}
				got := h.do(t, http.MethodGet, address("/workspaces/{workspace_id}", workspace.ID, 0), token)
				if got.status != want || want == http.StatusOK && !strings.Contains(got.body, fmt.Sprintf(`{"id":%d,`, workspace.ID)) {
					t.Errorf("status %d, want %d: %s", got.status, want, got.body)
				}
				answered.Add(1)
			}
		})
	}
	token := h.token(t, f.Operator.Subject)
	for n := range 20 {
		want := http.StatusNotFound
		sql := "DELETE FROM workspace_memberships WHERE workspace_id = $1 AND user_id = $2"
		if n%2 == 1 {
			want, sql = http.StatusOK, "INSERT INTO workspace_memberships (workspace_id, user_id, role) VALUES ($1, $2, 'operator')"
		}
		if _, err := h.pool.Exec(t.Context(), sql, f.ID, f.Operator.ID); err != nil {
			t.Fatal(err)
		}
		if got := h.do(t, http.MethodGet, address("/workspaces/{workspace_id}", f.ID, 0), token); got.status != want {
			t.Errorf("change %d: status %d, want %d", n, got.status, want)
		}
	}
	close(done)
	crowd.Wait()
	if requests := answered.Load(); counter.gate.Load() > requests*3/4 {
		t.Errorf("%d requests took %d questions", requests, counter.gate.Load())
	}
}

func TestAStateOfTheDatabaseIsThatOfTheConnectionsInUse(t *testing.T) {
	t.Parallel()
	pool := dbtest.ApplicationPool(t)
	h := newHarnessOn(t, pool, server.Options{})
	f := newFixture(t, newHarness(t))
	path := address("/workspaces/{workspace_id}", f.ID, 0)
	h.get(t, http.StatusOK, f.Owner.Subject, path)
	before := h.server.UsedConnections()
	h.get(t, http.StatusOK, f.Owner.Subject, path)
	if same := h.server.UsedConnections(); same != before {
		t.Errorf("%d connections, and %d a request later", before, same)
	}
	pool.Reset() // as the end of every connection does
	h.get(t, http.StatusOK, f.Owner.Subject, path)
	if after := h.server.UsedConnections(); after == before {
		t.Error("a new connection is not counted")
	}
}
