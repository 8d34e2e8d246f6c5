package dbtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/jackc/pgx/v5"
)

const (
	// urlEnv names a server that is there already; databases are created in it.
	urlEnv = "RUNLEDGER_TEST_DATABASE_URL"
	// kindEnv forces where the server comes from.
	kindEnv = "RUNLEDGER_TEST_POSTGRES"
)

// Where a server comes from.
const (
	kindAuto      = "auto"
	kindContainer = "container"
	kindLocal     = "local"
)

// serverDir is what the test binaries of a run have in common. They come and go, so the server is
// kept by a process of its own, the keeper. In the directory are
//
//	users      locked, shared, by every test binary that uses the server, for its whole life;
//	           the keeper stops the server when it could lock it exclusively for a while
//	starting   locked by the test binary that is about to start a keeper, until it has said where
//	keeper     locked by the keeper for its life
//	state      what the keeper published
//	kept       touched by a test that left a database for a look
//
// Locks end with their process, so a kill at any moment leaves nothing that needs a repair.
type serverDir string

func (d serverDir) path(name string) string { return filepath.Join(string(d), name) }

// state is what a keeper tells the test binaries.
type state struct {
	URL    string `json:"url,omitempty"`
	Keeper int    `json:"keeper,omitempty"` // its process id
	Err    string `json:"error,omitempty"`
}

// usersLock is held for the life of the process. It is a variable because an unreachable lock is
// collected, its file closed and the lock gone.
var usersLock *flock.Flock //nolint:gochecknoglobals // see above

// server makes sure, once in a process, that there is a server, and returns the URL of its
// database for administration.
var server = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	if url := os.Getenv(urlEnv); url != "" {
		if err := ping(ctx, url); err != nil {
			return "", fmt.Errorf("%s: %w", urlEnv, err)
		}
		return url, nil
	}
	dir, err := openServerDir()
	if err != nil {
		return "", err
	}
	return dir.join(ctx)
})

// openServerDir creates the directory of this user's server of the kind that is asked for.
func openServerDir() (serverDir, error) {
	kind := os.Getenv(kindEnv)
	switch kind {
	case "":
		kind = kindAuto
	case kindContainer, kindLocal:
	default:
		return "", fmt.Errorf("%s is %q, not %s or %s", kindEnv, kind, kindContainer, kindLocal)
	}
	base := filepath.Join(os.TempDir(), "runledger-test-"+strconv.Itoa(os.Getuid()))
	dir := serverDir(filepath.Join(base, kind))
	// Others may pass through, because for root the server runs as another user, but not look.
	for _, path := range []string{base, string(dir)} {
		if err := os.Mkdir(path, 0o711); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // see above
			return "", err
		}
		if err := ownDirectory(path); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// join registers this process as a user of the server, starts one if there is none, and returns
// its URL.
func (d serverDir) join(ctx context.Context) (string, error) {
	usersLock = flock.New(d.path("users"))
	if err := lockFile(ctx, usersLock.TryRLockContext); err != nil {
		return "", err
	}
	starting := flock.New(d.path("starting"))
	if err := lockFile(ctx, starting.TryLockContext); err != nil {
		return "", err
	}
	defer func() { _ = starting.Unlock() }()
	kept, err := d.hasKeeper()
	if err != nil {
		return "", err
	}
	if kept {
		if s, err := d.readState(); err == nil && ping(ctx, s.URL) == nil {
			return s.URL, nil
		}
	}
	s, err := d.startKeeper(ctx)
	if err != nil {
		return "", err
	}
	if s.Err != "" {
		return "", errors.New(s.Err)
	}
	return s.URL, nil
}

func lockFile(ctx context.Context, try func(context.Context, time.Duration) (bool, error)) error {
	_, err := try(ctx, 20*time.Millisecond)
	if err != nil {
		return fmt.Errorf("wait for the test server: %w", err)
	}
	return nil
}

// hasKeeper reports whether there is a keeper that lives.
func (d serverDir) hasKeeper() (bool, error) {
	lock := flock.New(d.path("keeper"))
	free, err := lock.TryLock()
	if err != nil {
		return false, err
	}
	return !free, lock.Unlock()
}

func (d serverDir) readState() (state, error) {
	var s state
	text, err := os.ReadFile(d.path("state"))
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(text, &s)
}

// startKeeper runs this binary again as the keeper and waits for what it has to say: the state,
// on a pipe that ends with the keeper.
func (d serverDir) startKeeper(ctx context.Context) (state, error) {
	var s state
	if !inMain {
		return s, errors.New("the package's TestMain has to call dbtest.Main")
	}
	self, err := os.Executable()
	if err != nil {
		return s, err
	}
	hear, say, err := os.Pipe()
	if err != nil {
		return s, err
	}
	defer func() { _ = hear.Close() }()
	log, err := os.OpenFile(d.path("keeper.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return s, errors.Join(err, say.Close())
	}
	defer func() { _ = log.Close() }()

	// No context and none of our output: go test waits until everybody has closed its pipes, and
	// the keeper is to outlive us.
	cmd := exec.Command(self) //nolint:gosec,noctx // ourselves
	cmd.Env = append(os.Environ(), keeperEnv+"=1")
	cmd.Dir, cmd.Stdout, cmd.Stderr = string(d), log, log
	cmd.ExtraFiles = []*os.File{say}
	cmd.SysProcAttr = newSession()
	err = cmd.Start()
	_ = say.Close()
	if err != nil {
		return s, fmt.Errorf("start the keeper of the test server: %w", err)
	}
	_ = cmd.Process.Release()

	stop := context.AfterFunc(ctx, func() { _ = hear.SetReadDeadline(time.Now()) })
	defer stop()
	if err := json.NewDecoder(hear).Decode(&s); err != nil {
		return s, fmt.Errorf("the keeper of the test server ended without a word (see %s): %w", d.path("keeper.log"), err)
	}
	return s, nil
}

// ping reports whether a server answers.
func ping(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return conn.Ping(ctx)
}
