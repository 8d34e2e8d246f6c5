package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/runledger/runledger/internal/auth"
)

// contender is a server that is measured.
type contender struct {
	name        string
	application string // what its connections call themselves
	base        string // its address, without a path
	admin       string // where it tells its metrics, if it does
	path        string // what load asks for
	token       string
	header      http.Header // what every request of load carries besides
	together    bool        // whether all connections of load ask for one page, and not for one each
	command     *exec.Cmd
	client      *http.Client
	database    *pgx.Conn     // where its connections are looked up
	started     time.Duration // how long it took to answer
	startedCPU  time.Duration // and how much CPU time
}

// startServe starts the built server on a database. More environment comes last and wins.
func (b *bench) startServe(ctx context.Context, databaseURL, subject string, environ ...string) (*contender, error) {
	const issuer, audience = "https://bench.invalid", "bench"
	secret := rand.Text() + rand.Text()
	signer, err := auth.NewSecretSigner([]byte(secret))
	if err != nil {
		return nil, err
	}
	token, err := signer.Sign(subject, issuer, audience, 12*time.Hour, time.Now())
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	admin, err := freeAddr()
	if err != nil {
		return nil, err
	}
	c := &contender{
		name: "runledger serve", application: "runledger", token: token, base: "http://" + addr, admin: "http://" + admin,
		command: exec.CommandContext(ctx, b.binary, "serve"),
	}
	return c, c.start(ctx, databaseURL, "/readyz", append([]string{
		"RUNLEDGER_DATABASE_URL=" + databaseURL, "RUNLEDGER_ADDR=" + addr, "RUNLEDGER_ADMIN_ADDR=" + admin,
		"RUNLEDGER_JWT_HS256_SECRET=" + secret, "RUNLEDGER_JWT_ISSUER=" + issuer, "RUNLEDGER_JWT_AUDIENCE=" + audience,
		"RUNLEDGER_SHUTDOWN_DELAY=0s",
		"RUNLEDGER_RATE_PER_ADDRESS=1e6", "RUNLEDGER_RATE_PER_SUBJECT=1e6", // counted as in life, and never too many
		"RUNLEDGER_SWEEP_INTERVAL=0s", // the runs that are going on in the seeded data went silent long ago
	}, environ...))
}

// startBare starts the bare handler: this program, in another process.
func startBare(ctx context.Context, databaseURL string, environ ...string) (*contender, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	c := &contender{
		name: "bare handler", application: bareApplication, base: "http://" + addr,
		command: exec.CommandContext(ctx, self, bareCommand),
	}
	return c, c.start(ctx, databaseURL, "/", append([]string{"BENCH_DATABASE=" + databaseURL, "BENCH_ADDR=" + addr}, environ...))
}

// start starts the process and returns when it answers at probe.
func (c *contender) start(ctx context.Context, databaseURL, probe string, environ []string) (err error) {
	if c.database, err = pgx.Connect(ctx, databaseURL); err != nil {
		return err
	}
	c.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1024, MaxIdleConns: 1024, DisableCompression: true}, Timeout: time.Minute}
	c.command.Env = append(os.Environ(), environ...)
	// A session of its own, as a service has: Linux shares the processor among sessions before it does
	// among their processes, and the load generator is to take nothing of the server's share.
	c.command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	log, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // the log is written, as in life, and not kept
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	c.command.Stdout, c.command.Stderr = log, log
	begin := time.Now()
	if err := c.command.Start(); err != nil {
		return err
	}
	const patience = 15 * time.Second
	for {
		if err = c.get(ctx, probe, io.Discard); err == nil {
			c.started = time.Since(begin)
			c.startedCPU, err = cpuTime(c.command.Process.Pid)
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(begin) > patience {
			c.stop()
			return fmt.Errorf("%s does not answer: %w", c.name, err)
		}
		time.Sleep(time.Millisecond)
	}
}

// stop ends the process.
func (c *contender) stop() {
	c.client.CloseIdleConnections()
	_ = c.command.Process.Signal(syscall.SIGTERM)
	_ = c.command.Wait()
	_ = c.database.Close(context.Background())
}

// get asks once and copies the body of a 200 to body.
func (c *contender) get(ctx context.Context, path string, body io.Writer) error {
	resp, err := c.ask(ctx, path)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotModified {
		return fmt.Errorf("%s answers %s to %s", c.name, resp.Status, path)
	}
	_, err = io.Copy(body, resp.Body)
	return err
}

// ask sends one GET; the caller closes the body.
func (c *contender) ask(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, c.header)
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return c.client.Do(req)
}

// load asks n times over as many connections as told.
func (c *contender) load(ctx context.Context, connections, n int) error {
	var asked atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for i := range connections {
		group.Go(func() error {
			l, err := c.newLoader(ctx, i)
			if err != nil {
				return err
			}
			defer func() { _ = l.conn.Close() }()
			for asked.Add(1) <= int64(n) {
				if err := l.ask(); err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// spent is the CPU time that the contender and its backends have taken so far.
func (c *contender) spent(ctx context.Context) (cost, error) {
	server, err := cpuTime(c.command.Process.Pid)
	if err != nil {
		return cost{}, err
	}
	backends, err := c.backends(ctx)
	if err != nil {
		return cost{}, err
	}
	total := cost{server: server}
	for _, pid := range backends {
		spent, err := cpuTime(pid)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has just ended
		}
		if err != nil {
			return cost{}, err
		}
		total.database += spent
	}
	return total, nil
}

// backends are the processes of PostgreSQL that serve the contender.
func (c *contender) backends(ctx context.Context) ([]int, error) {
	rows, err := c.database.Query(ctx,
		"SELECT pid FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()", c.application)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int])
}

// freeAddr is an address on loopback that nobody listens on.
func freeAddr() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// environmentInt reads a number that this program has set for itself.
func environmentInt(name string) (int64, error) {
	n, err := strconv.ParseInt(os.Getenv(name), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return n, nil
}
