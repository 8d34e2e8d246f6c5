//go:build unix

package server_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/seed"
	"github.com/runledger/runledger/internal/server"
)

// kept is an answer whose body is kept.
type kept struct {
	header http.Header
	body   bytes.Buffer
}

// Header is the answer's.
func (k *kept) Header() http.Header { return k.header }

// Write keeps what is written.
func (k *kept) Write(b []byte) (int, error) { return k.body.Write(b) }

// WriteHeader is nothing.
func (k *kept) WriteHeader(int) {}

// spent is the CPU time that this process has taken so far.
func spent(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// seededPage is a page of 50 runs as seeded data have them.
func seededPage(b *testing.B) []byte {
	b.Helper()
	h := newHarnessOnFresh(b)
	conn, err := pgx.Connect(b.Context(), h.pool.Config().ConnString())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close(b.Context()) }()
	until := time.Date(2026, time.June, 1, 0, 0, 0, 0, time.UTC)
	if _, err := seed.Run(b.Context(), conn, seed.Options{Workspaces: 1, Runs: 500, Seed: 1, Until: until}, func(int, int) {}); err != nil {
		b.Fatal(err)
	}
	var workspaceID int64
	var subject string
	if err := h.pool.QueryRow(b.Context(), `SELECT m.workspace_id, u.subject FROM workspace_memberships AS m JOIN users AS u ON u.id = m.user_id
		WHERE u.subject IS NOT NULL LIMIT 1`).Scan(&workspaceID, &subject); err != nil {
		b.Fatal(err)
	}
	got := h.do(b, http.MethodGet, fmt.Sprintf("/workspaces/%d/operation-runs", workspaceID), h.token(b, subject))
	if got.status != http.StatusOK {
		b.Fatalf("status %d: %s", got.status, got.body)
	}
	return []byte(got.body)
}

// BenchmarkCompression is what the compression of a page costs by itself, in CPU time, and what it
// costs to undo.
func BenchmarkCompression(b *testing.B) {
	dbtest.Pool(b)
	page := seededPage(b)
	compressed := server.Compressed(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(page)))
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write(page)
	}))
	for _, encoding := range []string{"identity", "gzip", "zstd"} {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "/", http.NoBody)
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Accept-Encoding", encoding)
		answer := &kept{header: http.Header{}}
		b.Run(encoding, func(b *testing.B) {
			before, n := spent(b), 0
			for b.Loop() {
				answer.header = http.Header{}
				answer.body.Reset()
				compressed.ServeHTTP(answer, req)
				n++
			}
			b.ReportMetric(float64(spent(b)-before)/float64(n)/1000, "cpu-µs/op")
			b.ReportMetric(float64(answer.body.Len()), "bytes/page")
		})
		if encoding == "identity" {
			continue
		}
		b.Run("un"+encoding, func(b *testing.B) {
			undo := unpacker(b, encoding)
			before, n := spent(b), 0
			for b.Loop() {
				undo(answer.body.Bytes())
				n++
			}
			b.ReportMetric(float64(spent(b)-before)/float64(n)/1000, "cpu-µs/op")
		})
	}
}

// unpacker undoes an encoding as a client does that does it often.
func unpacker(b *testing.B, encoding string) func(packed []byte) {
	b.Helper()
	var reader interface {
		io.Reader
		Reset(from io.Reader) error
	} = new(gzip.Reader)
	if encoding == "zstd" {
		z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(z.Close)
		reader = z
	}
	return func(packed []byte) {
		if err := reader.Reset(bytes.NewReader(packed)); err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, reader); err != nil {
			b.Fatal(err)
		}
	}
}
