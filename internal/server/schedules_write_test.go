package server_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbtest"
)

// scheduleBody is what the tests read of a backup schedule.
type scheduleBody struct {
	ID           int64      `json:"id"`
	TenantID     *int64     `json:"tenant_id"`
	Name         string     `json:"name"`
	IsEnabled    bool       `json:"is_enabled"`
	Timezone     string     `json:"timezone"`
	Frequency    string     `json:"frequency"`
	TimeOfDay    string     `json:"time_of_day"`
	DaysOfWeek   []int      `json:"days_of_week"`
	KeepLast     int64      `json:"retention_keep_last"`
	GraceSeconds *int64     `json:"grace_seconds"`
	NextRunAt    *time.Time `json:"next_run_at"`
	DeletedAt    *time.Time `json:"deleted_at"`
	Revision     int64      `json:"revision"`
}

// planner is a manager of a workspace.
type planner struct{ *worker }

func newPlanner(t testing.TB, h *harness) planner {
	t.Helper()
	w := newWorker(t, h)
	w.bearer = h.token(t, w.Manager.Subject)
	return planner{w}
}

// path is an address below the workspace's schedules.
func (p planner) path(rest string) string {
	return fmt.Sprintf("/workspaces/%d/backup-schedules%s", p.ID, rest)
}

// edit sends a write as the manager, which must answer with status.
func (p planner) edit(t testing.TB, status int, method, rest, body string, header ...string) answer {
	t.Helper()
	got, err := p.send(method, p.path(rest), p.bearer, body, header...)
	if err != nil {
		t.Fatal(err)
	}
	if got.status != status {
		t.Fatalf("%s %s %s: status %d, want %d\n%s", method, rest, body, got.status, status, got.body)
	}
	return got
}

// plan makes a schedule.
func (p planner) plan(t testing.TB, body string) scheduleBody {
	t.Helper()
	return decode[scheduleBody](t, p.edit(t, http.StatusCreated, http.MethodPost, "", body).body)
}

// versions are the versions of a schedule on a line each.
func (p planner) versions(t testing.TB, id int64) []string {
	t.Helper()
	var lines []string
	if err := p.pool.QueryRow(t.Context(), `SELECT array_agg(concat_ws(' ', version, timezone, frequency, time_of_day, coalesce(days_of_week::text, '-'),
			coalesce(grace_seconds::text, '-'), CASE WHEN is_deleted THEN 'deleted' WHEN is_enabled THEN 'on' ELSE 'paused' END, actor) ORDER BY version)
		FROM backup_schedule_versions WHERE workspace_id = $1 AND schedule_id = $2`, p.ID, id).Scan(&lines); err != nil {
		t.Fatal(err)
	}
	return lines
}

// tomorrow is a time of day by UTC that is half a day away.
func tomorrow() string { return time.Now().UTC().Add(12 * time.Hour).Format("15:04:05") }

