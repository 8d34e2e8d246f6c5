package dbtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/runledger/runledger/internal/localpg"
)

// keeperEnv makes a test binary the keeper of the server.
const keeperEnv = "RUNLEDGER_TEST_KEEPER"

const (
	// lingerEnv overrides linger, as a Go duration.
	lingerEnv = "RUNLEDGER_TEST_LINGER"
	// linger is how long a server without users stays, for the next package of the run.
	linger = 15 * time.Second
	// lingerKept is how long it stays after a test kept its database for a look.
	lingerKept = 30 * time.Minute
	// lookEvery is how often the keeper looks for users, and whether the server is alive.
	lookEvery = time.Second
	// containerTimeout is how long the wait for a container may take before a PostgreSQL of this
	// machine is tried: an engine without a network waits long for an image.
	containerTimeout = 2 * time.Minute
)

// running is a server that a keeper has started.
type running struct {
	url   string
	alive func(context.Context) bool
	stop  func(context.Context) error
}

// keep starts a server, says where it is, and stops it when nobody has used it for a while.
// It returns the exit code of the process.
func keep() int {
	closeOnExec(3) // the server must not keep the pipe open
	say := os.NewFile(3, "state")
	d, err := openServerDir()
	if err == nil {
		err = d.keep(say)
	}
	if err != nil {
		slog.Error("keeper", "error", err)
		_ = json.NewEncoder(say).Encode(state{Err: err.Error()}) //nolint:errchkjson // nobody may be listening any more
		return 1
	}
	return 0
}

func (d serverDir) keep(say *os.File) (err error) {
	ctx := context.Background()
	starting, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	lock := flock.New(d.path("keeper"))
	if err := lockFile(starting, lock.TryLockContext); err != nil {
		return err
	}
	defer func() { _ = lock.Unlock() }()
	if err := d.withdraw(); err != nil {
		return err
	}
	s, err := startServer(starting, d)
	if err != nil {
		return err
	}
	users := flock.New(d.path("users"))
	defer func() {
		// The state goes first, so that nobody is sent to a server that is about to stop.
		err = errors.Join(err, d.withdraw(), s.stop(ctx), users.Unlock())
	}()
	if err := d.publish(state{URL: s.url, Keeper: os.Getpid()}, say); err != nil {
		return err
	}
	return d.awaitDisuse(ctx, users, s)
}

// publish writes the state for everybody and says it to the process that waits for it.
func (d serverDir) publish(s state, say *os.File) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.WriteFile(d.path("state.new"), text, 0o600); err != nil {
		return err
	}
	if err := os.Rename(d.path("state.new"), d.path("state")); err != nil {
		return err
	}
	_, _ = say.Write(text) // the process may be gone; others will read the file
	return say.Close()
}

// withdraw removes what was published.
func (d serverDir) withdraw() error {
	if err := os.Remove(d.path("state")); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// awaitDisuse returns when the server has ended, or has had no users for a while. In the second
// case it holds the lock of the users, so that new ones wait until the server is gone.
func (d serverDir) awaitDisuse(ctx context.Context, users *flock.Flock, s running) error {
	patience := linger
	if text := os.Getenv(lingerEnv); text != "" {
		var err error
		if patience, err = time.ParseDuration(text); err != nil {
			return fmt.Errorf("%s: %w", lingerEnv, err)
		}
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	lastUsed := time.Now()
	for range tick.C {
		if !s.alive(ctx) {
			return errors.New("the server ended")
		}
		unused, err := users.TryLock()
		if err != nil {
			return fmt.Errorf("look for users: %w", err)
		}
		if !unused {
			lastUsed = time.Now()
			continue
		}
		if time.Since(lastUsed) > patience && d.sinceKept() > lingerKept {
			return nil
		}
		if err := users.Unlock(); err != nil {
			return fmt.Errorf("look for users: %w", err)
		}
	}
	return nil // a ticker does not end
}

// sinceKept is how long ago a test kept its database.
func (d serverDir) sinceKept() time.Duration {
	info, err := os.Stat(d.path("kept"))
	if err != nil {
		return math.MaxInt64 // none ever did
	}
	return time.Since(info.ModTime())
}

// settings make a server fast where a test cannot tell the difference, and odd where a test
// should not see one: commits wait for the log as always, but the log does not wait for the disk,
// and the time zone is a quarter of an hour off everybody's.
func settings() map[string]string {
	return map[string]string{
		"fsync":              "off",
		"full_page_writes":   "off",
		"max_connections":    "300",
		"shared_buffers":     "256MB",
		"max_wal_size":       "2GB",
		"timezone":           timezone,
		"autovacuum_naptime": "10s",
	}
}

// startServer starts the server that the name of the directory asks for.
func startServer(ctx context.Context, d serverDir) (running, error) {
	if err := os.Remove(d.path("kept")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return running{}, err
	}
	kind := filepath.Base(string(d))
	var containerErr error
	if kind != kindLocal {
		short, cancel := context.WithTimeout(ctx, containerTimeout)
		defer cancel()
		var s running
		if s, containerErr = startContainer(short); containerErr == nil {
			return s, nil
		}
		slog.Info("no container", "reason", containerErr)
		if kind == kindContainer {
			return running{}, containerErr
		}
	}
	return startLocal(ctx, d, containerErr)
}

// startLocal starts a PostgreSQL of this machine.
func startLocal(ctx context.Context, d serverDir, containerErr error) (running, error) {
	pg, err := localpg.Start(ctx, localpg.Options{
		Dir:      d.path("postgresql"),
		Settings: settings(),
		Fresh:    true,
		Log:      slog.Default(),
	})
	if err != nil {
		return running{}, errors.Join(err, containerErr)
	}
	alive := func(context.Context) bool {
		select {
		case <-pg.Done():
			return false
		default:
			return true
		}
	}
	return running{url: pg.URL("postgres"), alive: alive, stop: pg.Stop}, nil
}
