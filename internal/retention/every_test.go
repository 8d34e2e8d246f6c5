package retention

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/db"
	"github.com/runledger/runledger/internal/dbtest"
)

func TestOfManyServersOneLetsRunsGoAndAnotherWhenThatOneIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy(t, "inventory_sync", new(int64(0)), nil)
	w.runs(t, "inventory_sync", 0, 1, 2, 3)
	config, err := pgx.ParseConfig(w.url)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	other := w.connect(t)
	if _, err := other.Exec(t.Context(), "SELECT pg_advisory_lock($1)", db.RetentionLock); err != nil {
		t.Fatal(err)
	}
	if err := turn(t.Context(), config, log); err != nil || len(w.left(t)) != 3 {
		t.Errorf("while another server is at it, %v are left, error %v", w.left(t), err)
	}
	if err := other.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Every(ctx, 10*time.Millisecond, config, log)
	}()
	dbtest.Await(t, dbtest.Connect(t, w.url), "NOT EXISTS (SELECT FROM operation_runs)")
	w.runs(t, "inventory_sync", 0, 1) // it goes on
	dbtest.Await(t, dbtest.Connect(t, w.url), "NOT EXISTS (SELECT FROM operation_runs)")
	stop()
	<-ended
}