func TestEveryEditOfAScheduleIsAVersionAndAPauseAndADeletionAreEdits(t *testing.T) {
	t.Parallel()
	p := newPlanner(t, newHarness(t))
	tenant := dbtest.NewTenant(t, p.pool, p.ID)
	at := tomorrow()
	made := p.edit(t, http.StatusCreated, http.MethodPost, "", fmt.Sprintf(`{"name":"Nightly","frequency":"daily","time_of_day":%q,"tenant_id":%d}`, at, tenant))
	s := decode[scheduleBody](t, made.body)
	path := fmt.Sprintf("/%d", s.ID)
	if got, want := made.header.Get("Location"), p.path(path); got != want {
		t.Errorf("it is said to be at %q, not %q", got, want)
	}
	if s.TenantID == nil || *s.TenantID != tenant || !s.IsEnabled || s.Timezone != "UTC" || s.KeepLast != 30 || s.Revision != 1 ||
		s.GraceSeconds != nil || s.DaysOfWeek != nil || s.NextRunAt == nil || s.NextRunAt.Format(time.TimeOnly) != at {
		t.Errorf("made, it is %s", made.body)
	}
	slots := p.slotLines(t, p.Readonly.Subject, p.path(path)+"/slots?")
	if len(slots) != 7 || !strings.HasPrefix(slots[0], s.NextRunAt.Format(time.RFC3339)) || !strings.Contains(slots[0], " upcoming - - []") {
		t.Errorf("the seven days ahead are %q", slots)
	}

	edit := func(body string) scheduleBody {
		t.Helper()
		return decode[scheduleBody](t, p.edit(t, http.StatusOK, http.MethodPatch, path, body).body)
	}
	edit(`{"timezone":"Asia/Kathmandu","frequency":"weekly","days_of_week":[7,1],"grace_seconds":600}`)
	paused := edit(`{"is_enabled":false}`)
	if paused.NextRunAt != nil || paused.Revision != 3 {
		t.Errorf("paused, it is %+v", paused)
	}
	for _, line := range p.slotLines(t, p.Readonly.Subject, p.path(path)+"/slots?") {
		if !strings.Contains(line, " paused - - []") {
			t.Errorf("paused, it has the slot %s", line)
		}
	}
	if same := edit(`{"is_enabled":false,"days_of_week":[1,7],"timezone":"Asia/Kathmandu"}`); same.Revision != 3 {
		t.Errorf("an edit that changes nothing made revision %d", same.Revision)
	}
	edit(`{"name":"Weekly","is_enabled":true,"grace_seconds":null}`)
	gone := decode[scheduleBody](t, p.edit(t, http.StatusOK, http.MethodDelete, path, "").body)
	if gone.DeletedAt == nil || gone.NextRunAt != nil || gone.Revision != 5 {
		t.Errorf("deleted, it is %+v", gone)
	}
	p.edit(t, http.StatusOK, http.MethodDelete, path, "")
	p.edit(t, http.StatusConflict, http.MethodPatch, path, `{"name":"Back"}`)
	if left := p.slotLines(t, p.Readonly.Subject, p.path(path)+"/slots?"); len(left) != 0 {
		t.Errorf("deleted, it has the slots %q", left)
	}
	daily, weekly := " UTC daily "+at+" - - on ", " Asia/Kathmandu weekly "+at+" [1, 7] "
	want := []string{
		"1" + daily + p.Manager.Name, "2" + weekly + "600 on " + p.Manager.Name, "3" + weekly + "600 paused " + p.Manager.Name,
		"4" + weekly + "- on " + p.Manager.Name, "5" + weekly + "- deleted " + p.Manager.Name,
	}
	if got := p.versions(t, s.ID); !slices.Equal(got, want) {
		t.Errorf("the versions are %q, want %q", got, want)
	}
}

func TestEverythingWrongWithAScheduleIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	p := newPlanner(t, newHarness(t))
	foreign := dbtest.NewTenant(t, p.pool, dbtest.NewWorkspace(t, p.pool).ID)
	id := p.plan(t, `{"name":"Nightly","frequency":"daily","time_of_day":"02:30"}`).ID
	existing := fmt.Sprintf("/%d", id)
	for _, c := range []struct{ method, rest, body, places string }{
		{http.MethodPost, "", `{}`, "/frequency /name /time_of_day"},
		{http.MethodPost, "", `{"name":"","frequency":"hourly","time_of_day":"24:61","timezone":"Mars/Olympus","is_enabled":"yes",
			"retention_keep_last":0,"grace_seconds":59,"colour":1}`,
			"/colour /frequency /grace_seconds /is_enabled /name /retention_keep_last /time_of_day /timezone"},
		{http.MethodPost, "", `{"name":"a","frequency":"weekly","time_of_day":"02:30"}`, "/days_of_week"},
		{http.MethodPost, "", `{"name":"a","frequency":"weekly","time_of_day":"02:30","days_of_week":[8]}`, "/days_of_week"},
		{http.MethodPost, "", `{"name":"a","frequency":"daily","time_of_day":"02:30","days_of_week":[1]}`, "/days_of_week"},
		{http.MethodPost, "", `{"name":"a","frequency":"daily","time_of_day":"02:30","retention_keep_last":1.5,"grace_seconds":43201}`,
			"/grace_seconds /retention_keep_last"},
		{http.MethodPost, "", fmt.Sprintf(`{"name":"a","frequency":"daily","time_of_day":"02:30","tenant_id":%d}`, foreign), "/tenant_id"},
		{http.MethodPost, "", fmt.Sprintf(`{"name":"a","frequency":"daily","time_of_day":"02:30","tenant_id":%d}`, int64(1)<<60), "/tenant_id"},
		{http.MethodPatch, existing, `{"timezone":"Local","time_of_day":"2:30","frequency":"weekly"}`, "/days_of_week /time_of_day /timezone"},
		{http.MethodPatch, existing, `{"timezone":"right/Europe/Berlin"}`, "/timezone"},
		{http.MethodPatch, existing, `{"timezone":"localtime"}`, "/timezone"},
		{http.MethodPatch, existing, `{"tenant_id":1,"days_of_week":"[1]"}`, "/days_of_week /tenant_id"},
		{http.MethodPost, "", `{"name":"a","frequency":"weekly","time_of_day":"02:30","days_of_week":["mon","3",0]}`, "/days_of_week"},
		{http.MethodPost, "", `{"name":"a","frequency":"weekly","time_of_day":"02:30","days_of_week":[1,null]}`, "/days_of_week"},
		{http.MethodPatch, existing, `{"frequency":"weekly","days_of_week":["2"]}`, "/days_of_week"},
		{http.MethodPatch, existing, `{"frequency":"weekly","days_of_week":[0,2]}`, "/days_of_week"},
	} {
		got := decode[problemBody](t, p.edit(t, http.StatusUnprocessableEntity, c.method, c.rest, c.body).body)
		if places := strings.Join(slices.Compact(got.pointers()), " "); places != c.places {
			t.Errorf("%s %s: faults at %q, want %q", c.method, c.body, places, c.places)
		}
	}
	if got := p.versions(t, id); len(got) != 1 {
		t.Errorf("what was refused left the versions %q", got)
	}
}

