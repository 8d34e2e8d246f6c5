package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runledger/runledger/internal/dbsqlc"
)

// A replica is asked for lists alone, and only where the request says what the list has to show at
// least. One rule decides: a statement runs on a connection to it only after the server at its other
// end has said on this very connection that it is a standby of the primary's cluster and has replayed
// the log up to the position that the client wants, and up to where the primary was maxLag ago. So it
// does not matter how many standbys are behind the address, nor that one is promoted or replaced.
// Whatever goes wrong, the primary answers the same request.

const (
	// replicaPatience is how long a list waits for the replica to come to a position, if it is near.
	replicaPatience = 50 * time.Millisecond
	replicaPause    = 2 * time.Millisecond // between two looks while waiting
	// replicaNear is how much of the log a replica that streams has soon replayed.
	replicaNear = 1 << 20
	// replicaAcquireTimeout bounds the wait for a connection, since the primary can be asked as well.
	replicaAcquireTimeout = 250 * time.Millisecond
)

var (
	errReplicaBehind = errors.New("the replica has not replayed the log as far as is wanted")
	errNoReplica     = errors.New("the server at the replica's address is no standby of the primary")
)

// replica is a standby of the database, or several behind one address.
type replica struct {
	pool    database
	primary *database // for what is asked about the log; it does not queue
	queries *dbsqlc.Queries
	maxLag  time.Duration
	log     *slog.Logger
	metrics *replicaMetrics

	standing atomic.Pointer[standing]
	changing sync.Mutex             // held while standing changes
	beats    atomic.Pointer[[]beat] // of the last maxLag, the oldest first
	stuck    atomic.Uint64          // the position at which a wait was in vain
	hurry    chan struct{}          // asks for the next beat at once

	stop    context.CancelFunc
	stopped chan struct{}
}

// standing is whether a replica is in use.
type standing struct {
	out  string          // why it is left out; empty while it is in use
	lost context.Context //nolint:containedctx // ends the statements that run on it, once it does not answer
	lose context.CancelFunc
}

// newReplica makes a replica that is left out until it has been looked at.
func newReplica(pool *pgxpool.Pool, primary *database, maxLag time.Duration, log *slog.Logger) *replica {
	if maxLag == 0 {
		maxLag = 5 * time.Second
	}
	p := &replica{
		pool: database{
			pool: pool, acquireTimeout: min(primary.acquireTimeout, replicaAcquireTimeout), queryTimeout: primary.queryTimeout,
		},
		primary: primary, queries: dbsqlc.New(), maxLag: maxLag, log: log, metrics: newReplicaMetrics(),
		hurry: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
	p.beats.Store(&[]beat{})
	p.stand(outUnknown, nil)
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	go p.watch(ctx)
	return p
}

// close ends the watch.
func (p *replica) close() {
	p.stop()
	<-p.stopped
}

// note tells people whether it is in use. Why it is not is in the log and the metrics.
func (p *replica) note() string {
	if p.standing.Load().out != "" {
		return "left out"
	}
	return "in use"
}

// read runs read on the replica and tells whether it was done there.
func (p *replica) read(ctx context.Context, wanted logPosition, read func(db dbsqlc.DBTX) error) bool {
	standing := p.standing.Load()
	now, known := p.now()
	if standing.out != "" || !known {
		p.metrics.fellBack(fellLeftOut)
		return false
	}
	db := p.pool
	db.admit = func(ctx context.Context, l *loan) error {
		l.endWith(standing.lost)
		return p.admit(ctx, l, now.cluster, max(wanted, now.flushed))
	}
	err := read(&db)
	switch {
	case err == nil:
		p.metrics.replica.Inc()
	case errors.Is(err, errReplicaBehind):
		p.metrics.fellBack(fellBehind)
	default:
		p.metrics.fellBack(fellFailed)
		p.log.LogAttrs(ctx, slog.LevelDebug, "a list could not be read from the replica", slog.Any("error", err))
		// A connection that broke means more than one that was not to be had in time, or that had to
		// go because a row or lock stood in the way of replaying the log.
		if errors.Is(err, errNoReplica) || errors.Is(err, errNoConnection) && !hasClass(err, "40") &&
			!errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			p.leave(standing, err)
		}
	}
	return err == nil
}

// leave leaves the replica out until it has been looked at again, which is done at once.
func (p *replica) leave(was *standing, err error) {
	p.changing.Lock()
	defer p.changing.Unlock()
	if p.standing.Load() == was {
		p.change(outUnreachable, err)
		select {
		case p.hurry <- struct{}{}:
		default:
		}
	}
}

// admitted is what is known of the server at the other end of a connection.
type admitted struct {
	cluster  int64
	replayed logPosition
}

// admit lets a statement run on the connection once the server there has replayed the log up to
// wanted. What it has replayed, it has for ever.
func (p *replica) admit(ctx context.Context, l *loan, cluster int64, wanted logPosition) error {
	data := l.conn.Conn().PgConn().CustomData()
	if known, ok := data["admitted"].(admitted); ok && known.cluster == cluster && known.replayed >= wanted {
		return nil
	}
	ctx, stop := context.WithTimeout(ctx, replicaPatience+p.pool.acquireTimeout)
	defer stop()
	for began := time.Now(); ; {
		row, err := p.queries.GetReplicaStanding(ctx, l.conn)
		if err != nil {
			return err
		}
		if row.Cluster != cluster || !row.InRecovery {
			return errNoReplica
		}
		replayed := logPosition(row.Replayed) //nolint:gosec // bits are bits
		data["admitted"] = admitted{cluster, replayed}
		switch {
		case replayed >= wanted:
			return nil
		case wanted-replayed > replicaNear, uint64(replayed) == p.stuck.Load():
			return fmt.Errorf("%w: %s of %s", errReplicaBehind, replayed, wanted)
		case time.Since(began) > replicaPatience:
			p.stuck.Store(uint64(replayed)) // nobody else is to wait for it where it stands
			return fmt.Errorf("%w: %s of %s after a wait", errReplicaBehind, replayed, wanted)
		}
		time.Sleep(replicaPause)
	}
}
