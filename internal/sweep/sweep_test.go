package sweep

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

// state is what the sweep may change of a run.
type state struct {
	Status, Outcome string
	Stalled         *string
	Marked          bool
	Ended           bool
	Failures        string
	Revision        int64
}

func (w *world) state(t *testing.T, id int64) state {
	t.Helper()
	rows, err := w.pool.Query(t.Context(), `
		SELECT status, outcome, stalled, stalled_at IS NOT NULL AS marked, completed_at IS NOT NULL AS ended,
		       jsonb_path_query_array(failure_summary, '$[*].code')::text AS failures, revision
		FROM operation_runs WHERE workspace_id = $1 AND id = $2`, w.workspace, id)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[state])
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// events are the events of a run as "kind actor data", the data without instants, which must be in UTC.
func (w *world) events(t *testing.T, id int64) []string {
	t.Helper()
	rows, err := w.pool.Query(t.Context(), `
		SELECT kind, actor, data - 'heartbeat_at' - 'stalled_at' - 'progressed_at',
		       array(SELECT key || ' ' || value FROM jsonb_each_text(data) WHERE key LIKE '%\_at' AND value !~ '^[0-9-]{10}T[0-9:.]+Z$')
		FROM operation_run_events WHERE workspace_id = $1 AND run_id = $2 ORDER BY id`, w.workspace, id)
	if err != nil {
		t.Fatal(err)
	}
	events, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		var kind, actor string
		var data json.RawMessage
		var wrong []string
		err := row.Scan(&kind, &actor, &data, &wrong)
		if len(wrong) > 0 {
			t.Errorf("the event %s has %v", kind, wrong)
		}
		return fmt.Sprintf("%s %s %s", kind, actor, data), err
	})
	if err != nil {
		t.Fatal(err)
	}
	return events
}

const running = "type, status, created_at, started_at, "

func hoursAgo(hours int) string {
	at := fmt.Sprintf("now() - '%d hours'::interval", hours)
	return "'inventory_sync', 'running', " + at + ", " + at + ", "
}

func TestASilentRunIsMarkedOnceAndFailedWhenItStaysSilentAsLongAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.run(t, running+"heartbeat_at, failure_summary", hoursAgo(2)+`now() - '16 minutes'::interval, '[{"code": "disk_full", "message": "…"}]'`)

	if got, want := w.sweep(t), (swept{NoHeartbeat: 1}); got != want {
		t.Errorf("first sweep: %+v, want %+v", got, want)
	}
	marked := state{Status: "running", Outcome: "pending", Stalled: new("no_heartbeat"), Marked: true, Failures: `["disk_full"]`, Revision: 1}
	if diff := cmp.Diff(marked, w.state(t, id)); diff != "" {
		t.Error(diff)
	}
	w.age(t, "14 minutes")
	if got := w.sweep(t); got != (swept{}) {
		t.Errorf("before the second period is over: %+v", got)
	}
	w.age(t, "2 minutes")
	if got, want := w.sweep(t), (swept{Failed: 1}); got != want {
		t.Errorf("second period over: %+v, want %+v", got, want)
	}
	failed := state{
		Status: "completed", Outcome: "failed", Stalled: new("no_heartbeat"), Marked: true, Ended: true,
		Failures: `["disk_full", "run_stalled"]`, Revision: 2,
	}
	if diff := cmp.Diff(failed, w.state(t, id)); diff != "" {
		t.Error(diff)
	}
	if got := w.sweep(t); got != (swept{}) {
		t.Errorf("after the end: %+v", got)
	}
	want := []string{
		`stalled runledger {"stalled": "no_heartbeat"}`,
		`completed runledger {"status": "completed", "outcome": "failed", "verdict": "run_stalled"}`,
	}
	if diff := cmp.Diff(want, w.events(t, id)); diff != "" {
		t.Error(diff)
	}
}

