package server_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// BenchmarkIdleStreams tells what a subscriber costs that gets nothing: both ends of its
// connection are in this process.
func BenchmarkIdleStreams(b *testing.B) {
	h := newHarness(b)
	f := newFixture(b, h)
	const streams = 1000
	memory := func() (used uint64) {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapInuse + stats.StackInuse
	}
	for b.Loop() {
		before := memory()
		listeners := make([]*listener, 0, streams)
		for range streams {
			listeners = append(listeners, h.follow(b, f.Owner.Subject, f.ID, ""))
		}
		b.ReportMetric(float64(memory()-before)/streams, "B/stream")
		for _, l := range listeners {
			l.hangUp()
		}
	}
}

// BenchmarkWrites tells what a write costs, through the handler and without a network, while its
// workspace has so many subscribers.
func BenchmarkWrites(b *testing.B) {
	h := newHarness(b)
	for _, streams := range []int{0, 1, 10, 0, 1, 10} {
		b.Run(fmt.Sprintf("subscribers=%d", streams), func(b *testing.B) {
			f := newFixture(b, h)
			var readers sync.WaitGroup
			listeners := make([]*listener, 0, streams)
			for range streams {
				l := h.follow(b, f.Owner.Subject, f.ID, "")
				listeners = append(listeners, l)
				readers.Go(func() {
					for _, err := l.block(); err == nil; _, err = l.block() {
					}
				})
			}
			token := h.token(b, f.Owner.Subject)
			path := address("/workspaces/{workspace_id}/operation-runs/{id}/heartbeat", f.ID, f.run)
			for b.Loop() {
				req := httptest.NewRequest(http.MethodPost, path, strings.NewReader(""))
				req.Header.Set("Authorization", "Bearer "+token)
				answer := httptest.NewRecorder()
				h.server.ServeHTTP(answer, req)
				if answer.Code != http.StatusOK {
					b.Fatal(answer.Body)
				}
			}
			for _, l := range listeners {
				l.hangUp()
			}
			readers.Wait()
		})
	}
}
