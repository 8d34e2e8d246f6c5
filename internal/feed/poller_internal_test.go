package feed

import (
	"log/slog"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/dbsqlc"
)

func TestTheTimeInWhichNobodyFollowsIsNoLag(t *testing.T) {
	t.Parallel()
	f := &Feed{log: slog.New(slog.DiscardHandler), metrics: &metrics{}}
	began := time.Now()
	p := poller{feed: f, horizon: 5, since: began.Add(-time.Hour)}
	if err := p.round(t.Context()); err != nil { // which asks nothing, as nobody follows
		t.Fatal(err)
	}
	p.watch(t.Context(), dbsqlc.GetFeedHorizonRow{Horizon: 5, Beyond: 7}) // a transaction has begun meanwhile
	if held := time.Unix(0, f.metrics.held.Load()); held.Before(began) {
		t.Errorf("changes are held back since %s before", began.Sub(held))
	}
}