func TestAScheduleBecomesWeeklyOnlyOnDaysThatCanBeRead(t *testing.T) {
	t.Parallel()
	p := newPlanner(t, newHarness(t))
	for stored, want := range map[string][]time.Weekday{
		`[]`: nil, `{}`: nil, `null`: nil, `["never"]`: nil, `"x"`: nil, // what older stores left beside "daily"
		`["mon", "3"]`: {time.Monday, time.Wednesday}, `{"1": 5}`: {time.Friday},
	} {
		s := p.plan(t, `{"name":"Nightly","frequency":"daily","time_of_day":"02:30"}`)
		p.exec(t, "UPDATE backup_schedules SET days_of_week = $3::text::jsonb WHERE workspace_id = $1 AND id = $2", p.ID, s.ID, stored)
		path := fmt.Sprintf("/%d", s.ID)
		if want == nil {
			got := decode[problemBody](t, p.edit(t, http.StatusUnprocessableEntity, http.MethodPatch, path, `{"frequency":"weekly"}`).body)
			if !slices.Equal(got.pointers(), []string{"/days_of_week"}) {
				t.Errorf("%s: faults at %q", stored, got.pointers())
			}
			p.edit(t, http.StatusOK, http.MethodPatch, path, `{"frequency":"weekly","days_of_week":[2]}`)
			continue
		}
		got := decode[struct { // the days are shown as they are stored
			NextRunAt *time.Time `json:"next_run_at"`
		}](t, p.edit(t, http.StatusOK, http.MethodPatch, path, `{"frequency":"weekly"}`).body)
		if got.NextRunAt == nil || !slices.Contains(want, got.NextRunAt.Weekday()) {
			t.Errorf("%s: weekly, it is next due at %v", stored, got.NextRunAt)
		}
	}
}

func TestAnEditThatMovesNoSlotTakesNoneAwayAndOneThatIsNoneOfThePlanMakesNoVersion(t *testing.T) {
	t.Parallel()
	p := newPlanner(t, newHarness(t))
	s := p.plan(t, `{"name":"Nightly","frequency":"daily","time_of_day":"02:30"}`)
	path := fmt.Sprintf("/%d", s.ID)
	// A backup that is due, and that nobody has taken yet.
	due := time.Now().UTC().Truncate(time.Second).Add(-time.Minute)
	p.exec(t, "UPDATE backup_schedules SET next_run_at = $3 WHERE workspace_id = $1 AND id = $2", p.ID, s.ID, due)
	for _, c := range []struct {
		body     string
		versions int
	}{
		{`{"name":"Renamed"}`, 1}, {`{"retention_keep_last":7}`, 1}, {`{"name":"Again","time_of_day":"02:30:00"}`, 1}, {`{"grace_seconds":600}`, 2},
	} {
		got := decode[scheduleBody](t, p.edit(t, http.StatusOK, http.MethodPatch, path, c.body).body)
		if got.NextRunAt == nil || !got.NextRunAt.Equal(due) {
			t.Errorf("%s: due at %v, which was %s", c.body, got.NextRunAt, due)
		}
		if versions := p.versions(t, s.ID); len(versions) != c.versions {
			t.Errorf("%s: the versions are %q", c.body, versions)
		}
		// Whoever changes the plan with SQL and leaves updated_at as it is has not done it with this edit.
		var compared bool
		if err := p.pool.QueryRow(t.Context(), `SELECT v.compared_updated_at = s.updated_at FROM backup_schedules AS s
			JOIN backup_schedule_versions AS v ON v.workspace_id = s.workspace_id AND v.schedule_id = s.id
			WHERE s.workspace_id = $1 AND s.id = $2 ORDER BY v.version DESC LIMIT 1`, p.ID, s.ID).Scan(&compared); err != nil || !compared {
			t.Errorf("%s: the newest version is not compared with the schedule as it is: %v", c.body, err)
		}
	}
	for i, body := range []string{`{"time_of_day":"02:31"}`, `{"timezone":"Asia/Kathmandu"}`, `{"frequency":"weekly","days_of_week":[3]}`, `{"days_of_week":[4]}`} {
		p.exec(t, "UPDATE backup_schedules SET next_run_at = $3 WHERE workspace_id = $1 AND id = $2", p.ID, s.ID, due)
		got := decode[scheduleBody](t, p.edit(t, http.StatusOK, http.MethodPatch, path, body).body)
		if got.NextRunAt == nil || !got.NextRunAt.After(due) {
			t.Errorf("%s: due at %v by the plan that was", body, got.NextRunAt)
		}
		if versions := p.versions(t, s.ID); len(versions) != 3+i {
			t.Errorf("%s: the versions are %q", body, versions)
		}
	}
}

