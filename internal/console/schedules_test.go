package console_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"
)

// nightly adds a schedule that is due each day at the time of slotOf, UTC, since so many days.
func (s *site) nightly(t testing.TB, name string, days int) int64 {
	t.Helper()
	var id int64
	if err := s.pool.QueryRow(t.Context(), `
		INSERT INTO backup_schedules (workspace_id, name, timezone, frequency, time_of_day, retention_keep_last, created_at, updated_at)
		VALUES ($1, $2, 'UTC', 'daily', $4, 3, $3, $3) RETURNING id`, s.workspace.ID, name, slotOf(days).Add(-time.Hour), slotOf(0).Format("15:04")).Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}

// slotOf is the slot of so many days ago. The newest is some hours old, so that it is decided, and
// the next is far away, whenever the test runs.
func slotOf(daysAgo int) time.Time {
	return started.Truncate(time.Hour).Add(-4*time.Hour).AddDate(0, 0, -daysAgo)
}

var started = time.Now().UTC()

// backup adds a run of a schedule that came for the slot of so many days ago, and returns its id.
func (s *site) backup(t testing.TB, schedule int64, daysAgo int, outcome, failures string) int64 {
	t.Helper()
	var id int64
	if err := s.pool.QueryRow(t.Context(), `
		INSERT INTO operation_runs (workspace_id, type, status, outcome, run_identity_hash, context, failure_summary, created_at, started_at, completed_at, updated_at)
		VALUES ($1, 'backup_schedule_run', 'completed', $2, encode(sha256(convert_to($4::bigint::text || $5::timestamptz::text, 'UTF8')), 'hex'),
			jsonb_build_object('backup_schedule_id', $4::bigint), $3, $5::timestamptz, $5::timestamptz, $5::timestamptz + interval '4 minutes', $5::timestamptz)
		RETURNING id`, s.workspace.ID, outcome, failures, schedule, slotOf(daysAgo).Add(9*time.Second)).Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}

// withTrouble is a schedule whose backup of three days ago is missing and that of the day after failed.
func (s *site) withTrouble(t testing.TB) (schedule, failed int64) {
	t.Helper()
	schedule = s.nightly(t, "Nightly of Zürich", 10)
	for days := 10; days >= 0; days-- {
		switch days {
		case 3:
		case 2:
			failed = s.backup(t, schedule, days, "failed", `[{"code":"vault_unreachable","message":"The vault did not answer."}]`)
		default:
			s.backup(t, schedule, days, "succeeded", `[]`)
		}
	}
	return schedule, failed
}

func (s *site) schedule(id int64) string { return s.path("/schedules/" + strconv.FormatInt(id, 10)) }

// short is a day as the list says it, such as "21 Nov".
func short(daysAgo int) string {
	return strings.Replace(slotOf(daysAgo).Format("2 Jan"), "Sep", "Sept", 1)
}

// cell is the selector of a day in the calendar.
func cell(daysAgo int) string {
	return `.cal [data-day="` + slotOf(daysAgo).Format("2006-01-02") + `"]`
}

func TestANewcomerFindsWhichBackupDidNotRunAndWhy(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	schedule, failed := s.withTrouble(t)
	p := s.open(t, s.workspace.Readonly, s.path("/schedules"))
	p.awaitText("main tbody tr", "Missed "+short(3))
	p.awaitText("main tbody tr", "Failed "+short(2))
	p.awaitText("main tbody tr", "Every day at "+slotOf(0).Format("15:04")+", UTC")
	p.accessible()

	p.click(".strip a.tone-miss")
	p.awaitText(".day", "No run came for it")
	p.awaitText(".day", "The backup before it is of")
	if got, want := p.address(), s.schedule(schedule)+"?day="+slotOf(3).Format("2006-01-02"); got != want {
		t.Errorf("the address is %s, want %s", got, want)
	}
	for days, says := range map[int]string{4: "on time", 3: "missed", 2: "failed", 1: "on time", 11: "nothing was due"} {
		if label := evaluate[string](p, "document.querySelector("+quote(cell(days))+").getAttribute('aria-label')"); !strings.HasSuffix(label, ": "+says) {
			t.Errorf("the cell of %d days ago says %q, want %s", days, label, says)
		}
	}
	p.awaitText(".year-below", "vault_unreachable The vault did not answer.")
	p.click(cell(2))
	p.awaitText(".day", "vault_unreachable The vault did not answer.")
	p.accessible()
	p.click(".day-run a")
	p.until("location.pathname.endsWith('/runs/" + strconv.FormatInt(failed, 10) + "')")
	p.back()
	p.awaitText(".day", "vault_unreachable") // the way back leads to the day
}

