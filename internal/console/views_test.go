package console_test

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/seed"
)

// demo is a site with the data that "runledger dev" shows.
type demo struct {
	*site
	seed.DemoData

	owner                         dbtest.User
	failed, active, found, itemID int64 // one of each, to look at
}

// views are all views, with an address in the demonstration's data and what shows once all is there.
var views = []struct {
	name  string
	path  func(d demo) string
	ready string
}{
	{"workspaces", func(demo) string { return "/" }, "main tbody tr"},
	{"overview", func(d demo) string { return d.path("") }, "main .chart"},
	{"runs", func(d demo) string { return d.path("/runs") }, "main tbody tr:nth-child(20)"},
	{"run", func(d demo) string { return d.path("/runs/" + strconv.FormatInt(d.failed, 10)) }, "main .timeline"},
	{"schedules", func(d demo) string { return d.path("/schedules") }, "main .strip-days"},
	{"schedule", func(d demo) string { return d.path("/schedules/" + strconv.FormatInt(d.ScheduleID, 10)) }, "main .cal .v-missed"},
	{"retention", func(d demo) string {
		return d.path("/schedules/" + strconv.FormatInt(d.ScheduleID, 10) + "?view=retention")
	}, "main .retention"},
	{"findings", func(d demo) string { return d.path("/findings") }, "main tbody tr"},
	{"finding", func(d demo) string { return d.finding(d.found) }, "main .side-by-side"},
	{"inventory", func(d demo) string { return d.path("/inventory") }, "main tbody tr"},
	{"item", func(d demo) string { return d.item(d.itemID) }, "main .tree"},
	{"run-active", func(d demo) string { return d.path("/runs/" + strconv.FormatInt(d.active, 10)) }, "main .timeline"},
}

// newDemo serves the demonstration's data from a database of the test's own.
func newDemo(t *testing.T) demo {
	t.Helper()
	url := dbtest.Fresh(t)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	data, err := seed.Demo(t.Context(), conn)
	_ = conn.Close(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pool := dbtest.Connect(t, url)
	d := demo{site: newSiteOn(t, pool, pool), DemoData: data, owner: dbtest.User{Subject: data.Owner}}
	d.workspace.ID = data.WorkspaceID
	for query, id := range map[string]*int64{
		`SELECT max(id) FROM operation_runs WHERE workspace_id = $1 AND outcome = 'failed'
			AND context->>'backup_schedule_id' IS NOT NULL`: &d.failed,
		`SELECT max(id) FROM operation_runs WHERE workspace_id = $1 AND status = 'running'`: &d.active,
		`SELECT max(id) FROM findings WHERE workspace_id = $1 AND status = 'new'`:           &d.found,
		`SELECT max(id) FROM inventory_items WHERE workspace_id = $1`:                       &d.itemID,
	} {
		if err := pool.QueryRow(t.Context(), query, data.WorkspaceID).Scan(id); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// TestEveryViewIsAccessible looks at every view with axe, in both themes, on data as life has it. If
// RUNLEDGER_PICTURES names a directory, it takes their pictures for the documentation as well: "make
// screenshots".
func TestEveryViewIsAccessible(t *testing.T) {
	t.Parallel()
	d := newDemo(t)
	p := d.open(t, d.owner, "/")
	for _, view := range views {
		p.visit(view.path(d))
		p.await(view.ready)
		p.settle()
		if directory := os.Getenv("RUNLEDGER_PICTURES"); directory != "" {
			p.picture(filepath.Join(directory, view.name))
		}
		p.accessible()
	}
}

// visit goes to a path without loading the page anew, as a link does, and so stays signed in.
func (p *tab) visit(path string) {
	p.t.Helper()
	evaluate[bool](p, `(() => {
		const link = document.createElement('a');
		link.href = '/console' + `+quote(path)+`;
		document.body.append(link);
		link.click();
		link.remove();
		return true;
	})()`)
	p.settle()
}
