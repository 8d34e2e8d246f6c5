package faults

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// pace is how often a client of a load asks: often enough that every fault meets requests, and not
// so often that the machine has no time for the faults.
const pace = 20 * time.Millisecond

// load is clients that start runs and end them, and what they were told that holds.
type load struct {
	clients []*client
	stop    atomic.Bool
	working sync.WaitGroup
	cut     atomic.Int64 // requests that arrived, or may have, and have no answer

	mu       sync.Mutex
	promised map[int64]promise
	good     []time.Time // when good answers came
}

// promise is what somebody was told of a run.
type promise struct {
	by string    // who has ended it; empty where it was started
	at time.Time // when
}

// newLoad begins the load. addr is the server's or that of the way to it.
func newLoad(t *testing.T, s *system, addr string) *load {
	t.Helper()
	const clients = 6
	l := &load{promised: map[int64]promise{}}
	unique := time.Now().UnixNano()
	for number := range clients {
		client := newClient(t, s)
		client.addr = addr
		l.clients = append(l.clients, client)
		l.working.Go(func() {
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for n := 0; !l.stop.Load(); n++ {
				l.live(client, fmt.Sprintf("%d.%d.%d", unique, number, n))
				<-tick.C
			}
		})
	}
	t.Cleanup(func() { l.end() })
	return l
}

// live starts a run and ends it. It returns the last answer.
func (l *load) live(client *client, name string) reply {
	out, sent := client.ask(request{identity: name, kind: "start", op: name})
	if l.note(out, sent, out.id, ""); out.verdict != created {
		return out
	}
	end, sent := client.ask(request{identity: name, kind: "end", id: out.id, token: name})
	if l.note(end, sent, out.id, name); end.verdict == refused {
		client.tellBroken("the end of run %d is refused, which nobody else knows of", out.id)
	}
	return end
}

func (l *load) note(out reply, sent bool, id int64, by string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case out.verdict == created, out.verdict == done:
		l.promised[id] = promise{by, time.Now()}
		l.good = append(l.good, time.Now())
	case out.verdict == unknown && sent && out.id == 0:
		l.cut.Add(1)
	}
}

// end stops the clients and closes their connections.
func (l *load) end() {
	l.stop.Store(true)
	l.working.Wait()
	for _, client := range l.clients {
		client.http.CloseIdleConnections()
	}
}

// firstGood is when the first good answer after an instant came; false if none has.
func (l *load) firstGood(after time.Time) (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, at := range l.good {
		if at.After(after) {
			return at, true
		}
	}
	return time.Time{}, false
}

// goodSince is how many good answers came after an instant.
func (l *load) goodSince(after time.Time) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, at := range l.good {
		if at.After(after) {
			n++
		}
	}
	return n
}

// refused is how many requests were answered by 503.
func (l *load) refused() (n int64) {
	for _, client := range l.clients {
		n += client.refused.Load()
	}
	return n
}

// wantKept fails the test if something is not in the database that a client was told is, or if
// there was an answer of 5xx other than 503 with Retry-After.
func (l *load) wantKept(t *testing.T, pool *pgxpool.Pool, workspaceID int64) {
	t.Helper()
	if lost := l.lost(t, pool, workspaceID); len(lost) > 0 {
		t.Errorf("%d runs, or their ends, were acknowledged and are lost: %.300v", len(lost), lost)
	}
}

// lost is what is not in the database though a client was told that it is, by the runs' ids. It fails
// the test if there was an answer that there is to be none of.
func (l *load) lost(t *testing.T, pool *pgxpool.Pool, workspaceID int64) map[int64]promise {
	t.Helper()
	for _, client := range l.clients {
		if n := client.broken.Load(); n > 0 {
			t.Errorf("%d answers that there are to be none of", n)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.promised) == 0 {
		t.Error("nothing was acknowledged, so that nothing could be lost")
	}
	held := map[int64]string{}
	rows, err := pool.Query(context.WithoutCancel(t.Context()), `SELECT id, CASE WHEN status = 'completed' THEN context->>'by' ELSE '' END
		FROM operation_runs WHERE workspace_id = $1`, workspaceID)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var by string
		if err := rows.Scan(&id, &by); err != nil {
			t.Fatal(err)
		}
		held[id] = by
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	lost := map[int64]promise{}
	for id, promised := range l.promised {
		is, there := held[id]
		if !there || promised.by != "" && is != promised.by {
			lost[id] = promised
		}
	}
	return lost
}