func TestOnlyRunsThatAreDueAreMarked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec(t, `INSERT INTO operation_types (name, label, stale_after) VALUES ('patient', 'Patient', NULL), ('slow', 'Slow', '3 hours'), ('hasty', 'Hasty', '1 minute')`)
	const ago, hours = "now() - '14 minutes'::interval", "now() - '2 hours'::interval"
	for _, c := range []struct{ name, columns, values, want string }{
		{"queued for hours", "type, status, created_at", "'inventory_sync', 'queued', " + hours, ""},
		{"completed", "type, status, outcome, created_at, started_at, completed_at", "'inventory_sync', 'completed', 'succeeded', " + hours + ", " + hours + ", " + hours, ""},
		{"heard of", running + "heartbeat_at, progressed_at", hoursAgo(2) + ago + ", " + ago, ""},
		{"silent for ever in a type that allows it", running + "heartbeat_at", "'patient', 'running', " + hours + ", " + hours + ", " + hours, ""},
		{"silent and not yet due in its type", running + "heartbeat_at", "'slow', 'running', " + hours + ", " + hours + ", " + hours, ""},
		{"due in its type", running + "heartbeat_at", "'hasty', 'running', " + hours + ", " + hours + ", " + ago, "no_heartbeat"},
		{"of a type that is not listed, within the default", running + "heartbeat_at, progressed_at", "'unlisted', 'running', " + hours + ", " + hours + ", " + ago + ", " + ago, ""},
		{"of a type that is not listed, silent", running + "heartbeat_at", "'unlisted', 'running', " + hours + ", " + hours + ", " + hours, "no_heartbeat"},
		{"never heard of since its start", "type, status, created_at, started_at", "'inventory_sync', 'running', " + hours + ", " + hours, "no_heartbeat"},
		{"just started", "type, status, created_at, started_at", "'inventory_sync', 'running', " + hours + ", " + ago, ""},
		{"without any instant but its update", "type, status, created_at, updated_at", "'inventory_sync', 'running', NULL, " + hours, "no_heartbeat"},
		{"just updated", "type, status, created_at, updated_at", "'inventory_sync', 'running', NULL, " + ago, ""},
		{"without any instant", "type, status, created_at, updated_at", "'inventory_sync', 'running', NULL, NULL", "no_heartbeat"},
		{"that lives and gets nowhere", running + "heartbeat_at, progressed_at", hoursAgo(2) + ago + ", " + hours, "no_progress"},
		{"that lives and never got anywhere", running + "heartbeat_at", hoursAgo(2) + ago, "no_progress"},
		{"that lives in a type that allows all", running + "heartbeat_at, progressed_at", "'patient', 'running', " + hours + ", " + hours + ", " + ago + ", " + hours, ""},
	} {
		id := w.run(t, c.columns, c.values)
		before := w.state(t, id)
		w.sweep(t)
		got := w.state(t, id)
		want := before
		if c.want != "" {
			want.Stalled, want.Marked = &c.want, true
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("a run %s: %s", c.name, diff)
		}
		if got, want := len(w.events(t, id)), min(len(c.want), 1); got != want {
			t.Errorf("a run %s: %d events, want %d", c.name, got, want)
		}
		w.exec(t, "DELETE FROM operation_run_events WHERE workspace_id = $1", w.workspace)
		w.exec(t, "DELETE FROM operation_runs WHERE workspace_id = $1", w.workspace)
	}
}

func TestARunWithoutProgressIsNeverFailedForItAndItsSilenceCountsFromItsOwnMark(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.run(t, running+"heartbeat_at", hoursAgo(9)+"now()")
	if got, want := w.sweep(t), (swept{NoProgress: 1}); got != want {
		t.Errorf("without progress: %+v, want %+v", got, want)
	}
	for range 3 {
		w.exec(t, "UPDATE operation_runs SET stalled_at = stalled_at - '1 hour'::interval WHERE workspace_id = $1", w.workspace)
		if got := w.sweep(t); got != (swept{}) {
			t.Fatalf("it was marked already: %+v", got)
		}
	}
	w.exec(t, "UPDATE operation_runs SET heartbeat_at = now() - '20 minutes'::interval WHERE workspace_id = $1", w.workspace)
	if got, want := w.sweep(t), (swept{NoHeartbeat: 1}); got != want {
		t.Errorf("silent, too: %+v, want %+v", got, want)
	}
	if got := w.sweep(t); got != (swept{}) {
		t.Errorf("just found silent: %+v", got)
	}
	w.age(t, "16 minutes")
	if got, want := w.sweep(t), (swept{Failed: 1}); got != want {
		t.Errorf("silent as long again: %+v, want %+v", got, want)
	}
	want := []string{
		`stalled runledger {"stalled": "no_progress"}`,
		`stalled runledger {"stalled": "no_heartbeat"}`,
		`completed runledger {"status": "completed", "outcome": "failed", "verdict": "run_stalled"}`,
	}
	if diff := cmp.Diff(want, w.events(t, id)); diff != "" {
		t.Error(diff)
	}
}

func TestAMarkWithoutItsKindCountsAsSilence(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.run(t, running+"heartbeat_at, stalled_at, failure_summary", hoursAgo(3)+"now() - '2 hours'::interval, now() - '1 hour'::interval, 'null'")
	if got, want := w.sweep(t), (swept{Failed: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := w.state(t, id); got.Stalled == nil || *got.Stalled != "no_heartbeat" || got.Failures != `["run_stalled"]` {
		t.Errorf("%+v", got)
	}
}

func TestARunThatStartedInTheFutureEndsNotBeforeItsStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.run(t, "type, status, started_at, heartbeat_at, stalled, stalled_at",
		"'inventory_sync', 'running', now() + '1 minute'::interval, now() - '1 hour'::interval, 'no_heartbeat', now() - '1 hour'::interval")
	w.sweep(t)
	if got := w.state(t, id); !got.Ended {
		t.Errorf("%+v", got)
	}
}

func TestASweepGoesThroughAllWorkspacesAndMoreRunsThanABatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.silentRuns(t, 2*batchSize+7, false)
	other := *w
	other.workspace = one[int64](t, w, "INSERT INTO workspaces (name) VALUES ('Other') RETURNING id")
	other.silentRuns(t, 3, true)
	if got, want := w.sweep(t), (swept{NoHeartbeat: 2*batchSize + 7, Failed: 3}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
