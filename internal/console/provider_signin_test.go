package console_test

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

func TestWhereThereIsAProviderALinkSignsNobodyIn(t *testing.T) {
	t.Parallel()
	s, _ := newProvidedSite(t)
	p := s.blank(t)
	p.navigate(s.path("/runs") + "#token=" + p.token)
	p.awaitText("main.welcome", "You sign in at")
	if got := p.address(); strings.Contains(got, "token") {
		t.Errorf("the token stays in the address %q", got)
	}
}

func TestADeepLinkSignsInAtTheProviderAndComesBackToItsPage(t *testing.T) {
	t.Parallel()
	s, at := newProvidedSite(t)
	link := s.run(s.start(t, `{"type":"inventory_sync"}`)) + "?from=mail"
	p := s.blank(t)
	p.navigate(link)
	p.awaitText("main.welcome", "You sign in at "+strings.TrimPrefix(at.url, "http://"))
	if n := p.count("#token"); n != 0 {
		t.Error("it asks for a token besides")
	}
	p.accessible()
	p.click("main.welcome button")
	p.click("#agree")
	p.awaitText("main", "Queued")
	if got := p.address(); got != link {
		t.Errorf("it comes back to %q, want %q", got, link)
	}

	at.mu.Lock()
	asked, redeemed, issued := at.asked, at.redeemed, at.issued
	at.mu.Unlock()
	if len(asked) != 1 || len(redeemed) != 1 || len(issued) != 1 {
		t.Fatalf("the provider was asked %d times, for tokens %d times, and gave %d", len(asked), len(redeemed), len(issued))
	}
	ask, redeem := asked[0], redeemed[0]
	for name, want := range map[string]string{
		"response_type": "code", "client_id": consoleClient, "scope": consoleScope, "audience": testAudience,
		"code_challenge_method": "S256", "redirect_uri": s.url + "/console/callback",
	} {
		if got := ask.Get(name); got != want {
			t.Errorf("it asks with %s %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if len(ask.Get(name)) < 43 { // 256 bits in base64url
			t.Errorf("it asks with %s %q", name, ask.Get(name))
		}
	}
	for _, request := range []url.Values{ask, redeem} {
		if request.Has("client_secret") || request.Has("client_assertion") {
			t.Errorf("a secret that everybody can read: %v", request)
		}
	}
	if ask.Has("code_verifier") || len(redeem.Get("code_verifier")) < 43 {
		t.Errorf("the verifier is in %v or not in %v", ask, redeem)
	}

	// What was needed on the way is nowhere: tokens are in the page's memory alone.
	kept := `Promise.all([indexedDB.databases(), caches.keys()]).then((stores) => JSON.stringify([
		localStorage, sessionStorage, document.cookie, location.search, location.hash, history.state?.y ?? null, window.name, stores,
	]))`
	if got, want := evaluate[string](p, kept), `[{},{},"","?from=mail","",null,"",[[],[]]]`; got != want {
		t.Errorf("the page keeps %s, want %s", got, want)
	}
	p.navigate(link)
	p.await("main.welcome button")
	p.back() // over the entry of the link is the provider's page, not the answer with its code
	p.until("location.pathname !== '/console/callback'")
}

func TestAnAnswerThatNobodyAskedForSignsNobodyIn(t *testing.T) {
	t.Parallel()
	s, at := newProvidedSite(t)
	p := s.blank(t)
	nobody := func(says string) {
		t.Helper()
		p.awaitText("main.welcome .trouble", says)
		p.await("main.welcome button")
		if _, n := at.last(); n != 0 || p.count("#app .top") != 0 {
			t.Errorf("somebody is signed in, by %d tokens", n)
		}
		if got := evaluate[string](p, "location.search + JSON.stringify(sessionStorage)"); got != "{}" {
			t.Errorf("the page keeps %q", got)
		}
	}
	p.navigate(s.path("/runs"))
	p.click("main.welcome button")
	p.click("#refuse")
	nobody("The sign-in service says: You may not come in.")
	if got := p.address(); got != s.path("/runs") {
		t.Errorf("after a refusal it comes back to %q", got)
	}
	p.accessible()

	p.click("main.welcome button")
	p.click("#astray")
	nobody("This answer belongs to no sign-in that waits for one.")

	// A link with somebody else's code signs nobody in as them, and cannot be told from another error.
	for _, answer := range []string{"code=stolen&state=s", "error=server_error&state=s", "code=stolen", ""} {
		p.navigate("/callback?" + answer)
		nobody("This answer belongs to no sign-in that waits for one.")
		if got := p.address(); got != "/" {
			t.Errorf("%s: it comes back to %q", answer, got)
		}
	}
	at.mu.Lock()
	n := len(at.redeemed)
	at.mu.Unlock()
	if n != 0 {
		t.Errorf("a code went to the provider %d times", n)
	}

	p.navigate(s.path("/runs"))
	p.click("main.welcome button")
	p.click("#agree")
	p.awaitText("main", "Nothing has run yet")
}

func TestAnExpiredTokenIsAskedForAtTheProviderInAWindowAndThePageStays(t *testing.T) {
	t.Parallel()
	s, at := newProvidedSite(t)
	s.start(t, `{"type":"inventory_sync"}`)
	p := s.blank(t)
	p.navigate(s.path("/runs"))
	p.click("main.welcome button")
	p.click("#agree")
	p.await("main tbody tr")
	evaluate[bool](p, "(window.same = true)")
	at.expire()
	// By a script, which does not mind a dialog: the page may have asked for something by itself before.
	evaluate[bool](p, "(document.querySelector('.tabs a:nth-child(2)').click(), true)") // Active
	p.awaitText("dialog[open]", "Your session has ended")
	p.accessible()

	at.decide("refuse")
	p.click("dialog .primary")
	p.awaitText("dialog .trouble", "The sign-in service says: You may not come in.")
	p.alone()

	at.decide("agree")
	p.click("dialog .primary")
	p.awaitGone("dialog")
	p.alone()
	p.await("main tbody tr")
	if got := p.address(); got != s.path("/runs?status=queued%2Crunning") {
		t.Errorf("the address is %s", got)
	}
	if !evaluate[bool](p, "window.same === true") {
		t.Error("the page was loaded anew")
	}
	if _, n := at.last(); n != 2 {
		t.Errorf("the provider gave %d tokens, want 2", n)
	}
	if got := evaluate[string](p, "JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + document.cookie"); got != "{}{}" {
		t.Errorf("the page keeps %q", got)
	}
}

// What a new installation gets wrong first is told so that it can be put right.
func TestWhyTheFirstSignInFailsIsSaid(t *testing.T) {
	t.Parallel()
	s, at := newProvidedSite(t)
	p := s.blank(t)
	p.navigate("/")
	evaluate[bool](p, "(Object.defineProperty(window, 'isSecureContext', { value: false, configurable: true }), true)")
	p.click("main.welcome button")
	p.awaitText("main.welcome .trouble", "it needs HTTPS")
	evaluate[bool](p, "(Object.defineProperty(window, 'isSecureContext', { value: true }), true)")

	// A provider that answers no page of another origin.
	evaluate[bool](p, "(window.fetch = () => Promise.reject(new TypeError('Failed to fetch')), true)")
	p.click("main.welcome button")
	p.awaitText("main.welcome .trouble", strings.TrimPrefix(at.url, "http://")+" cannot be reached from this page")

	at.audience = "account"
	p.navigate("/")
	p.click("main.welcome button")
	p.click("#agree")
	p.awaitText("dialog[open]", "The token was not accepted")
	p.awaitText("dialog[open]", "It wants one for "+testAudience)
	p.accessible()
}

func TestARefreshTokenSparesThePersonTheQuestion(t *testing.T) {
	t.Parallel()
	s, at := newProvidedSite(t)
	at.refreshes = true
	s.start(t, `{"type":"inventory_sync"}`)
	p := s.blank(t)
	p.navigate(s.path("/runs"))
	p.click("main.welcome button")
	p.click("#agree")
	p.await("main tbody tr")
	at.expire()
	p.click(".tabs a:nth-child(2)") // Active
	p.until("location.search !== ''")
	p.settle()
	p.await("main tbody tr")
	if _, n := at.last(); n != 2 || p.count("dialog") != 0 {
		t.Errorf("the provider gave %d tokens, want 2; dialogs: %d", n, p.count("dialog"))
	}
}

func TestARefreshTokenOutlivesAnOutageOfTheProvider(t *testing.T) {
	t.Parallel()
	s, at := newProvidedSite(t)
	at.refreshes = true
	s.start(t, `{"type":"inventory_sync"}`)
	p := s.blank(t)
	p.navigate(s.path("/runs"))
	p.click("main.welcome button")
	p.click("#agree")
	p.await("main tbody tr")
	at.leave(true)
	at.expire()
	evaluate[bool](p, "(document.querySelector('.tabs a:nth-child(2)').click(), true)") // Active
	p.awaitText("dialog[open]", "Your session has ended")
	at.leave(false)
	p.awaitGone("dialog") // nobody had to sign in
	p.settle()
	p.await("main tbody tr")
	if _, n := at.last(); n != 2 {
		t.Errorf("the provider gave %d tokens, want 2", n)
	}

	// One that the provider refuses is forgotten.
	at.mu.Lock()
	at.refreshes = false
	asked := len(at.redeemed)
	at.mu.Unlock()
	at.expire()
	p.click(".tabs a:nth-child(1)") // All
	p.await("dialog[open]")
	p.pass(4)
	at.mu.Lock()
	defer at.mu.Unlock()
	if n := len(at.redeemed) - asked; n != 1 {
		t.Errorf("the provider was asked %d times with a token that it refused at once", n)
	}
}

// alone waits until the windows that a page opened are closed.
func (p *tab) alone() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	own := chromedp.FromContext(p.ctx).Target.TargetID
	tick := time.NewTicker(15 * time.Millisecond)
	defer tick.Stop()
	for {
		targets, err := chromedp.Targets(ctx)
		at := slices.IndexFunc(targets, func(i *target.Info) bool { return i.OpenerID == own })
		if err == nil && at < 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			p.t.Fatalf("a window stays open: %v, %+v", err, targets)
		}
	}
}
