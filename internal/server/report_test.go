package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/dbtest"
)

func TestARunGoesFromTheQueueToItsEnd(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	run = w.report(t, run.ID, `{"status":"running"}`)
	if run.Status != "running" || run.StartedAt == nil || run.HeartbeatAt == nil || run.Revision != 2 {
		t.Errorf("started, it is %+v", run)
	}
	started := *run.StartedAt
	run = w.report(t, run.ID, `{"summary_counts":{"seen":3,"changed":0},"failure_summary":[{"code":"x","message":"once"}],"context":{"page":2}}`)
	if run.Status != "running" || !run.StartedAt.Equal(started) || run.SummaryCounts["seen"] != 3 || string(run.Context) != `{"page": 2}` {
		t.Errorf("reported on, it is %+v", run)
	}
	run = w.report(t, run.ID, `{"status":"completed","outcome":"partially_succeeded","summary_counts":{"seen":4}}`)
	if run.Status != "completed" || run.Outcome != "partially_succeeded" || run.CompletedAt == nil || !reflect.DeepEqual(run.SummaryCounts, map[string]int64{"seen": 4}) {
		t.Errorf("completed, it is %+v", run)
	}
	if got := string(run.FailureSummary); got != `[{"code": "x", "message": "once"}]` {
		t.Errorf("its failures are %s", got)
	}
	w.wantEvents(t, run.ID, "created", "started", "reported", "completed")
	// Nothing has to be between the queue and the end.
	blocked := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	if blocked = w.report(t, blocked.ID, `{"status":"completed","outcome":"blocked"}`); blocked.StartedAt != nil || blocked.CompletedAt == nil {
		t.Errorf("blocked, it is %+v", blocked)
	}
	w.wantEvents(t, blocked.ID, "created", "completed")
}

func TestTheSameReportAgainChangesNothingAndAnotherIsAConflictThatCarriesTheRun(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync","context":{"a":1,"b":{"c":[1]}}}`)
	path := fmt.Sprintf("/%d", run.ID)
	// A worker's clock is finer than the database's.
	at := run.CreatedAt.Add(time.Second + 123456789*time.Nanosecond).Format(time.RFC3339Nano)
	report := `{"status":"completed","outcome":"failed","at":"` + at + `","summary_counts":{"n":1},
		"failure_summary":[{"code":"x","message":"y"}],"context":{"b":{"d":2},"a":null,"z":null}}`
	first := w.must(t, http.StatusOK, http.MethodPatch, path, report)
	again := w.must(t, http.StatusOK, http.MethodPatch, path, report)
	if first.comparable() != again.comparable() {
		t.Errorf("again it is\n%s\nnot\n%s", again.comparable(), first.comparable())
	}
	for _, same := range []string{
		`{}`, `{"status":"completed","outcome":"failed"}`, `{"summary_counts":{"n":1}}`, `{"context":{"b":{"d":2}}}`, `{"context":{}}`,
		`{"failure_summary":[{"message":"y","code":"x"}]}`,
	} {
		if got := w.must(t, http.StatusOK, http.MethodPatch, path, same); got.body != first.body {
			t.Errorf("%s changes it to %s", same, got.body)
		}
	}
	for _, other := range []string{
		`{"status":"queued"}`, `{"status":"running"}`, `{"status":"completed","outcome":"succeeded"}`, `{"summary_counts":{"n":2}}`,
		`{"summary_counts":{}}`, `{"context":{"a":1}}`, `{"context":{"b":null}}`, `{"failure_summary":[]}`,
		`{"status":"completed","outcome":"failed","at":"` + run.CreatedAt.Add(time.Second).Format(time.RFC3339Nano) + `"}`,
	} {
		got := w.refused(t, http.StatusConflict, http.MethodPatch, path, other)
		if got.OperationRun == nil || got.OperationRun.ID != run.ID || got.OperationRun.Outcome != "failed" {
			t.Errorf("%s: the conflict carries %+v", other, got.OperationRun)
		}
	}
	for _, action := range []string{"/heartbeat", "/cancel"} {
		if got := w.refused(t, http.StatusConflict, http.MethodPost, path+action, ""); got.OperationRun == nil || got.OperationRun.ID != run.ID {
			t.Errorf("%s: the conflict carries %+v", action, got.OperationRun)
		}
	}
	if now := w.get(t, http.StatusOK, w.Readonly.Subject, w.path(path)); now.body != first.body {
		t.Errorf("after all it is %s", now.body)
	}
	w.wantEvents(t, run.ID, "created", "completed")
}

