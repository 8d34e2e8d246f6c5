package console_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// seen adds a finding between two syncs of the test's own and an item that the later one saw.
func (s *site) seen(t testing.TB, evidence, title, meta string) (finding, item, before, after int64) {
	t.Helper()
	before = s.start(t, `{"type":"inventory_sync","context":{"selection":"all"}}`)
	s.report(t, before, `{"status":"completed","outcome":"succeeded","summary_counts":{"total":12}}`)
	after = s.start(t, `{"type":"inventory_sync","context":{"selection":"some"}}`)
	s.report(t, after, `{"status":"completed","outcome":"succeeded","summary_counts":{"total":15}}`)
	if err := s.pool.QueryRow(t.Context(), `
		INSERT INTO findings (workspace_id, finding_type, fingerprint, subject_external_id, severity, status, evidence, baseline_operation_run_id, current_operation_run_id)
		VALUES ($1, 'drift', md5($2 || $3), $3, 'high', 'new', $2::jsonb, $4, $5) RETURNING id`, s.workspace.ID, evidence, title, before, after).Scan(&finding); err != nil {
		t.Fatal(err)
	}
	if err := s.pool.QueryRow(t.Context(), `
		INSERT INTO inventory_items (workspace_id, policy_type, external_id, display_name, category, platform, meta, last_seen_at, last_seen_operation_run_id)
		VALUES ($1, $2, $2, $2, $2, $2, $3::jsonb, now(), $4) RETURNING id`, s.workspace.ID, title, meta, after).Scan(&item); err != nil {
		t.Fatal(err)
	}
	return finding, item, before, after
}

func (s *site) finding(id int64) string { return s.path("/findings/" + strconv.FormatInt(id, 10)) }
func (s *site) item(id int64) string    { return s.path("/inventory/" + strconv.FormatInt(id, 10)) }

// differing is what is marked on a side of the evidence, the "first" or the "last".
func (p *tab) differing(side string) string {
	p.t.Helper()
	return strings.ReplaceAll(strings.Join(strings.Fields(strings.Join(p.texts(".side-by-side > :"+side+"-child .differs dt"), " ")), " "), " ,", ",")
}

func TestAFindingShowsWhatWasBesideWhatIs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	id, item, before, after := s.seen(t, `{"display_name":"Require MFA","change":"modified","changed_fields":["grantControls"],"note":{"by":"nobody"},
		"baseline":{"hash":"aa","state":"on"},"current":{"hash":"bb","state":"on","extra":1}}`, "mfa", `{}`)
	p := s.open(t, s.workspace.Readonly, s.path("/findings"))
	p.awaitText("main tbody tr", fmt.Sprintf("High Require MFA #%d Modified · Drift New #%d → #%d", id, before, after))
	p.accessible()
	p.click("main tbody a[data-row]")
	p.awaitText("h1", "Require MFA")
	p.awaitText(".side-by-side > :first-child", fmt.Sprintf("Inventory sync #%d", before))
	if got := p.differing("first"); got != "hash, differs" {
		t.Errorf("in the baseline %q differ", got)
	}
	if got := p.differing("last"); got != "hash, differs extra, differs" {
		t.Errorf("in what is %q differ", got)
	}
	p.awaitText("[data-region=diff]", "Total 12 15 +3")
	p.awaitText("[data-region=diff]", "/selection “all” “some”")
	p.awaitText("main", "by: “nobody”")
	p.accessible()
	if got := p.texts(".actions button"); len(got) > 0 {
		t.Errorf("a reader may do %v", got)
	}
	p.click(`.facts a[href*="external_id"]`)
	p.awaitText("main tbody", fmt.Sprintf("#%d", item))
}

func TestAFindingIsAcknowledgedAndReopenedAsItWasSeen(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	id, item, _, after := s.seen(t, `"older stores said it in words"`, "words", `"text"`)
	p := s.open(t, s.workspace.Operator, s.finding(id))
	p.awaitText("main", "“older stores said it in words”")
	p.click(".actions button")
	p.awaitText(".page-head", "Acknowledged")
	p.awaitText(".facts", "Acknowledged")
	if got := p.focused(); got != "button Reopen" {
		t.Errorf("the focus went to %s", got)
	}
	p.click(".actions button")
	p.awaitText(".page-head", "New")

	s.ask(t, s.workspace.Owner, http.MethodPatch, s.path("/findings/"+strconv.FormatInt(id, 10)), `{"status":"acknowledged"}`)
	p.click(".actions button")
	p.awaitText("main > .page > .trouble", "Somebody else has changed it meanwhile")
	p.awaitText(".page-head", "Acknowledged") // it shows what is

	s.ask(t, s.workspace.Owner, http.MethodPost, s.path("/operation-runs/"+strconv.FormatInt(after, 10)+"/recall"), `{"reason":"Its permissions were cut."}`)
	for _, path := range []string{s.finding(id), s.item(item)} {
		p.visit(path)
		p.awaitText(".page-head", "Recalled")
		p.awaitText(".note", "Not to be trusted")
	}
	for _, path := range []string{"/findings", "/inventory"} {
		p.visit(s.path(path))
		p.awaitText("main tbody tr.row-warn", "Recalled")
	}
}

func TestAnItemShowsItsMetaAsATree(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	_, id, _, after := s.seen(t, `{}`, "item", `{"assignments":27,"scope_tags":["North",{"deep":[null,true,12345678901234567890]}]}`)
	p := s.open(t, s.workspace.Readonly, s.path("/inventory"))
	p.awaitText("main tbody tr", fmt.Sprintf("#%d", after))
	p.accessible()
	p.click("main tbody a[data-row]")
	p.awaitText(".tree", "assignments: 27")
	p.awaitText(".tree", "12345678901234567890") // with all of its digits
	p.awaitText("main", "What else it was the last to see")
	p.accessible()
	p.click(`a[href*="last_seen_operation_run_id"]`)
	p.awaitText("main tbody", fmt.Sprintf("#%d", id))
	p.awaitText(".chips", "Last seen by run")
}

