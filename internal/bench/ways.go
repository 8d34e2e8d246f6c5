package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/runledger/runledger/internal/dbsqlc"
)

// The ways to start runs that others are compared with.
const (
	startOne    = "pgbench: the statement of a start"
	startMany   = "pgbench: the same statement, 100 starts"
	plainOne    = "pgbench: a plain INSERT, no events"
	plainMany   = "pgbench: INSERT of 100 by unnest, no events"
	foreignMany = "pgbench: the same into a copy with the primary key and the foreign keys alone"
	keyMany     = "pgbench: the same into a copy with the primary key alone"
	single      = "HTTP: single starts"
	batch       = "HTTP: batches of 100 starts"
)

// What a way is compared with: the columns of the table.
const (
	ofStatement = iota
	ofPlain
	ofKeyAlone
	ofSingle
	ofUnsubscribed
)

// shareHeads are the heads of those columns.
var shareHeads = []string{
	"share of the same statement by pgbench", "share of a plain INSERT", "share of that with the primary key alone",
	"share of single starts", "share of the same without subscribers",
}

// way is one way to start runs.
type way struct {
	name    string
	turn    turn // measures it for runs
	against []comparison
}

// comparison is with the rate of another way, of which it should be a share; 0 if any will do.
type comparison struct {
	column int
	with   string
	bar    float64
}

// shares are the cells of the comparisons.
func (w *way) shares(by map[string]rounds) []string {
	cells := make([]string, len(shareHeads))
	for _, c := range w.against {
		share := by[w.name].rateRatio(by[c.with])
		cells[c.column] = fmt.Sprintf("%.2f", share)
		if c.bar > 0 {
			cells[c.column] += ", " + reaches(share, c.bar)
		}
	}
	return cells
}

// ways are the ways that are measured.
func (w *writeWorld) ways(ctx context.Context) ([]*way, error) {
	ways, err := w.references(ctx)
	if err != nil {
		return nil, err
	}
	const start = `{"type":"inventory_sync","context":{"trigger":"manual"}}`
	operations := `{"operations":[` + strings.Repeat(`{"start":`+start+`},`, batchSize-1) + `{"start":` + start + `}]}`
	one := post{w: w, body: start, status: http.StatusCreated, each: 1}
	many := post{w: w, rest: "/batch", body: operations, status: http.StatusMultiStatus, each: batchSize}
	ways = append(
		ways,
		&way{name: single, turn: one.turn, against: []comparison{{ofStatement, startOne, singleBar}, {ofPlain, plainOne, 0}}},
		&way{name: batch, turn: many.turn, against: []comparison{
			{ofStatement, startMany, 0}, {ofPlain, plainMany, batchBar}, {ofKeyAlone, keyMany, 0}, {ofSingle, single, batchGainBar},
		}},
	)
	for _, n := range []int{1, 10} {
		one.subscribers, many.subscribers = n, n
		ways = append(
			ways,
			&way{name: fmt.Sprintf("%s, %d subscribers", single, n), turn: one.turn, against: []comparison{{ofUnsubscribed, single, subscribersBar}}},
			&way{name: fmt.Sprintf("%s, %d subscribers", batch, n), turn: many.turn, against: []comparison{{ofUnsubscribed, batch, 0}}},
		)
	}
	return ways, nil
}

// copiesAsOften is how many times as often a statement runs that writes to one index: it takes too little
// time otherwise to be told from the beginning of pgbench.
const copiesAsOften = 5

// references are the ways without the service.
func (w *writeWorld) references(ctx context.Context) ([]*way, error) {
	one, err := w.startSQL(ctx, 1)
	if err != nil {
		return nil, err
	}
	many, err := w.startSQL(ctx, batchSize)
	if err != nil {
		return nil, err
	}
	var ways []*way
	for _, s := range []struct {
		name, sql string
		each      int // runs that it starts
		often     int // how many times as often it is sent as a request
		against   []comparison
	}{
		{startOne, one, 1, 1, []comparison{{ofPlain, plainOne, 0}}},
		{plainOne, w.plainSQL("operation_runs", 1), 1, 1, nil},
		{startMany, many, batchSize, 1, []comparison{{ofPlain, plainMany, 0}, {ofKeyAlone, keyMany, 0}}},
		{plainMany, w.plainSQL("operation_runs", batchSize), batchSize, 1, []comparison{{ofKeyAlone, keyMany, 0}}},
		{foreignMany, w.plainSQL(withForeign, batchSize), batchSize, copiesAsOften, []comparison{{ofKeyAlone, keyMany, 0}}},
		{keyMany, w.plainSQL(keyOnly, batchSize), batchSize, copiesAsOften, nil},
	} {
		path := filepath.Join(w.dir, fmt.Sprintf("writes-%d.sql", len(ways)))
		if err := os.WriteFile(path, []byte("\\set r random(1, 9000000000000000000)\n"+s.sql+";\n"), 0o600); err != nil {
			return nil, err
		}
		ways = append(ways, &way{name: s.name, against: s.against, turn: func(ctx context.Context) (sample, error) {
			of, err := w.pgbench(ctx, []string{"-f", path}, w.url, writers, s.often*w.perWriter(s.each))
			return of.ofEach(s.each), err
		}})
	}
	return ways, nil
}

// ofEach is what it is for each of so many runs that a request or statement starts.
func (s sample) ofEach(runs int) sample {
	return sample{s.perThousand(1000 * runs), s.rate * float64(runs)}
}

// perWriter is how often each connection sends a request or statement that starts so many runs: often
// enough that how the connections begin and end is little of it, and a tenth as often where it starts a
// hundred, which takes minutes otherwise.
func (w *writeWorld) perWriter(runs int) int {
	if runs == 1 {
		return max(w.requests/writers, leastStatements)
	}
	return max(w.requests/writers/10, 5)
}

// hashes is SQL for so many identity hashes that nobody has used.
func hashes(each int) string {
	return fmt.Sprintf("ARRAY(SELECT encode(sha256((:r::text || '-' || i)::bytea), 'hex') FROM generate_series(1, %d) AS i)", each)
}

// plainSQL is the least that so many rows of a table can cost.
func (w *writeWorld) plainSQL(table string, each int) string {
	values := fmt.Sprintf(`SELECT %d, %d, 'bench', 'inventory_sync', unnest(%s), '{"trigger":"manual"}'`, w.workspaceID, w.userID, hashes(each))
	if each == 1 {
		values = fmt.Sprintf(`VALUES (%d, %d, 'bench', 'inventory_sync', encode(sha256((:r)::text::bytea), 'hex'), '{"trigger":"manual"}')`,
			w.workspaceID, w.userID)
	}
	return "INSERT INTO " + table + " (workspace_id, user_id, initiator_name, type, run_identity_hash, context) " + values
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