func TestAReportIsTheSameHoweverItsNumbersAreWritten(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	for _, said := range []string{
		`"context":{"ratio":1e-7}`, `"context":{"n":[1E+3,-12.50e1]}`, `"context":{"n":-0.0}`, `"summary_counts":{"n":-0}`,
	} {
		report := `{"status":"completed","outcome":"succeeded",` + said + `}`
		path := fmt.Sprintf("/%d", w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`).ID)
		first := w.must(t, http.StatusOK, http.MethodPatch, path, report)
		if again := w.must(t, http.StatusOK, http.MethodPatch, path, report); again.body != first.body {
			t.Errorf("%s again leaves %s, not %s", said, again.body, first.body)
		}
		other := strings.NewReplacer("1e-7", "2e-7", "1E+3", "1E+4", "-0.0", "-0.1", "-0}", "1}").Replace(report)
		w.refused(t, http.StatusConflict, http.MethodPatch, path, other)
	}
}

func TestEverythingWrongWithAReportIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	failures := func(n int) string {
		return `[` + strings.TrimSuffix(strings.Repeat(`{"code":"x","message":"y"},`, n), ",") + `]`
	}
	for body, want := range map[string][]string{
		`{"status":"paused","outcome":"won"}`:             {"/outcome", "/status"},
		`{"status":"completed","outcome":"pending"}`:      {"/outcome"},
		`{"status":"completed"}`:                          {"/outcome"},
		`{"status":"paused","at":"2026-01-01T00:00:00Z"}`: {"/status"},
		`{"status":"running","outcome":"failed"}`:         {"/outcome"},
		`{"outcome":"failed"}`:                            {"/outcome"},
		`{"summary_counts":[]}`:                           {"/summary_counts"},
		`{"summary_counts":{"a":-1,"b":1.5,"c":"1","d":{},"e":null,"f":1e3,"g":9223372036854775808,"h":0}}`: {
			"/summary_counts/a", "/summary_counts/b", "/summary_counts/c", "/summary_counts/d", "/summary_counts/e", "/summary_counts/f", "/summary_counts/g",
		},
		`{"failure_summary":{}}`:                    {"/failure_summary"},
		`{"failure_summary":` + failures(101) + `}`: {"/failure_summary"},
		`{"failure_summary":[` + strings.Join(slices.Repeat([]string{`{"code":"x","message":"` + strings.Repeat("<", 4000) + `"}`}, 33), ",") + `]}`: {"/failure_summary"},
		`{"failure_summary":[{"code":"x"},{"message":"y"},{"code":"","message":3,"more":1},7,{"code":"` + strings.Repeat("c", 129) + `","message":"` + strings.Repeat("m", 4001) + `"}]}`: {
			"/failure_summary/1/code", "/failure_summary/2/code", "/failure_summary/2/message", "/failure_summary/2/more", "/failure_summary/3",
			"/failure_summary/4/code", "/failure_summary/4/message",
		},
		`{"context":[1],"at":"yesterday","type":"inventory_sync","id":1}`: {"/at", "/context", "/id", "/type"},
		`{"at":"2026-01-01T00:00:00Z"}`:                                   {"/at"},
		`{"status":"queued","at":"2026-01-01T00:00:00Z"}`:                 {"/at"},
		`{"status":"running","at":"1999-01-01T00:00:00Z"}`:                {"/at"},
		`{"status":"running","at":"9998-01-01T00:00:00Z"}`:                {"/at"},
		`{"status":"running","at":1767225600}`:                            {"/at"},
		`{"status":"running","at":"2026-01-31T1:00:00,5Z"}`:               {"/at"},
		`{"status":"running","at":"0000-01-01T00:00:00+23:59"}`:           {"/at"},
	} {
		if got := w.refused(t, http.StatusUnprocessableEntity, http.MethodPatch, fmt.Sprintf("/%d", run.ID), body); !slices.Equal(got.pointers(), want) {
			t.Errorf("%.120s: faults at %v, want %v", body, got.pointers(), want)
		}
	}
	w.wantEvents(t, run.ID, "created")
	w.report(t, run.ID, `{"failure_summary":`+failures(100)+`,"summary_counts":{"h":9223372036854775807}}`)
	// 128 KiB of JSON, with the 24 bytes around each message, a comma between each two, and brackets.
	most := slices.Repeat([]string{`{"code":"x","message":"` + strings.Repeat("<", 4000) + `"}`}, 32)
	most = append(most, `{"code":"x","message":"`+strings.Repeat("<", 128<<10-32*(4000+25+1)-25-2)+`"}`)
	w.report(t, run.ID, `{"failure_summary":[`+strings.Join(most, ",")+`]}`)
}

func TestAWorkerTellsTheInstantWithinTheRunsLife(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	path := fmt.Sprintf("/%d", run.ID)
	// The run is a day old, and its worker was cut off.
	w.exec(t, "UPDATE operation_runs SET created_at = created_at - interval '1 day' WHERE workspace_id = $1 AND id = $2", w.ID, run.ID)
	created := run.CreatedAt.Add(-24 * time.Hour)
	at := func(body string, instant time.Time) string {
		return strings.Replace(body, "{", `{"at":"`+instant.In(time.FixedZone("", 5*3600+2700)).Format(time.RFC3339Nano)+`",`, 1)
	}
	const running, ended = `{"status":"running"}`, `{"status":"completed","outcome":"succeeded"}`
	refuse := func(body string, instant time.Time) {
		t.Helper()
		got := w.refused(t, http.StatusUnprocessableEntity, http.MethodPatch, path, at(body, instant))
		if !slices.Equal(got.pointers(), []string{"/at"}) {
			t.Errorf("faults at %v", got.pointers())
		}
	}
	refuse(running, created.Add(-time.Microsecond))
	refuse(ended, created.Add(-time.Microsecond))
	refuse(running, time.Time{}) // an instant like any other, not none
	refuse(running, time.Now().Add(2*time.Minute))
	started := created.Add(time.Hour)
	if run = w.report(t, run.ID, at(running, started)); !run.StartedAt.Equal(started) {
		t.Errorf("it started at %s, not %s", run.StartedAt, started)
	}
	refuse(ended, started.Add(-time.Microsecond))
	refuse(ended, time.Now().Add(2*time.Minute))
	if run = w.report(t, run.ID, at(ended, started)); !run.CompletedAt.Equal(started) || !run.StartedAt.Equal(started) {
		t.Errorf("it ran from %s to %s", run.StartedAt, run.CompletedAt)
	}
	// A clock that is up to a minute ahead is not a lie.
	ahead := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	w.report(t, ahead.ID, at(running, time.Now().Add(50*time.Second)))
	if ahead = w.report(t, ahead.ID, ended); ahead.CompletedAt.Before(*ahead.StartedAt) {
		t.Errorf("it ended at %s, before it started at %s", ahead.CompletedAt, ahead.StartedAt)
	}
}

func TestAWorkerTellsTheInstantOfARunOfWhichNobodyKnowsWhenItWasCreated(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	id := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`).ID
	w.exec(t, "UPDATE operation_runs SET created_at = NULL WHERE workspace_id = $1 AND id = $2", w.ID, id)
	started := time.Date(2026, time.January, 31, 19, 0, 0, 0, time.UTC)
	if run := w.report(t, id, `{"status":"running","at":"2026-01-31T19:00:00Z"}`); !run.StartedAt.Equal(started) {
		t.Errorf("it started at %s, not %s", run.StartedAt, started)
	}
	const ended = `{"status":"completed","outcome":"succeeded","at":"2026-01-31T%sZ"}`
	early := w.refused(t, http.StatusUnprocessableEntity, http.MethodPatch, fmt.Sprintf("/%d", id), fmt.Sprintf(ended, "18:59:59"))
	if !slices.Equal(early.pointers(), []string{"/at"}) {
		t.Errorf("faults at %v", early.pointers())
	}
	if run := w.report(t, id, fmt.Sprintf(ended, "19:00:01")); !run.CompletedAt.Equal(started.Add(time.Second)) {
		t.Errorf("it ended at %s", run.CompletedAt)
	}
}

func TestIfMatchHoldsAReportToTheRevisionItKnows(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	path := fmt.Sprintf("/%d", run.ID)
	tag := w.get(t, http.StatusOK, w.Operator.Subject, w.path(path)).header.Get("ETag")
	w.report(t, run.ID, `{"status":"running"}`, "If-Match", tag)
	for _, stale := range []string{tag, "1", `"1"`, `W/"1"`, "99", "nonsense", `W/"nonsense"`, "0", "-1", `W/"1.a", "nonsense"`, "", `""`, ","} {
		w.must(t, http.StatusPreconditionFailed, http.MethodPatch, path, `{"summary_counts":{"n":1}}`, "If-Match", stale)
	}
	for i, good := range []string{"2", `"3"`, `W/"4"`, "*", `"1.a", W/"6.b-7"`, `"7.a", "2"`, `"1", *`} {
		if got := w.report(t, run.ID, fmt.Sprintf(`{"summary_counts":{"n":%d}}`, i), "If-Match", good); got.Revision != int64(i)+3 {
			t.Errorf("If-Match %s leads to revision %d", good, got.Revision)
		}
	}
	for _, action := range []string{"heartbeat", "cancel", "retry", "recall"} {
		got, err := w.send(http.MethodPost, w.path(path+"/"+action), w.token(t, w.Manager.Subject), `{"reason":"x"}`, "If-Match", "1")
		if err != nil || got.status != http.StatusBadRequest || !slices.Equal(decode[problemBody](t, got.body).pointers(), []string{"If-Match"}) {
			t.Errorf("%s with If-Match: %d, %v %s", action, got.status, err, got.body)
		}
	}
	for _, address := range []string{"operation-runs", "operation-runs/batch", "findings/batch", "inventory-items/batch", "backup-schedules"} {
		got, err := w.send(http.MethodPost, fmt.Sprintf("/workspaces/%d/%s", w.ID, address), w.token(t, w.Manager.Subject), "{}", "If-Match", "1")
		if err != nil || got.status != http.StatusBadRequest || !slices.Equal(decode[problemBody](t, got.body).pointers(), []string{"If-Match"}) {
			t.Errorf("%s with If-Match: %d, %v %s", address, got.status, err, got.body)
		}
	}
	// A heartbeat is no change of what a report decides on.
	w.act(t, http.StatusOK, run.ID, "heartbeat")
	w.report(t, run.ID, `{"status":"completed","outcome":"failed"}`, "If-Match", "9")
	w.must(t, http.StatusPreconditionFailed, http.MethodPatch, path, `{"status":"completed","outcome":"failed"}`, "If-Match", "9")
	w.wantEvents(t, run.ID, "created", "started", "reported", "reported", "reported", "reported", "reported", "reported", "reported", "heartbeat", "completed")
}

func TestAHeartbeatSaysThatItLivesAndACancelIsARequest(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	w.report(t, run.ID, `{"status":"running"}`)
	if got := w.act(t, http.StatusOK, run.ID, "heartbeat"); got.CancelRequestedAt != nil || got.HeartbeatAt == nil || got.Status != "running" {
		t.Errorf("the heartbeat is answered with %+v", got)
	}
	first := w.act(t, http.StatusOK, run.ID, "cancel")
	again := w.act(t, http.StatusOK, run.ID, "cancel")
	if first.Status != "running" || first.CancelRequestedAt == nil || !again.CancelRequestedAt.Equal(*first.CancelRequestedAt) || again.Revision != first.Revision {
		t.Errorf("asked to stop it is %+v, asked again %+v", first, again)
	}
	if got := w.act(t, http.StatusOK, run.ID, "heartbeat"); got.CancelRequestedAt == nil {
		t.Error("the heartbeat does not tell of the request")
	}
	if got := w.report(t, run.ID, `{"summary_counts":{"n":1}}`); got.CancelRequestedAt == nil {
		t.Error("the report does not tell of the request")
	}
	// The worker may have been done before it could stop.
	if got := w.report(t, run.ID, `{"status":"completed","outcome":"succeeded"}`); got.Outcome != "succeeded" || got.CancelRequestedAt == nil {
		t.Errorf("it ends as %+v", got)
	}
	w.wantEvents(t, run.ID, "created", "started", "heartbeat", "cancel_requested", "heartbeat", "reported", "completed")
	for _, action := range []string{"heartbeat", "cancel", "retry"} {
		w.must(t, http.StatusNotFound, http.MethodPost, "/9223372036854775807/"+action, "")
		w.must(t, http.StatusNotFound, http.MethodPost, "/0/"+action, "")
		w.must(t, http.StatusBadRequest, http.MethodPost, fmt.Sprintf("/%d/%s?force=1", run.ID, action), "")
	}
}

func TestAnActionIsToldThatItTakesNoBody(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t).hurried(t)) // the description has no body there
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	for _, action := range []string{"heartbeat", "cancel"} {
		path := fmt.Sprintf("/%d/%s", run.ID, action)
		w.must(t, http.StatusBadRequest, http.MethodPost, path, `{"reason":"late"}`)
		w.must(t, http.StatusUnsupportedMediaType, http.MethodPost, path, "late", "Content-Type", "text/plain")
		w.must(t, http.StatusOK, http.MethodPost, path, " {\n} ")                                            // as some clients do with every request
		for body, want := range map[string]int{"": http.StatusOK, "late": http.StatusUnsupportedMediaType} { // in chunks, of a type that nobody named
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+w.path(path), io.MultiReader(strings.NewReader(body)))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Authorization", "Bearer "+w.bearer)
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != want {
				t.Errorf("%s with a body of %d bytes in chunks answers %d, want %d", action, len(body), response.StatusCode, want)
			}
		}
	}
	w.report(t, run.ID, `{"status":"completed","outcome":"failed"}`)
	path := fmt.Sprintf("/%d/retry", run.ID)
	w.must(t, http.StatusBadRequest, http.MethodPost, path, `{"context":{"full":true}}`)
	w.must(t, http.StatusCreated, http.MethodPost, path, "{}")
}

