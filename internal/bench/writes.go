package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/runledger/runledger/internal/dbsqlc"
)

const (
	writers   = 8   // connections that write at once
	batchSize = 100 // starts in a batch

	// The bars: shares of the rate of what a way is compared with.
	singleBar      = 0.75
	batchBar       = 0.5
	batchGainBar   = 5
	subscribersBar = 0.9
)

// way is one way to start runs.
type way struct {
	name    string
	each    int // runs that a request or statement starts
	round   func(ctx context.Context, n int) (sample, error)
	against []comparison
	samples rounds // of runs
}

// comparison is with the rate of another way, of which it should be a share.
type comparison struct {
	with string
	bar  float64
}

// writeWorld is where runs are started: a copy of the small database, a server on it and a member
// of a workspace that may record runs.
type writeWorld struct {
	*bench

	url         string
	server      *contender
	workspaceID int64
	userID      int64
}

// measureWrites compares starts over HTTP with what PostgreSQL takes for the same statement, with
// a plain INSERT, and with and without subscribers of the feed. Each start leaves its event.
func measureWrites(ctx context.Context, b *bench) (t *table, err error) {
	w, err := b.newWriteWorld(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	ways, err := w.ways(ctx)
	if err != nil {
		return nil, err
	}
	for range b.rounds {
		for _, way := range ways {
			s, err := way.round(ctx, max(b.requests/way.each, 5*writers))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", way.name, err)
			}
			each := time.Duration(way.each)
			way.samples = append(way.samples, sample{cost{s.server / each, s.database / each}, s.rate * float64(way.each)})
		}
	}
	t = &table{
		caption: fmt.Sprintf("Starts of runs over %d connections: runs a second and CPU seconds per 1,000 runs (server + PostgreSQL), "+
			"medians of %d rounds by turns. A share is that of the rate, the median of the rounds' own.", writers, b.rounds),
		keys: 1,
		head: []string{"way", "runs/s", "CPU", "shares"},
		notes: []string{
			"The database does not wait for the disk here (`fsync` is off), which is the hardest case for all that is not the database.",
		},
	}
	byName := map[string]*way{}
	for _, way := range ways {
		byName[way.name] = way
		m := way.samples.median()
		var shares []string
		for _, c := range way.against {
			share, verdict := way.samples.rateRatio(byName[c.with].samples), "holds"
			if share < c.bar {
				verdict = "**fails**"
			}
			shares = append(shares, fmt.Sprintf("%.2f of %s (≥ %.2g %s)", share, c.with, c.bar, verdict))
		}
		t.add(way.name, perSecond(m.rate), m.String(), strings.Join(shares, "; "))
	}
	return t, nil
}

// newWriteWorld makes the copy and starts the server.
func (b *bench) newWriteWorld(ctx context.Context) (*writeWorld, error) {
	const name = "writes"
	w := &writeWorld{bench: b, url: b.databaseURL(name)}
	for _, statement := range []string{"DROP DATABASE IF EXISTS " + name, "CREATE DATABASE " + name + " TEMPLATE " + databaseName(small)} {
		if err := b.administer(ctx, statement); err != nil {
			return nil, err
		}
	}
	conn, err := pgx.Connect(ctx, w.url)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var subject string
	err = conn.QueryRow(ctx, `SELECT m.workspace_id, u.id, u.subject
		FROM workspace_memberships AS m JOIN users AS u ON u.id = m.user_id JOIN workspaces AS w ON w.id = m.workspace_id
		WHERE m.role <> 'readonly' AND w.archived_at IS NULL AND u.subject IS NOT NULL
		ORDER BY m.workspace_id, u.id LIMIT 1`).Scan(&w.workspaceID, &w.userID, &subject)
	if err != nil {
		return nil, err
	}
	w.server, err = b.startServe(ctx, w.url, subject)
	return w, err
}

func (w *writeWorld) close() error {
	w.server.stop()
	return w.administer(context.Background(), "DROP DATABASE writes WITH (FORCE)")
}

// administer runs a statement in the server's own database.
func (b *bench) administer(ctx context.Context, statement string) error {
	conn, err := pgx.Connect(ctx, b.databaseURL("postgres"))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
}