// A row from before the rules held may break one; nobody else's edit is to blame then.
func TestAScheduleThatBreaksARuleIsMadeWholeByAFrequency(t *testing.T) {
	t.Parallel()
	p := newPlanner(t, newHarnessOnFresh(t))
	p.client.Transport = p.plainTransport(t) // the contract knows daily and weekly alone
	s := p.plan(t, `{"name":"Nightly","frequency":"daily","time_of_day":"02:30"}`)
	for _, statement := range []string{
		"ALTER TABLE backup_schedules DROP CONSTRAINT backup_schedules_frequency_check",
		"UPDATE backup_schedules SET frequency = 'monthly'",
		"ALTER TABLE backup_schedules ADD CONSTRAINT backup_schedules_frequency_check CHECK (frequency IN ('daily', 'weekly')) NOT VALID",
	} {
		p.exec(t, statement)
	}
	path := fmt.Sprintf("/%d", s.ID)
	for method, body := range map[string]string{http.MethodPatch: `{"name":"Renamed"}`, http.MethodDelete: ""} {
		if got := p.edit(t, http.StatusConflict, method, path, body); !strings.Contains(got.body, "a frequency makes it whole") {
			t.Errorf("%s: %s", method, got.body)
		}
	}
	p.edit(t, http.StatusOK, http.MethodPatch, path, `{"frequency":"daily"}`)
	p.edit(t, http.StatusOK, http.MethodPatch, path, `{"name":"Renamed"}`)
}

func TestDeletedSchedulesCanBeLeftOut(t *testing.T) {
	t.Parallel()
	p := newPlanner(t, newHarness(t))
	kept := p.plan(t, `{"name":"Kept","frequency":"daily","time_of_day":"02:30"}`)
	gone := p.plan(t, `{"name":"Gone","frequency":"daily","time_of_day":"02:30"}`)
	p.edit(t, http.StatusOK, http.MethodDelete, fmt.Sprintf("/%d", gone.ID), "")
	for query, want := range map[string][]int64{"": {gone.ID, kept.ID}, "?deleted=false": {kept.ID}, "?deleted=true&is_enabled=true": {gone.ID}} {
		page := decode[struct {
			Data []scheduleBody `json:"data"`
		}](t, p.edit(t, http.StatusOK, http.MethodGet, query, "").body)
		var ids []int64
		for _, s := range page.Data {
			ids = append(ids, s.ID)
		}
		if slices.Sort(ids); !slices.Equal(ids, slices.Sorted(slices.Values(want))) {
			t.Errorf("%q lists %v, want %v", query, ids, want)
		}
	}
}