func TestARetryIsANewRunThatNamesTheOldOne(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	tenant := dbtest.NewTenant(t, w.pool, w.ID)
	old := w.start(t, http.StatusCreated, fmt.Sprintf(`{"type":"backup_schedule_run","tenant_id":%d,"identity":"x","context":{"backup_schedule_id":7},"initiator_name":"Nightly"}`, tenant))
	if got := w.refused(t, http.StatusConflict, http.MethodPost, fmt.Sprintf("/%d/retry", old.ID), ""); got.OperationRun == nil || got.OperationRun.ID != old.ID {
		t.Errorf("the conflict carries %+v", got.OperationRun)
	}
	w.report(t, old.ID, `{"status":"completed","outcome":"failed","summary_counts":{"n":1}}`)
	before := w.get(t, http.StatusOK, w.Operator.Subject, w.path(fmt.Sprintf("/%d", old.ID)))
	retried := w.act(t, http.StatusCreated, old.ID, "retry", "Idempotency-Key", "again")
	if retried.RetryOfID == nil || *retried.RetryOfID != old.ID || retried.Attempt != 2 || retried.RunIdentityHash != old.RunIdentityHash ||
		*retried.TenantID != tenant || string(retried.Context) != string(old.Context) || retried.Status != "queued" ||
		len(retried.SummaryCounts) != 0 || retried.InitiatorName != w.Operator.Name {
		t.Errorf("the retry is %+v", retried)
	}
	if again := w.act(t, http.StatusOK, old.ID, "retry"); again.ID != retried.ID {
		t.Errorf("a second retry is run %d, not the active %d", again.ID, retried.ID)
	}
	w.report(t, retried.ID, `{"status":"completed","outcome":"failed"}`)
	if again := w.act(t, http.StatusOK, old.ID, "retry", "Idempotency-Key", "again"); again.ID != retried.ID {
		t.Errorf("the same retry is run %d, not %d", again.ID, retried.ID)
	}
	w.must(t, http.StatusUnprocessableEntity, http.MethodPost, fmt.Sprintf("/%d/retry", retried.ID), "", "Idempotency-Key", "again")
	if third := w.act(t, http.StatusCreated, retried.ID, "retry"); third.Attempt != 3 || *third.RetryOfID != retried.ID {
		t.Errorf("the third attempt is %+v", third)
	}
	if after := w.get(t, http.StatusOK, w.Operator.Subject, w.path(fmt.Sprintf("/%d", old.ID))); after.body != before.body {
		t.Errorf("the old run is now %s", after.body)
	}
	w.wantEvents(t, old.ID, "created", "completed")
	w.wantEvents(t, retried.ID, "created", "completed")
}

