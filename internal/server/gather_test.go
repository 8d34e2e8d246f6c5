package server_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

func TestStartsThatComeAtOnceShareStatements(t *testing.T) {
	t.Parallel()
	w, counter := newCountedWorker(t)
	w.client.Transport = w.plainTransport(t)
	const clients, each = 32, 10
	runs := make([][]int64, clients)
	atOnce(clients, func(i int) {
		for n := range each {
			got, err := w.send(http.MethodPost, w.path(""), w.bearer, fmt.Sprintf(`{"type":"inventory_sync","context":{"i":%d,"n":%d}}`, i, n))
			if err != nil || got.status != http.StatusCreated {
				t.Errorf("status %d, %v: %s", got.status, err, got.body)
				return
			}
			run := decode[runBody](t, got.body)
			if want := fmt.Sprintf(`{"i": %d, "n": %d}`, i, n); string(run.Context) != want {
				t.Errorf("the context is %s and should be %s", run.Context, want)
			}
			runs[i] = append(runs[i], run.ID)
		}
	})
	seen := map[int64]bool{}
	for _, ids := range runs {
		for _, id := range ids {
			seen[id] = true
		}
	}
	if statements := counter.starts.Load(); len(seen) != clients*each || statements > clients*each*3/4 {
		t.Errorf("%d runs of %d starts in %d statements", len(seen), clients*each, statements)
	}
}

func TestAStartThatIsHeldUpHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarnessOn(t, dbtest.Connect(t, dbtest.Fresh(t)), server.Options{}))
	tx, err := w.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	const held = 2 // as many as are under way before others wait
	for n := range held {
		if _, err := tx.Exec(t.Context(), `INSERT INTO operation_runs (workspace_id, type, run_identity_hash) VALUES ($1, 'inventory_sync', $2)`,
			w.ID, fmt.Sprintf("%064x", n)); err != nil {
			t.Fatal(err)
		}
	}
	statuses := make(chan int, held)
	for n := range held {
		go func() {
			got, err := w.send(http.MethodPost, w.path(""), w.bearer, `{"type":"inventory_sync",`+identityMember(n)+`}`)
			if err != nil {
				t.Error(err)
			}
			statuses <- got.status
		}()
		dbtest.AwaitBlocked(t, w.pool, tx, n+1)
	}
	w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	if len(statuses) > 0 {
		t.Errorf("a start that is held up was answered with %d", <-statuses)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range held {
		if status := <-statuses; status != http.StatusCreated {
			t.Errorf("status %d", status)
		}
	}
}

func TestAClientThatHangsUpTakesNoOtherStartWithIt(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	const clients = 64
	atOnce(clients, func(i int) {
		ctx, hangUp := context.WithCancel(context.Background())
		defer hangUp()
		req := httptest.NewRequestWithContext(ctx, http.MethodPost, w.path(""), strings.NewReader(`{"type":"inventory_sync"}`))
		req.Header.Set("Authorization", "Bearer "+w.bearer)
		req.Header.Set("Content-Type", "application/json")
		got := httptest.NewRecorder()
		if i%2 == 0 {
			go hangUp()
		}
		w.server.ServeHTTP(got, req)
		if i%2 == 1 && got.Code != http.StatusCreated {
			t.Errorf("client %d: status %d: %s", i, got.Code, got.Body)
		}
	})
}
