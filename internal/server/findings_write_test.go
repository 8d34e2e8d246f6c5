package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbtest"
)

// findingBody is what the tests read of a finding.
type findingBody struct {
	ID                     int64           `json:"id"`
	TenantID               *int64          `json:"tenant_id"`
	Severity               string          `json:"severity"`
	Status                 string          `json:"status"`
	AcknowledgedAt         *time.Time      `json:"acknowledged_at"`
	AcknowledgedByUserID   *int64          `json:"acknowledged_by_user_id"`
	Evidence               json.RawMessage `json:"evidence"`
	BaselineOperationRunID *int64          `json:"baseline_operation_run_id"`
	CurrentOperationRunID  *int64          `json:"current_operation_run_id"`
	CurrentOperationRun    *struct {
		ID int64 `json:"id"`
	} `json:"current_operation_run"`
	UpdatedAt time.Time `json:"updated_at"`
	Revision  int64     `json:"revision"`
}

// observedBody is the answer to one object of a batch of findings or items.
type observedBody struct {
	Status  int          `json:"status"`
	Finding *findingBody `json:"finding"`
	Item    *itemBody    `json:"inventory_item"`
	ItemID  int64        `json:"inventory_item_id"`
	Problem *problemBody `json:"problem"`
}

// below sends a body to an address below the workspace, with the status that must come.
func (w *worker) below(t testing.TB, status int, method, rest, body string, header ...string) answer {
	t.Helper()
	got, err := w.send(method, fmt.Sprintf("/workspaces/%d%s", w.ID, rest), w.bearer, body, header...)
	if err != nil {
		t.Fatal(err)
	}
	if got.status != status {
		t.Fatalf("%s %s %.300s: status %d, want %d\n%s", method, rest, body, got.status, status, got.body)
	}
	return got
}

// below207 is the answers to a batch of objects, each of which has to come with the status.
func (w *worker) below207(t testing.TB, rest, body string, statuses ...int) []observedBody {
	t.Helper()
	results := decode[struct {
		Results []observedBody `json:"results"`
	}](t, w.below(t, http.StatusMultiStatus, http.MethodPost, rest, body).body).Results
	if len(results) != len(statuses) {
		t.Fatalf("%d answers, want %d", len(results), len(statuses))
	}
	for i, want := range statuses {
		if results[i].Status != want || (results[i].Problem == nil) != (want < 300) {
			t.Errorf("answer %d: status %d, want %d: %+v", i, results[i].Status, want, results[i].Problem)
		}
	}
	return results
}

// find records one finding, given as the members besides its type.
func (w *worker) find(t testing.TB, status int, members string, args ...any) findingBody {
	t.Helper()
	body := fmt.Sprintf(`{"findings":[{"finding_type":"drift",%s}]}`, fmt.Sprintf(members, args...))
	return *w.below207(t, "/findings/batch", body, status)[0].Finding
}

// judge changes the status of a finding.
func (w *worker) judge(t testing.TB, id int64, status string, header ...string) findingBody {
	t.Helper()
	return decode[findingBody](t, w.below(t, http.StatusOK, http.MethodPatch, fmt.Sprintf("/findings/%d", id),
		fmt.Sprintf(`{"status":%q}`, status), header...).body)
}

