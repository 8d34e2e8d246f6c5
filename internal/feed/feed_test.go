package feed_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/feed"
)

// patience is how long a change may take in a test; other tests share the database.
const patience = time.Minute

// workspace is one with a run whose events a test writes.
type workspace struct {
	pool              *pgxpool.Pool
	id, run, schedule int64
}

func newWorkspace(t *testing.T) workspace {
	t.Helper()
	pool := dbtest.Pool(t)
	w := workspace{pool: pool, id: dbtest.NewWorkspace(t, pool).ID}
	err := pool.QueryRow(t.Context(), "INSERT INTO operation_runs (workspace_id, type) VALUES ($1, 'inventory_sync') RETURNING id",
		w.id).Scan(&w.run)
	if err != nil {
		t.Fatal(err)
	}
	err = pool.QueryRow(t.Context(), `INSERT INTO backup_schedules (workspace_id, name, frequency, time_of_day)
		VALUES ($1, 'Nightly', 'daily', '02:30') RETURNING id`, w.id).Scan(&w.schedule)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// record writes n events with one statement, every tenth of them of a backup schedule.
func (w workspace) record(t *testing.T, n int) {
	t.Helper()
	_, err := w.pool.Exec(t.Context(), `WITH run AS (
			INSERT INTO operation_run_events (workspace_id, run_id, kind, data)
			SELECT $1, $2, 'reported', jsonb_build_object('filler', repeat('x', 1000)) FROM generate_series(1, $3 - $3 / 10))
		INSERT INTO backup_schedule_events (workspace_id, schedule_id, slot_at, kind)
		SELECT $1, $4, now() - g * '1 hour'::interval, 'schedule_missed' FROM generate_series(1, $3 / 10) AS g`,
		w.id, w.run, n, w.schedule)
	if err != nil {
		t.Fatal(err)
	}
}

// events are the events of the workspace in either table.
const events = `(SELECT id, transaction_id FROM operation_run_events WHERE workspace_id = $1
	UNION ALL SELECT id, transaction_id FROM backup_schedule_events WHERE workspace_id = $1) AS event`

// recorded are the ids of all events in the order of the feed.
func (w workspace) recorded(t *testing.T) []int64 {
	t.Helper()
	var ids []int64
	err := w.pool.QueryRow(t.Context(), "SELECT coalesce(array_agg(id ORDER BY transaction_id, id), '{}') FROM "+events, w.id).Scan(&ids)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// exec runs a statement on both tables of events; $1 is the workspace.
func (w workspace) exec(t *testing.T, before, after string) {
	t.Helper()
	for _, table := range []string{"operation_run_events", "backup_schedule_events"} {
		if _, err := w.pool.Exec(t.Context(), before+" "+table+" "+after+" WHERE workspace_id = $1", w.id); err != nil {
			t.Fatal(err)
		}
	}
}

// newFeed is a Feed whose frames are the ids of changes.
func newFeed(t *testing.T, db dbsqlc.DBTX) *feed.Feed {
	t.Helper()
	f := feed.New(db, func(_ int64, change *dbsqlc.ListChangesRow) []byte {
		return append(strconv.AppendInt(nil, change.ID, 10), change.Data...)
	}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	t.Cleanup(f.Close)
	return f
}

// take reads the ids of the next n changes.
func take(t *testing.T, s *feed.Subscription, n int) []int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var ids []int64
	for len(ids) < n {
		changes, err := s.Next(ctx)
		if err != nil {
			t.Fatalf("after %d of %d changes: %v", len(ids), n, err)
		}
		for _, change := range changes {
			ids = append(ids, change.Position.ID)
		}
	}
	return ids
}

func subscribe(t *testing.T, f *feed.Feed, workspaceID int64, after *feed.Position) *feed.Subscription {
	t.Helper()
	s, err := f.Subscribe(t.Context(), workspaceID, after)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestASubscriberThatIsFarBehindMissesNothing(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	f := newFeed(t, w.pool)
	w.record(t, 30)
	slow := subscribe(t, f, w.id, &feed.Position{})
	quick := subscribe(t, f, w.id, &feed.Position{})
	take(t, slow, 1) // and then it falls behind what the feed keeps
	for range 5 {
		w.record(t, 700)
	}
	all := w.recorded(t)
	if got := take(t, quick, len(all)); !slices.Equal(got, all) {
		t.Errorf("%d changes, not the %d in their order", len(got), len(all))
	}
	again := subscribe(t, f, w.id, &feed.Position{})
	if got := take(t, again, len(all)); !slices.Equal(got, all) {
		t.Errorf("from the beginning: %d changes, not the %d in their order", len(got), len(all))
	}
	at := slices.Index(all, slow.At().ID)
	if got := take(t, slow, len(all)-at-1); !slices.Equal(got, all[at+1:]) {
		t.Errorf("from behind: %d changes, not the %d in their order", len(got), len(all)-at-1)
	}
}

func TestASubscriberGoesOnWhereWhatItHadIsDeleted(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	f := newFeed(t, w.pool)
	w.record(t, 3)
	before := subscribe(t, f, w.id, &feed.Position{})
	if got := take(t, before, 3); len(got) != 3 {
		t.Fatal(got)
	}
	old := before.At()
	w.record(t, 3)
	take(t, before, 3)
	w.exec(t, "DELETE FROM", "")
	before.Close()
	for _, after := range []feed.Position{{}, old} {
		s := subscribe(t, f, w.id, &after)
		w.record(t, 1)
		all := w.recorded(t)
		if got := take(t, s, len(all)); !slices.Equal(got, all) {
			t.Errorf("changes %v, want %v", got, all)
		}
	}
}

// refusing has the database refuse, as it may for reasons of its own, what is asked of one workspace.
type refusing struct {
	dbsqlc.DBTX

	workspaceID int64
	on          atomic.Bool
}

const refused = "SELECT 1 / 0"

func (r *refusing) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if r.on.Load() && slices.Contains(args, any(r.workspaceID)) {
		return r.DBTX.Query(ctx, refused)
	}
	return r.DBTX.Query(ctx, sql, args...)
}

func (r *refusing) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if r.on.Load() && slices.Contains(args, any(r.workspaceID)) {
		return r.DBTX.QueryRow(ctx, refused)
	}
	return r.DBTX.QueryRow(ctx, sql, args...)
}

func TestAWorkspaceThatCannotBeReadKeepsTheOthersFromNothing(t *testing.T) {
	t.Parallel()
	const others, changes = 5, 20
	bad := newWorkspace(t)
	db := &refusing{DBTX: bad.pool, workspaceID: bad.id}
	f := newFeed(t, db)
	waiting := subscribe(t, f, bad.id, nil)
	db.on.Store(true)
	for range others { // in whatever order they are read
		good := newWorkspace(t)
		following := subscribe(t, f, good.id, nil)
		for range 2 { // also in the round behind one in which something was refused
			bad.record(t, changes)
			good.record(t, changes)
			take(t, following, changes)
		}
	}
	db.on.Store(false)
	if got := take(t, waiting, 2*others*changes); !slices.Equal(got, bad.recorded(t)) {
		t.Errorf("what could not be read has come as %v", got)
	}
}

func TestClosingAFeedEndsItsSubscriptions(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	f := newFeed(t, w.pool)
	s := subscribe(t, f, w.id, nil)
	ended := make(chan error)
	go func() {
		_, err := s.Next(context.Background())
		ended <- err
	}()
	f.Close()
	if err := <-ended; !errors.Is(err, feed.ErrClosed) {
		t.Errorf("Next returned %v", err)
	}
	if _, err := f.Subscribe(t.Context(), w.id, nil); !errors.Is(err, feed.ErrClosed) {
		t.Errorf("Subscribe returned %v", err)
	}
	f.Close()
}

// stuck has the database answer nothing from when it is on until it is released, whoever gives up meanwhile.
type stuck struct {
	dbsqlc.DBTX

	on       atomic.Bool
	asked    chan struct{} // a value when somebody has asked
	released chan struct{}
}

func (s *stuck) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if s.on.Load() {
		select {
		case s.asked <- struct{}{}:
		default:
		}
		<-s.released
	}
	return s.DBTX.QueryRow(ctx, sql, args...)
}

