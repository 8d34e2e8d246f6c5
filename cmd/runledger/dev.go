package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/runledger/runledger/db"
	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/localpg"
	"github.com/runledger/runledger/internal/seed"
)

// devTokenLife is how long the tokens that dev prints are valid.
const devTokenLife = 24 * time.Hour

func (a *app) devCommand() *cobra.Command {
	var dataDir string
	var addresses devAddresses
	var fresh bool
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything on this machine: a private PostgreSQL, demonstration data, the server",
		Long: `Dev starts a private PostgreSQL in a directory of its own, brings its schema up to
date, puts demonstration data into it and serves on 127.0.0.1:8080, with metrics and
profiles on 127.0.0.1:9090, or on a free port if that one is taken. It prints
commands to try. Ctrl-C stops everything; the next start goes on with the same data.

PostgreSQL 15 or later is looked for on PATH and where packages put it; without one
it is downloaded, or run in Docker. Started by root, PostgreSQL runs as another user.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := addresses.check(); err != nil {
				return err
			}
			addresses.publicWanted, addresses.adminWanted = cmd.Flags().Changed("addr"), cmd.Flags().Changed("admin-addr")
			if dataDir == "" {
				dir, err := devDataDir(a.environ)
				if err != nil {
					return err
				}
				dataDir = dir
			}
			return a.dev(cmd.Context(), dataDir, addresses, fresh)
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", "", "where the data is kept (/var/lib/runledger/dev for root, else ~/.local/share/runledger/dev)")
	cmd.Flags().StringVar(&addresses.public, "addr", "127.0.0.1:8080", "where to listen")
	cmd.Flags().StringVar(&addresses.admin, "admin-addr", usualAdminAddr, "where to serve metrics and profiles")
	cmd.Flags().BoolVar(&fresh, "fresh", false, "throw the data away and start over")
	return cmd
}

// usualAddr is where a server listens unless somebody wants it elsewhere; dev then keeps to this machine.
const usualAddr = ":8080"

// usualAdminAddr is where metrics and profiles are, unless somebody wants them elsewhere.
const usualAdminAddr = "127.0.0.1:9090"

// devAddresses are where dev listens.
type devAddresses struct {
	public, admin string
	publicWanted  bool // somebody asked for public
	adminWanted   bool // somebody asked for admin, so that no other address will do
}

// check finds what is no address.
func (d *devAddresses) check() error {
	var faults []error
	for _, flag := range []struct{ name, address string }{{"--addr", d.public}, {"--admin-addr", d.admin}} {
		if !isAddress(flag.address) {
			faults = append(faults, fmt.Errorf("%s wants host:port, such as 127.0.0.1:8000, not %q", flag.name, flag.address))
		}
	}
	if len(faults) > 0 {
		return usageError{errors.Join(faults...)}
	}
	return nil
}

// listen opens both listeners; the operators' on a free port if the usual one is taken.
func (d *devAddresses) listen(ctx context.Context) (public, admin net.Listener, err error) {
	public, err = listen(ctx, "--addr", d.public)
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w\nIs another one running?", err)
	}
	if err != nil {
		return nil, nil, err
	}
	admin, err = listen(ctx, "--admin-addr", d.admin)
	if err != nil && !d.adminWanted {
		admin, err = listen(ctx, "--admin-addr", "127.0.0.1:0")
	}
	if err != nil {
		_ = public.Close()
		return nil, nil, err
	}
	return public, admin, nil
}

// endsWithin tells whether a PostgreSQL ends by itself until then.
func endsWithin(pg *localpg.Server, patience time.Duration) bool {
	select {
	case <-pg.Done():
		return true
	case <-time.After(patience):
		return false
	}
}

// errDatabaseEnded says that the private PostgreSQL is gone, without which there is nothing to serve.
var errDatabaseEnded = errors.New("the private PostgreSQL has ended by itself")

func (a *app) dev(ctx context.Context, dataDir string, addresses devAddresses, fresh bool) error {
	c, err := readConfig(a.environ)
	if err != nil {
		return err
	}
	if !addresses.publicWanted && c.Addr != usualAddr {
		addresses.public = c.Addr
	}
	if !addresses.adminWanted && c.AdminAddr != usualAdminAddr {
		addresses.admin, addresses.adminWanted = c.AdminAddr, true
	}
	c.ShutdownDelay = 0
	// Before anything is started: a taken port is the commonest fault.
	public, admin, err := addresses.listen(ctx)
	if err != nil {
		return err
	}
	_, _ = public.Close(), admin.Close()
	a.note("starting a private PostgreSQL in %s", dataDir)
	pg, err := localpg.Start(ctx, localpg.Options{Dir: dataDir, Fresh: fresh, Log: a.logger(c)})
	if err != nil {
		return err
	}
	living, die := context.WithCancel(ctx)
	go func() {
		defer die()
		select {
		case <-pg.Done():
		case <-living.Done():
		}
	}()
	err = a.devOn(living, c, addresses.listen, dataDir, pg)
	die()
	if ctx.Err() == nil && endsWithin(pg, time.Second) { // a connection may hear of it before
		err = errors.Join(fmt.Errorf("%w; what it said last is in %s", errDatabaseEnded, filepath.Join(dataDir, "postgresql.log")), err)
	}
	a.note("stopping PostgreSQL")
	if stopErr := pg.Stop(context.WithoutCancel(ctx)); stopErr != nil {
		err = errors.Join(err, stopErr)
	}
	return err
}

// devOn makes the database ready and serves from it.
func (a *app) devOn(ctx context.Context, c config, open opening, dataDir string, pg *localpg.Server) error {
	const database = "runledger"
	if err := ensureDatabase(ctx, pg, database); err != nil {
		return err
	}
	c.DatabaseURL = pg.URL(database)
	a.note("bringing the schema up to date")
	if _, err := db.Up(ctx, c.DatabaseURL); err != nil {
		return err
	}
	a.note("looking after the demonstration data")
	conn, err := pgx.Connect(ctx, c.DatabaseURL)
	if err != nil {
		return err
	}
	demo, err := seed.Demo(ctx, conn)
	_ = conn.Close(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	if c.JWTSecret, err = devSecret(dataDir); err != nil {
		return err
	}
	c.JWTIssuer, c.JWTAudience = "runledger-dev", "runledger"
	c.ConsoleClientID = "" // the printed link signs in
	c.JWTPublicKeyFile, c.JWTPrivateKeyFile, c.JWTJWKSURL, c.JWTAlgorithms = "", "", "", nil
	return a.serve(ctx, c, open, func(addr, admin string) {
		if err := a.devGreeting(c, addr, admin, demo); err != nil {
			a.note("%v", err)
		}
	})
}

// ensureDatabase creates the database if it is not there.
func ensureDatabase(ctx context.Context, pg *localpg.Server, name string) error {
	conn, err := pgx.Connect(ctx, pg.URL("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&exists); err != nil {
		return err
	}
	if exists {
		return nil
	}
	_, err = conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	return err
}

// devSecret is the secret that dev signs tokens with, kept so that they outlive a restart.
func devSecret(dataDir string) (string, error) {
	path := filepath.Join(dataDir, "jwt-secret")
	secret, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(secret)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	fresh := make([]byte, 32)
	_, _ = rand.Read(fresh) // never fails
	text := hex.EncodeToString(fresh)
	return text, os.WriteFile(path, []byte(text+"\n"), 0o600)
}

// devGreeting prints commands that show what the server does.
func (a *app) devGreeting(c config, addr, admin string, demo seed.DemoData) error {
	signer, err := c.signer()
	if err != nil {
		return err
	}
	sign := func(subject string) string {
		token, signErr := signer.Sign(subject, c.JWTIssuer, c.JWTAudience, devTokenLife, time.Now())
		err = errors.Join(err, signErr)
		return token
	}
	member, stranger := sign(demo.Owner), sign(demo.Stranger)
	if err != nil {
		return err
	}
	list := fmt.Sprintf("http://%s/workspaces/%d/operation-runs", addr, demo.WorkspaceID)
	history := fmt.Sprintf("http://%s/workspaces/%d/backup-schedules/%d/runs", addr, demo.WorkspaceID, demo.ScheduleID)
	a.printf(`
Runledger is serving on http://%[1]s (metrics on http://%[2]s/metrics).

%[8]s

Tokens, valid for %[3]s:
  a member:    %[4]s
  a stranger:  %[5]s

The newest runs of a workspace:
  curl -s -H 'Authorization: Bearer %[4]s' '%[6]s?limit=2'

The history of a backup schedule:
  curl -s -H 'Authorization: Bearer %[4]s' '%[7]s?limit=2'

What a stranger gets, a 404 that tells nothing:
  curl -s -i -H 'Authorization: Bearer %[5]s' '%[6]s'

Ctrl-C stops everything; the data stays for the next time.
`, addr, admin, devTokenLife, member, stranger, list, history, consoleLink(addr, member))
	return nil
}

// consoleLink says how to get into the console at an address that the server listens on. A link that signs in
// works on this machine alone.
func consoleLink(addr, token string) string {
	host, port, _ := net.SplitHostPort(addr) // it is a listener's
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	if !auth.IsLoopback(host) {
		return "The console, where the token below signs in:\n  http://" + addr + "/console/"
	}
	return "The console, signed in as a member:\n  http://" + net.JoinHostPort(host, port) + "/console/#token=" + token
}

// note tells on stderr what is being done.
func (a *app) note(format string, args ...any) {
	_, _ = fmt.Fprintf(a.stderr, "runledger: "+format+"\n", args...)
}
