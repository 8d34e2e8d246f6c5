package console_test

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/runledger/runledger/internal/dbtest"
)

// axe is axe-core, whole and unchanged. It comes from a file so that the tests need no network.
//
//go:embed testdata/axe/axe.min.js
var axe string

// patience is how long a page may take to show what a test waits for. Nothing is measured by it: a
// test that passes does not wait that long.
const patience = 100 * time.Second

// tab is the console in a browser's tab. A message on its console, an exception that nobody caught,
// a violation of its Content-Security-Policy and a request to another origin fail the test.
type tab struct {
	t     *testing.T
	ctx   context.Context //nolint:containedctx // chromedp's handle of a tab is a context
	site  *site
	token string // what it was signed in with

	mu       sync.Mutex
	faults   []string
	requests []string
}

// open signs in as a member and opens a path of the console, such as "/workspaces/1/runs", on a
// large, light screen in New York.
func (s *site) open(t *testing.T, by dbtest.User, path string) *tab {
	t.Helper()
	p := s.blank(t)
	p.token = s.token(t, by.Subject)
	p.navigate(path + "#token=" + p.token)
	p.await("#app .top")
	return p
}

// blank is a tab in which nothing was opened.
func (s *site) blank(t *testing.T) *tab {
	t.Helper()
	p := &tab{t: t, site: s}
	p.ctx = newTab(t, p.hear)
	t.Cleanup(p.verdict) // before the tab is closed: cleanups run last in, first out
	p.do(
		call(log.Enable, cdp.Empty{}), call(audits.Enable, cdp.Empty{}),
		call(network.Enable, network.EnableParams{}),
		call(emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}),
		call(emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "America/New_York"}),
	)
	p.size(1440, 900)
	p.media("light", false)
	return p
}

// call is a command of the browser's protocol as a step.
func call[P, R any](command cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, command, params)
		return err
	})
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatalf("browser: %v", err)
	}
}

// size sets how large the window is.
func (p *tab) size(width, height int64) {
	p.t.Helper()
	p.do(chromedp.EmulateViewport(width, height))
}

// media sets the preferred theme, "light" or "dark", and whether little motion is preferred.
func (p *tab) media(theme string, still bool) {
	p.t.Helper()
	motion := "no-preference"
	if still {
		motion = "reduce"
	}
	p.do(call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: theme}, {Name: "prefers-reduced-motion", Value: motion},
	}}))
}

// navigate loads a path of the console anew, as one does who follows a link from elsewhere.
func (p *tab) navigate(path string) {
	p.t.Helper()
	p.do(chromedp.Navigate(p.site.url + "/console" + path))
}

// hear takes what the browser tells of the tab. It must not wait.
func (p *tab) hear(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		p.faults = append(p.faults, "uncaught: "+text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" || e.Type == "assert" {
			var text strings.Builder
			for _, arg := range e.Args {
				_, _ = fmt.Fprintf(&text, " %s%s", arg.Description, arg.Value)
			}
			p.faults = append(p.faults, "console."+string(e.Type)+":"+text.String())
		}
	case *log.EventEntryAdded:
		// That an answer was a 404 is logged as an error; what the page makes of it is the test's matter.
		if e.Entry.Source != log.EntrySourceNetwork && e.Entry.Level == log.EntryLevelError {
			p.faults = append(p.faults, string(e.Entry.Source)+": "+e.Entry.Text)
		}
	case *audits.EventIssueAdded:
		if d := e.Issue.Details.ContentSecurityPolicyIssueDetails; d != nil {
			p.faults = append(p.faults, "Content-Security-Policy: "+d.ViolatedDirective+" "+d.BlockedURL)
		}
	case *network.EventRequestWillBeSent:
		p.requests = append(p.requests, e.Request.URL)
		u, elsewhere := e.Request.URL, p.site.provider
		ours := strings.HasPrefix(u, p.site.url+"/") || elsewhere != "" && strings.HasPrefix(u, elsewhere+"/")
		if !ours && !strings.HasPrefix(u, "data:") && u != "about:blank" {
			p.faults = append(p.faults, "a request leaves the origin: "+u)
		}
	}
}

