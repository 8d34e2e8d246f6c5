package legacy

import (
	"context"
	"testing"
	"time"
)

// A report that reads for long must hold up neither the removal for good nor, through a removal that
// queues for its lock, anybody else.
func TestNobodyWaitsBehindTheRemoval(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]func(context.Context, *Removal) error{
		"expand":   func(ctx context.Context, r *Removal) error { _, err := r.Expand(ctx); return err },
		"contract": func(ctx context.Context, r *Removal) error { return r.swap(ctx, &ContractReport{}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := legacyDatabase(t)
			if name == "contract" {
				throughBackfill(t, address)
				prepared := open(t, address, Options{PrepareOnly: true})
				must(t, prepared.Contract)
				prepared.Close()
			}
			reading := connect(t, address)
			if _, err := reading.Exec(t.Context(), "BEGIN; SELECT FROM findings, operation_runs, inventory_items LIMIT 1"); err != nil {
				t.Fatal(err)
			}
			r := open(t, address, Options{LockTimeout: 20 * time.Millisecond})
			done := make(chan error, 1)
			go func() { done <- step(t.Context(), r) }()
			writing := connectSimply(t, address)
			if _, err := writing.Exec(t.Context(), "SET lock_timeout = '1s'"); err != nil {
				t.Fatal(err)
			}
			for n := range 200 {
				select {
				case err := <-done:
					t.Fatalf("%s did not wait for the reader: %v", name, err)
				default:
				}
				if _, err := writing.Exec(t.Context(), "insert into findings (tenant_id, finding_type, fingerprint) values (10, 'drift', 'l' || $1::text)", n); err != nil {
					t.Fatalf("statement %d: %v", n, err)
				}
			}
			if _, err := reading.Exec(t.Context(), "COMMIT"); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}
