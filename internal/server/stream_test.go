package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

// eventStream is the one route whose answer does not end.
const eventStream = "/workspaces/{workspace_id}/operation-runs/events"

// runEvent is a change of a run, as the interface shows it.
type runEvent struct {
	ID    int64          `json:"id"`
	RunID int64          `json:"run_id"`
	Kind  string         `json:"kind"`
	At    time.Time      `json:"at"`
	Actor string         `json:"actor"`
	Data  map[string]any `json:"data"`
}

// listener reads a stream of events.
type listener struct {
	t      testing.TB
	status int
	header http.Header
	hangUp context.CancelFunc
	body   io.Closer
	lines  *bufio.Reader
	lastID string // as a browser would keep it
}

// listen opens a stream. It is closed when the test ends.
func (h *harness) listen(t testing.TB, subject string, workspaceID int64, lastID string) *listener {
	t.Helper()
	ctx, hangUp := context.WithCancel(t.Context())
	t.Cleanup(hangUp)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url+address(eventStream, workspaceID, 0), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+h.token(t, subject))
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := h.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return &listener{
		t: t, status: resp.StatusCode, header: resp.Header, hangUp: hangUp, body: resp.Body,
		lines: bufio.NewReader(resp.Body), lastID: lastID,
	}
}

// follow opens a stream that must be granted, and reads where it begins.
func (h *harness) follow(t testing.TB, subject string, workspaceID int64, lastID string) *listener {
	t.Helper()
	l := h.listen(t, subject, workspaceID, lastID)
	if l.status != http.StatusOK || l.header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("status %d, Content-Type %q", l.status, l.header.Get("Content-Type"))
	}
	block, err := l.block()
	if err != nil || !slices.Contains(block, "retry: 2000") || l.lastID == "" {
		t.Fatalf("a stream begins with %q, %v", block, err)
	}
	return l
}

// block reads the lines up to the next empty one, and keeps the id among them.
func (l *listener) block() ([]string, error) {
	var block []string
	for {
		line, err := l.lines.ReadString('\n')
		if err != nil {
			return nil, err
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			return block, nil
		}
		if id, ok := strings.CutPrefix(line, "id: "); ok {
			l.lastID = id
		}
		block = append(block, line)
	}
}

// read reads the next event, past signs of life.
func (l *listener) read() (runEvent, error) {
	for {
		block, err := l.block()
		if err != nil {
			return runEvent{}, err
		}
		if block[0] == ":" {
			continue
		}
		if len(block) != 3 {
			return runEvent{}, fmt.Errorf("an event of %d lines: %q", len(block), block)
		}
		event := decode[runEvent](l.t, strings.TrimPrefix(block[2], "data: "))
		if block[1] != "event: "+event.Kind {
			return runEvent{}, fmt.Errorf("%q of an event of kind %q", block[1], event.Kind)
		}
		return event, nil
	}
}

// next reads the next event, which must come.
func (l *listener) next() runEvent {
	l.t.Helper()
	event, err := l.read()
	if err != nil {
		l.t.Fatal(err)
	}
	return event
}

// ends reads up to the end of the stream, which must be a proper one.
func (l *listener) ends() {
	l.t.Helper()
	for {
		if _, err := l.block(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			l.t.Fatal(err)
		}
	}
}