// verdict fails the test for what went wrong while nobody looked.
func (p *tab) verdict() {
	p.mu.Lock()
	faults := slices.Clone(p.faults)
	p.mu.Unlock()
	for _, fault := range faults {
		p.t.Errorf("in the browser: %s", fault)
	}
	if p.t.Failed() {
		p.keep()
	}
}

// keep writes down what a failed test's page looked like, if RUNLEDGER_TEST_PICTURES names a directory.
func (p *tab) keep() {
	directory := os.Getenv("RUNLEDGER_TEST_PICTURES")
	if directory == "" {
		return
	}
	picture, err := p.capture()
	if err == nil {
		name := strings.ReplaceAll(p.t.Name(), "/", "-") + ".png"
		err = os.WriteFile(filepath.Join(directory, name), picture, 0o600)
	}
	if err != nil {
		p.t.Logf("no picture: %v", err)
	}
}

// capture is a picture of what the tab shows, as PNG.
func (p *tab) capture() ([]byte, error) {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	shot, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{})
	if err != nil {
		return nil, err
	}
	return shot.Data, nil
}

// evaluate is the value of a JavaScript expression, which may be a promise.
func evaluate[T any](p *tab, expression string) T {
	p.t.Helper()
	value, err := tryEvaluate[T](p, expression)
	if err != nil {
		p.t.Fatalf("evaluate %s: %v", expression, err)
	}
	return value
}

