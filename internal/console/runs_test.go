package console_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
)

// rows are the ids of the rows of the list that shows, from top to bottom.
func (p *tab) rows() []string {
	p.t.Helper()
	return evaluate[[]string](p, "[...document.querySelectorAll('main tbody tr')].map((r) => r.dataset.id)")
}

func TestNewRunsAnnounceThemselvesAndNothingMoves(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := s.start(t, `{"type":"inventory_sync"}`)
	second := s.start(t, `{"type":"inventory_sync"}`)
	p := s.open(t, s.workspace.Readonly, s.path("/runs"))
	p.awaitText(".live", "Live")
	want := []string{strconv.FormatInt(second, 10), strconv.FormatInt(first, 10)}
	p.awaitText("main", "#"+want[0])

	third := s.start(t, `{"type":"drift_generate_findings"}`)
	p.awaitText(".news", "1 new run")
	p.awaitText("#polite", "1 new run")
	if got := p.rows(); !slices.Equal(got, want) {
		t.Errorf("the rows moved: %v, want %v", got, want)
	}

	// A run that shows changes where it is.
	s.report(t, first, `{"status":"running","summary_counts":{"total":8,"processed":2,"succeeded":2}}`)
	p.awaitText(fmt.Sprintf(`tr[data-id="%d"]`, first), "Running")
	p.awaitText(fmt.Sprintf(`tr[data-id="%d"]`, first), "2 of 8")
	if got := p.rows(); !slices.Equal(got, want) {
		t.Errorf("the rows moved: %v, want %v", got, want)
	}

	p.press(".")
	p.await(fmt.Sprintf(`tr[data-id="%d"]`, third))
	p.awaitGone(".news")
}

func TestARunThatComesToMatchTheFilterAnnouncesItself(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	old := s.start(t, `{"type":"inventory_sync"}`)
	p := s.open(t, s.workspace.Readonly, s.path("/runs?outcome=failed"))
	p.awaitText(".live", "Live")
	p.awaitText("main", "No runs match")
	other := s.start(t, `{"type":"inventory_sync"}`)
	s.report(t, old, `{"status":"completed","outcome":"failed"}`)
	p.awaitText(".news", "1 new run")
	p.press(".")
	p.await(fmt.Sprintf(`tr[data-id="%d"]`, old))
	if got := p.count(fmt.Sprintf(`tr[data-id="%d"]`, other)); got != 0 {
		t.Error("a run shows that the filter leaves out")
	}
}

func TestFiltersLiveInTheAddressAndBackTakesThemBack(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t, `{"type":"inventory_sync"}`)
	failed := s.start(t, `{"type":"inventory_sync"}`)
	s.report(t, failed, `{"status":"completed","outcome":"failed","failure_summary":[{"code":"graph_throttled","message":"429"}]}`)
	p := s.open(t, s.workspace.Readonly, s.path("/runs"))
	p.until("document.querySelectorAll('main tbody tr').length === 2")

	p.click(".filter-row details:nth-of-type(3) summary") // Outcome
	p.click("#filter-outcome-failed")
	p.press(kb.Enter)
	p.until("location.search === '?outcome=failed' && document.querySelectorAll('main tbody tr').length === 1")
	p.awaitText(".chips", "Failed")
	p.awaitText(".total", "1 run")
	p.accessible()
	p.back()
	p.until("location.search === '' && document.querySelectorAll('main tbody tr').length === 2")

	// Every filter that the interface has can be in a link, and one that it refuses says why.
	p.visit(s.path("/runs?failure_code=graph_throttled&created_from=2020-01-01T00:00:00Z&order=created_at&stalled=false"))
	p.until("document.querySelectorAll('main tbody tr').length === 1")
	if got := len(p.texts(".chips li")); got != 5 {
		t.Errorf("%d chips, want 4 and one to clear all: %q", got, p.texts(".chips li"))
	}
	p.visit(s.path("/runs?tenant_id=none"))
	p.awaitText(".failure", "tenant_id")
}

// TestEveryFilterOfTheInterfaceHasAField holds the fields against the description of the interface.
func TestEveryFilterOfTheInterfaceHasAField(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.open(t, s.workspace.Readonly, s.path("/runs"))
	p.settle()
	got := evaluate[[]string](p, `(() => {
		for (const menu of document.querySelectorAll('.filters details')) menu.open = true;
		return new Promise((done) => setTimeout(() => done([...new Set([...document.querySelectorAll('.filters [id^="filter-"]')]
			.map((e) => e.id.slice('filter-'.length).replace(/^(type|status|outcome)-.*/, '$1')))]), 100));
	})()`)
	want := evaluate[[]string](p, `fetch('/openapi.json').then((r) => r.json()).then((api) =>
		api.paths['/workspaces/{workspace_id}/operation-runs'].get.parameters
			.map((x) => api.components.parameters[x.$ref.split('/').pop()]).filter((x) => x.in === 'query').map((x) => x.name)
			.filter((name) => !['limit', 'cursor', 'fields'].includes(name)))`)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("fields for\n%v, want\n%v", got, want)
	}
}