func TestAFindingIsKnownByItsFingerprintWithinItsTenant(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	tenant := dbtest.NewTenant(t, w.pool, w.ID)
	run := w.start(t, http.StatusCreated, `{"type":"drift_generate_findings"}`).ID
	first := w.find(t, http.StatusCreated, `"fingerprint":"a","tenant_id":%d,"severity":"low","current_operation_run_id":%d,
		"evidence":{"change":"added","client_secret":"hunter2","n":[1]}`, tenant, run)
	if first.Status != "new" || first.Revision != 1 || first.CurrentOperationRun == nil || first.CurrentOperationRun.ID != run ||
		strings.Contains(string(first.Evidence), "hunter2") {
		t.Errorf("the new finding is %+v with %s", first, first.Evidence)
	}
	same := w.find(t, http.StatusOK, `"fingerprint":"a","tenant_id":%d,"severity":"low","current_operation_run_id":%d,
		"evidence":{"n":[1],"client_secret":"hunter3","change":"added"}`, tenant, run)
	if same.ID != first.ID || same.Revision != 1 || !same.UpdatedAt.Equal(first.UpdatedAt) {
		t.Errorf("the same finding again changed it: %+v", same)
	}
	changed := w.find(t, http.StatusOK, `"fingerprint":"a","tenant_id":%d,"severity":"low","current_operation_run_id":%d`, tenant, run)
	if changed.ID != first.ID || changed.Revision != 2 || string(changed.Evidence) != "null" {
		t.Errorf("another finding of the fingerprint left %+v with %s", changed, changed.Evidence)
	}
	if none := w.find(t, http.StatusCreated, `"fingerprint":"a"`); none.ID == first.ID || none.Severity != "medium" {
		t.Errorf("the fingerprint without a tenant is %+v", none)
	}
	w.find(t, http.StatusOK, `"fingerprint":"a"`)
}

func TestAnAcknowledgementStaysUnlessTheSeverityRises(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	id := w.find(t, http.StatusCreated, `"fingerprint":"a","severity":"medium"`).ID
	for _, seen := range []struct {
		members string
		stays   bool
	}{
		{`"severity":"medium","evidence":{"other":1}`, true}, {`"severity":"low"`, true}, {`"severity":"low","scope_key":"s"`, true},
		{`"severity":"medium"`, false}, {`"severity":"critical"`, false}, {`"severity":"high"`, true},
	} {
		acknowledged := w.judge(t, id, "acknowledged")
		got := w.find(t, http.StatusOK, `"fingerprint":"a",%s`, seen.members)
		stays := got.Status == "acknowledged" && got.AcknowledgedByUserID != nil && got.AcknowledgedAt.Equal(*acknowledged.AcknowledgedAt)
		open := got.Status == "new" && got.AcknowledgedByUserID == nil && got.AcknowledgedAt == nil
		if stays != seen.stays || open == seen.stays || got.Revision != acknowledged.Revision+1 {
			t.Errorf("after %s it is %+v", seen.members, got)
		}
	}
}

func TestEachFindingOfABatchIsAnsweredByItselfAndTheLaterWins(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	w.client.Transport = w.plainTransport(t) // the contract has no wrong objects in a batch
	results := w.below207(t, "/findings/batch", `{"findings":[
		{"finding_type":"drift","fingerprint":"x","severity":"low"},
		{"finding_type":"drift"},
		{"finding_type":"drift","fingerprint":"y","tenant_id":9223372036854775807},
		{"finding_type":"drift","fingerprint":"x","severity":"high"},
		{"finding_type":"drift","fingerprint":"x","severity":"dreadful"},
		{"finding_type":"drift","fingerprint":"z","nonsense":1}, 7]}`, 201, 422, 422, 200, 422, 422, 422)
	if got := results[3].Finding; got.Severity != "high" || got.ID != results[0].Finding.ID {
		t.Errorf("the later one is %+v", got)
	}
	for place, pointer := range map[int]string{1: "/findings/1/fingerprint", 2: "/findings/2/tenant_id", 4: "/findings/4/severity"} {
		if got := results[place].Problem.pointers(); len(got) != 1 || got[0] != pointer {
			t.Errorf("answer %d points at %q, want %q", place, got, pointer)
		}
	}
	whole := decode[problemBody](t, w.below(t, http.StatusUnprocessableEntity, http.MethodPost, "/findings/batch",
		`{"findings":[{"finding_type":"drift"},{"finding_type":"drift","fingerprint":"new"}],"more":1}`).body)
	if want := []string{"/findings/0/fingerprint", "/more"}; !slices.Equal(whole.pointers(), want) {
		t.Errorf("faults at %v, want %v", whole.pointers(), want)
	}
	for _, body := range []string{`{}`, `{"findings":[]}`, `{"findings":{}}`, `{"findings":[` + strings.Repeat("{},", 500) + `{}]}`} {
		w.below(t, http.StatusUnprocessableEntity, http.MethodPost, "/findings/batch", body)
	}
}

