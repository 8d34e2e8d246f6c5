package console_test

import (
	"fmt"
	"testing"
)

func TestTheOverviewTellsWhatRunsAndFailsAndEachNumberLeadsToItsList(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	oldest := s.start(t, `{"type":"inventory_sync"}`)
	running := s.start(t, `{"type":"inventory_sync"}`)
	s.report(t, running, `{"status":"running","summary_counts":{"total":4,"processed":1,"succeeded":1}}`)
	failed := s.start(t, `{"type":"drift_generate_findings"}`)
	s.report(t, failed, `{"status":"completed","outcome":"failed","failure_summary":[{"code":"graph_throttled","message":"Gave up after 5 attempts."}]}`)
	s.exec(t, `INSERT INTO operation_runs (workspace_id, type, status, outcome, started_at, completed_at, created_at, updated_at)
		SELECT $1, 'inventory_sync', 'completed', outcome, now() - '3 days'::interval, now() - '71 hours'::interval, now() - '3 days'::interval, now() - '71 hours'::interval
		FROM unnest(ARRAY['failed', 'succeeded', 'succeeded', 'succeeded']) AS outcome`, s.workspace.ID)
	s.exec(t, `INSERT INTO backup_schedules (workspace_id, name, frequency, time_of_day, created_at)
		VALUES ($1, 'Nightly', 'daily', '02:30', now() - '30 days'::interval)`, s.workspace.ID)
	s.exec(t, `INSERT INTO backup_schedules (workspace_id, name, frequency, time_of_day, is_enabled) VALUES ($1, 'Resting', 'daily', '02:30', false)`, s.workspace.ID)

	p := s.open(t, s.workspace.Readonly, s.path(""))
	p.awaitText(".tile:nth-child(1)", "1 Running now")
	p.awaitText(".tile:nth-child(2)", "1 Waiting")
	p.awaitText(".tile:nth-child(3)", "0 Stalled")
	p.awaitText(".tile:nth-child(4)", "1 Not succeeded in the last day")
	p.awaitText(".tile:nth-child(5)", fmt.Sprintf("#%d", oldest))
	p.awaitText("[data-region=failed]", "graph_throttled Gave up after 5 attempts.")
	p.awaitText("[data-region=active]", "1 of 4")
	p.awaitText("[data-region=health]", "Paused 1")
	p.awaitText("[data-region=health]", "Nightly")
	// Three of the five that are completed succeeded.
	p.awaitText("[data-region=stats]", "7 runs, 60.0 % succeeded")
	p.click("[data-region=stats] .numbers summary")
	p.awaitText("[data-region=stats] .numbers tbody tr:nth-child(2)", "4 3 0 1 75.0 %")
	p.accessible()

	p.click("a.tile:nth-child(4)")
	p.until(fmt.Sprintf("document.querySelectorAll('main tbody tr').length === 1 && document.querySelector('main tbody tr').dataset.id === '%d'", failed))
	p.back()
	p.click("a.tile:nth-child(1)")
	p.until(fmt.Sprintf("document.querySelectorAll('main tbody tr').length === 1 && document.querySelector('main tbody tr').dataset.id === '%d'", running))
	p.back()

	// It is live.
	p.awaitText(".tile:nth-child(1)", "1 Running now")
	s.report(t, oldest, `{"status":"running"}`)
	p.awaitText(".tile:nth-child(1)", "2 Running now")
	p.awaitText(".tile:nth-child(2)", "0 Waiting")
	s.report(t, running, `{"status":"completed","outcome":"blocked"}`)
	p.awaitText(".tile:nth-child(4)", "2 Not succeeded")
	p.awaitText("[data-region=failed]", "Blocked")
}

func TestWhatHasEndedIsNotStalledAnyMore(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ended, silent := s.start(t, `{"type":"inventory_sync"}`), s.start(t, `{"type":"inventory_sync"}`)
	for _, id := range []int64{ended, silent} {
		s.report(t, id, `{"status":"running"}`)
		s.exec(t, "UPDATE operation_runs SET stalled_at = now(), stalled = 'no_heartbeat' WHERE workspace_id = $1 AND id = $2", s.workspace.ID, id)
	}
	s.exec(t, `UPDATE operation_runs SET status = 'completed', outcome = 'failed', completed_at = now()
		WHERE workspace_id = $1 AND id = $2`, s.workspace.ID, ended)
	p := s.open(t, s.workspace.Readonly, s.path(""))
	p.awaitText(".tile:nth-child(3)", "1 Stalled")
	p.click("a.tile:nth-child(3)")
	one := fmt.Sprintf("document.querySelectorAll('main tbody tr').length === 1 && document.querySelector('main tbody tr').dataset.id === '%d'", silent)
	p.until(one)
	p.awaitText(".tabs [aria-current]", "Stalled")
	p.visit(s.path("/runs"))
	p.click(".tabs a:nth-child(4)")
	p.until(one)
	s.report(t, silent, `{"status":"completed","outcome":"failed"}`)
	p.visit(s.path(""))
	p.awaitText(".tile:nth-child(3)", "0 Stalled")
}

func TestAnEmptyWorkspaceSaysWhatWillBeThere(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.open(t, s.workspace.Readonly, s.path(""))
	p.awaitText("[data-region=active]", "Nothing runs now")
	p.awaitText("[data-region=failed]", "Nothing failed in the last day")
	p.awaitText("[data-region=health]", "A manager plans one with POST "+s.path("/backup-schedules"))
	p.awaitText("[data-region=stats]", "Nothing ran in this time")
	p.accessible()
}