func TestTheWorkersReportWinsOverTheVerdictOnItsSilence(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	for _, c := range []struct {
		body, status, outcome, failures string
		events                          []string
	}{
		{`{"status":"completed","outcome":"succeeded"}`, "completed", "succeeded", `[]`, []string{"completed"}},
		{`{"status":"completed","outcome":"failed"}`, "completed", "failed", `[]`, []string{"completed"}},
		{`{"status":"running"}`, "running", "pending", `[]`, []string{"started"}},
		{`{"summary_counts":{"n":1}}`, "running", "pending", `[]`, []string{"started"}},
		{`{"failure_summary":[{"code":"a","message":"b"}]}`, "running", "pending", `[{"code": "a", "message": "b"}]`, []string{"started"}},
	} {
		run := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
		w.report(t, run.ID, `{"status":"running"}`)
		w.giveUp(t, run.ID)
		w.must(t, http.StatusConflict, http.MethodPost, fmt.Sprintf("/%d/heartbeat", run.ID), "")
		w.must(t, http.StatusConflict, http.MethodPatch, fmt.Sprintf("/%d", run.ID), `{"status":"queued"}`)
		got := w.report(t, run.ID, c.body)
		if got.Status != c.status || got.Outcome != c.outcome || got.Stalled != nil || got.StalledAt != nil || string(got.FailureSummary) != c.failures {
			t.Errorf("%s makes it %+v with failures %s", c.body, got, got.FailureSummary)
		}
		if c.status == "completed" {
			w.must(t, http.StatusConflict, http.MethodPatch, fmt.Sprintf("/%d", run.ID), `{"status":"completed","outcome":"cancelled"}`)
		}
		w.wantEvents(t, run.ID, append([]string{"created", "started", "completed"}, c.events...)...)
	}
	// The work was started anew meanwhile: there cannot be two of it.
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync","identity":1}`)
	w.report(t, run.ID, `{"status":"running"}`)
	w.giveUp(t, run.ID)
	w.start(t, http.StatusCreated, `{"type":"inventory_sync","identity":1}`)
	if got := w.refused(t, http.StatusConflict, http.MethodPatch, fmt.Sprintf("/%d", run.ID), `{"status":"running"}`); got.OperationRun == nil || got.OperationRun.ID != run.ID {
		t.Errorf("the conflict carries %+v", got.OperationRun)
	}
	// Whoever says nothing new says that the run lives, too, and must hear that it cannot.
	w.must(t, http.StatusConflict, http.MethodPatch, fmt.Sprintf("/%d", run.ID), `{}`)
	if got := w.report(t, run.ID, `{"status":"completed","outcome":"succeeded"}`); got.Outcome != "succeeded" {
		t.Errorf("its end is %+v", got)
	}
}

