package server_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/feed"
	"github.com/runledger/runledger/internal/server"
)

// changesPage is an answer of the polling of changes.
type changesPage struct {
	Data      []runEvent `json:"data"`
	HasMore   bool       `json:"has_more"`
	NextAfter string     `json:"next_after"`
}

// changes asks what happened behind a position, in pages of up to 200.
func (h *harness) changes(t testing.TB, subject string, workspaceID int64, after string) changesPage {
	t.Helper()
	path := address("/workspaces/{workspace_id}/operation-runs/changes", workspaceID, 0) + "?limit=200"
	if after != "" {
		path += "&after=" + url.QueryEscape(after)
	}
	return decode[changesPage](t, h.get(t, http.StatusOK, subject, path).body)
}

func eventIDs(events []runEvent) []int64 {
	ids := make([]int64, 0, len(events))
	for _, event := range events {
		ids = append(ids, event.ID)
	}
	return ids
}

// begin opens a transaction that has written an event of the fixture's run.
func (f fixture) begin(t testing.TB, pool *pgxpool.Pool) (pgx.Tx, int64) {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
	var id int64
	err = tx.QueryRow(t.Context(), `INSERT INTO operation_run_events (workspace_id, run_id, kind) VALUES ($1, $2, 'reported')
		RETURNING id`, f.ID, f.run).Scan(&id)
	if err != nil {
		t.Fatal(err)
	}
	return tx, id
}

// await waits until a change of the fixture's workspace has settled, which other tests that share
// the database may delay.
func (f fixture) await(t testing.TB, h *harness, id int64) {
	t.Helper()
	l := h.follow(t, f.Owner.Subject, f.ID, h.server.SealChanges(feed.Position{}, f.ID))
	defer l.hangUp()
	for l.next().ID != id {
	}
}

