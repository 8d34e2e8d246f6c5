package server

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// What a list's request costs beside its statement and its rows.

func BenchmarkCursor(b *testing.B) {
	c, key := &cursorKeeper{}, make([]byte, 32)
	c.key.Store(&key)
	const binding = "workspace 7 /workspaces/7/operation-runs?outcome=failed&type=inventory_sync"
	at := position{at: 1_764_000_000_000_000, id: 123_456}
	b.ReportAllocs()
	for b.Loop() {
		if opened, ok := c.open(c.seal(at, binding), binding); !ok || opened != at {
			b.Fatalf("%v comes back as %v", at, opened)
		}
	}
}

func BenchmarkParams(b *testing.B) {
	for name, query := range map[string]string{
		"none":  "",
		"limit": "?limit=50",
		"many":  "?limit=50&type=inventory_sync,backup_schedule_run&outcome=failed&tenant_id=12&created_from=2026-01-01T00:00:00Z&fields=id,type,outcome",
	} {
		r := httptest.NewRequest(http.MethodGet, "/workspaces/7/operation-runs"+query, http.NoBody)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p := parseParams(r)
				runFilter(p)
				p.fields(runMembers)
				p.ordering("-created_at", "created_at", "updated_at")
				p.limit()
				p.text("cursor")
				if err := p.done(); err != nil {
					b.Fatal(err)
				}
				binding(r, p.values)
			}
		})
	}
}