func TestAFeedEndsWithoutWaitingForTheDatabase(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	db := &stuck{DBTX: w.pool, asked: make(chan struct{}, 1), released: make(chan struct{})}
	f := newFeed(t, db)
	s := subscribe(t, f, w.id, nil)
	db.on.Store(true)
	<-db.asked
	over := make(chan error, 1)
	go func() {
		f.End()
		_, err := s.Next(context.WithoutCancel(t.Context()))
		over <- err
	}()
	select {
	case err := <-over:
		if !errors.Is(err, feed.ErrClosed) {
			t.Errorf("Next returned %v", err)
		}
	case <-time.After(patience):
		t.Error("it waits for what the database does not answer")
	}
	close(db.released)
	f.Close() // which waits for the poller, or there is a goroutine too many at the end
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	s := subscribe(t, newFeed(t, w.pool), w.id, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Next returned %v", err)
	}
}

func TestThousandsOfAdoptedChangesStayInOrder(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	w.record(t, 12_000)
	w.exec(t, "UPDATE", "SET transaction_id = ((1::bigint << 50) + id / 7)::text::xid8")
	w.record(t, 5)
	s := subscribe(t, newFeed(t, w.pool), w.id, &feed.Position{})
	all := w.recorded(t)
	if got := take(t, s, len(all)); !slices.Equal(got, all) || !slices.IsSorted(got) {
		t.Errorf("%d changes, not the %d in the order of their ids", len(got), len(all))
	}
}