func TestAContextIsMergedByRFC7396(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	// Appendix A of the RFC, below a member, since a context is an object.
	for _, c := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`},
		{`{"a":"foo"}`, `"bar"`, `"bar"`},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		run := w.start(t, http.StatusCreated, `{"type":"inventory_sync","context":{"it":`+c[0]+`}}`)
		run = w.report(t, run.ID, `{"context":{"it":`+c[1]+`}}`)
		var got, want any
		if err := json.Unmarshal(run.Context, &got); err != nil {
			t.Fatal(err)
		}
		_ = json.Unmarshal([]byte(`{"it":`+c[2]+`}`), &want)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s into %s is %s, want %s", c[1], c[0], run.Context, c[2])
		}
	}
}

func TestAMergedContextHasALimitToo(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	half := strings.Repeat("x", 40<<10)
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync","context":{"a":"`+half+`"}}`)
	path := fmt.Sprintf("/%d", run.ID)
	got := w.refused(t, http.StatusUnprocessableEntity, http.MethodPatch, path, `{"context":{"b":"`+half+`"}}`)
	if !slices.Equal(got.pointers(), []string{"/context"}) {
		t.Errorf("faults at %v", got.pointers())
	}
	w.wantEvents(t, run.ID, "created")
	w.report(t, run.ID, `{"context":{"a":null,"b":"`+half+`"}}`)
	// What is stored is written with blanks. Room for them is nobody's to find who makes it smaller.
	full := w.start(t, http.StatusCreated, `{"type":"inventory_sync","context":{"list":[`+strings.Repeat("1,", 32<<10-20)+`1],"a":1}}`)
	w.report(t, full.ID, `{"context":{"a":null}}`)
	w.report(t, full.ID, `{"context":{"list":null}}`)
	// Nor does who can start a run with a context have less room for the same in a report.
	members := make([]string, 0, 3000)
	for i := range cap(members) {
		members = append(members, fmt.Sprintf(`"k%04d": ", : \\\" ,"`, i))
	}
	document := `{ ` + strings.Join(members, " , ") + `,"z":[` + strings.Repeat("1,", 700) + `1]}`
	w.start(t, http.StatusCreated, `{"type":"inventory_sync","context":`+document+`}`)
	empty := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	w.report(t, empty.ID, `{"context":`+document+`}`)
	w.refused(t, http.StatusUnprocessableEntity, http.MethodPatch, fmt.Sprintf("/%d", empty.ID), `{"context":{"more":"`+strings.Repeat("x", 2000)+`"}}`)
}

