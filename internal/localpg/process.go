package localpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// process is a PostgreSQL server that was started here.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// errSharedMemoryInUse is a start that came too soon after a crash of the server before.
var errSharedMemoryInUse = errors.New("the processes of the server before have not ended yet")

// runProcess starts cmd as the server of c and waits until it answers.
func runProcess(ctx context.Context, c *cluster, cmd *exec.Cmd) (*process, error) {
	logFile, start, err := c.openLog()
	if err != nil {
		return nil, err
	}
	defer func() { _ = logFile.Close() }()
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.dir, logFile, logFile
	dieWithParent(cmd.SysProcAttr)

	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// Linux signals the death of the parent when the thread that forked ends, not the
		// process, so this thread stays for as long as the server runs.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in the log
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	if err := p.awaitAnswer(ctx, c); err != nil {
		p.stop(ctx)
		tail, readErr := tailFrom(c.path(logName), start)
		if bytes.Contains(tail, []byte("pre-existing shared memory block")) {
			err = errSharedMemoryInUse
		}
		return nil, errors.Join(fmt.Errorf("%w; the last lines of %s:\n%s", err, c.path(logName), tail), readErr)
	}
	return p, nil
}

// awaitAnswer returns when the server takes queries.
func (p *process) awaitAnswer(ctx context.Context, c *cluster) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, fmt.Errorf("no answer for %s", readyTimeout))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			return errors.New("the server ended right after its start")
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
			if c.answers(ctx) == nil {
				return nil
			}
		}
	}
}

// stop ends the process: fast, then at once, then by force. It returns when the process is gone.
func (p *process) stop(ctx context.Context) {
	p.signal(syscall.SIGINT)
	grace := time.NewTimer(fastGrace)
	defer grace.Stop()
	select {
	case <-p.done:
		return
	case <-grace.C:
	case <-ctx.Done():
	}
	p.stopNow()
}

// stopNow ends the process without a checkpoint. It returns when the process is gone.
func (p *process) stopNow() {
	p.signal(syscall.SIGQUIT)
	grace := time.NewTimer(immediateGrace)
	defer grace.Stop()
	select {
	case <-p.done:
	case <-grace.C:
		p.signal(os.Kill)
		<-p.done
	}
}

// signal sends sig; a process that has ended needs none.
func (p *process) signal(sig os.Signal) {
	_ = p.cmd.Process.Signal(sig)
}