func TestARunOfAnotherWorkspaceIsNoneForAFinding(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w, other := newWorker(t, h), newWorker(t, h)
	foreign := other.start(t, http.StatusCreated, `{"type":"inventory_sync"}`).ID
	tenant := dbtest.NewTenant(t, h.pool, other.ID)
	for name, of := range map[string]int64{"baseline_operation_run_id": foreign, "current_operation_run_id": foreign, "tenant_id": tenant} {
		body := `{"findings":[{"finding_type":"drift","fingerprint":"a","%s":%d}]}`
		elsewhere := w.below207(t, "/findings/batch", fmt.Sprintf(body, name, of), 422)[0].Problem
		nowhere := w.below207(t, "/findings/batch", fmt.Sprintf(body, name, int64(1)<<62), 422)[0].Problem
		if fmt.Sprint(*elsewhere) != fmt.Sprint(*nowhere) || elsewhere.pointers()[0] != "/findings/0/"+name {
			t.Errorf("%s: %+v for one elsewhere, %+v for none", name, elsewhere, nowhere)
		}
	}
	if got := w.list(t, w.Readonly.Subject, fmt.Sprintf("/workspaces/%d/findings", w.ID)); len(got.Data) != 0 {
		t.Errorf("%d findings were recorded", len(got.Data))
	}
}

func TestABatchIsAnsweredWithTheItemsThatThereIsRoomFor(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	older := w.start(t, http.StatusCreated, `{"type":"inventory_sync","identity":"older"}`).ID
	newer := w.start(t, http.StatusCreated, `{"type":"inventory_sync","identity":"newer"}`).ID
	const items, size, room = 5, 900 << 10, 2 // rows of that size have room in an answer
	w.exec(t, `INSERT INTO inventory_items (workspace_id, policy_type, external_id, last_seen_operation_run_id, last_seen_at, meta)
		SELECT $1, 'p', n::text, $2, now(), jsonb_build_object('text', repeat('x', $4)) FROM generate_series(1, $3) AS n`, w.ID, newer, items, size)
	var objects []string
	for i := range items {
		objects = append(objects, fmt.Sprintf(`{"policy_type":"p","external_id":"%d"}`, i+1))
	}
	body := fmt.Sprintf(`{"operation_run_id":%d,"items":[%s]}`, older, strings.Join(objects, ","))
	ids := map[int64]bool{}
	for i, result := range w.below207(t, "/inventory-items/batch", body, slices.Repeat([]int{http.StatusOK}, items)...) {
		if whole := result.Item != nil; whole != (i < room) || whole == (result.ItemID > 0) || ids[result.ItemID] {
			t.Errorf("answer %d: %v, id %d", i, whole, result.ItemID)
		}
		if result.ItemID > 0 {
			ids[result.ItemID] = true
		}
	}
}

func TestAnOlderComparisonDoesNotUndoANewerOne(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	older := w.start(t, http.StatusCreated, `{"type":"drift_generate_findings"}`).ID
	newer := w.start(t, http.StatusCreated, `{"type":"drift_generate_findings"}`).ID
	w.find(t, http.StatusCreated, `"fingerprint":"a","severity":"high","current_operation_run_id":%d`, newer)
	got := w.find(t, http.StatusOK, `"fingerprint":"a","severity":"low","current_operation_run_id":%d`, older)
	if got.Severity != "high" || *got.CurrentOperationRunID != newer || got.Revision != 1 {
		t.Errorf("the older comparison left %+v", got)
	}
}

