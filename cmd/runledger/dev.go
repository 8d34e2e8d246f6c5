package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/runledger/runledger/db"
	"github.com/runledger/runledger/internal/localpg"
	"github.com/runledger/runledger/internal/seed"
)

// devTokenLife is how long the tokens that dev prints are valid.
const devTokenLife = 24 * time.Hour

func (a *app) devCommand() *cobra.Command {
	var dataDir, addr string
	var fresh bool
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything on this machine: a private PostgreSQL, demonstration data, the server",
		Long: `Dev starts a private PostgreSQL in a directory of its own, brings its schema up to
date, puts demonstration data into it and serves on 127.0.0.1:8080. It prints
commands to try. Ctrl-C stops everything; the next start goes on with the same data.

PostgreSQL 15 or later is looked for on PATH and where packages put it; without one
it is downloaded, or run in Docker. Started by root, PostgreSQL runs as another user.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dataDir == "" {
				dir, err := devDataDir(a.environ)
				if err != nil {
					return err
				}
				dataDir = dir
			}
			return a.dev(cmd.Context(), dataDir, addr, fresh)
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", "", "where the data is kept (/var/lib/runledger/dev for root, else ~/.local/share/runledger/dev)")
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:8080", "where to listen")
	cmd.Flags().BoolVar(&fresh, "fresh", false, "throw the data away and start over")
	return cmd
}

func (a *app) dev(ctx context.Context, dataDir, addr string, fresh bool) error {
	c, err := readConfig(a.environ)
	if err != nil {
		return err
	}
	c.Addr, c.ShutdownDelay = addr, 0
	// Before anything is started: a taken port is the commonest fault.
	for variable, address := range map[string]string{"ADDR": c.Addr, "ADMIN_ADDR": c.AdminAddr} {
		probe, err := listen(ctx, variable, address)
		if err != nil {
			return fmt.Errorf("%w\nIs another one running? dev takes --addr as well", err)
		}
		_ = probe.Close()
	}
	a.note("starting a private PostgreSQL in %s", dataDir)
	pg, err := localpg.Start(ctx, localpg.Options{Dir: dataDir, Fresh: fresh})
	if err != nil {
		return err
	}
	err = a.devOn(ctx, c, dataDir, pg)
	a.note("stopping PostgreSQL")
	if stopErr := pg.Stop(context.WithoutCancel(ctx)); stopErr != nil {
		err = errors.Join(err, stopErr)
	}
	return err
}

// devOn makes the database ready and serves from it.
func (a *app) devOn(ctx context.Context, c config, dataDir string, pg *localpg.Server) error {
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
	return a.serve(ctx, c, func(addr string) {
		if err := a.devGreeting(c, addr, demo); err != nil {
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
func (a *app) devGreeting(c config, addr string, demo seed.DemoData) error {
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

The console, signed in as a member:
  http://%[1]s/console/#token=%[4]s

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
`, addr, c.AdminAddr, devTokenLife, member, stranger, list, history)
	return nil
}

// note tells on stderr what is being done.
func (a *app) note(format string, args ...any) {
	_, _ = fmt.Fprintf(a.stderr, "runledger: "+format+"\n", args...)
}

// devDataDir is where dev keeps its data unless told otherwise: a place that PostgreSQL's user
// can reach when root starts it, the user's own data directory (XDG Base Directory Specification)
// otherwise.
func devDataDir(environ []string) (string, error) {
	if os.Geteuid() == 0 {
		return "/var/lib/runledger/dev", nil
	}
	variables := env.ToMap(environ)
	if dir := variables["XDG_DATA_HOME"]; filepath.IsAbs(dir) {
		return filepath.Join(dir, "runledger", "dev"), nil
	}
	if home := variables["HOME"]; filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "share", "runledger", "dev"), nil
	}
	return "", usageError{errors.New("HOME is not set: name a directory with --data-dir")}
}