// Who has made the backups fewer is not to be found out from what is left of them.
func TestWhoChangesHowManyBackupsAreKeptIsAudited(t *testing.T) {
	t.Parallel()
	p := newPlanner(t, newHarness(t))
	s := p.plan(t, `{"name":"Nightly","frequency":"daily","time_of_day":"02:30","retention_keep_last":30}`)
	path := fmt.Sprintf("/%d", s.ID)
	for _, body := range []string{`{"retention_keep_last":30}`, `{"name":"Renamed"}`, `{"retention_keep_last":7,"time_of_day":"03:00"}`, `{"retention_keep_last":7}`, `{"retention_keep_last":8}`} {
		p.edit(t, http.StatusOK, http.MethodPatch, path, body)
	}
	rows, err := p.pool.Query(t.Context(), `SELECT action || ' ' || actor || ' ' || target || ' ' || (data->>'keep_last_before') || ' ' || (data->>'keep_last')
		FROM audit_events WHERE workspace_id = $1 ORDER BY id`, p.ID)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	var name string
	if err := p.pool.QueryRow(t.Context(), "SELECT actor FROM backup_schedule_versions WHERE workspace_id = $1 LIMIT 1", p.ID).Scan(&name); err != nil {
		t.Fatal(err)
	}
	begin := fmt.Sprintf("schedule_retention_set %s backup schedule %d ", name, s.ID)
	if want := []string{begin + "30 7", begin + "7 8"}; !slices.Equal(got, want) || name == "" {
		t.Errorf("the audit tells %q, want %q", got, want)
	}
}

// An older store has days in words of its own, and days of a daily schedule, which count for nothing.
func TestTheSameDaysInAnOlderStoresWordsAreNoOtherSlots(t *testing.T) {
	t.Parallel()
	p := newPlanner(t, newHarness(t))
	for _, c := range []struct{ made, days, body string }{
		{`{"name":"W","frequency":"weekly","days_of_week":[1],"time_of_day":"02:30"}`, `["mon", 1]`, `{"frequency":"weekly","days_of_week":[1]}`},
		{`{"name":"D","frequency":"daily","time_of_day":"02:30"}`, `[1, 2]`, `{"frequency":"daily"}`},
		{`{"name":"M","frequency":"weekly","days_of_week":[1],"time_of_day":"02:30"}`, `["montag"]`, `{"name":"Monday"}`}, // nobody can read that
	} {
		s := p.plan(t, c.made)
		due := time.Now().UTC().Truncate(time.Second).Add(-time.Minute)
		p.exec(t, "UPDATE backup_schedules SET next_run_at = $3, days_of_week = $4 WHERE workspace_id = $1 AND id = $2", p.ID, s.ID, due, c.days)
		got := decode[struct {
			NextRunAt *time.Time `json:"next_run_at"`
		}](t, p.edit(t, http.StatusOK, http.MethodPatch, fmt.Sprintf("/%d", s.ID), c.body).body)
		if got.NextRunAt == nil || !got.NextRunAt.Equal(due) {
			t.Errorf("%s: due at %v, which was %s", c.body, got.NextRunAt, due)
		}
	}
}

func TestTheMidnightAtTheEndOfADayIsNotThatAtItsBeginning(t *testing.T) {
	t.Parallel()
	p := newPlanner(t, newHarness(t))
	s := p.plan(t, `{"name":"Nightly","frequency":"daily","time_of_day":"00:00","timezone":"UTC"}`)
	path := fmt.Sprintf("/%d", s.ID)
	p.exec(t, "UPDATE backup_schedules SET time_of_day = '24:00' WHERE workspace_id = $1 AND id = $2", p.ID, s.ID)
	got := decode[scheduleBody](t, p.get(t, http.StatusOK, p.Manager.Subject, p.path(path)).body)
	if got.TimeOfDay != "24:00:00" {
		t.Errorf("it is shown at %s", got.TimeOfDay)
	}
	got = decode[scheduleBody](t, p.edit(t, http.StatusOK, http.MethodPatch, path, `{"name":"Renamed","time_of_day":"24:00:00"}`).body)
	if got.TimeOfDay != "24:00:00" {
		t.Errorf("sent back, it is at %s", got.TimeOfDay)
	}
	if got = p.plan(t, `{"name":"Other","frequency":"daily","time_of_day":"24:00"}`); got.TimeOfDay != "24:00:00" {
		t.Errorf("made at 24:00, it is at %s", got.TimeOfDay)
	}
}

func TestWhatMayBeLeftOutOfAScheduleMayBeNull(t *testing.T) {
	t.Parallel()
	p := newPlanner(t, newHarness(t))
	s := p.plan(t, `{"name":"Nightly","frequency":"daily","time_of_day":"02:30","tenant_id":null,"is_enabled":null,"timezone":null,
		"days_of_week":null,"retention_keep_last":null,"grace_seconds":null}`)
	got := decode[scheduleBody](t, p.edit(t, http.StatusOK, http.MethodPatch, fmt.Sprintf("/%d", s.ID), `{"name":null,"is_enabled":null,
		"timezone":null,"frequency":null,"time_of_day":null,"days_of_week":null,"retention_keep_last":null,"grace_seconds":null}`).body)
	if got.Revision != 1 || got.Name != s.Name {
		t.Errorf("an edit that says nothing made it %+v", got)
	}
}

