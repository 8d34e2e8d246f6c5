package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/runledger/runledger/internal/auth"
)

// world is what is asked for: the workspace with the most runs, by one of its members.
type world struct {
	workspaceID int64
	subject     string
}

func findWorld(ctx context.Context, conn *pgx.Conn) (world, error) {
	var w world
	err := conn.QueryRow(ctx, `
		SELECT m.workspace_id, u.subject FROM workspace_memberships AS m JOIN users AS u ON u.id = m.user_id
		WHERE u.subject IS NOT NULL AND m.workspace_id =
			(SELECT workspace_id FROM operation_runs GROUP BY workspace_id ORDER BY count(*) DESC LIMIT 1)
		ORDER BY u.id LIMIT 1`).Scan(&w.workspaceID, &w.subject)
	if errors.Is(err, pgx.ErrNoRows) {
		return w, errors.New("the database has no runs; runledger seed adds some")
	}
	return w, err
}

// contender is a server that is measured.
type contender struct {
	name        string
	application string // what its connections call themselves
	url         string
	token       string
	command     *exec.Cmd
	client      *http.Client
	costs       []cost
	rates       []float64
}

// startFull builds the server and starts it.
func startFull(ctx context.Context, o options, w world, dir string) (*contender, error) {
	binary := filepath.Join(dir, "runledger")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "./cmd/runledger")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the server: %w\n%s", err, out)
	}
	const issuer, audience = "https://bench.invalid", "bench"
	secret := rand.Text() + rand.Text()
	signer, err := auth.NewSecretSigner([]byte(secret))
	if err != nil {
		return nil, err
	}
	token, err := signer.Sign(w.subject, issuer, audience, time.Hour, time.Now())
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
		name: "runledger serve", application: "runledger", token: token,
		url:     fmt.Sprintf("http://%s/workspaces/%d/operation-runs?limit=%d", addr, w.workspaceID, o.pageSize),
		command: exec.CommandContext(ctx, binary, "serve"),
	}
	return c, c.start(ctx, "http://"+addr+"/livez", []string{
		"RUNLEDGER_DATABASE_URL=" + o.database, "RUNLEDGER_ADDR=" + addr, "RUNLEDGER_ADMIN_ADDR=" + admin,
		"RUNLEDGER_JWT_HS256_SECRET=" + secret, "RUNLEDGER_JWT_ISSUER=" + issuer, "RUNLEDGER_JWT_AUDIENCE=" + audience,
	})
}

// startBare starts the bare handler: this program, in another process.
func startBare(ctx context.Context, o options, w world) (*contender, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	c := &contender{
		name: "bare handler", application: bareApplication, url: "http://" + addr + "/",
		command: exec.CommandContext(ctx, self, bareCommand),
	}
	return c, c.start(ctx, c.url, []string{
		"BENCH_DATABASE=" + o.database, "BENCH_ADDR=" + addr,
		"BENCH_WORKSPACE=" + strconv.FormatInt(w.workspaceID, 10), "BENCH_LIMIT=" + strconv.Itoa(o.pageSize),
	})
}

// start starts the process and returns when it answers at probe.
func (c *contender) start(ctx context.Context, probe string, environ []string) error {
	c.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}, Timeout: time.Minute}
	c.command.Env = append(os.Environ(), environ...)
	log, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // the log is written, as in life, and not kept
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	c.command.Stdout, c.command.Stderr = log, log
	if err := c.command.Start(); err != nil {
		return err
	}
	const patience = 15 * time.Second
	for deadline := time.Now().Add(patience); ; {
		if err = c.get(ctx, probe, io.Discard); err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			c.stop()
			return fmt.Errorf("%s does not answer: %w", c.name, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// stop ends the process.
func (c *contender) stop() {
	c.client.CloseIdleConnections()
	_ = c.command.Process.Signal(syscall.SIGTERM)
	_ = c.command.Wait()
}

// get asks once and copies the body of a 200 to body.
func (c *contender) get(ctx context.Context, url string, body io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", c.name, resp.Status)
	}
	_, err = io.Copy(body, resp.Body)
	return err
}

// load asks n times over as many connections as told.
func (c *contender) load(ctx context.Context, connections, n int) error {
	var asked atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range connections {
		group.Go(func() error {
			for asked.Add(1) <= int64(n) {
				if err := c.get(ctx, c.url, io.Discard); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// sameData makes sure that both contenders send the same rows, encoded alike.
func sameData(ctx context.Context, a, b *contender) error {
	var bodies [2]bytes.Buffer
	for i, c := range []*contender{a, b} {
		if err := c.get(ctx, c.url, &bodies[i]); err != nil {
			return err
		}
	}
	rowsOf := func(body []byte) []byte {
		rows, _, _ := bytes.Cut(body, []byte(`],"next_cursor":`))
		return rows
	}
	if !bytes.Equal(rowsOf(bodies[0].Bytes()), rowsOf(bodies[1].Bytes())) {
		return fmt.Errorf("%s and %s answer differently:\n%.600s\n%.600s", a.name, b.name, bodies[0].Bytes(), bodies[1].Bytes())
	}
	return nil
}

// spent is the CPU time that the contender has taken so far.
func (c *contender) spent(ctx context.Context, conn *pgx.Conn) (cost, error) {
	server, err := cpuTime(c.command.Process.Pid)
	if err != nil {
		return cost{}, err
	}
	rows, err := conn.Query(ctx, "SELECT pid FROM pg_stat_activity WHERE application_name = $1", c.application)
	if err != nil {
		return cost{}, err
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		return cost{}, err
	}
	total := cost{server: server}
	for _, pid := range pids {
		spent, err := cpuTime(pid)
		if err != nil {
			return cost{}, fmt.Errorf("PostgreSQL has to run on this machine: %w", err)
		}
		total.database += spent
	}
	return total, nil
}

// cpuTime is what a process has run, in user and system mode (proc_pid_stat(5)).
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	// The second field, the name, is in parentheses and may hold anything.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const utime, stime, tick = 11, 12, 10 * time.Millisecond
	var ticks int64
	for _, field := range []int{utime, stime} {
		n, err := strconv.ParseInt(fields[field], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// freeAddr is an address on loopback that nobody listens on.
func freeAddr() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}
