package console_test

import "testing"

func TestALinkSignsInAndItsTokenLeavesTheAddress(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.open(t, s.workspace.Readonly, s.path("/runs"))
	p.awaitText("main", "Nothing has run yet")
	if got := p.address(); got != s.path("/runs") {
		t.Errorf("the address is %q", got)
	}
	if got := evaluate[string](p, "location.hash + JSON.stringify(localStorage) + JSON.stringify(sessionStorage)"); got != "{}{}" {
		t.Errorf("the page keeps %q", got)
	}
	p.accessible()
}
