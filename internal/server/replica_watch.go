package server

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbsqlc"
)

// Why a replica is left out.
const (
	outUnknown     = "unknown"       // nobody has looked yet, or the primary does not say how far it is
	outUnreachable = "unreachable"   // it does not answer
	outNoStandby   = "not_standby"   // it takes writes of its own, such as one that was promoted
	outForeign     = "other_cluster" // it is a standby of something else, or was restored from elsewhere
	outLagging     = "lagging"       // it has not replayed what the primary had maxLag ago
)

// outReasons are all of them.
var outReasons = []string{outUnknown, outUnreachable, outNoStandby, outForeign, outLagging}

const (
	// beatInterval is how often the primary and the replica are asked how far they are.
	beatInterval = 500 * time.Millisecond
	beatsPerLag  = 10 // at least, where maxLag is short
	// beatTimeout is how long either may take to say it.
	beatTimeout = time.Second
)

// beat is how far the primary's log was at some moment.
type beat struct {
	at      time.Time // not after that moment
	cluster int64
	flushed logPosition
}

// now is the oldest beat that is not older than maxLag: who has replayed the log up to there shows
// everything that had been committed maxLag ago. There is none where the primary has not told.
//
// Positions tell it and timestamps do not: the last commit that a replica has replayed is an hour
// old when nobody wrote for an hour.
func (p *replica) now() (beat, bool) {
	oldest := time.Now().Add(-p.maxLag)
	for _, b := range *p.beats.Load() {
		if !b.at.Before(oldest) {
			return b, true
		}
	}
	return beat{}, false
}

// watch looks at primary and replica until ctx ends.
func (p *replica) watch(ctx context.Context) {
	defer close(p.stopped)
	eye := replicaEye{config: p.pool.pool.Config().ConnConfig, queries: p.queries}
	defer eye.close()
	tick := time.NewTicker(min(beatInterval, max(p.maxLag/beatsPerLag, time.Millisecond)))
	defer tick.Stop()
	primary := *p.primary
	primary.acquireTimeout, primary.queryTimeout = min(primary.acquireTimeout, beatTimeout), beatTimeout
	for {
		p.beat(ctx, &primary)
		p.look(ctx, &eye)
		select {
		case <-ctx.Done():
			p.standing.Load().lose()
			return
		case <-tick.C:
		case <-p.hurry:
		}
	}
}

// beat asks the primary how far its log is. What it does not say is missed by those who read.
func (p *replica) beat(ctx context.Context, primary *database) {
	at := time.Now()
	row, err := p.queries.GetPrimaryStanding(ctx, primary)
	if err != nil {
		return
	}
	first := 0
	known := *p.beats.Load()
	for first < len(known) && at.Sub(known[first].at) > p.maxLag {
		first++
	}
	known = append(slices.Clone(known[first:]), beat{at: at, cluster: row.Cluster, flushed: logPosition(row.Flushed)}) //nolint:gosec // bits are bits
	p.beats.Store(&known)
}

// look asks the replica how far it is and decides whether it is in use.
func (p *replica) look(ctx context.Context, eye *replicaEye) {
	row, err := eye.look(ctx)
	if ctx.Err() != nil {
		return
	}
	now, known := p.now()
	replayed := logPosition(row.Replayed) //nolint:gosec // bits are bits
	switch {
	case err != nil:
		p.stand(outUnreachable, err)
		return
	case !row.InRecovery:
		p.stand(outNoStandby, nil)
	case !known:
		p.stand(outUnknown, nil)
	case row.Cluster != now.cluster:
		p.stand(outForeign, nil)
	case replayed < now.flushed:
		p.stand(outLagging, nil)
	default:
		p.stand("", nil)
	}
	if beats := *p.beats.Load(); len(beats) > 0 {
		last := beats[len(beats)-1].flushed
		p.metrics.lag.Set(float64(last - min(replayed, last)))
	}
}

// stand takes the replica into use, or leaves it out for a reason.
func (p *replica) stand(out string, err error) {
	p.changing.Lock()
	defer p.changing.Unlock()
	p.change(out, err)
	if out == outUnreachable {
		p.standing.Load().lose()
		p.pool.pool.Reset()
	}
}

// change changes the standing, if it is another one. The caller holds the lock.
func (p *replica) change(out string, err error) {
	was := p.standing.Load()
	if was != nil && was.out == out {
		return
	}
	next := &standing{out: out}
	if was != nil && was.lost.Err() == nil {
		next.lost, next.lose = was.lost, was.lose
	} else {
		next.lost, next.lose = context.WithCancel(context.Background())
	}
	p.standing.Store(next)
	p.metrics.stands(out)
	switch {
	case out == "":
		p.log.Info("lists may be read from the replica")
	case out != outUnknown:
		p.log.Warn("the replica is left out; the primary answers in its place", slog.String("reason", out), slog.Any("error", err))
	}
}

// replicaEye has a connection of its own, so that a busy pool does not look like a replica that is
// down.
type replicaEye struct {
	config  *pgx.ConnConfig
	queries *dbsqlc.Queries
	conn    *pgx.Conn
}

// look asks the replica how far it is, over a new connection where there is none.
func (e *replicaEye) look(ctx context.Context) (row dbsqlc.GetReplicaStandingRow, err error) {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	if e.conn == nil {
		if e.conn, err = pgx.ConnectConfig(ctx, e.config); err != nil {
			return row, err
		}
	}
	row, err = e.queries.GetReplicaStanding(ctx, e.conn)
	if err != nil {
		e.close()
	}
	return row, err
}

// close closes the connection, if there is one.
func (e *replicaEye) close() {
	if e.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), beatTimeout)
		defer cancel()
		_ = e.conn.Close(ctx)
		e.conn = nil
	}
}
