package localpg

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	embedded "github.com/fergusstrange/embedded-postgres"
	"github.com/gofrs/flock"
)

// embeddedVersion is the release that is downloaded where no PostgreSQL is installed.
const embeddedVersion = embedded.V17

// embeddedRepository is where it is downloaded from, a Maven repository.
const embeddedRepository = "https://repo1.maven.org/maven2"

// fetchEmbedded downloads the binaries of PostgreSQL, once per machine, and returns them.
func fetchEmbedded(ctx context.Context, c *cluster) (binaries, error) {
	cache, err := cacheDir(c)
	if err != nil {
		return binaries{}, err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil { //nolint:gosec // the server's user must read it
		return binaries{}, err
	}
	lock := flock.New(filepath.Join(cache, "lock"))
	if _, err := lock.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return binaries{}, err
	}
	defer func() { _ = lock.Unlock() }()
	home := filepath.Join(cache, string(embeddedVersion))
	if _, err := os.Stat(home); err != nil {
		c.log.Info("downloading PostgreSQL", "version", embeddedVersion)
		if err := download(ctx, embeddedRepository, cache, home); err != nil {
			return binaries{}, fmt.Errorf("download PostgreSQL %s: %w", embeddedVersion, err)
		}
	}
	return inspect(ctx, filepath.Join(home, "bin"), c)
}

// download puts the distribution into home, whole or not at all. The caller holds the cache's lock.
func download(ctx context.Context, repository, cache, home string) error {
	scratch := filepath.Join(cache, "download")
	if err := os.RemoveAll(scratch); err != nil { // what a killed download left
		return err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	// The library has no call that only downloads. Its Start downloads, unpacks, and then takes
	// this directory for a finished cluster, on which it cannot start a server.
	major, _, _ := strings.Cut(string(embeddedVersion), ".")
	if err := os.MkdirAll(filepath.Join(scratch, "data"), 0o755); err != nil { //nolint:gosec // see above
		return err
	}
	if err := os.WriteFile(filepath.Join(scratch, "data", "PG_VERSION"), []byte(major), 0o600); err != nil {
		return err
	}
	unused := cluster{} // Start insists on a free port, too
	if err := unused.choosePort(ctx); err != nil {
		return err
	}
	config := embedded.DefaultConfig().Version(embeddedVersion).BinaryRepositoryURL(repository).
		Port(uint32(unused.port)).Logger(io.Discard). //nolint:gosec // a port
		CachePath(filepath.Join(scratch, "archive")).
		BinariesPath(filepath.Join(scratch, "binaries")).
		RuntimePath(filepath.Join(scratch, "runtime")).
		DataPath(filepath.Join(scratch, "data"))
	// Nor does it know contexts: a download that nobody waits for any more is left alone.
	ended := make(chan error, 1)
	go func() { ended <- embedded.NewDatabase(config).Start() }()
	var startErr error
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case startErr = <-ended:
	}
	if _, err := os.Stat(filepath.Join(scratch, "binaries", "bin", "postgres")); err != nil {
		return startErr
	}
	return os.Rename(filepath.Join(scratch, "binaries"), home)
}

// cacheDir is where downloaded binaries are kept: the user's cache, or for root a place that the
// server's user can read.
func cacheDir(c *cluster) (string, error) {
	if c.owner != nil {
		return "/var/cache/runledger/postgresql", nil
	}
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "runledger", "postgresql"), err
}
