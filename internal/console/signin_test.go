package console_test

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"github.com/runledger/runledger/internal/dbtest"
)

func TestALinkSignsInAndItsTokenLeavesTheAddress(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.open(t, s.workspace.Readonly, s.path("/runs"))
	p.awaitText("main", "Nothing has run yet")
	if got := p.address(); got != s.path("/runs") {
		t.Errorf("the address is %q", got)
	}
	kept := "location.hash + JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + document.cookie"
	if got := evaluate[string](p, kept); got != "{}{}" {
		t.Errorf("the page keeps %q", got)
	}
	// Loaded anew, it has forgotten the token and asks for one.
	p.navigate(s.path("/runs"))
	p.await("#token")
	p.accessible()
	p.fill("#token", "no token")
	p.press(kb.Enter)
	p.awaitText("dialog[open]", "The token was not accepted")
	p.fill("dialog input", s.token(t, s.workspace.Readonly.Subject))
	p.press(kb.Enter)
	p.awaitText("main", "Nothing has run yet")
}

func TestALinkToAConsoleElsewhereSignsNobodyIn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.url = strings.Replace(s.url, "127.0.0.1", "console.localhost", 1) // which browsers resolve themselves
	p := s.blank(t)
	p.navigate(s.path("/runs") + "#token=" + s.token(t, s.workspace.Readonly.Subject))
	p.await("#token")
	if got := p.address(); strings.Contains(got, "token") {
		t.Errorf("the token stays in the address %q", got)
	}
}

func TestAnExpiredTokenIsAskedForAgainAndThePageStays(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t, `{"type":"inventory_sync"}`)
	p := s.open(t, s.workspace.Operator, s.path("/runs"))
	p.await("main tbody tr")
	evaluate[bool](p, "(window.same = true)")
	s.expire(t, p.token, s.workspace.Operator.Subject)
	// By a script, which does not mind a dialog: the page may have asked for something by itself before.
	evaluate[bool](p, "(document.querySelector('.tabs a:nth-child(2)').click(), true)") // Active
	p.awaitText("dialog[open]", "Your session has ended")
	p.accessible()
	p.press(kb.Escape) // it must be answered
	p.press(kb.Escape)
	p.await("dialog[open]")
	p.fill("dialog input", s.token(t, s.workspace.Operator.Subject))
	p.press(kb.Enter)
	p.awaitGone("dialog")
	p.await("main tbody tr")
	if got := p.address(); got != s.path("/runs?status=queued%2Crunning") {
		t.Errorf("the address is %s", got)
	}
	if !evaluate[bool](p, "window.same === true") {
		t.Error("the page was loaded anew")
	}
}

func TestAStrangersWorkspaceLooksExactlyLikeOneThatDoesNotExist(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	id := s.start(t, `{"type":"inventory_sync"}`)
	stranger := dbtest.NewUser(t, s.pool)
	p := s.open(t, stranger, "/")
	look := func(path string) string {
		p.visit(path)
		p.awaitText("h1", "There is nothing here")
		// All that the page is made of, but the title of times that age.
		return strings.ReplaceAll(evaluate[string](p, "document.title + document.documentElement.outerHTML"), s.path(""), "/workspaces/W")
	}
	want := look("/workspaces/987654321987")
	for _, path := range []string{
		s.path(""), s.path("/runs"), s.run(id), s.path("/schedules"), s.path("/findings"), s.path("/inventory"),
		"/workspaces/987654321987/runs", "/workspaces/none",
	} {
		if got := look(path); got != want {
			t.Errorf("%s looks otherwise:\n%s\nwant\n%s", path, got, want)
		}
	}
	p.accessible()
}

func TestAMembershipThatEndsEndsTheView(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t, `{"type":"inventory_sync"}`)
	p := s.open(t, s.workspace.Readonly, s.path("/runs"))
	p.awaitText(".live", "Live")
	s.exec(t, "DELETE FROM workspace_memberships WHERE workspace_id = $1 AND user_id = $2", s.workspace.ID, s.workspace.Readonly.ID)
	s.listening.CloseClientConnections() // the next request is a 404
	p.awaitText("h1", "There is nothing here")
}
