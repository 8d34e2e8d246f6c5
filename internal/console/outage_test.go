package console_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// loseDatabase makes each answer to a browser a 503 with this Retry-After until restoreDatabase. The
// streams of events go on, as a server keeps them.
func (s *site) loseDatabase(retryAfter string) { s.outage.Store(&retryAfter) }

func (s *site) restoreDatabase() { s.outage.Store(nil) }

// asked is how often the tab has sent a request to an address with this in it.
func (p *tab) asked(part string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, url := range p.requests {
		if strings.Contains(url, part) {
			n++
		}
	}
	return n
}

// pass lets time pass in the page.
func (p *tab) pass(seconds int) {
	p.t.Helper()
	evaluate[bool](p, fmt.Sprintf("new Promise((done) => setTimeout(() => done(true), %d))", 1000*seconds))
}

func TestWithoutADatabaseNothingIsLiveAndWhatIsMissingComesByItself(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	id := s.start(t, `{"type":"inventory_sync"}`)
	p := s.open(t, s.workspace.Readonly, s.path("/runs"))
	p.awaitText(".live", "Live")
	p.awaitText("main tbody tr", "Queued")

	// A list that shows stays, and comes to be true.
	s.loseDatabase("1")
	s.report(t, id, `{"status":"running"}`)
	p.awaitText(".live", "Not live")
	p.awaitText("#polite", "The connection is lost")
	if got := p.text("main tbody tr"); !strings.Contains(got, "Queued") || p.count("main .failure") > 0 {
		t.Errorf("while there is no answer the page says %q", p.text("main"))
	}
	s.restoreDatabase()
	p.awaitText("main tbody tr", "Running")
	p.until("document.querySelector('.live').innerText === 'Live'")

	// So does one run.
	p.visit(s.run(id))
	p.awaitText(".page-head", "Running")
	s.loseDatabase("1")
	s.report(t, id, `{"summary_counts":{"total":10,"processed":7,"succeeded":7}}`)
	p.awaitText(".live", "Not live")
	s.restoreDatabase()
	p.awaitText(".progress-large", "7 of 10")
	p.until("document.querySelector('.live').innerText === 'Live'")

	// What could not be had at all comes too.
	s.loseDatabase("1")
	p.visit(s.path(""))
	p.until("document.querySelectorAll('main .failure').length === 5")
	p.awaitText("main .failure", "The service cannot answer at the moment")
	p.awaitText(".live", "Not live")
	p.accessible()
	s.restoreDatabase()
	p.awaitText(".tile:nth-child(1)", "1 Running now")
	p.awaitGone("main .failure")
	p.until("document.querySelector('.live').innerText === 'Live'")
}

func TestAFindingAndAnItemAreReadAgainAfterAnOutage(t *testing.T) {
	t.Parallel()
	for _, which := range []string{"finding", "item"} {
		s := newSite(t)
		finding, item, _, after := s.seen(t, `{"display_name":"Require MFA"}`, "mfa", `{}`)
		path, heading := s.finding(finding), "Require MFA"
		if which == "item" {
			path, heading = s.item(item), "mfa"
		}
		s.holdStreams.Store(true)
		p := s.open(t, s.workspace.Readonly, path)
		p.awaitText("h1", heading)
		s.loseDatabase("1")
		s.ask(t, s.workspace.Owner, http.MethodPost, s.path("/operation-runs/"+strconv.FormatInt(after, 10)+"/recall"), `{"reason":"Its permissions were cut."}`)
		s.holdStreams.Store(false) // what happened before the stream began is read
		p.awaitText(".live", "Not live")
		if got := p.text("main"); strings.Contains(got, "Not to be trusted") {
			t.Errorf("without a database the %s says %q", which, got)
		}
		s.restoreDatabase()
		p.awaitText("main", "Not to be trusted")
	}
}

func TestAConsoleThatCannotBeLoadedSaysSo(t *testing.T) {
	t.Parallel()
	for _, missing := range []string{"/main.js", "/views/findings.js"} {
		s := newSite(t)
		s.without.Store(&missing)
		p := s.blank(t)
		p.navigate("/")
		p.awaitText("#app", "The console could not be loaded")
	}
}

func TestAWorkspaceIsEnteredAsSoonAsThereIsAnAnswer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	id := s.start(t, `{"type":"inventory_sync"}`)
	s.loseDatabase("1")
	p := s.open(t, s.workspace.Readonly, s.run(id))
	p.awaitText("main .failure", "Service unavailable")
	p.awaitText(".live", "Not live")
	s.restoreDatabase()
	p.awaitText(".page-head", "Queued")
	p.until("document.querySelector('.live').innerText === 'Live'")
}

func TestWhoIsAskedToWaitWaitsAndWhoLeavesAsksNoMore(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t, `{"type":"inventory_sync"}`)
	p := s.open(t, s.workspace.Readonly, s.path("/runs"))
	p.await("main tbody tr[data-id]")
	p.awaitText(".live", "Live")
	s.loseDatabase("600")
	list := "operation-runs?status=queued"
	p.click(".tabs a:nth-child(2)")
	p.await("main .failure")
	p.pass(4)
	if n := p.asked(list); n != 1 {
		t.Errorf("it asked %d times although it should wait", n)
	}
	s.loseDatabase("1")
	p.click(".failure button") // a person may always
	p.until("document.querySelector('main .failure') !== null")
	for i := 0; i < 30 && p.asked(list) < 3; i++ { // and then by itself
		p.pass(1)
	}
	if n := p.asked(list); n < 3 {
		t.Fatalf("it asked %d times, want 3", n)
	}
	p.visit(s.path("/findings"))
	n := p.asked(list)
	p.pass(6)
	if now := p.asked(list); now != n {
		t.Errorf("it asked %d times more after one has left", now-n)
	}
	s.restoreDatabase()
	p.awaitText("main", "Nothing was found yet")
}

// TestWhatHappenedBeforeTheStreamBeganIsSeen starts a run after the list was loaded and before there
// is a stream that would tell of it.
func TestWhatHappenedBeforeTheStreamBeganIsSeen(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	id := s.start(t, `{"type":"inventory_sync"}`)
	s.holdStreams.Store(true)
	p := s.open(t, s.workspace.Readonly, s.path("/runs"))
	p.awaitText("main tbody tr", "Queued")
	p.settle()
	s.report(t, id, `{"status":"running"}`)
	s.start(t, `{"type":"inventory_sync"}`)
	s.holdStreams.Store(false)
	p.awaitText("main tbody tr", "Running")
	p.awaitText(".news", "1 new run")
	p.awaitText(".live", "Live")
}

func TestOnlyWhatFollowsTheStreamIsCalledLive(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	finding, item, _, _ := s.seen(t, `{"display_name":"A"}`, "A", `{}`)
	schedule := s.nightly(t, "Nightly", 2)
	p := s.open(t, s.workspace.Readonly, s.path("/runs"))
	p.awaitText(".live", "Live")
	for _, path := range []string{s.path("/findings"), s.finding(finding), s.path("/inventory"), s.item(item)} {
		p.visit(path)
		if p.until("document.querySelector('main h1') !== null"); evaluate[bool](p, "document.querySelector('.live').checkVisibility()") {
			t.Errorf("%s says %q", path, p.text(".live"))
		}
	}
	for _, path := range []string{s.path(""), s.path("/schedules"), s.schedule(schedule), s.path("/runs")} {
		p.visit(path)
		p.awaitText(".live", "Live")
		p.await(".live")
	}
}