func tryEvaluate[T any](p *tab, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(p.ctx, patience+5*time.Second)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// until waits for a JavaScript expression to be true.
func (p *tab) until(expression string) {
	p.t.Helper()
	script := fmt.Sprintf(`new Promise((done) => {
		const end = performance.now() + %d;
		const look = () => {
			let value = false;
			try { value = Boolean(%s); } catch { /* not yet */ }
			if (value || performance.now() > end) done(value);
			else setTimeout(look, 15);
		};
		look();
	})`, patience.Milliseconds(), expression)
	ok, err := tryEvaluate[bool](p, script)
	var gone *chromedp.ExceptionError
	if err != nil && !errors.As(err, &gone) && p.ctx.Err() == nil {
		ok, err = tryEvaluate[bool](p, script) // the page was loaded anew meanwhile
	}
	if err != nil || !ok {
		p.t.Fatalf("%s did not become true: %v\nthe page says:\n%s", expression, err, p.text("body"))
	}
}

// await waits for an element that shows.
func (p *tab) await(selector string) {
	p.t.Helper()
	p.until("document.querySelector(" + quote(selector) + ").checkVisibility()")
}

// awaitText waits for text within the first such element.
func (p *tab) awaitText(selector, text string) {
	p.t.Helper()
	p.until("document.querySelector(" + quote(selector) + ").innerText.replace(/\\s+/g, ' ').includes(" + quote(text) + ")")
}

// awaitGone waits until there is no such element that shows.
func (p *tab) awaitGone(selector string) {
	p.t.Helper()
	p.until("![...document.querySelectorAll(" + quote(selector) + ")].some((e) => e.checkVisibility())")
}

// text is what the first such element shows, "" if there is none.
func (p *tab) text(selector string) string {
	p.t.Helper()
	return evaluate[string](p, "document.querySelector("+quote(selector)+")?.innerText ?? ''")
}

// texts are what all such elements show.
func (p *tab) texts(selector string) []string {
	p.t.Helper()
	return evaluate[[]string](p, "[...document.querySelectorAll("+quote(selector)+")].map((e) => e.innerText)")
}

// count is how many such elements there are.
func (p *tab) count(selector string) int {
	p.t.Helper()
	return evaluate[int](p, "document.querySelectorAll("+quote(selector)+").length")
}

// click clicks the first such element with the mouse, after it shows.
func (p *tab) click(selector string) {
	p.t.Helper()
	p.await(selector)
	at := evaluate[[2]float64](p, `(() => {
		const element = document.querySelector(`+quote(selector)+`);
		element.scrollIntoView({ block: 'center', behavior: 'instant' });
		const box = element.getClientRects()[0];
		return [box.x + box.width / 2, box.y + box.height / 2];
	})()`)
	p.do(chromedp.MouseClickXY(at[0], at[1]))
}

// press presses keys one after the other: "j", "gr", or one of chromedp's kb, such as kb.Enter.
func (p *tab) press(keys string, modifiers ...chromedp.Modifier) {
	p.t.Helper()
	p.do(chromedp.KeyEvent(keys, chromedp.KeyModifiers(modifiers...)))
}

// fill writes into a field, in place of what was there.
func (p *tab) fill(selector, value string) {
	p.t.Helper()
	p.await(selector)
	evaluate[bool](p, `(() => {
		const field = document.querySelector(`+quote(selector)+`);
		field.focus();
		field.value = `+quote(value)+`;
		field.dispatchEvent(new Event('input', { bubbles: true }));
		return field.dispatchEvent(new Event('change', { bubbles: true }));
	})()`)
}

// focused is what the focused element is called: its tag, and its text or label.
func (p *tab) focused() string {
	p.t.Helper()
	return evaluate[string](p, `(() => {
		const e = document.activeElement;
		return e.tagName.toLowerCase() + ' ' + (e.getAttribute('aria-label') ?? e.innerText ?? e.id).trim();
	})()`)
}

// address is the path and the parameters below /console.
func (p *tab) address() string {
	p.t.Helper()
	return evaluate[string](p, "location.pathname.slice('/console'.length) + location.search")
}

// back goes back, as the browser's button does.
func (p *tab) back() {
	p.t.Helper()
	evaluate[bool](p, "history.back() ?? true")
}

// settle waits until nothing loads any more.
func (p *tab) settle() {
	p.t.Helper()
	p.until(`document.querySelector('#app main') && !document.querySelector('[aria-busy="true"], main > .skeleton')`)
}

// violation is a rule of axe that the page breaks.
type violation struct {
	ID, Impact, Help string
	Nodes            []struct {
		HTML           string
		FailureSummary string
	}
}

// accessible fails the test for each rule of WCAG 2.2 AA, and each of axe's best practices, that the
// page breaks in the light theme and in the dark.
func (p *tab) accessible() {
	p.t.Helper()
	if p.count("dialog[open]") == 0 {
		p.settle()
	}
	for _, theme := range []string{"light", "dark"} {
		p.media(theme, true) // in the midst of an animation colours are what they are not
		for _, v := range p.violations() {
			for _, node := range v.Nodes {
				p.t.Errorf("%s, %s theme: %s (%s, %s)\n\t%s\n\t%s", p.address(), theme, v.Help, v.ID, v.Impact,
					node.HTML, strings.ReplaceAll(node.FailureSummary, "\n", "\n\t"))
			}
		}
	}
	p.media("light", false)
}

func (p *tab) violations() []violation {
	p.t.Helper()
	if !evaluate[bool](p, "typeof window.axe === 'object'") {
		evaluate[bool](p, "(() => {"+axe+"\n})() ?? true")
	}
	raw := evaluate[string](p, `axe.run(document, {
		runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'], resultTypes: ['violations'],
	}).then((r) => JSON.stringify(r.violations))`)
	var found []violation
	if err := json.Unmarshal([]byte(raw), &found); err != nil {
		p.t.Fatal(err)
	}
	return found
}

// quote is text as a JavaScript string.
func quote(text string) string {
	quoted, _ := json.Marshal(text) // a string has no fault
	return string(quoted)
}
