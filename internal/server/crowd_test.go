package server_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

// crowd has members ask for an address again and again until it is left, and fails for every answer
// that is no page.
func (w *worker) crowd(t *testing.T, path string, tokens ...string) (leave func()) {
	t.Helper()
	const each = 4
	var crowd sync.WaitGroup
	left := make(chan struct{})
	for _, token := range tokens {
		for range each {
			crowd.Go(func() {
				for {
					select {
					case <-left:
						return
					default:
					}
					if got, err := w.send(http.MethodGet, path, token, ""); err != nil || got.status != http.StatusOK {
						t.Errorf("one of a crowd: status %d, %v", got.status, err)
						return
					}
				}
			})
		}
	}
	leave = sync.OnceFunc(func() {
		close(left)
		crowd.Wait()
	})
	t.Cleanup(leave)
	return leave
}

func TestACrowdThatAsksForOnePageSharesStatements(t *testing.T) {
	t.Parallel()
	lists := &heldRead{prefix: "-- name: List"}
	w := newWorker(t, newHarnessOn(t, newTracedPool(t, dbtest.URL(t), lists), server.Options{}))
	f := newFixture(t, w.harness)
	w.client.Transport = w.plainTransport(t)
	tokens := []string{w.token(t, f.Owner.Subject), w.token(t, f.Operator.Subject), w.token(t, f.Readonly.Subject)}
	const clients, each = 30, 3
	for _, pattern := range listRoutes {
		path := address(pattern, f.ID, f.row(pattern))
		want := w.get(t, http.StatusOK, f.Owner.Subject, path).body
		ask := func(token string) {
			if got, err := w.send(http.MethodGet, path, token, ""); err != nil || got.status != http.StatusOK || got.body != want {
				t.Errorf("%s: status %d, %v: %s", path, got.status, err, got.body)
			}
		}
		// While one page is being read the others wait for each other, however fast the machine is.
		one := lists.hold()
		var first sync.WaitGroup
		first.Go(func() { ask(tokens[0]) })
		<-one.held
		before := lists.reads.Load()
		atOnce(clients, func(i int) {
			for range each {
				ask(tokens[i%len(tokens)])
			}
		})
		if pages := lists.reads.Load() - before; pages > clients*each*3/4 {
			t.Errorf("%s: %d pages in %d statements", path, clients*each, pages)
		}
		close(one.release)
		first.Wait()
	}
}

func TestACrowdSharesNoPageOfAnotherAddress(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarnessOnFresh(t))
	const most = 8
	for i := range most {
		w.start(t, http.StatusCreated, fmt.Sprintf(`{"type":"inventory_sync","identity":%d}`, i))
	}
	w.client.Transport = w.plainTransport(t)
	atOnce(4*most, func(i int) {
		for range 20 {
			limit := i%most + 1
			got, err := w.send(http.MethodGet, w.path(fmt.Sprintf("?limit=%d", limit)), w.bearer, "")
			if err != nil || len(decode[page](t, got.body).Data) != limit {
				t.Errorf("limit %d, %v: %s", limit, err, got.body)
			}
		}
	})
}

// heldRead counts the statements that begin with a prefix, and holds up one of them that has its rows.
type heldRead struct {
	prefix string
	reads  atomic.Int64
	next   atomic.Pointer[holdup]
}

type holdup struct {
	held    chan struct{} // closed when it is
	release chan struct{}
}

// hold holds the next one up.
func (h *heldRead) hold() *holdup {
	next := &holdup{held: make(chan struct{}), release: make(chan struct{})}
	h.next.Store(next)
	return next
}

type heldStatement struct{}

// TraceQueryStart counts a statement, and notes whether it is to be held up.
func (h *heldRead) TraceQueryStart(ctx context.Context, _ *pgx.Conn, query pgx.TraceQueryStartData) context.Context {
	if !strings.HasPrefix(query.SQL, h.prefix) {
		return ctx
	}
	h.reads.Add(1)
	return context.WithValue(ctx, heldStatement{}, h.next.Swap(nil))
}

// TraceQueryEnd holds the one up.
func (*heldRead) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	if one, _ := ctx.Value(heldStatement{}).(*holdup); one != nil {
		close(one.held)
		<-one.release
	}
}

func TestWhoHasWrittenIsGivenNoPageThatWasReadBefore(t *testing.T) {
	t.Parallel()
	h := &heldRead{prefix: "-- name: ListRuns "}
	w := newWorker(t, newHarnessOn(t, newTracedPool(t, dbtest.URL(t), h), server.Options{}))
	w.start(t, http.StatusCreated, `{"type":"inventory_sync","identity":1}`)
	path := w.path("?limit=1")
	newest := func() (int64, error) {
		got, err := w.send(http.MethodGet, path, w.bearer, "")
		runs := decode[struct{ Data []runBody }](t, got.body).Data
		if err != nil || len(runs) != 1 {
			return 0, fmt.Errorf("status %d: %s, %w", got.status, got.body, err)
		}
		return runs[0].ID, nil
	}
	one := h.hold()
	var early sync.WaitGroup
	early.Go(func() {
		if _, err := newest(); err != nil {
			t.Error(err)
		}
	})
	<-one.held
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync","identity":2}`)
	const soon = 50 * time.Millisecond // the page is there before, unless it waits for the one that is held up
	time.AfterFunc(soon, func() { close(one.release) })
	if got, err := newest(); err != nil || got != run.ID {
		t.Errorf("the newest run is %d, %v; %d was started before it was asked for", got, err, run.ID)
	}
	early.Wait()
}

func TestWhoIsNoMemberAnyMoreSharesNoPageOfACrowd(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	f := newFixture(t, w.harness)
	path := address(listRoutes[0], f.ID, 0)
	leave := w.crowd(t, path, w.token(t, f.Owner.Subject), w.token(t, f.Operator.Subject))
	user := dbtest.NewUser(t, w.pool)
	token := w.token(t, user.Subject)
	for range 100 {
		dbtest.AddMember(t, w.pool, f.ID, user.ID, "owner")
		if got := w.do(t, http.MethodGet, path, token); got.status != http.StatusOK {
			t.Fatalf("a member: status %d", got.status)
		}
		if _, err := w.pool.Exec(t.Context(), "DELETE FROM workspace_memberships WHERE user_id = $1", user.ID); err != nil {
			t.Fatal(err)
		}
		if got := w.do(t, http.MethodGet, path, token); got.status != http.StatusNotFound {
			t.Fatalf("no member any more: status %d: %s", got.status, got.body)
		}
	}
	leave()
}