// ways are the ways that are measured, what is compared behind what it is compared with.
func (w *writeWorld) ways(ctx context.Context) ([]*way, error) {
	const (
		statement, statementOfMany = "pgbench: the statement of a start", "pgbench: the same statement, 100 starts"
		plain                      = "pgbench: INSERT of 100 by unnest, no events"
		single, batch              = "HTTP: single starts", "HTTP: batches of 100 starts"
	)
	var ways []*way
	for _, s := range []struct {
		name string
		each int
		sql  func(ctx context.Context, each int) (string, error)
	}{{statement, 1, w.startSQL}, {statementOfMany, batchSize, w.startSQL}, {plain, batchSize, w.plainSQL}} {
		sql, err := s.sql(ctx, s.each)
		if err != nil {
			return nil, err
		}
		path := filepath.Join(w.dir, fmt.Sprintf("writes-%d.sql", len(ways)))
		if err := os.WriteFile(path, []byte("\\set r random(1, 9000000000000000000)\n"+sql+";\n"), 0o600); err != nil {
			return nil, err
		}
		ways = append(ways, &way{name: s.name, each: s.each, round: func(ctx context.Context, n int) (sample, error) {
			return w.pgbench(ctx, []string{"-f", path}, w.url, writers, max(n/writers, 1))
		}})
	}
	const start = `{"type":"inventory_sync","context":{"trigger":"manual"}}`
	operations := `{"operations":[` + strings.Repeat(`{"start":`+start+`},`, batchSize-1) + `{"start":` + start + `}]}`
	post := func(rest, body string, status, subscribers int) func(ctx context.Context, n int) (sample, error) {
		return func(ctx context.Context, n int) (sample, error) {
			return w.postRound(ctx, rest, body, status, subscribers, n)
		}
	}
	ways = append(
		ways,
		&way{name: single, each: 1, against: []comparison{{statement, singleBar}}, round: post("", start, http.StatusCreated, 0)},
		&way{
			name: batch, each: batchSize, round: post("/batch", operations, http.StatusMultiStatus, 0),
			against: []comparison{{single, batchGainBar}, {plain, batchBar}, {statementOfMany, 0}},
		},
	)
	for _, n := range []int{1, 10} {
		ways = append(ways, &way{
			name: fmt.Sprintf("%s, %d subscribers", single, n), each: 1, against: []comparison{{single, subscribersBar}},
			round: post("", start, http.StatusCreated, n),
		})
	}
	return ways, nil
}

// hashes is SQL for so many identity hashes that nobody has used.
func hashes(each int) string {
	return fmt.Sprintf("ARRAY(SELECT encode(sha256((:r::text || '-' || i)::bytea), 'hex') FROM generate_series(1, %d) AS i)", each)
}

// plainSQL is the least that so many rows can cost.
func (w *writeWorld) plainSQL(_ context.Context, each int) (string, error) {
	return fmt.Sprintf(`INSERT INTO operation_runs (workspace_id, user_id, initiator_name, type, run_identity_hash, context)
		SELECT %d, %d, 'bench', 'inventory_sync', unnest(%s), '{"trigger":"manual"}'`, w.workspaceID, w.userID, hashes(each)), nil
}