func TestAWorkspaceHasOnlySoManySchedules(t *testing.T) {
	t.Parallel()
	p := newPlanner(t, newHarness(t))
	last := p.plan(t, `{"name":"Nightly","frequency":"daily","time_of_day":"02:30"}`)
	p.exec(t, "INSERT INTO backup_schedules (workspace_id, name, frequency, time_of_day) SELECT $1, n, 'daily', '00:00' FROM generate_series(1, 999) AS n", p.ID)
	const another = `{"name":"Another","frequency":"daily","time_of_day":"02:30"}`
	if got := p.edit(t, http.StatusConflict, http.MethodPost, "", another); !strings.Contains(got.body, "1000 schedules") {
		t.Error(got.body)
	}
	p.edit(t, http.StatusOK, http.MethodDelete, fmt.Sprintf("/%d", last.ID), "")
	p.edit(t, http.StatusCreated, http.MethodPost, "", another)
}

func TestOnlyManagersEditSchedulesAndForeignOnesAreNotThere(t *testing.T) {
	t.Parallel()
	p := newPlanner(t, newHarness(t))
	id := p.plan(t, `{"name":"Nightly","frequency":"daily","time_of_day":"02:30"}`).ID
	existing := fmt.Sprintf("/%d", id)
	writes := []struct{ method, rest, body string }{
		{http.MethodPost, "", `{"name":"a","frequency":"daily","time_of_day":"02:30"}`},
		{http.MethodPatch, existing, `{"is_enabled":false}`},
		{http.MethodDelete, existing, ""},
	}
	for _, who := range []dbtest.User{p.Operator, p.Readonly} {
		denied := planner{&worker{harness: p.harness, Workspace: p.Workspace, bearer: p.token(t, who.Subject)}}
		for _, c := range writes {
			denied.edit(t, http.StatusForbidden, c.method, c.rest, c.body)
		}
	}
	if got := p.versions(t, id); len(got) != 1 {
		t.Errorf("what was forbidden left the versions %q", got)
	}
	theirs := fmt.Sprintf("/%d", backupSchedule(t, p.harness, dbtest.NewWorkspace(t, p.pool).ID, 3))
	none := fmt.Sprintf("/%d", int64(1)<<60)
	for _, c := range writes[1:] {
		a, b := p.edit(t, http.StatusNotFound, c.method, theirs, c.body, "X-Request-Id", "the-same"),
			p.edit(t, http.StatusNotFound, c.method, none, c.body, "X-Request-Id", "the-same")
		if a.comparable() != b.comparable() {
			t.Errorf("%s: a foreign schedule is\n%s\nnone is\n%s", c.method, a.comparable(), b.comparable())
		}
	}
	owner := planner{&worker{harness: p.harness, Workspace: p.Workspace, bearer: p.token(t, p.Owner.Subject)}}
	owner.edit(t, http.StatusOK, http.MethodPatch, existing, `{"is_enabled":false}`)
}

func TestAnEditOfARevisionThatIsPastIsRefused(t *testing.T) {
	t.Parallel()
	p := newPlanner(t, newHarness(t))
	s := p.plan(t, `{"name":"Nightly","frequency":"daily","time_of_day":"02:30"}`)
	path := fmt.Sprintf("/%d", s.ID)
	tag := p.get(t, http.StatusOK, p.Readonly.Subject, p.path(path)).header.Get("ETag")
	p.edit(t, http.StatusOK, http.MethodPatch, path, `{"name":"First"}`, "If-Match", tag)
	p.edit(t, http.StatusPreconditionFailed, http.MethodPatch, path, `{"name":"Second"}`, "If-Match", tag)
	p.edit(t, http.StatusPreconditionFailed, http.MethodDelete, path, "", "If-Match", tag)
	if got := decode[scheduleBody](t, p.get(t, http.StatusOK, p.Readonly.Subject, p.path(path)).body); got.Name != "First" || got.DeletedAt != nil || got.Revision != 2 {
		t.Errorf("it is %+v", got)
	}
	p.edit(t, http.StatusOK, http.MethodPatch, path, `{"name":"Third"}`, "If-Match", "*")
	p.edit(t, http.StatusOK, http.MethodPatch, path, `{"name":"Fourth"}`)
}