func TestEveryFilterOfFindingsAndItemsHasAFieldThatFilters(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	_, _, before, after := s.seen(t, `{}`, "kind", `{}`)
	p := s.open(t, s.workspace.Readonly, s.path("/findings"))
	for view, c := range map[string]struct{ route, some, none string }{
		"/findings":  {"findings", fmt.Sprintf("severity=low,high&status=new&finding_type=drift&baseline_operation_run_id=%d&current_operation_run_id=%d", before, after), "severity=low"},
		"/inventory": {"inventory-items", fmt.Sprintf("policy_type=x,kind&category=kind&platform=kind&external_id=kind&last_seen_operation_run_id=%d", after), "platform=other"},
	} {
		p.visit(s.path(view))
		p.settle()
		got := evaluate[[]string](p, `(() => {
			for (const menu of document.querySelectorAll('.filters details')) menu.open = true;
			return new Promise((done) => setTimeout(() => done([...new Set([...document.querySelectorAll('.filters [id^="filter-"]')]
				.map((e) => e.id.slice('filter-'.length).replace(/^(severity|status)-.*/, '$1')))]), 100));
		})()`)
		want := evaluate[[]string](p, `fetch('/openapi.json').then((r) => r.json()).then((api) =>
			api.paths['/workspaces/{workspace_id}/`+c.route+`'].get.parameters
				.map((x) => api.components.parameters[x.$ref.split('/').pop()]).filter((x) => x.in === 'query').map((x) => x.name)
				.filter((name) => !['limit', 'cursor', 'fields'].includes(name)))`)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s has fields for\n%v, want\n%v", view, got, want)
		}
		p.visit(s.path(view + "?" + c.some))
		p.until("document.querySelectorAll('main tbody tr').length === 1")
		p.visit(s.path(view + "?" + c.none))
		p.awaitText("main .empty", "match")
	}
}

func TestWhereThereIsNothingTheViewsSayWhy(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.open(t, s.workspace.Readonly, s.path("/schedules"))
	p.awaitText("main .empty", "There are no backup schedules yet")
	p.accessible()
	id := s.nightly(t, "New", 0)
	s.exec(t, "UPDATE backup_schedules SET created_at = now() WHERE workspace_id = $1", s.workspace.ID)
	for path, says := range map[string]string{
		"/findings": "Nothing was found yet", "/inventory": "The inventory is empty",
		fmt.Sprintf("/schedules/%d", id):                "Every slot of this year has its backup",
		fmt.Sprintf("/schedules/%d?view=history", id):   "Nothing of this schedule has run yet",
		fmt.Sprintf("/schedules/%d?view=retention", id): "There is nothing to keep yet",
		"/findings/999999999":                           "There is nothing here",
	} {
		p.visit(s.path(path))
		p.awaitText("main", says)
	}
	for _, path := range []string{"/schedules", "/findings", "/inventory", fmt.Sprintf("/schedules/%d", id)} {
		p.visit(s.path("/runs"))
		p.settle()
		s.hangUp()
		p.visit(s.path(path))
		p.awaitText("main .failure", "The server cannot be reached")
		s.takeUp()
		evaluate[bool](p, "(document.querySelector('main .failure button')?.click(), true)")
		p.awaitGone("main .failure")
	}
}

func TestHostileAndForeignNamesOfSchedulesFindingsAndItemsStayData(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	evil := `<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>"'`
	long := strings.Repeat("Ungetüm", 120)
	arabic := "شركة النسخ الاحتياطي \u202eقلب"
	var paths []string
	for _, text := range []string{evil, long, arabic} {
		told := quote(text)
		schedule := s.nightly(t, text, 4)
		s.backup(t, schedule, 2, "failed", `[{"code":`+told+`,"message":`+told+`}]`)
		finding, item, _, _ := s.seen(t, `{`+told+`:`+told+`,"display_name":`+told+`,"change":`+told+`,"changed_fields":[`+told+`,{}],
			"baseline":{`+told+`:`+told+`},"current":[`+told+`]}`, text, `{`+told+`:{`+told+`:[`+told+`]},"__proto__":{"constructor":`+told+`}}`)
		paths = append(paths, s.schedule(schedule), s.schedule(schedule)+"?view=history", s.schedule(schedule)+"?view=retention", s.finding(finding), s.item(item))
	}
	paths = append(paths, s.path("/schedules"), s.path("/findings"), s.path("/inventory"))
	p := s.open(t, s.workspace.Owner, s.path("/schedules"))
	for _, width := range []int64{1440, 390} {
		p.size(width, 900)
		for _, path := range paths {
			p.visit(path)
			p.settle()
			if wide := evaluate[int64](p, "document.documentElement.scrollWidth"); wide > width {
				t.Errorf("%s is %d wide in a window of %d", path, wide, width)
			}
			if p.count("main .failure") > 0 {
				t.Errorf("%s: %s", path, p.text("main .failure"))
			}
		}
	}
	if evaluate[bool](p, "window.pwned !== undefined || document.querySelector('img, main script') !== null") {
		t.Error("data was executed")
	}
	p.size(1440, 900)
	for _, path := range []string{paths[0], paths[3]} {
		p.visit(path)
		p.awaitText("main", `<img src=x onerror="window.pwned=1">`)
		p.accessible()
	}
}
