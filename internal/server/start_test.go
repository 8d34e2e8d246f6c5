package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/server"
)

func TestAStartSaysWhatItSaysAndTheRestIsTheCallers(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	tenant := dbtest.NewTenant(t, w.pool, w.ID)
	plain := w.must(t, http.StatusCreated, http.MethodPost, "", `{"type":"inventory_sync"}`)
	run := decode[runBody](t, plain.body)
	if got, want := plain.header.Get("Location"), w.path(fmt.Sprintf("/%d", run.ID)); got != want {
		t.Errorf("Location %s, want %s", got, want)
	}
	if run.InitiatorName != w.Operator.Name || run.UserID == nil || *run.UserID != w.Operator.ID || run.TenantID != nil {
		t.Errorf("it is of %q, user %v, tenant %v", run.InitiatorName, run.UserID, run.TenantID)
	}
	if run.Status != "queued" || run.Outcome != "pending" || run.Attempt != 1 || run.Revision != 1 || run.StartedAt != nil {
		t.Errorf("it begins as %+v", run)
	}
	w.wantEvents(t, run.ID, "created")
	// Whoever asks next, sees it.
	if got := w.get(t, http.StatusOK, w.Readonly.Subject, w.path(fmt.Sprintf("/%d", run.ID))); got.body != plain.body {
		t.Errorf("it reads as %s, not %s", got.body, plain.body)
	}
	full := w.start(t, http.StatusCreated, fmt.Sprintf(
		`{"type":"backup_schedule_run","tenant_id":%d,"initiator_name":"Nightly","identity":{"b":1,"a":[2.50]},"context":{"backup_schedule_id":7}}`, tenant))
	want, err := ledger.IdentityHash(w.ID, &tenant, "backup_schedule_run", json.RawMessage(`{"a":[2.5],"b":1}`))
	if err != nil {
		t.Fatal(err)
	}
	if full.RunIdentityHash != want || full.InitiatorName != "Nightly" || *full.TenantID != tenant || string(full.Context) != `{"backup_schedule_id": 7}` {
		t.Errorf("it is %+v", full)
	}
	// Null is as good as nothing, and two starts that name no identity are two runs.
	other := w.start(t, http.StatusCreated, `{"type":"inventory_sync","tenant_id":null,"identity":null,"run_identity_hash":null,"context":null,"initiator_name":null}`)
	if other.ID == run.ID || other.RunIdentityHash == run.RunIdentityHash {
		t.Error("two runs without identity are one")
	}
}

func TestAnActiveRunOfTheIdentityIsTheAnswer(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w, stranger := newWorker(t, h), newWorker(t, h)
	tenant := dbtest.NewTenant(t, w.pool, w.ID)
	first := w.start(t, http.StatusCreated, `{"type":"inventory_sync","identity":"x","context":{"n":1}}`)
	again := w.start(t, http.StatusOK, `{"identity":"x","type":"inventory_sync","context":{"n":2},"initiator_name":"Other"}`)
	if again.ID != first.ID || again.Revision != 1 || string(again.Context) != `{"n": 1}` {
		t.Errorf("the second start is answered with %+v", again)
	}
	if byHash := w.start(t, http.StatusOK, fmt.Sprintf(`{"type":"inventory_sync","run_identity_hash":%q}`, strings.ToUpper(first.RunIdentityHash))); byHash.ID != first.ID {
		t.Errorf("by its hash it is run %d, not %d", byHash.ID, first.ID)
	}
	w.wantEvents(t, first.ID, "created")
	for _, elsewhere := range []string{
		fmt.Sprintf(`{"type":"inventory_sync","identity":"x","tenant_id":%d}`, tenant),
		fmt.Sprintf(`{"type":"inventory_sync","run_identity_hash":%q,"tenant_id":%d}`, first.RunIdentityHash, tenant),
		`{"type":"entra_group_sync","identity":"x"}`,
		`{"type":"inventory_sync","identity":["x"]}`,
	} {
		if elsewhere == fmt.Sprintf(`{"type":"inventory_sync","run_identity_hash":%q,"tenant_id":%d}`, first.RunIdentityHash, tenant) {
			w.start(t, http.StatusCreated, elsewhere)
			continue
		}
		if got := w.start(t, http.StatusCreated, elsewhere); got.RunIdentityHash == first.RunIdentityHash {
			t.Errorf("%s has the same hash", elsewhere)
		}
	}
	stranger.start(t, http.StatusCreated, fmt.Sprintf(`{"type":"inventory_sync","run_identity_hash":%q}`, first.RunIdentityHash))
	w.report(t, first.ID, `{"status":"running"}`)
	if running := w.start(t, http.StatusOK, `{"type":"inventory_sync","identity":"x"}`); running.ID != first.ID || running.Status != "running" {
		t.Errorf("while it runs, the answer is %+v", running)
	}
	w.report(t, first.ID, `{"status":"completed","outcome":"succeeded"}`)
	if next := w.start(t, http.StatusCreated, `{"type":"inventory_sync","identity":"x"}`); next.ID == first.ID || next.RunIdentityHash != first.RunIdentityHash {
		t.Errorf("after its end, the answer is %+v", next)
	}
	w.wantEvents(t, first.ID, "created", "started", "completed")
}

func TestEverythingWrongWithAStartIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w, other := newWorker(t, h), newWorker(t, h)
	foreign := dbtest.NewTenant(t, h.pool, other.ID)
	for body, want := range map[string][]string{
		`{}`:            {"/type"},
		`{"type":null}`: {"/type"},
		`{"type":7}`:    {"/type"},
		`{"type":""}`:   {"/type"},
		`{"type":"inventory_sync","tenant_id":0,"initiator_name":"","context":[],"run_identity_hash":"xyz","user_id":1,"a/b~c":2}`: {
			"/a~1b~0c", "/context", "/initiator_name", "/run_identity_hash", "/tenant_id", "/user_id",
		},
		`{"type":"inventory_sync","identity":1,"run_identity_hash":"` + strings.Repeat("a", 64) + `"}`: {"/run_identity_hash"},
		`{"type":"inventory_sync","identity":9007199254740993}`:                                        {"/identity"},
		`{"type":"inventory_sync","run_identity_hash":"` + strings.Repeat("a", 63) + `"}`:              {"/run_identity_hash"},
		`{"type":"inventory_sync","run_identity_hash":"` + strings.Repeat("g", 64) + `"}`:              {"/run_identity_hash"},
		`{"type":"inventory_sync","tenant_id":"1"}`:                                                    {"/tenant_id"},
		`{"type":"inventory_sync","tenant_id":1.5}`:                                                    {"/tenant_id"},
		`{"type":"inventory_sync","tenant_id":9223372036854775808}`:                                    {"/tenant_id"},
		`{"type":"inventory_sync","initiator_name":"` + strings.Repeat("é", 256) + `"}`:                {"/initiator_name"},
		`{"type":"inventory_sync","context":"x","status":"running","outcome":"failed"}`:                {"/context", "/outcome", "/status"},
		`{"type":"inventory_sync","context":{"a":"` + strings.Repeat("x", 64<<10) + `"}}`:              {"/context"},
		`{"type":"inventory_sync","context":{"a":[` + strings.Repeat("1e300,", 250) + `1e-300]}}`:      {"/context"}, // stored, they are 75 kB
		`{"type":"no_such_type"}`: {"/type"},
		fmt.Sprintf(`{"type":"inventory_sync","tenant_id":%d}`, foreign):                    {"/tenant_id"},
		fmt.Sprintf(`{"type":"no_such_type","tenant_id":%d}`, foreign):                      {"/tenant_id", "/type"},
		fmt.Sprintf(`{"type":"no_such_type","tenant_id":%d,"context":1,"what":2}`, foreign): {"/context", "/tenant_id", "/type", "/what"},
	} {
		if got := w.refused(t, http.StatusUnprocessableEntity, http.MethodPost, "", body); !slices.Equal(got.pointers(), want) {
			t.Errorf("%.100s: faults at %v, want %v", body, got.pointers(), want)
		}
	}
	const twice = `"identity":1,` // and its hash, which no schema forbids
	batched := w.operations(t,
		`{"start":{"type":"no_such_type",`+twice+identityMember(1)+`}}`, `{"start":{"type":"inventory_sync",`+twice+identityMember(1)+`}}`)
	for i, want := range [][]string{{"/operations/0/start/run_identity_hash", "/operations/0/start/type"}, {"/operations/1/start/run_identity_hash"}} {
		if got := batched.Results[i].Problem.pointers(); !slices.Equal(got, want) {
			t.Errorf("in a batch: faults at %v, want %v", got, want)
		}
	}
	unknown := w.refused(t, http.StatusUnprocessableEntity, http.MethodPost, "", `{"type":"no_such_type"}`)
	if !strings.Contains(unknown.Errors[0].Detail, "inventory_sync") {
		t.Errorf("the accepted types are not named in %s", unknown.Errors[0].Detail)
	}
	// A tenant of another workspace is answered like one that is nowhere.
	theirs := w.refused(t, http.StatusUnprocessableEntity, http.MethodPost, "", fmt.Sprintf(`{"type":"inventory_sync","tenant_id":%d}`, foreign))
	nobodys := w.refused(t, http.StatusUnprocessableEntity, http.MethodPost, "", `{"type":"inventory_sync","tenant_id":9223372036854775807}`)
	if theirs.Detail != nobodys.Detail || theirs.Errors[0] != nobodys.Errors[0] {
		t.Errorf("%+v tells more than %+v", theirs, nobodys)
	}
	if got := w.list(t, w.Readonly.Subject, w.path("")); len(got.Data) != 0 {
		t.Errorf("%d runs came of it", len(got.Data))
	}
}