func TestTextsComeBackAsTheyWereSent(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	for _, text := range []string{
		"O'Neil; DROP TABLE operation_runs;--", `\`, `\\`, `"`, `\u0041`, `${x} %s %n $1 {{x}}`, "NULL", "undefined", "{}", "[]", "'", "a\tb\nc\rd",
		"<script>alert(1)</script>&amp;", "Ω≈ç√∫˜µ≤≥÷", "田中さんにあげて下さい", "مرحبا", "עברית", "👩‍👩‍👧‍👦", "Z̮̞̠͙͔ͅḀ̗̞͈̻̗Ḷ͙͎̯̹̞͓G̻O̭̗̮", "\u202eabc", "\u2028\u2029", "\ufeffbom",
		"\ufffe\uffff", "\U0010ffff", "\x01\x1f\x7f", " leading and trailing ", "1e400", "0x10", "true",
	} {
		quoted, _ := json.Marshal(text)
		run := w.start(t, http.StatusCreated, fmt.Sprintf(`{"type":"inventory_sync","initiator_name":%[1]s,"identity":%[1]s,"context":{%[1]s:%[1]s}}`, quoted))
		run = w.report(t, run.ID, fmt.Sprintf(`{"status":"completed","outcome":"failed","summary_counts":{%[1]s:1},"failure_summary":[{"code":"x","message":%[1]s}]}`, quoted))
		var context map[string]string
		var failures []struct{ Message string }
		if err := json.Unmarshal(run.Context, &context); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(run.FailureSummary, &failures); err != nil {
			t.Fatal(err)
		}
		if run.InitiatorName != text || context[text] != text || run.SummaryCounts[text] != 1 || failures[0].Message != text {
			t.Errorf("%q comes back as %+v", text, run)
		}
	}
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync","context":{"n":[9007199254740993,1.10,1e3,0.000001,-0,12345678901234567890123456789]}}`)
	if got, want := string(run.Context), `{"n": [9007199254740993, 1.10, 1000, 0.000001, 0, 12345678901234567890123456789]}`; got != want {
		t.Errorf("numbers come back as %s, want %s", got, want)
	}
}

