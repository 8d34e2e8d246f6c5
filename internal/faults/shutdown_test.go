package faults

import (
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// terminate ends the server as whoever runs it does, and returns how it ended.
func (s *system) terminate() (*exec.Cmd, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		return s.process, err
	}
	return s.process, s.process.Wait()
}

func TestAServerThatIsToldToEndUnderLoadAnswersWhatItHasTaken(t *testing.T) {
	t.Parallel()
	s := newSystem(t, nil)
	l := newLoad(t, s, s.addr) // whose connections no wire breaks
	times, during := scale(t, "RUNLEDGER_TEST_TERMINATIONS", 3), 0
	for range times {
		since := time.Now()
		await(t, "good answers", func() bool { return l.goodSince(since) > 30 })
		told := time.Now()
		if process, err := s.terminate(); err != nil {
			t.Errorf("the server ends with %v: %v", process.ProcessState, err)
		}
		if n := l.goodSince(told); n > 0 {
			during++
		}
		s.launch(t)
		s.awaitReady(t)
	}
	l.end()
	t.Logf("%d terminations, %d of them with good answers until the end; %d requests without an answer, %d refused", times, during, l.cut.Load(), l.refused())
	if during < times {
		t.Errorf("of %d terminations %d met requests", times, during)
	}
	if n := l.cut.Load(); n > 0 {
		t.Errorf("%d requests were taken and have no answer", n)
	}
	pool := s.pool(t)
	l.wantKept(t, pool, s.workspace.ID)
	wantEventsOfAllRuns(t, pool)
}