func TestTheCalendarIsWalkedWithTheKeyboard(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	schedule, _ := s.withTrouble(t)
	p := s.open(t, s.workspace.Readonly, s.schedule(schedule))
	p.await(".cal")
	if n := p.count(`.cal[role=grid] [tabindex="0"]`); n != 1 {
		t.Errorf("%d cells are in the order of the tab key, want 1", n)
	}
	at := func(day time.Time, key string) {
		t.Helper()
		p.until(`document.activeElement.dataset.day === ` + quote(day.Format("2006-01-02")) + ` && document.activeElement.ariaSelected === 'true'`)
		if key == "" {
			return // only what one chose is in the address
		}
		if got := evaluate[string](p, "new URLSearchParams(location.search).get('day') ?? ''"); got != day.Format("2006-01-02") {
			t.Errorf("after %s the address has %q", key, got)
		}
	}
	evaluate[bool](p, `document.querySelector('.cal [tabindex="0"]').focus() ?? true`)
	at(slotOf(2), "") // the newest day with trouble is the first that one sees
	p.press(kb.ArrowLeft)
	at(slotOf(3), "left")
	p.awaitText(".day", "No run came")
	p.press(kb.ArrowRight)
	at(slotOf(2), "right")
	p.press(kb.Home)
	first := slotOf(2).AddDate(0, 0, 1-slotOf(2).Day())
	at(first, "home")
	p.press(kb.ArrowDown)
	at(first.AddDate(0, -1, 0), "down")
	p.press(kb.ArrowUp)
	at(first, "up")
	p.press(kb.End)
	at(first.AddDate(0, 1, -1), "end")
	if n := p.count(`.cal [aria-selected="true"], .cal [tabindex="0"]`); n != 1 {
		t.Errorf("%d cells are chosen or can be tabbed to, want one that is both", n)
	}
}

func TestASlotChangesWhileOneLooks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	schedule, _ := s.withTrouble(t)
	s.exec(t, "DELETE FROM operation_runs WHERE workspace_id = $1 AND created_at > $2", s.workspace.ID, slotOf(0))
	p := s.open(t, s.workspace.Readonly, s.schedule(schedule))
	p.awaitText(".live", "Live")
	p.await(cell(0) + ".v-missed")
	p.awaitText(".note", "1 slot in a row without a backup: 1 did not run at all")
	evaluate[bool](p, "document.querySelector("+quote(cell(0))+").focus() ?? true")
	id := s.start(t, fmt.Sprintf(`{"type":"backup_schedule_run","context":{"backup_schedule_id":%d,"scheduled_for":%q}}`, schedule, slotOf(0).Format(time.RFC3339)))
	p.await(cell(0) + ".v-running")
	s.report(t, id, `{"status":"completed","outcome":"succeeded"}`)
	p.await(cell(0) + ".v-late")
	p.awaitGone(".note")
	if got := evaluate[bool](p, "document.activeElement === document.querySelector("+quote(cell(0))+")"); !got {
		t.Errorf("the focus went to %s", p.focused())
	}
}

func TestADayThatThereIsNotIsNoneThatWasAskedFor(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	schedule, _ := s.withTrouble(t)
	p := s.open(t, s.workspace.Readonly, s.schedule(schedule)+"?day=2026-99-99")
	for _, day := range []string{"9999-99-99", "9999-06-31"} {
		p.visit(s.schedule(schedule) + "?day=" + day)
		p.await(cell(2) + "[aria-selected=true]") // the newest day with trouble
		p.awaitText(".day", "vault_unreachable")
	}
}

func TestTheListOfSchedulesFollowsWhatHappensAndDoesNotMove(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	bad, _ := s.withTrouble(t)
	good := s.nightly(t, "All is well", 2)
	for _, days := range []int{2, 1, 0} {
		s.backup(t, good, days, "succeeded", "[]")
	}
	s.exec(t, "DELETE FROM operation_runs WHERE workspace_id = $1 AND context->>'backup_schedule_id' = $2 AND created_at > $3",
		s.workspace.ID, strconv.FormatInt(bad, 10), slotOf(0))
	p := s.open(t, s.workspace.Readonly, s.path("/schedules"))
	p.awaitText(".live", "Live")
	p.awaitText("main tbody tr:first-child", "Missing")
	p.awaitText(".tabs", "Missing 1")
	order := p.rows()
	id := s.start(t, fmt.Sprintf(`{"type":"backup_schedule_run","context":{"backup_schedule_id":%d,"scheduled_for":%q}}`, bad, slotOf(0).Format(time.RFC3339)))
	s.report(t, id, `{"status":"completed","outcome":"succeeded"}`)
	p.awaitText("main tbody tr:first-child", "Late")
	p.awaitText(".news", "States have changed")
	if got := p.rows(); fmt.Sprint(got) != fmt.Sprint(order) {
		t.Errorf("the rows are %v, and were %v", got, order)
	}
	p.press(".")
	p.awaitGone(".news")
	p.awaitText(".tabs", "Late 1")

	p.click(`.tabs a[href$="state=ok"]`)
	p.until("document.querySelectorAll('main tbody tr').length === 1")
	p.awaitText("main tbody", "All is well")
}