func TestATypeThatTakesNoNewRunsIsRefusedAndNotOffered(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarnessOn(t, dbtest.Connect(t, dbtest.Fresh(t)), server.Options{}))
	old := w.start(t, http.StatusCreated, `{"type":"entra_group_sync","identity":1}`, "Idempotency-Key", "k")
	w.exec(t, "UPDATE operation_types SET accepts_new_runs = false WHERE name = 'entra_group_sync'")
	refused := w.refused(t, http.StatusUnprocessableEntity, http.MethodPost, "", `{"type":"entra_group_sync","identity":1}`)
	if detail := refused.Errors[0].Detail; strings.Contains(detail, "entra_group_sync") || !strings.Contains(detail, "inventory_sync") {
		t.Errorf("it offers %s", detail)
	}
	// What was started goes on, and its retried request still finds it.
	if again := w.start(t, http.StatusOK, `{"type":"entra_group_sync","identity":1}`, "Idempotency-Key", "k"); again.ID != old.ID {
		t.Errorf("the same request is now run %d", again.ID)
	}
	w.report(t, old.ID, `{"status":"completed","outcome":"succeeded"}`)
	conflict := w.refused(t, http.StatusConflict, http.MethodPost, fmt.Sprintf("/%d/retry", old.ID), "")
	if conflict.OperationRun == nil || conflict.OperationRun.ID != old.ID || len(conflict.Errors) > 0 || !strings.Contains(conflict.Detail, "No new runs of this type.") {
		t.Errorf("the conflict of a retry is %+v", conflict)
	}
}