// record writes an event of the fixture's run, as a report would, and returns its id.
func (f fixture) record(t testing.TB, h *harness, data string) int64 {
	t.Helper()
	var id int64
	err := h.pool.QueryRow(t.Context(), `INSERT INTO operation_run_events (workspace_id, run_id, kind, actor, data)
		VALUES ($1, $2, 'reported', 'Worker', $3) RETURNING id`, f.ID, f.run, data).Scan(&id)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestAStreamTellsWhatHappensToRuns(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f, other := newFixture(t, h), newFixture(t, h)
	l := h.follow(t, f.Readonly.Subject, f.ID, "")
	other.record(t, h, "{}")
	want := f.record(t, h, `{"note": "a\nb\rc\u2028"}`)
	got := l.next()
	if got.ID != want || got.RunID != f.run || got.Kind != "reported" || got.Actor != "Worker" || got.Data["note"] != "a\nb\rc\u2028" {
		t.Errorf("got %+v", got)
	}
}

func TestAStreamShowsThatItLives(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	h.server.SetStreamTimes(10*time.Millisecond, time.Minute)
	l := h.follow(t, f.Owner.Subject, f.ID, "")
	for range 3 {
		if block, err := l.block(); err != nil || !slices.Equal(block, []string{":"}) {
			t.Fatalf("%q, %v", block, err)
		}
	}
}

func TestAStreamThatBreaksBeforeItsFirstEventGoesOnFromItsBeginning(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	earlier := f.record(t, h, "{}")
	f.await(t, h, earlier)
	l := h.follow(t, f.Owner.Subject, f.ID, "")
	l.hangUp()
	want := f.record(t, h, "{}")
	next := h.follow(t, f.Owner.Subject, f.ID, l.lastID)
	got := next.next()
	if got.ID == earlier {
		// A stream begins with what is settled. A transaction of another database that ended at
		// that moment can make it begin a change earlier, never later.
		got = next.next()
	}
	if got.ID != want {
		t.Errorf("event %d, want %d", got.ID, want)
	}
}

func TestAStreamThatIsFarBehindHasOnlyTheMemoryThatThereIs(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	h := newHarnessOn(t, dbtest.Pool(t), server.Options{Registry: registry})
	f := newFixture(t, h)
	f.await(t, h, f.record(t, h, "{}"))
	l := h.follow(t, f.Owner.Subject, f.ID, "")
	l.hangUp()
	want := f.record(t, h, fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", 100_000)))
	f.await(t, h, want)
	awaitTrue(t, "nobody to follow any more, so that the feed remembers nothing", func() bool {
		return strings.Contains(told(t, registry), `runledger_http_requests_in_flight{method="GET",route="/workspaces/{workspace_id}/operation-runs/events"} 0`+"\n")
	})
	h.server.SetMostBytes(1<<20, 50_000)
	h.follow(t, f.Owner.Subject, f.ID, l.lastID).ends()
	h.server.SetMostBytes(1<<20, 1<<20)
	for range 12 { // what has been sent weighs nothing any more
		next := h.follow(t, f.Owner.Subject, f.ID, l.lastID)
		if got := next.next(); got.ID != want {
			got = next.next() // a stream may begin a change earlier
			if got.ID != want {
				t.Errorf("event %d, want %d", got.ID, want)
			}
		}
		next.hangUp()
	}
}

func TestTheStreamOfARemovedMemberEnds(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	h.server.SetStreamTimes(10*time.Millisecond, time.Minute)
	l := h.follow(t, f.Operator.Subject, f.ID, "")
	stays := h.follow(t, f.Owner.Subject, f.ID, "")
	if _, err := h.pool.Exec(t.Context(), "DELETE FROM workspace_memberships WHERE workspace_id = $1 AND user_id = $2", f.ID, f.Operator.ID); err != nil {
		t.Fatal(err)
	}
	l.ends()
	if want := f.record(t, h, "{}"); stays.next().ID != want {
		t.Error("the others' streams do not go on")
	}
}

func TestAStreamEndsWithItsToken(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	h.server.SetStreamTimes(10*time.Millisecond, time.Minute)
	var expired atomic.Bool
	h.server.InvalidateTokensWhen(expired.Load)
	l := h.follow(t, f.Owner.Subject, f.ID, "")
	expired.Store(true)
	l.ends()
}

func TestADrainingServerEndsItsStreamsAndTakesNoMore(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	l := h.follow(t, f.Owner.Subject, f.ID, "")
	h.server.Drain()
	h.follow(t, f.Owner.Subject, f.ID, "") // as long as traffic may come
	h.server.EndStreams()
	l.ends()
	if again := h.listen(t, f.Owner.Subject, f.ID, l.lastID); again.status != http.StatusServiceUnavailable {
		t.Errorf("status %d", again.status)
	}
}

func TestThereIsALimitOfStreams(t *testing.T) {
	t.Parallel()
	h := newHarnessOn(t, dbtest.Pool(t), server.Options{MaxStreams: 2})
	f := newFixture(t, h)
	first := h.follow(t, f.Owner.Subject, f.ID, "")
	h.follow(t, f.Owner.Subject, f.ID, "")
	over := h.listen(t, f.Owner.Subject, f.ID, "")
	if over.status != http.StatusServiceUnavailable || over.header.Get("Retry-After") == "" {
		t.Errorf("status %d, Retry-After %q", over.status, over.header.Get("Retry-After"))
	}
	first.hangUp()
	h.server.AwaitStreamSlot()
}

func TestNobodyHasAllStreams(t *testing.T) {
	t.Parallel()
	h := newHarnessOn(t, dbtest.Pool(t), server.Options{MaxStreams: 160})
	f := newFixture(t, h)
	const share = 128
	for range share {
		h.follow(t, f.Owner.Subject, f.ID, "")
	}
	over := h.listen(t, f.Owner.Subject, f.ID, "")
	if over.status != http.StatusTooManyRequests || over.header.Get("Retry-After") == "" {
		t.Errorf("status %d, Retry-After %q", over.status, over.header.Get("Retry-After"))
	}
	h.follow(t, f.Operator.Subject, f.ID, "")
}

func TestAClientThatTakesNothingIsGivenUp(t *testing.T) {
	t.Parallel()
	h := newHarnessOn(t, dbtest.Pool(t), server.Options{MaxStreams: 1})
	f := newFixture(t, h)
	h.server.SetStreamTimes(time.Minute, 50*time.Millisecond)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer %s\r\n\r\n",
		address(eventStream, f.ID, 0), h.token(t, f.Owner.Subject))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReaderSize(conn, 16).ReadString('\n'); err != nil { // the stream is open
		t.Fatal(err)
	}
	// More than the buffers on the way hold.
	_, err = h.pool.Exec(t.Context(), `INSERT INTO operation_run_events (workspace_id, run_id, kind, data)
		SELECT $1, $2, 'reported', jsonb_build_object('filler', repeat('x', 60000)) FROM generate_series(1, 400)`, f.ID, f.run)
	if err != nil {
		t.Fatal(err)
	}
	h.server.AwaitStreamSlot()
}

func TestAStreamOutlastsTheLossOfEveryConnection(t *testing.T) {
	t.Parallel()
	url := dbtest.Fresh(t)
	h := newHarnessOn(t, dbtest.Connect(t, url), server.Options{})
	f := newFixture(t, h)
	h.server.SetStreamTimes(10*time.Millisecond, time.Minute)
	l := h.follow(t, f.Owner.Subject, f.ID, "")
	admin := dbtest.Connect(t, url)
	for range 3 {
		_, err := admin.Exec(t.Context(), `SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		if err != nil {
			t.Fatal(err)
		}
		var want int64
		err = admin.QueryRow(t.Context(), `INSERT INTO operation_run_events (workspace_id, run_id, kind)
			VALUES ($1, $2, 'reported') RETURNING id`, f.ID, f.run).Scan(&want)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.next(); got.ID != want {
			t.Errorf("event %d, want %d", got.ID, want)
		}
	}
}

func TestAStreamShowsThatItLivesWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	url := dbtest.Fresh(t)
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	var away atomic.Bool
	missed := make(chan struct{}, 1)
	dial := config.ConnConfig.DialFunc
	config.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if away.Load() {
			select {
			case missed <- struct{}{}:
			default:
			}
			return nil, errors.New("the network is cut")
		}
		return dial(ctx, network, addr)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	h := newHarnessOn(t, pool, server.Options{})
	f := newFixture(t, h)
	h.server.SetStreamTimes(10*time.Millisecond, time.Minute)
	l := h.follow(t, f.Owner.Subject, f.ID, "")
	signs := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := l.block(); err != nil {
				ended <- err
				return
			}
			select {
			case signs <- struct{}{}:
			case <-t.Context().Done():
				return
			}
		}
	}()
	admin := dbtest.Connect(t, url)
	away.Store(true)
	if _, err := admin.Exec(t.Context(), `SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid()`); err != nil {
		t.Fatal(err)
	}
	// Each sign is taken as it comes, so that of those from before the outage few can be left.
	const many = 50
	outage := false
	for n := 0; n < many; {
		select {
		case <-missed:
			outage = true
		case <-signs:
			if outage {
				n++
			}
		case err := <-ended:
			t.Fatalf("the stream ended: %v", err)
		case <-time.After(time.Minute):
			t.Fatalf("outage %t: no sign of life behind %d", outage, n)
		}
	}
}

func TestAHeadOfAStreamEnds(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := newFixture(t, h)
	got := h.do(t, http.MethodHead, address(eventStream, f.ID, 0), h.token(t, f.Owner.Subject))
	if got.status != http.StatusOK || got.header.Get("Content-Type") != "text/event-stream" {
		t.Error(got.comparable())
	}
}

func TestAPositionThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f, other := newFixture(t, h), newFixture(t, h)
	f.record(t, h, "{}")
	other.record(t, h, "{}")
	stream, changes := address(eventStream, f.ID, 0), address("/workspaces/{workspace_id}/operation-runs/changes", f.ID, 0)
	token := h.token(t, f.Owner.Subject)
	good := h.changes(t, f.Owner.Subject, f.ID, "").NextAfter
	altered := []byte(good)
	altered[3] ^= 1
	for situation, position := range map[string]string{
		"garbage": "abc", "zero": "0", "altered": string(altered), "longer": good + "A", "shorter": good[1:], "twice": good + "," + good,
		"another workspace's": h.changes(t, other.Owner.Subject, other.ID, "").NextAfter,
		"now":                 "now ",
	} {
		for name, got := range map[string]answer{
			"Last-Event-ID": h.do(t, http.MethodGet, stream, token, "Last-Event-ID", position),
			"last_event_id": h.do(t, http.MethodGet, stream+"?last_event_id="+strings.ReplaceAll(position, " ", "%20"), token),
			"after":         h.do(t, http.MethodGet, changes+"?after="+strings.ReplaceAll(position, " ", "%20"), token),
		} {
			place := `"parameter":"` + name + `"`
			if name == "Last-Event-ID" {
				place = `"header":"` + name + `"`
			}
			if got.status != http.StatusBadRequest || !strings.Contains(got.body, place) {
				t.Errorf("%s as %s: %d %s", situation, name, got.status, got.body)
			}
		}
	}
	if got := h.do(t, http.MethodGet, stream+"?nothing=1", token, "Last-Event-ID", "x"); strings.Count(got.body, `"parameter"`) != 1 || strings.Count(got.body, `"header"`) != 1 {
		t.Errorf("not every fault is named: %s", got.body)
	}
}
