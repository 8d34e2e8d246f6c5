package server

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/workspace"
)

// TestOfManyWhoAskAgainOneComparesVersions holds that of those who have waited for it and are not helped: they
// are to read the page together, and not to compare each.
func TestOfManyWhoAskAgainOneComparesVersions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const many = 50
		s := &Server{polls: newPolls(0, new(atomic.Int64), newHTTPMetrics())}
		hold := make(chan struct{})
		var comparing, asking atomic.Int64
		list := s.remembered(func(_ http.ResponseWriter, r *http.Request, _ workspace.Scope) error {
			asking.Add(1)
			if requestOf(r).poll.last.steady {
				comparing.Add(1)
				<-hold
			}
			return nil
		})
		ask := func() {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/workspaces/1/operation-runs", http.NoBody)
			r = r.WithContext(context.WithValue(r.Context(), requestKey{}, &request{}))
			r.Header.Set(ifNoneMatch, `W/"1"`)
			at, _ := addressOf(r, 0)
			if _, known := s.polls.tags.Peek(at); !known {
				s.polls.tags.Add(at, tagged{tag: `W/"1"`, steady: true, rows: versions{sum: 1, at: time.Now()}})
			}
			if err := list(httptest.NewRecorder(), r, workspace.Scope{}); err != nil {
				t.Error(err)
			}
		}
		for range many {
			go ask()
		}
		synctest.Wait()
		if comparing.Load() != 1 || asking.Load() != 1 {
			t.Errorf("%d ask, %d of them to compare, while one does", asking.Load(), comparing.Load())
		}
		close(hold)
		synctest.Wait()
		if comparing.Load() != 1 || asking.Load() != many {
			t.Errorf("%d of %d compare", comparing.Load(), asking.Load())
		}
	})
}

func TestWhatADatabaseSaidOfItsStatesIsForgottenWhenItTellsNone(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	w := dbtest.NewWorkspace(t, pool)
	own := &database{pool: pool, acquireTimeout: time.Minute, queryTimeout: time.Minute, used: new(atomic.Int64)}
	s := &Server{gate: own, queries: dbsqlc.New(), polls: newPolls(0, own.used, newHTTPMetrics())}
	s.members = newGatherer(maxQuestions, membership{err: errAbandoned}, s.resolveGathered)
	ask := func(subject string) error {
		_, _, err := s.resolve(t.Context(), auth.Subject(subject), w.ID)
		return err
	}
	for range 2 { // the first may use a connection for the first time
		if err := ask(w.Owner.Subject); err != nil {
			t.Fatal(err)
		}
	}
	if !s.polls.seen().isKnown() {
		t.Fatal("the gate was not told the state of the database")
	}
	if err := ask("a stranger"); err == nil || !s.polls.seen().isKnown() {
		t.Error("a stranger, who is told nothing, has it forgotten")
	}
	s.polls.saw(moment{})
	if s.polls.seen().isKnown() {
		t.Error("it is remembered of a database that tells it no more")
	}
}
