package console_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/runledger/runledger/internal/dbtest"
)

func (s *site) run(id int64) string { return s.path("/runs/" + strconv.FormatInt(id, 10)) }

func TestARunChangesWhileOneLooks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	id := s.start(t, `{"type":"inventory_sync"}`)
	p := s.open(t, s.workspace.Operator, s.run(id))
	p.awaitText(".live", "Live")
	p.awaitText(".page-head", "Queued")
	p.awaitText(".timeline", "Recorded")

	s.report(t, id, `{"status":"running","summary_counts":{"total":10,"processed":3,"succeeded":3}}`)
	p.awaitText(".page-head", "Running")
	p.awaitText(".progress-large", "3 of 10")
	p.awaitText(".timeline", "Started")
	before := p.text(".growing")
	p.until("document.querySelector('.growing').innerText !== " + quote(before)) // the duration grows

	// What one holds stays in one's hands.
	evaluate[bool](p, "document.querySelector('[data-key=cancel]').focus() ?? true")
	s.report(t, id, `{"summary_counts":{"total":10,"processed":7,"succeeded":7}}`)
	p.awaitText(".progress-large", "7 of 10")
	if got := p.focused(); got != "button Cancel…" {
		t.Errorf("the focus went to %q", got)
	}

	s.report(t, id, `{"status":"completed","outcome":"failed","failure_summary":[
		{"code":"graph_throttled","message":"Gave up."},{"code":"graph_throttled","message":"Gave up."},{"code":"no_access","message":"Denied."}]}`)
	p.awaitText(".page-head", "Failed")
	p.awaitText("main", "3 failures")
	p.awaitText(".group", "graph_throttled 2 times · all runs with it Gave up. × 2")
	p.awaitText(".timeline li:last-child", "Failed")
	p.await("[data-key=retry]")
	p.awaitText("[data-region=diff]", "Nothing to compare with")
}

func TestATimelineThatIsCutSaysSo(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	id := s.start(t, `{"type":"inventory_sync"}`)
	s.report(t, id, `{"status":"running"}`)
	add := func(n int) {
		t.Helper()
		s.exec(t, `INSERT INTO operation_run_events (workspace_id, run_id, kind) SELECT $1, $2, 'heartbeat' FROM generate_series(1, $3::bigint)`,
			s.workspace.ID, id, n)
	}
	add(3000)
	p := s.open(t, s.workspace.Readonly, s.run(id))
	p.awaitText(".timeline", "3,000 times")
	p.awaitText(".live", "Live")

	// One more event costs one more page, not all of them.
	p.settle()
	n := p.asked(strconv.FormatInt(id, 10) + "/events?")
	s.report(t, id, `{"summary_counts":{"total":10,"processed":7,"succeeded":7}}`)
	p.awaitText(".timeline", "Reported 7 of 10")
	if now := p.asked(strconv.FormatInt(id, 10) + "/events?"); now-n > 4 {
		t.Errorf("it asked for %d pages to see one event", now-n)
	}
	if got := p.text("[data-region=timeline]"); strings.Contains(got, "There are more events") {
		t.Errorf("it says %q", got)
	}

	add(2000)
	p.navigate(s.run(id) + "#token=" + p.token)
	p.awaitText("[data-region=timeline]", "There are more events than these first 4,000. All of them: GET "+s.path("/operation-runs/"+strconv.FormatInt(id, 10)+"/events"))
	p.accessible()
}

