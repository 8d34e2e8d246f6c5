package legacy

import (
	"fmt"
	"io"
	"time"
)

// Progress tells an operator what is going on: a line that is rewritten in place on a terminal,
// plain lines elsewhere. A nil Progress is silent.
type Progress struct {
	out      io.Writer
	terminal bool
	now      func() time.Time

	task    string
	total   int64
	done    int64 // including what an earlier run had done
	began   int64 // what an earlier run had done
	started time.Time
	shown   time.Time
	open    bool // whether the terminal's cursor stands behind a line that will be rewritten
}

// NewProgress writes to out, which is a terminal or not.
func NewProgress(out io.Writer, terminal bool) *Progress {
	return &Progress{out: out, terminal: terminal, now: time.Now}
}

// Note writes one line.
func (p *Progress) Note(format string, args ...any) {
	if p == nil {
		return
	}
	p.wipe()
	_, _ = fmt.Fprintf(p.out, format+"\n", args...)
}

// begin starts a task of total rows, of which done are done.
func (p *Progress) begin(task string, done, total int64) {
	if p == nil {
		return
	}
	p.task, p.total, p.done, p.began = task, total, done, done
	p.started = p.now()
	p.shown = p.started
}

// advance says that rows more are done. It writes nothing in a task's first second.
func (p *Progress) advance(rows int64) {
	if p == nil {
		return
	}
	p.done += rows
	every := 5 * time.Second
	if p.terminal {
		every = 200 * time.Millisecond
	}
	now := p.now()
	if now.Sub(p.started) < time.Second || (now.Sub(p.shown) < every && !p.shown.Equal(p.started)) {
		return
	}
	p.shown = now
	line := p.line(now)
	if p.terminal {
		_, _ = fmt.Fprintf(p.out, "\r\x1b[K%s", line)
		p.open = true
		return
	}
	_, _ = fmt.Fprintln(p.out, line)
}

// end closes the task with its total.
func (p *Progress) end() {
	if p == nil {
		return
	}
	elapsed := p.now().Sub(p.started)
	p.Note("%s: %d rows in %s", p.task, p.done-p.began, elapsed.Round(10*time.Millisecond))
}

// line is the state of the task, with its rate and the time left.
func (p *Progress) line(now time.Time) string {
	seconds := now.Sub(p.started).Seconds()
	rate := float64(p.done-p.began) / max(seconds, 0.001)
	line := fmt.Sprintf("%s: %d of about %d rows, %.0f rows/s", p.task, p.done, max(p.total, p.done), rate)
	if rate > 0 && p.total > p.done {
		left := time.Duration(float64(p.total-p.done) / rate * float64(time.Second))
		line += fmt.Sprintf(", about %s left", left.Round(time.Second))
	}
	return line
}

// wipe makes room for a line that stays.
func (p *Progress) wipe() {
	if p != nil && p.open {
		_, _ = fmt.Fprint(p.out, "\r\x1b[K")
		p.open = false
	}
}
