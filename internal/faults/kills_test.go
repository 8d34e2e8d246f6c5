package faults

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

func TestAKilledServerLosesNothingThatItAcknowledged(t *testing.T) {
	t.Parallel()
	s := newSystem(t, nil)
	kills := scale(t, "RUNLEDGER_TEST_KILLS", 4)
	const perKill = 30 // requests between a kill and the next
	l := &load{promised: map[int64]promise{}}
	var answered, unanswered, over atomic.Int64
	var working sync.WaitGroup
	due := make(chan struct{}, 1)
	for number := range 6 {
		client := newClient(t, s)
		l.clients = append(l.clients, client)
		working.Go(func() {
			for n := 0; over.Load() == 0; n++ {
				switch out := l.live(client, fmt.Sprintf("%d.%d", number, n)); out.verdict {
				case missing:
					t.Errorf("a start, or the end of a run that was just started, has the answer %d", out.id)
					return
				case unknown:
					unanswered.Add(1)
					if !s.awaitReady(t) {
						return
					}
					continue
				}
				if answered.Add(1)%perKill == 0 {
					select {
					case due <- struct{}{}:
					default:
					}
				}
			}
		})
	}
	for range kills {
		<-due
		s.kill()
		s.launch(t)
	}
	over.Store(1)
	working.Wait()
	if int(unanswered.Load()) < kills {
		t.Errorf("%d kills, and only %d requests felt them", kills, unanswered.Load())
	}
	t.Logf("%d kills, %d lives recorded, %d requests without an answer", kills, answered.Load(), unanswered.Load())
	pool := s.pool(t)
	l.wantKept(t, pool, s.workspace.ID)
	wantEventsOfAllRuns(t, pool)
}