func TestSecretsInWhatAWorkerSendsAreNeverStored(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	const secret = "hunter2hunter2hunter2"
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync","context":{"a":[{"Client-Secret":"`+secret+`"}],"log":"Bearer `+secret+`"}}`)
	if got, want := string(run.Context), `{"a": [{"Client-Secret": "[redacted]"}], "log": "[redacted]"}`; got != want {
		t.Errorf("the context is %s, want %s", got, want)
	}
	run = w.report(t, run.ID, `{"status":"running","context":{"password":"`+secret+`","log":null},
		"failure_summary":[{"code":"auth","message":"sent Bearer `+secret+` in vain"}]}`)
	if got, want := string(run.Context), `{"a": [{"Client-Secret": "[redacted]"}], "password": "[redacted]"}`; got != want {
		t.Errorf("the context is %s, want %s", got, want)
	}
	w.report(t, run.ID, `{"context":{"password":null}}`)
	w.must(t, http.StatusMultiStatus, http.MethodPost, "/batch", `{"operations":[{"start":{"type":"inventory_sync","context":{"token":"`+secret+`"}}}]}`)
	var found bool
	err := w.pool.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM operation_runs r WHERE workspace_id = $1 AND r::text LIKE $2)
		OR EXISTS (SELECT FROM operation_run_events e WHERE workspace_id = $1 AND e::text LIKE $2)`, w.ID, "%"+secret+"%").Scan(&found)
	if err != nil || found {
		t.Errorf("a secret is in the database: %t, %v", found, err)
	}
}

func TestTheSameKeyIsTheSameRunHoweverLateItComes(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	const body = `{"type":"inventory_sync","identity":"x"}`
	first := w.start(t, http.StatusCreated, body, "Idempotency-Key", "one")
	replay := w.must(t, http.StatusOK, http.MethodPost, "", body, "Idempotency-Key", "one")
	if again := decode[runBody](t, replay.body); again.ID != first.ID || replay.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("the same request is run %d, not %d; replayed: %q", again.ID, first.ID, replay.header.Get("Idempotency-Replayed"))
	}
	for _, header := range [][]string{nil, {"Idempotency-Key", "other"}} {
		if met := w.must(t, http.StatusOK, http.MethodPost, "", body, header...); met.header.Values("Idempotency-Replayed") != nil {
			t.Errorf("somebody else's start with %v counts as a replay", header)
		}
	}
	// A key whose first answer was a run that was there already is kept like any other.
	if met := w.start(t, http.StatusOK, body, "Idempotency-Key", "two"); met.ID != first.ID {
		t.Errorf("another request is run %d, not %d", met.ID, first.ID)
	}
	w.report(t, first.ID, `{"status":"completed","outcome":"failed"}`)
	for _, key := range []string{"one", "two"} {
		if late := w.start(t, http.StatusOK, body, "Idempotency-Key", key); late.ID != first.ID || late.Status != "completed" {
			t.Errorf("key %s after its end: %+v", key, late)
		}
	}
	next := w.start(t, http.StatusCreated, body, "Idempotency-Key", "three")
	if late := w.start(t, http.StatusOK, body, "Idempotency-Key", "one"); late.ID != first.ID || next.ID == first.ID {
		t.Errorf("key one is run %d while %d is active", late.ID, next.ID)
	}
	for _, other := range []string{`{"type":"inventory_sync","identity":"y"}`, `{"type":"inventory_sync"}`} {
		if got := w.refused(t, http.StatusUnprocessableEntity, http.MethodPost, "", other, "Idempotency-Key", "one"); got.Type != "urn:runledger:problem:idempotency-key-reused" {
			t.Errorf("another payload: %s", got.Type)
		}
	}
	for _, key := range []string{strings.Repeat("k", 256), "tab\there", "é"} {
		if got := w.refused(t, http.StatusBadRequest, http.MethodPost, "", body, "Idempotency-Key", key); !slices.Equal(got.pointers(), []string{"Idempotency-Key"}) {
			t.Errorf("key %q: %v", key, got.pointers())
		}
	}
	// A retry is the same request however the run is by now that it starts again.
	retry := fmt.Sprintf("/%d/retry", first.ID)
	w.report(t, next.ID, `{"status":"completed","outcome":"failed"}`)
	again := decode[runBody](t, w.must(t, http.StatusCreated, http.MethodPost, retry, "", "Idempotency-Key", "four").body)
	w.report(t, again.ID, `{"status":"completed","outcome":"failed"}`)
	w.exec(t, "UPDATE operation_runs SET status = 'running', outcome = 'pending', completed_at = NULL WHERE workspace_id = $1 AND id = $2", w.ID, first.ID)
	if same := decode[runBody](t, w.must(t, http.StatusOK, http.MethodPost, retry, "", "Idempotency-Key", "four").body); same.ID != again.ID {
		t.Errorf("the same retry is run %d, not %d", same.ID, again.ID)
	}
	w.must(t, http.StatusUnprocessableEntity, http.MethodPost, fmt.Sprintf("/%d/retry", again.ID), "", "Idempotency-Key", "four")
	// Keys are a workspace's own.
	newWorker(t, w.harness).start(t, http.StatusCreated, `{"type":"entra_group_sync"}`, "Idempotency-Key", "one")
	w.wantEvents(t, first.ID, "created", "completed")
}

func TestOneKeySentByManyAtOnceIsOneRun(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	for _, body := range []string{`{"type":"inventory_sync"}`, `{"type":"inventory_sync","identity":1}`} {
		const clients = 64
		answers := make([]answer, clients)
		var group sync.WaitGroup
		for i := range answers {
			group.Go(func() {
				got, err := w.send(http.MethodPost, w.path(""), w.bearer, body, "Idempotency-Key", body)
				if err != nil {
					t.Error(err)
				}
				answers[i] = got
			})
		}
		group.Wait()
		created := 0
		ids := map[int64]bool{}
		for _, got := range answers {
			switch got.status {
			case http.StatusCreated:
				created++
			case http.StatusOK:
			default:
				t.Fatalf("status %d: %s", got.status, got.body)
			}
			ids[decode[runBody](t, got.body).ID] = true
		}
		if created != 1 || len(ids) != 1 {
			t.Errorf("%s: %d created of %d runs", body, created, len(ids))
		}
	}
}
