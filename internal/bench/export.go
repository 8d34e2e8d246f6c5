package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	exportBar       = 0.5 // of the rate of COPY
	exportMemoryBar = 60 << 20
)

// copied is what COPY writes of a run: the columns that an export has.
const copied = `id, workspace_id, tenant_id, user_id, initiator_name, type, status, outcome, run_identity_hash, summary_counts,
	failure_summary, context, started_at, completed_at, created_at, updated_at, heartbeat_at, progressed_at, stalled, stalled_at,
	cancel_requested_at, retry_of_id, attempt, revision, recalled_at IS NOT NULL, recalled_at, recalled_by_user_id, recall_reason`

// exportWays are the formats of an export, each beside the COPY that is nearest to it.
func exportWays() []struct{ name, accept, format string } {
	return []struct{ name, accept, format string }{
		{"NDJSON", "application/x-ndjson", "text"},
		{"CSV", "text/csv", "csv"},
	}
}

// measureExport compares exports of all runs of the largest workspace with PostgreSQL's COPY of
// the same rows in the same order, and tells how much memory the server took for them.
func measureExport(ctx context.Context, b *bench) (*table, error) {
	size := b.sizes[len(b.sizes)-1]
	p, err := findPlace(ctx, b.url(size))
	if err != nil {
		return nil, err
	}
	full, err := b.startServe(ctx, b.url(size), p.subject)
	if err != nil {
		return nil, err
	}
	defer full.stop()
	full.client.Timeout = 0 // an export takes as long as it takes
	conn, err := pgx.Connect(ctx, b.url(size))
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "SET enable_seqscan = off"); err != nil { // it would read the runs of everybody
		return nil, err
	}
	const rounds = 3
	t := &table{
		caption: fmt.Sprintf("Every run of a workspace, in order, to a client that throws them away: medians of %d rounds by turns.", min(rounds, b.rounds)),
		keys:    1,
		head:    []string{"what", "rows", "MB", "rows/s", "of COPY", "bar"},
	}
	for _, way := range exportWays() {
		var copied, exported bulk // the last of each; all have as many rows
		all, err := byTurns(ctx, min(rounds, b.rounds), func(ctx context.Context) (_ sample, err error) {
			copied, err = copyOut(ctx, conn, p.workspaceID, way.format)
			return sample{rate: copied.rate()}, err
		}, func(ctx context.Context) (_ sample, err error) {
			exported, err = full.export(ctx, p.runs(), way.accept)
			return sample{rate: exported.rate()}, err
		})
		if err != nil {
			return nil, err
		}
		if exported.rows != copied.rows {
			return nil, fmt.Errorf("the export in %s has %d rows, and COPY %d", way.name, exported.rows, copied.rows)
		}
		share := all[1].rateRatio(all[0])
		t.add("COPY, "+way.format, strconv.FormatInt(copied.rows, 10), megabytes(copied.bytes), perSecond(all[0].median().rate), "", "")
		t.add("export in "+way.name, strconv.FormatInt(exported.rows, 10), megabytes(exported.bytes), perSecond(all[1].median().rate),
			fmt.Sprintf("%.2f", share), reaches(share, exportBar))
	}
	most, err := memory(full.command.Process.Pid, "VmHWM")
	if err != nil {
		return nil, err
	}
	t.notes = append(t.notes, fmt.Sprintf("The server's most resident memory in all of this: %s (%s).",
		mebibytes(most), bound(most < exportMemoryBar, mebibytes(exportMemoryBar))))
	return t, nil
}

func megabytes(n int64) string { return strconv.FormatInt(n/1_000_000, 10) }

// bulk is what was read in one go.
type bulk struct {
	rows, bytes int64
	took        time.Duration
}

func (b bulk) rate() float64 { return float64(b.rows) / b.took.Seconds() }

// byteCount counts what is written to it.
type byteCount int64

func (t *byteCount) Write(p []byte) (int, error) {
	*t += byteCount(len(p))
	return len(p), nil
}

// copyOut copies the runs of a workspace as PostgreSQL does by itself.
func copyOut(ctx context.Context, conn *pgx.Conn, workspaceID int64, format string) (bulk, error) {
	var n byteCount
	begin := time.Now()
	tag, err := conn.PgConn().CopyTo(ctx, &n, fmt.Sprintf("COPY (SELECT %s FROM operation_runs WHERE workspace_id = %d "+
		"ORDER BY coalesce(created_at, '-infinity') DESC, id DESC) TO STDOUT (FORMAT %s)", copied, workspaceID, format))
	return bulk{tag.RowsAffected(), int64(n), time.Since(begin)}, err
}

var errNoReceipt = errors.New("an export came without its receipt")

// export reads an export to its end.
func (c *contender) export(ctx context.Context, path, accept string) (bulk, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, http.NoBody)
	if err != nil {
		return bulk{}, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Accept", accept)
	begin := time.Now()
	resp, err := c.client.Do(req)
	if err != nil {
		return bulk{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	n := &end{}
	_, err = io.Copy(n, resp.Body)
	took := time.Since(begin)
	if err != nil || resp.StatusCode != http.StatusOK {
		return bulk{}, fmt.Errorf("%s answers %s to an export: %w", c.name, resp.Status, err)
	}
	receipt := resp.Trailer.Get("Receipt")
	if receipt == "" {
		receipt = string(n.last[bytes.LastIndex(n.last, []byte(`{"receipt":`))+1:])
	}
	_, receipt, _ = strings.Cut(receipt, `"rows":`)
	count, _, _ := strings.Cut(receipt, ",")
	rows, err := strconv.ParseInt(count, 10, 64)
	if err != nil {
		return bulk{}, fmt.Errorf("%w: %w", errNoReceipt, err)
	}
	return bulk{rows, n.bytes, took}, nil
}

// end counts what is written to it, and keeps the last of it: an export in NDJSON has its receipt there.
type end struct {
	bytes int64
	last  []byte
}

func (e *end) Write(p []byte) (int, error) {
	const receipt = 1024
	e.bytes += int64(len(p))
	e.last = append(e.last, p[max(0, len(p)-receipt):]...)
	e.last = append(e.last[:0], e.last[max(0, len(e.last)-receipt):]...)
	return len(p), nil
}