func commit(t testing.TB, tx pgx.Tx) {
	t.Helper()
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestTheTimelineOfARunHasItsEventsInOrder(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	path := address("/workspaces/{workspace_id}/operation-runs/{id}/events", f.ID, f.run)
	if empty := h.list(t, f.Readonly.Subject, path); len(empty.Data) != 0 || empty.NextCursor != nil {
		t.Errorf("the timeline of a run without events is %+v", empty)
	}
	var want []int64
	for range 5 {
		want = append(want, f.record(t, h, `{"status": "running"}`))
	}
	var got []int64
	for next := path + "?limit=2"; next != ""; {
		page := h.list(t, f.Readonly.Subject, next)
		got = append(got, page.ids()...)
		if next = ""; page.NextCursor != nil {
			next = path + "?limit=2&cursor=" + *page.NextCursor
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

func TestChangesGoOnFromWhereAPollerWas(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	empty := h.changes(t, f.Owner.Subject, f.ID, "")
	if len(empty.Data) != 0 || empty.NextAfter == "" {
		t.Errorf("a workspace without changes answers %+v", empty)
	}
	first := f.record(t, h, "{}")
	f.await(t, h, first)
	now := h.changes(t, f.Owner.Subject, f.ID, "now")
	second := f.record(t, h, "{}")
	f.await(t, h, second)
	for after, want := range map[string][]int64{empty.NextAfter: {first, second}, "": {first, second}, now.NextAfter: {second}} {
		got := h.changes(t, f.Owner.Subject, f.ID, after)
		if !slices.Equal(eventIDs(got.Data), want) {
			t.Errorf("after %q: %v, want %v", after, eventIDs(got.Data), want)
		}
		if rest := h.changes(t, f.Owner.Subject, f.ID, got.NextAfter); len(rest.Data) != 0 || rest.NextAfter != got.NextAfter {
			t.Errorf("behind the last change there is %+v", rest)
		}
	}
	if len(now.Data) != 0 {
		t.Errorf("now has changes: %v", now.Data)
	}
}

func TestAChangeThatIsCommittedLateIsNotSkipped(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	l := h.follow(t, f.Owner.Subject, f.ID, "")
	early, first := f.begin(t, h.pool)
	middle, second := f.begin(t, h.pool)
	late, third := f.begin(t, h.pool)
	commit(t, late)
	if got := h.changes(t, f.Owner.Subject, f.ID, ""); len(got.Data) != 0 {
		t.Fatalf("%v are there before a change that comes before it", eventIDs(got.Data))
	}
	if err := middle.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	commit(t, early)
	for _, want := range []int64{first, third} {
		if got := l.next(); got.ID != want {
			t.Fatalf("event %d, want %d; %d was rolled back", got.ID, want, second)
		}
	}
	if got := eventIDs(h.changes(t, f.Owner.Subject, f.ID, "").Data); !slices.Equal(got, []int64{first, third}) {
		t.Errorf("changes %v, want %v", got, []int64{first, third})
	}
}

func TestAnOpenTransactionOfAnotherDatabaseHoldsNothingBack(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	elsewhere, err := dbtest.Connect(t, dbtest.Fresh(t)).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = elsewhere.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := elsewhere.Exec(t.Context(), "SELECT pg_current_xact_id()"); err != nil {
		t.Fatal(err)
	}
	f.await(t, h, f.record(t, h, "{}"))
}

func TestATransactionThatOnlyReadsHoldsNothingBack(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	reading, err := h.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reading.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := reading.Exec(t.Context(), "SELECT count(*) FROM operation_run_events"); err != nil {
		t.Fatal(err)
	}
	l := h.follow(t, f.Owner.Subject, f.ID, "")
	if want := f.record(t, h, "{}"); l.next().ID != want {
		t.Error("another event came")
	}
}

// crowd has many writers at once write events of a fixture's run, some of which they roll back.
func (f fixture) crowd(ctx context.Context, pool *pgxpool.Pool, writers, transactions int) error {
	var group errgroup.Group
	for writer := range writers {
		group.Go(func() error {
			for turn := range transactions {
				err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
					for range 1 + (writer+turn)%3 {
						_, err := tx.Exec(ctx, `INSERT INTO operation_run_events (workspace_id, run_id, kind)
							SELECT $1, $2, 'reported' FROM generate_series(1, $3)`, f.ID, f.run, 1+(7*writer+turn)%20)
						if err != nil {
							return err
						}
					}
					if turn%10 == writer%10 {
						return errRolledBack
					}
					return nil
				})
				if err != nil && !errors.Is(err, errRolledBack) {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

var errRolledBack = errors.New("rolled back on purpose")

// last writes the event that is the last one of a test.
func (f fixture) last(t testing.TB, h *harness) {
	t.Helper()
	f.record(t, h, `{"last": true}`)
}

func TestEverybodySeesEveryChangeOnceInOneOrder(t *testing.T) {
	t.Parallel()
	one := newHarness(t)
	two := newHarnessOn(t, one.pool, server.Options{}) // another server of the same database
	f := newFixture(t, one)
	listeners := []*listener{}
	for _, h := range []*harness{one, two, one, two} {
		listeners = append(listeners, h.follow(t, f.Owner.Subject, f.ID, ""))
	}
	var readers errgroup.Group
	seen := make([][]int64, len(listeners)+2)
	for i, l := range listeners {
		readers.Go(func() error {
			for {
				event, err := l.read()
				if err != nil {
					return err
				}
				seen[i] = append(seen[i], event.ID)
				if event.Data["last"] != nil {
					return nil
				}
			}
		})
	}
	for i, servers := range [][]*harness{{one}, {one, two}} { // pollers of one server, and of both in turn
		readers.Go(func() error {
			after := ""
			for turn := 0; ; turn++ {
				page := servers[turn%len(servers)].changes(t, f.Owner.Subject, f.ID, after)
				after = page.NextAfter
				seen[len(listeners)+i] = append(seen[len(listeners)+i], eventIDs(page.Data)...)
				if n := len(page.Data); n > 0 && page.Data[n-1].Data["last"] != nil {
					return nil
				}
			}
		})
	}
	if err := f.crowd(t.Context(), one.pool, 30, 30); err != nil {
		t.Fatal(err)
	}
	f.last(t, one)
	if err := readers.Wait(); err != nil {
		t.Fatal(err)
	}
	rows, err := one.pool.Query(t.Context(), `SELECT id FROM operation_run_events WHERE workspace_id = $1
		ORDER BY transaction_id, id`, f.ID)
	if err != nil {
		t.Fatal(err)
	}
	want, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		t.Fatal(err)
	}
	for i := range seen {
		if !slices.Equal(seen[i], want) {
			t.Errorf("reader %d saw %d events, not the %d in their order", i, len(seen[i]), len(want))
		}
	}
	t.Logf("%d events", len(want))
}

func TestAReaderGoesOnAcrossServersAndRestarts(t *testing.T) {
	t.Parallel()
	one := newHarness(t)
	f := newFixture(t, one)
	begin := one.follow(t, f.Owner.Subject, f.ID, "").lastID
	var writing errgroup.Group
	writing.Go(func() error { return f.crowd(t.Context(), one.pool, 4, 60) })
	var ids []int64
	lastID, finished := begin, false
	for round := 0; !finished; round++ {
		h := newHarnessOn(t, one.pool, server.Options{}) // a server that has just started
		l := h.follow(t, f.Owner.Subject, f.ID, lastID)
		for range 1 + 53*round%200 {
			event := l.next()
			ids = append(ids, event.ID)
			if finished = event.Data["last"] != nil; finished {
				break
			}
		}
		lastID = l.lastID
		if round%2 == 0 {
			h.server.EndStreams()
		} else {
			l.hangUp()
		}
		if round == 5 {
			if err := writing.Wait(); err != nil {
				t.Fatal(err)
			}
			f.last(t, one)
		}
	}
	rows, err := one.pool.Query(t.Context(), `SELECT id FROM operation_run_events WHERE workspace_id = $1
		ORDER BY transaction_id, id`, f.ID)
	if err != nil {
		t.Fatal(err)
	}
	want, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(ids, want) {
		t.Errorf("saw %d events, not the %d in their order", len(ids), len(want))
	}
}

// TestChangesSurviveTheMoveToAnotherCluster plants what a restored dump looks like: transactions
// of the events that are far beyond those of the cluster.
func TestChangesSurviveTheMoveToAnotherCluster(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f, bystander := newFixture(t, h), newFixture(t, h)
	const beyond = int64(1) << 60
	var old []int64
	for i := range int64(4) {
		id := f.record(t, h, "{}")
		old = append(old, id)
		if i == 0 { // the other cluster was where this one is when it wrote the first of them
			continue
		}
		_, err := h.pool.Exec(t.Context(), `UPDATE operation_run_events SET transaction_id = ($3::bigint)::text::xid8
			WHERE workspace_id = $1 AND id = $2`, f.ID, id, beyond+i)
		if err != nil {
			t.Fatal(err)
		}
	}
	kept := h.server.SealChanges
	f.await(t, h, old[len(old)-1])
	live := h.follow(t, f.Owner.Subject, f.ID, "")
	fresh := f.record(t, h, "{}")
	if got := live.next().ID; got != fresh {
		t.Errorf("a new stream begins with %d, want %d", got, fresh)
	}
	f.await(t, h, fresh)
	if got := eventIDs(h.changes(t, f.Owner.Subject, f.ID, "").Data); !slices.Equal(got, append(slices.Clone(old), fresh)) {
		t.Errorf("changes %v, want %v and then %d", got, old, fresh)
	}
	for i := 1; i < len(old); i++ {
		position := kept(feed.Position{Transaction: beyond + int64(i), ID: old[i]}, f.ID)
		want := append(slices.Clone(old[i+1:]), fresh)
		if got := eventIDs(h.changes(t, f.Owner.Subject, f.ID, position).Data); !slices.Equal(got, want) {
			t.Errorf("a position of the other cluster goes on with %v, want %v", got, want)
		}
		if got := h.follow(t, f.Owner.Subject, f.ID, position).next().ID; got != want[0] {
			t.Errorf("a stream from a position of the other cluster begins with %d, want %d", got, want[0])
		}
	}
	lost := kept(feed.Position{Transaction: beyond + 9, ID: fresh + 1_000_000}, f.ID)
	path := address("/workspaces/{workspace_id}/operation-runs/changes", f.ID, 0)
	h.get(t, http.StatusGone, f.Owner.Subject, path+"?after="+lost)
	if l := h.listen(t, f.Owner.Subject, f.ID, lost); l.status != http.StatusGone {
		t.Errorf("status %d for a position of a history that is gone", l.status)
	}
	if got := h.changes(t, bystander.Owner.Subject, bystander.ID, ""); len(got.Data) != 0 {
		t.Errorf("another workspace has changes: %v", got.Data)
	}
}

// news is what the workspace's timelines hold since an event: of each, the run, the kind and who did
// it, and whether the run was written by the same transaction last.
func (w *worker) news(t testing.TB, since *int64) []string {
	t.Helper()
	rows, err := w.pool.Query(t.Context(), `SELECT e.id, concat_ws(' ', e.run_id, e.kind, 'by', e.actor,
			CASE WHEN r.xmin <> e.transaction_id::xid THEN 'in another transaction' END)
		FROM operation_run_events AS e JOIN operation_runs AS r ON r.workspace_id = e.workspace_id AND r.id = e.run_id
		WHERE e.workspace_id = $1 AND e.id > $2 ORDER BY e.id`, w.ID, *since)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	var line string
	if _, err := pgx.ForEachRow(rows, []any{since, &line}, func() error {
		told = append(told, line)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return told
}

func TestEachWriteLeavesOneEventOfItsKindAndWhoDidItAndOneThatChangesNothingNone(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w, stranger := newWorker(t, h), newWorker(t, h)
	run := w.start(t, http.StatusCreated, `{"type":"inventory_sync","identity":"first"}`, "Idempotency-Key", "first")
	since := int64(0)
	if got, want := w.news(t, &since), fmt.Sprintf("%d created by %s", run.ID, w.Operator.Name); !slices.Equal(got, []string{want}) {
		t.Fatalf("the start leaves %q, want %q", got, want)
	}
	const end, other = `{"status":"completed","outcome":"failed"}`, `{"status":"completed","outcome":"succeeded"}`
	const patch, post = http.MethodPatch, http.MethodPost
	one := fmt.Sprintf("/%d", run.ID)
	inBatch := func(body string) string { return fmt.Sprintf(`{"operations":[{"report":{"id":%d,%s}}]}`, run.ID, body) }
	for i, step := range []struct {
		method, rest, body string
		as                 dbtest.User
		status             int
		kind               string // of the event that it leaves; "" for none
		header             []string
	}{
		{post, "", `{"type":"inventory_sync","identity":"first"}`, w.Owner, 200, "", nil},
		{post, "", `{"type":"inventory_sync","identity":"first"}`, w.Operator, 200, "", []string{"Idempotency-Key", "first"}},
		{post, "", `{"type":"entra_group_sync"}`, w.Operator, 422, "", []string{"Idempotency-Key", "first"}},
		{post, "", `{"type":"nonsense"}`, w.Operator, 422, "", nil},
		{post, one + "/retry", "", w.Operator, 409, "", nil},
		{patch, one, `{"status":"running"}`, w.Readonly, 403, "", nil},
		{patch, one, `{"status":"running"}`, stranger.Owner, 404, "", nil},
		{patch, one, `{"status":"running"}`, w.Owner, 412, "", []string{"If-Match", "7"}},
		{patch, one, `{"status":"paused"}`, w.Owner, 422, "", nil},
		{post, one + "/heartbeat", "", w.Manager, 200, "heartbeat", nil},
		{patch, one, `{"status":"queued"}`, w.Owner, 200, "reported", nil},
		{patch, one, `{"status":"running"}`, w.Operator, 200, "started", nil},
		{patch, one, `{"status":"queued"}`, w.Operator, 409, "", nil},
		{post, one + "/heartbeat", "", w.Operator, 200, "heartbeat", nil},
		{patch, one, `{"summary_counts":{"n":1}}`, w.Manager, 200, "reported", nil},
		{post, "/batch", inBatch(`"summary_counts":{"n":2}`), w.Owner, 207, "reported", nil},
		{post, "/batch", inBatch(`"summary_counts":{"n":3},"revision":1`), w.Owner, 207, "", nil},
		{post, one + "/heartbeat", "", stranger.Owner, 404, "", nil},
		{post, one + "/cancel", "", w.Readonly, 403, "", nil},
		{post, one + "/cancel", "", w.Owner, 200, "cancel_requested", nil},
		{post, one + "/cancel", "", w.Manager, 200, "", nil},
		{patch, one, end, w.Operator, 200, "completed", nil},
		{patch, one, end, w.Operator, 200, "", nil},
		{patch, one, `{}`, w.Owner, 200, "", nil},
		{post, "/batch", inBatch(`"status":"completed","outcome":"failed"`), w.Operator, 207, "", nil},
		{patch, one, other, w.Operator, 409, "", nil},
		{post, one + "/heartbeat", "", w.Operator, 409, "", nil},
		{post, one + "/cancel", "", w.Operator, 409, "", nil},
		{post, one + "/retry", "", stranger.Owner, 404, "", nil},
		{post, one + "/retry", "", w.Manager, 201, "created", nil}, // it is the new run's
		{post, one + "/retry", "", w.Owner, 200, "", nil},
	} {
		name := fmt.Sprintf("step %d, %s %s %s as %s", i, step.method, step.rest, step.body, step.as.Name)
		got, err := w.send(step.method, w.path(step.rest), w.token(t, step.as.Subject), step.body, step.header...)
		if err != nil || got.status != step.status {
			t.Fatalf("%s: status %d, want %d, error %v\n%s", name, got.status, step.status, err, got.body)
		}
		var want []string
		if step.kind != "" {
			id := run.ID
			if step.kind == "created" {
				id = decode[runBody](t, got.body).ID
			}
			want = []string{fmt.Sprintf("%d %s by %s", id, step.kind, step.as.Name)}
		}
		if told := w.news(t, &since); !slices.Equal(told, want) {
			t.Errorf("%s leaves %q, want %q", name, told, want)
		}
	}
	since = 0
	if told := stranger.news(t, &since); len(told) > 0 {
		t.Errorf("the stranger's workspace was told %q", told)
	}
	// The timeline says so, too.
	var kinds []string
	for _, event := range w.list(t, w.Readonly.Subject, w.path(one+"/events")).Data {
		kinds = append(kinds, fmt.Sprint(event["kind"]))
	}
	want := []string{"created", "heartbeat", "reported", "started", "heartbeat", "reported", "reported", "cancel_requested", "completed"}
	if !slices.Equal(kinds, want) {
		t.Errorf("the timeline is %v, want %v", kinds, want)
	}
}