func TestAFailedRunTellsWhatChangedAndWhatItAffects(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	good := s.start(t, `{"type":"inventory_sync","identity":{"a":1},"context":{"selection":{"name":"all"},"same":true}}`)
	s.report(t, good, `{"status":"completed","outcome":"succeeded","summary_counts":{"total":530,"succeeded":530}}`)
	bad := s.start(t, `{"type":"inventory_sync","identity":{"a":1},"context":{"selection":{"name":"some"},"same":true,"operation_run_id":`+strconv.FormatInt(good, 10)+`}}`)
	s.report(t, bad, `{"status":"completed","outcome":"failed","summary_counts":{"total":530,"failed":2},"failure_summary":[{"code":"graph_throttled","message":"429"}]}`)
	s.exec(t, `INSERT INTO findings (workspace_id, finding_type, fingerprint, subject_external_id, baseline_operation_run_id)
		VALUES ($1, 'drift', 'abc', 'Device restrictions', $2)`, s.workspace.ID, bad)

	p := s.open(t, s.workspace.Readonly, s.run(bad))
	p.awaitText("[data-region=diff]", "graph_throttled 0 1 +1")
	p.awaitText("[data-region=diff]", "/selection/name “all” “some”")
	p.awaitText(".card-head:has(+ [data-region=diff])", fmt.Sprintf("#%d", good))
	p.awaitText("[data-region=dependents]", "Findings measured against it 1")
	p.awaitText(".tree", "name: “some”")
	p.accessible()
	p.click(".tree a")
	p.until("location.pathname === '/console" + s.run(good) + "'")
	p.awaitText("[data-region=dependents]", "Runs that name it 1")
}

func TestButtonsAreThoseThatTheRoleAllows(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	active := s.start(t, `{"type":"inventory_sync"}`)
	done := s.start(t, `{"type":"inventory_sync"}`)
	s.report(t, done, `{"status":"completed","outcome":"succeeded"}`)
	for _, c := range []struct {
		user         dbtest.User
		active, done string
	}{
		{s.workspace.Readonly, "[]", "[]"},
		{s.workspace.Operator, "[Cancel…]", "[Retry]"},
		{s.workspace.Manager, "[Cancel…]", "[Retry Recall…]"},
		{s.workspace.Owner, "[Cancel…]", "[Retry Recall…]"},
	} {
		p := s.open(t, c.user, s.run(active))
		p.await(".timeline")
		if got := fmt.Sprint(p.texts(".actions button")); got != c.active {
			t.Errorf("%s may do %s with an active run, want %s", c.user.Name, got, c.active)
		}
		p.visit(s.run(done))
		p.await(".timeline")
		if got := fmt.Sprint(p.texts(".actions button")); got != c.done {
			t.Errorf("%s may do %s with a completed run, want %s", c.user.Name, got, c.done)
		}
	}
	s.exec(t, "UPDATE workspaces SET archived_at = now() WHERE id = $1", s.workspace.ID)
	p := s.open(t, s.workspace.Owner, s.run(done))
	p.awaitText("main", "This workspace is archived")
	if got := p.texts(".actions button"); len(got) > 0 {
		t.Errorf("in an archived workspace one may do %v", got)
	}
}

func TestCancelRetryAndRecallDoWhatTheySay(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	id := s.start(t, `{"type":"inventory_sync","identity":"a"}`)
	p := s.open(t, s.workspace.Manager, s.run(id))
	p.click("[data-key=cancel]")
	p.click("dialog .primary")
	p.awaitText("main", "Asked to stop just now")
	p.awaitGone("[data-key=cancel]")

	s.report(t, id, `{"status":"completed","outcome":"cancelled"}`)
	p.click("[data-key=recall]")
	p.await("dialog[open]")
	p.accessible()
	p.click("dialog .primary") // without a reason nothing happens
	p.fill("#recall-reason", "   ")
	p.click("dialog .primary")
	p.awaitText("dialog", "Say why")
	p.fill("#recall-reason", "The tenant’s permissions were cut.")
	p.click("dialog .primary")
	p.awaitText(".note", "Recalled just now: The tenant’s permissions were cut.")
	p.awaitText(".timeline", "Recalled: The tenant’s")
	p.awaitGone("[data-key=recall]")

	p.click("[data-key=retry]")
	p.click("dialog .primary")
	p.until(fmt.Sprintf("/runs\\/[0-9]+$/.test(location.pathname) && !location.pathname.endsWith('/%d')", id))
	p.awaitText("[data-region=run]", fmt.Sprintf("2, after #%d", id))
	p.awaitText(".timeline", fmt.Sprintf("Recorded, to try #%d again", id))
}

func TestARunThatIsNotThereLooksLikeAWorkspaceThatIsNot(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.open(t, s.workspace.Owner, s.path("/runs/999999999"))
	p.awaitText("h1", "There is nothing here")
}