func TestAPlanIsChangedByThoseWhoMayAndOnlyAsTheySawIt(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	id := s.nightly(t, "Nightly", 2)
	p := s.open(t, s.workspace.Operator, s.schedule(id))
	p.await(".cal")
	if got := p.texts(".actions button"); len(got) > 0 {
		t.Errorf("an operator may do %v", got)
	}
	p = s.open(t, s.workspace.Manager, s.schedule(id))
	p.click("[data-key=pause]")
	p.click("dialog .primary")
	p.awaitText(".page-head", "Paused")
	p.awaitText(".note", "It is not due until somebody resumes it")
	p.click("[data-key=pause]")
	p.click("dialog .primary")
	p.awaitText(".page-head", "Pause…")

	p.click("[data-key=edit]")
	p.await("#plan-form")
	p.accessible()
	p.fill("#plan-frequency", "weekly")
	p.click("#plan-day-6")
	p.fill("#plan-time", "22:15")
	p.fill("#plan-zone", "Nowhere/Land")
	p.fill("#plan-grace", "45")
	p.click("dialog .primary")
	p.awaitText("dialog .trouble", "zone")
	p.fill("#plan-zone", "Europe/Berlin")
	p.click("dialog .primary")
	p.awaitText(".plan", "Saturdays at 22:15, Europe/Berlin")
	p.awaitText(".tiles", "45 minutes")

	p.click("[data-key=edit]")
	s.ask(t, s.workspace.Owner, http.MethodPatch, s.path("/backup-schedules/"+strconv.FormatInt(id, 10)), `{"name":"Another name"}`)
	p.fill("#plan-keep", "99")
	p.click("dialog .primary")
	p.awaitText("dialog .trouble", "Somebody else has changed it meanwhile, so nothing was done")
	if got := s.ask(t, s.workspace.Readonly, http.MethodGet, s.path("/backup-schedules/"+strconv.FormatInt(id, 10)), "")["retention_keep_last"]; got != 3.0 {
		t.Errorf("it keeps %v, want 3 as before", got)
	}

	// No field for times holds the midnight at the end of a day, and it is not to be moved for another name.
	s.ask(t, s.workspace.Owner, http.MethodPatch, s.path("/backup-schedules/"+strconv.FormatInt(id, 10)), `{"time_of_day":"24:00"}`)
	p = s.open(t, s.workspace.Manager, s.schedule(id))
	p.awaitText(".plan", "at 24:00")
	p.click("[data-key=edit]")
	p.fill("#plan-name", "At midnight")
	p.click("dialog .primary")
	p.awaitText("h1", "At midnight")
	if got := s.ask(t, s.workspace.Readonly, http.MethodGet, s.path("/backup-schedules/"+strconv.FormatInt(id, 10)), "")["time_of_day"]; got != "24:00:00" {
		t.Errorf("it is at %v, want 24:00:00 as before", got)
	}
}

func TestHistoryAndRetentionAreThoseOfTheSchedule(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	schedule, failed := s.withTrouble(t)
	s.start(t, `{"type":"backup_schedule_run"}`)
	p := s.open(t, s.workspace.Readonly, s.schedule(schedule)+"?view=history")
	p.until("document.querySelectorAll('main tbody tr').length === 10")
	p.awaitText(".total", "10 runs")
	p.visit(s.schedule(schedule) + "?view=history&outcome=failed")
	p.until("document.querySelectorAll('main tbody tr').length === 1")
	p.awaitText("main tbody", fmt.Sprintf("#%d", failed))
	p.awaitText(".total", "1 run")
	p.click(".chips button")
	p.until("document.querySelectorAll('main tbody tr').length === 10")
	p.accessible()

	p.click(`.schedule-tabs a:last-child`)
	p.awaitText(".retention-sum", "It keeps its newest 3 backups. 6 would be let go.")
	for class, n := range map[string]int{"keep": 3, "release": 6, "without_backup": 1} {
		if got := p.count(".retention ." + class + " li"); got != n {
			t.Errorf("%d runs are in %s, want %d", got, class, n)
		}
	}
	p.awaitText(".without_backup", fmt.Sprintf("#%d", failed))
	p.accessible()
}

func TestADeletedScheduleAndOneThatCannotBeReadSaySo(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	gone := s.nightly(t, "Gone", 5)
	s.ask(t, s.workspace.Owner, http.MethodDelete, s.path("/backup-schedules/"+strconv.FormatInt(gone, 10)), "")
	odd := s.nightly(t, "Odd", 5)
	s.exec(t, `UPDATE backup_schedules SET timezone = 'Mars/Base', frequency = 'weekly', days_of_week = '"x"' WHERE workspace_id = $1 AND id = $2`, s.workspace.ID, odd)
	p := s.open(t, s.workspace.Owner, s.path("/schedules"))
	p.until("document.querySelectorAll('main tbody tr').length === 1")
	p.awaitText("main tbody", "Weekly at "+slotOf(0).Format("15:04")+", on days that cannot be read, Mars/Base")
	p.click(`.tabs a[href$="state=deleted"]`)
	p.awaitText("main tbody", "Gone")
	p.visit(s.schedule(gone))
	p.awaitText(".note", "Deleted ")
	if got := p.texts(".actions button"); len(got) > 0 {
		t.Errorf("with a deleted schedule one may do %v", got)
	}
	p.visit(s.schedule(odd))
	p.awaitText(".note", "It is never due")
	p.await(".cal")
	p.accessible()
	p.visit(s.path("/schedules/999999999"))
	p.awaitText("h1", "There is nothing here")
}
