package server_test

import (
	"context"
	"log/slog"
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

// nowhere is an answer that nobody reads.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n nowhere) WriteHeader(int)             {}

// BenchmarkRefusal is what it costs to refuse a request for which there is no place, all that
// net/http does apart.
func BenchmarkRefusal(b *testing.B) {
	pool := dbtest.Pool(b)
	s := server.New(server.Options{
		Pool: pool, Log: slog.New(slog.NewJSONHandler(discard{}, nil)), Registry: prometheus.NewRegistry(),
		Limits: server.Limits{MaxRequests: -1, PerAddress: server.Rate{PerSecond: 1e9, Burst: 1e9}},
	})
	defer s.Close()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "/workspaces/1/operation-runs?limit=50", http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	req.RemoteAddr = "127.0.0.1:1234"
	req.Header.Set("Accept-Encoding", "gzip")
	b.ReportAllocs()
	for b.Loop() {
		s.ServeHTTP(nowhere{http.Header{}}, req)
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