// TestPagesNeitherSkipNorDoubleWhileRunsCome turns the pages of a long list by keys. 100,000 rows
// are for RUNLEDGER_TEST_CONSOLE_RUNS=100000.
func TestPagesNeitherSkipNorDoubleWhileRunsCome(t *testing.T) {
	t.Parallel()
	n := 3000
	if text := os.Getenv("RUNLEDGER_TEST_CONSOLE_RUNS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	s := newSite(t)
	s.many(t, n)
	p := s.open(t, s.workspace.Readonly, s.path("/runs"))
	p.until("document.querySelectorAll('main tbody tr').length === 50")
	if n <= 10_000 {
		p.awaitText(".total", "3,000 runs")
	} else {
		p.awaitText(".total", "more than 10,000 runs")
	}
	seen := p.rows()
	var want []string
	if err := s.pool.QueryRow(t.Context(), "SELECT array_agg(id::text ORDER BY created_at DESC, id DESC) FROM operation_runs WHERE workspace_id = $1",
		s.workspace.ID).Scan(&want); err != nil {
		t.Fatal(err)
	}
	want = want[:5*len(seen)]
	for range 4 {
		s.start(t, `{"type":"inventory_sync"}`)
		p.press("n")
		p.until("document.querySelector('main tbody tr')?.dataset.id === '" + want[len(seen)] + "'")
		p.settle()
		seen = append(seen, p.rows()...)
	}
	if !slices.Equal(seen, want) {
		t.Errorf("five pages have %d rows, want each of 250 once:\n%v", len(seen), seen)
	}
	// Back by key and by the browser comes to the same rows.
	p.press("p")
	p.until("document.querySelector('main tbody tr')?.dataset.id === '" + want[150] + "'")
	p.back()
	p.until("document.querySelector('main tbody tr')?.dataset.id === '" + want[200] + "'")
}

func TestBackComesToWhereOneWasOnThePage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.many(t, 60)
	p := s.open(t, s.workspace.Readonly, s.path("/runs"))
	p.until("document.querySelectorAll('main tbody tr').length === 50")
	p.click("main tbody tr:nth-child(45) a[data-row]")
	p.await(".timeline, [data-region=timeline] .empty")
	if y := evaluate[int](p, "window.scrollY"); y != 0 {
		t.Errorf("the run shows from %d on", y)
	}
	p.back()
	p.until("document.querySelectorAll('main tbody tr').length === 50 && window.scrollY > 500")
}

func TestTheKeyboardAloneIsEnough(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	older := s.start(t, `{"type":"inventory_sync"}`)
	s.start(t, `{"type":"inventory_sync"}`)
	p := s.open(t, s.workspace.Operator, s.path("/runs"))
	p.until("document.querySelectorAll('main tbody tr').length === 2")
	p.press(kb.Tab)
	if got := p.focused(); got != "a Skip to the content" {
		t.Errorf("the first stop of Tab is %q", got)
	}
	p.press("jj")
	p.press(kb.Enter)
	p.until(fmt.Sprintf("location.pathname.endsWith('/runs/%d')", older))
	p.await("[data-key=cancel]")
	if got := p.focused(); !strings.HasPrefix(got, "h1 Inventory sync") {
		t.Errorf("the focus is on %q, want the heading of the run", got)
	}
	// From the heading on, Tab comes to the button; its dialog takes the focus and gives it back.
	p.until("(document.activeElement.tagName === 'H1')")
	for range 3 {
		if strings.HasPrefix(p.focused(), "button Cancel") {
			break
		}
		p.press(kb.Tab)
	}
	p.press(kb.Enter)
	p.await("dialog[open]")
	p.accessible()
	p.press(kb.Escape)
	p.awaitGone("dialog")
	if got := p.focused(); got != "button Cancel…" {
		t.Errorf("after the dialog the focus is on %q", got)
	}
	p.press("?")
	p.awaitText("dialog[open]", "Next and previous row")
	p.accessible()
	p.press(kb.Escape)
	p.press("go")
	p.until("location.pathname === '/console" + s.path("") + "'")
	p.await(".tile")
	p.press("gr")
	p.await("main tbody tr")
	p.press("/")
	if got := p.focused(); got != "summary Operation" {
		t.Errorf("/ comes to %q", got)
	}
	p.press(kb.Enter)
	p.until("document.activeElement.type === 'checkbox'")
	p.press(kb.Escape)
	if got := p.focused(); got != "summary Operation" {
		t.Errorf("Escape from the menu comes to %q", got)
	}
}
