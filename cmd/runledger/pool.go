package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/internal/server"
	"github.com/runledger/runledger/internal/telemetry"
)

// readAtOnce is how many bytes are read of PostgreSQL's answers at once: what is there of a page, where
// pgx by itself reads the 8 kB that PostgreSQL sends at a time. Each connection has a buffer so large.
const readAtOnce = 64 << 10

// mostStatements is how many statements PostgreSQL keeps for each connection, the last to be used. They are
// those of this service, a hundred, and lists with other filters, which take up to half a
// megabyte each: a client that asks for all of them is not to take more than 100 MB of a connection's.
const mostStatements = 256

// pool is the configuration of the connections of a server to a database, the primary or a replica.
func (c *config) pool(databaseURL string) (*pgxpool.Config, error) {
	pool, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, err
	}
	pool.MaxConns = c.DatabaseMaxConns
	pool.ConnConfig.ConnectTimeout = c.DatabaseAcquireTimeout
	pool.ConnConfig.StatementCacheCapacity = mostStatements
	pool.ConnConfig.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		return pgproto3.NewFrontend(bufio.NewReaderSize(r, readAtOnce), w)
	}
	params := pool.ConnConfig.RuntimeParams
	maps.Copy(params, server.SessionSettings())
	params["application_name"] = "runledger"
	params["statement_timeout"] = milliseconds(c.StatementTimeout)
	params["idle_in_transaction_session_timeout"] = milliseconds(c.IdleTransactionTimeout)
	return pool, nil
}

// replica is the pool of connections to the replica, nil if there is none. It is not connected to
// here; nothing can be written over it whatever is at its address.
func (c *config) replica(ctx context.Context, tracer pgx.QueryTracer) (*pgxpool.Pool, error) {
	if c.DatabaseReplicaURL == "" {
		return nil, nil //nolint:nilnil // as said
	}
	config, err := c.pool(c.DatabaseReplicaURL)
	if err != nil {
		return nil, err
	}
	config.ConnConfig.Tracer = tracer
	config.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on"
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), config)
	if err != nil {
		return nil, fmt.Errorf("make the connection pool of the replica: %w", err)
	}
	return pool, nil
}

// pools are the connections of a server for requests.
type pools struct {
	primary *pgxpool.Pool
	replica *pgxpool.Pool // nil if there is none
}

// openPools makes them, and connects to nothing yet. They outlive ctx, for requests that are answered after it.
func (c *config) openPools(ctx context.Context, primary *pgxpool.Config) (*pools, error) {
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), primary)
	if err != nil {
		return nil, fmt.Errorf("make the connection pool: %w", err)
	}
	replica, err := c.replica(ctx, primary.ConnConfig.Tracer)
	if err != nil {
		pool.Close()
		return nil, err
	}
	return &pools{primary: pool, replica: replica}, nil
}

// collectors are the metrics of the connections.
func (p *pools) collectors() []prometheus.Collector {
	collectors := []prometheus.Collector{telemetry.NewPool(p.primary)}
	if p.replica != nil {
		collectors = append(collectors, telemetry.NewReplicaPool(p.replica))
	}
	return collectors
}

// close closes every connection, and waits for those in use.
func (p *pools) close() {
	if p.replica != nil {
		p.replica.Close()
	}
	p.primary.Close()
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