// startSQL is the service's own statement for so many starts, with its arguments in it.
func (w *writeWorld) startSQL(ctx context.Context, each int) (string, error) {
	const hash = "here goes the hash"
	p := dbsqlc.StartRunsParams{
		WorkspaceID: w.workspaceID, UserID: &w.userID, Actor: "bench",
		Types: slices.Repeat([]string{"inventory_sync"}, each), TenantIds: make([]int64, each),
		InitiatorNames: slices.Repeat([]string{"bench"}, each), RunIdentityHashes: slices.Repeat([]string{hash}, each),
		Contexts: slices.Repeat([]string{`{"trigger":"manual"}`}, each), IdempotencyKeys: make([]string, each),
		RequestHashes: slices.Repeat([]string{strings.Repeat("0a", 32)}, each), RetryOfIds: make([]int64, each),
		Attempts: slices.Repeat([]int64{1}, each),
	}
	var q query
	if _, err := dbsqlc.New().StartRuns(ctx, capture{&q}, p); !errors.Is(err, errCaptured) {
		return "", fmt.Errorf("the statement of a start was not asked for: %w", err)
	}
	var lines []string
	for line := range strings.Lines(q.sql) {
		line, _, _ = strings.Cut(line, "--")
		lines = append(lines, strings.TrimRight(line, " \n"))
	}
	sql := strings.Join(lines, "\n")
	for i, arg := range slices.Backward(q.args) { // $12 before $1
		text := sqlLiteral(arg)
		if texts, ok := arg.([]string); ok && texts[0] == hash {
			text = hashes(each)
		}
		sql = strings.ReplaceAll(sql, "$"+strconv.Itoa(i+1), text)
	}
	return strings.TrimSpace(sql), nil
}

// sqlLiteral is an argument of a statement in SQL.
func sqlLiteral(v any) string {
	switch v := v.(type) {
	case int64:
		return strconv.FormatInt(v, 10)
	case *int64:
		return strconv.FormatInt(*v, 10)
	case string:
		return "'" + v + "'"
	case []string:
		quoted, err := json.Marshal(v)
		if err != nil {
			panic(err) // texts
		}
		return "'{" + strings.Trim(string(quoted), "[]") + "}'"
	case []int64:
		return "'{" + strings.Trim(strings.ReplaceAll(fmt.Sprint(v), " ", ","), "[]") + "}'"
	default:
		panic(fmt.Sprintf("bench: no SQL for %T", v))
	}
}

// postRound sends a request n times over all connections while the workspace has so many
// subscribers, and tells what a thousand of them cost.
func (w *writeWorld) postRound(ctx context.Context, rest, body string, status, subscribers, n int) (sample, error) {
	request := w.request(http.MethodPost, rest, body)
	follow := w.request(http.MethodGet, "/events", "")
	var followers sync.WaitGroup
	defer followers.Wait()
	for range subscribers {
		conn, err := w.dial(ctx)
		if err != nil {
			return sample{}, err
		}
		defer func() { _ = conn.Close() }()
		if _, err := conn.Write(follow); err != nil {
			return sample{}, err
		}
		followers.Go(func() { _, _ = io.Copy(io.Discard, conn) })
	}
	if _, err := w.post(ctx, request, status, 5*writers); err != nil { // statements are prepared, the feed looks
		return sample{}, err
	}
	before, err := w.server.spent(ctx)
	if err != nil {
		return sample{}, err
	}
	took, err := w.post(ctx, request, status, n)
	if err != nil {
		return sample{}, err
	}
	after, err := w.server.spent(ctx)
	per := func(d time.Duration) time.Duration { return d * 1000 / time.Duration(n) }
	return sample{
		cost{per(after.server - before.server), per(after.database - before.database)}, float64(n) / took.Seconds(),
	}, err
}

func (w *writeWorld) dial(ctx context.Context) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(w.server.base, "http://"))
}

// request is a request as it goes over the wire.
func (w *writeWorld) request(method, rest, body string) []byte {
	return fmt.Appendf(nil, "%s /workspaces/%d/operation-runs%s HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", method, w.workspaceID, rest, w.server.token, len(body), body)
}

// post sends the request n times over all connections, and returns how long that took. It is its
// own client, since net/http's would take as much of the machine as the server.
func (w *writeWorld) post(ctx context.Context, request []byte, status, n int) (time.Duration, error) {
	var sent atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	for range writers {
		group.Go(func() error {
			conn, err := w.dial(ctx)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			answers := bufio.NewReader(conn)
			for sent.Add(1) <= int64(n) {
				if _, err := conn.Write(request); err != nil {
					return err
				}
				resp, err := http.ReadResponse(answers, nil)
				if err != nil {
					return err
				}
				text, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || resp.StatusCode != status {
					return errors.Join(err, fmt.Errorf("the server answers %s: %.300s", resp.Status, text))
				}
			}
			return nil
		})
	}
	err := group.Wait()
	return time.Since(start), err
}
