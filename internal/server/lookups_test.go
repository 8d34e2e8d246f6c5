package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

func TestCachesTellOfHitsAndMisses(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	h := newHarnessOn(t, dbtest.Pool(t), server.Options{Registry: registry})
	w := newWorker(t, h)
	w.start(t, http.StatusCreated, `{"type":"inventory_sync"}`)
	for range 3 { // the first is let in by the gate, the others by their own statement
		h.get(t, http.StatusOK, w.Operator.Subject, w.path(""))
	}
	text := told(t, registry)
	for series, want := range map[string]int{
		`cache="visitors",result="miss"`: 1, `cache="visitors",result="hit"`: 2,
		`cache="pages",result="miss"`: 3, `cache="pages",result="hit"`: 0,
	} {
		if line := fmt.Sprintf("runledger_cache_lookups_total{%s} %d\n", series, want); !strings.Contains(text, line) {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
}