func TestAFindingIsAcknowledgedOnceAndOpenedAgain(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	found := w.find(t, http.StatusCreated, `"fingerprint":"a"`)
	first := w.judge(t, found.ID, "acknowledged")
	if first.Status != "acknowledged" || *first.AcknowledgedByUserID != w.Operator.ID || first.AcknowledgedAt == nil || first.Revision != 2 {
		t.Errorf("acknowledged it is %+v", first)
	}
	w.bearer = w.token(t, w.Owner.Subject)
	if again := w.judge(t, found.ID, "acknowledged"); *again.AcknowledgedByUserID != w.Operator.ID || again.Revision != 2 {
		t.Errorf("acknowledged again it is %+v", again)
	}
	address := fmt.Sprintf("/findings/%d", found.ID)
	w.below(t, http.StatusPreconditionFailed, http.MethodPatch, address, `{"status":"new"}`, "If-Match", `W/"1.abc"`)
	w.below(t, http.StatusPreconditionFailed, http.MethodPatch, address, `{"status":"acknowledged"}`, "If-Match", "1")
	tag := w.below(t, http.StatusOK, http.MethodGet, address, "").header.Get("ETag")
	if open := w.judge(t, found.ID, "new", "If-Match", tag); open.Status != "new" || open.AcknowledgedAt != nil ||
		open.AcknowledgedByUserID != nil || open.Revision != 3 {
		t.Errorf("opened again it is %+v", open)
	}
	for _, body := range []string{`{}`, `{"status":"resolved"}`, `{"status":"new","severity":"low"}`} {
		w.below(t, http.StatusUnprocessableEntity, http.MethodPatch, address, body)
	}
	w.bearer = w.token(t, w.Readonly.Subject)
	w.below(t, http.StatusForbidden, http.MethodPatch, address, `{"status":"acknowledged"}`)
	w.below(t, http.StatusForbidden, http.MethodPost, "/findings/batch", `{"findings":[{"finding_type":"d","fingerprint":"f"}]}`)
}

func TestWhoAcknowledgesAFindingOrOpensItAgainIsAudited(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	found := w.find(t, http.StatusCreated, `"fingerprint":"a"`)
	w.judge(t, found.ID, "acknowledged")
	w.bearer = w.token(t, w.Owner.Subject)
	for _, status := range []string{"acknowledged", "new", "new"} {
		w.judge(t, found.ID, status)
	}
	rows, err := w.pool.Query(t.Context(), `SELECT action || ' of ' || target || ' by ' || users.id || ' ' || data
		FROM audit_events JOIN users ON users.name = actor WHERE workspace_id = $1 ORDER BY audit_events.id`, w.ID)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		fmt.Sprintf("finding_acknowledged of finding %d by %d {}", found.ID, w.Operator.ID),
		fmt.Sprintf(`finding_reopened of finding %d by %d {"acknowledged_by_user_id_before": %d}`, found.ID, w.Owner.ID, w.Operator.ID),
	}
	if !slices.Equal(got, want) {
		t.Errorf("the audit tells %q, want %q", got, want)
	}
}

// An older store had severities of its own, of which nothing is known but that they are none of these.
func TestAFindingOfAnUnknownSeverityIsOpenAgainWhenItHasOne(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	id := w.find(t, http.StatusCreated, `"fingerprint":"a"`).ID
	w.exec(t, "UPDATE findings SET severity = 'odd' WHERE workspace_id = $1 AND id = $2", w.ID, id)
	w.judge(t, id, "acknowledged")
	if got := w.find(t, http.StatusOK, `"fingerprint":"a","severity":"critical"`); got.Status != "new" {
		t.Errorf("it is %+v", got)
	}
}

func TestOfManyWhoAcknowledgeAtOnceOneDid(t *testing.T) {
	t.Parallel()
	w := newWorker(t, newHarness(t))
	found := w.find(t, http.StatusCreated, `"fingerprint":"a"`)
	var everybody sync.WaitGroup
	for _, user := range []dbtest.User{w.Owner, w.Manager, w.Operator} {
		token := w.token(t, user.Subject)
		for range 8 {
			everybody.Go(func() {
				got, err := w.send(http.MethodPatch, fmt.Sprintf("/workspaces/%d/findings/%d", w.ID, found.ID), token, `{"status":"acknowledged"}`)
				if err != nil || got.status != http.StatusOK {
					t.Errorf("status %d, error %v", got.status, err)
				}
			})
		}
	}
	everybody.Wait()
	if got := w.judge(t, found.ID, "acknowledged"); got.Revision != 2 {
		t.Errorf("revision %d after all, want 2", got.Revision)
	}
}
