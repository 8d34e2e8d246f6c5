package console_test

import (
	"strings"
	"testing"

	"github.com/runledger/runledger/internal/dbtest"
)

// TestWhatGoesWrongOnAPageIsSeen makes each of the faults that fail every other test of this package.
func TestWhatGoesWrongOnAPageIsSeen(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.open(t, dbtest.NewUser(t, s.pool), "/")
	for _, c := range []struct{ script, want string }{
		{"console.error('loud')", "console.error: loud"},
		{"setTimeout(() => { throw new Error('nobody caught it') })", "nobody caught it"},
		{"document.body.setAttribute('style', 'color: red')", "Content-Security-Policy: style-src"},
		{"fetch('https://example.invalid/').catch(() => {})", "Content-Security-Policy: connect-src"},
		{"location.assign('http://localhost:9/')", "leaves the origin: http://localhost:9/"},
	} {
		evaluate[bool](p, "("+c.script+", true)")
		seen := false
		for range 400 {
			p.mu.Lock()
			seen = strings.Contains(strings.ReplaceAll(strings.Join(p.faults, "\n"), `"`, ""), c.want)
			p.mu.Unlock()
			if seen {
				break
			}
			_, _ = tryEvaluate[bool](p, "new Promise((done) => setTimeout(() => done(true), 20))")
		}
		if !seen {
			t.Errorf("%s: nothing says %q in %q", c.script, c.want, p.faults)
		}
	}
	p.mu.Lock()
	p.faults = nil
	p.mu.Unlock()
}