func TestAContextOfThousandsOfMembersIsMergedLikeAnyOther(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	object := func(value string) string {
		var members []string
		for n := range 5000 {
			members = append(members, fmt.Sprintf(`"k%04d":%s`, n, value))
		}
		return "{" + strings.Join(members, ",") + "}"
	}
	id := w.start(t, http.StatusCreated, `{"type":"inventory_sync","context":`+object("1")+`}`).ID
	run := w.report(t, id, `{"context":`+object("2")+`}`)
	if got := strings.Count(string(run.Context), ": 2"); got != 5000 {
		t.Errorf("%d members are merged", got)
	}
	if run = w.report(t, id, `{"context":`+object("null")+`}`); string(run.Context) != "{}" {
		t.Errorf("the context is %.100s", run.Context)
	}
}

func TestFailuresCanBeSentBackAsTheyAreShown(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	path := fmt.Sprintf("/workspaces/%d/operation-runs/%d", w.ID, run.ID)
	w.report(t, run.ID, `{"failure_summary":[{"code":"a"},{"code":"b","message":""},{"code":"c","message":"said"}]}`)
	type failures struct {
		Summary json.RawMessage `json:"failure_summary"`
	}
	shown := decode[failures](t, w.get(t, http.StatusOK, w.Readonly.Subject, path).body)
	w.report(t, run.ID, fmt.Sprintf(`{"failure_summary":%s}`, shown.Summary))
}
