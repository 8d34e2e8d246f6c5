package localpg

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	embedded "github.com/fergusstrange/embedded-postgres"
	"github.com/gofrs/flock"
)

// embeddedVersion is the release that is downloaded where no PostgreSQL is installed.
const embeddedVersion = embedded.V17

// fetchEmbedded downloads the binaries of PostgreSQL, once per machine, and returns them.
func fetchEmbedded(ctx context.Context, c *cluster) (binaries, error) {
	cache, err := cacheDir(c)
	if err != nil {
		return binaries{}, err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil { //nolint:gosec // the server's account must read it
		return binaries{}, err
	}
	lock := flock.New(filepath.Join(cache, "lock"))
	if err := lock.Lock(); err != nil {
		return binaries{}, err
	}
	defer func() { _ = lock.Unlock() }()
	home := filepath.Join(cache, string(embeddedVersion))
	if _, err := os.Stat(home); err != nil {
		c.log.Info("downloading PostgreSQL", "version", embeddedVersion)
		if err := download(cache, home); err != nil {
			return binaries{}, fmt.Errorf("download PostgreSQL %s: %w", embeddedVersion, err)
		}
	}
	return inspect(ctx, filepath.Join(home, "bin"), c)
}

// download puts the distribution into home, whole or not at all.
func download(cache, home string) error {
	scratch, err := os.MkdirTemp(cache, "download-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	config := embedded.DefaultConfig().Version(embeddedVersion).Logger(io.Discard).
		CachePath(filepath.Join(scratch, "archive")).
		BinariesPath(filepath.Join(scratch, "binaries")).
		RuntimePath(filepath.Join(scratch, "runtime")).
		DataPath(filepath.Join(scratch, "data"))
	// The library has no call that only downloads. Its Start downloads, unpacks, and then takes
	// this empty directory for a finished cluster, on which it cannot start a server.
	if err := os.Mkdir(filepath.Join(scratch, "data"), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(scratch, "data", "PG_VERSION"), []byte("17\n"), 0o600); err != nil {
		return err
	}
	startErr := embedded.NewDatabase(config).Start()
	if _, err := os.Stat(filepath.Join(scratch, "binaries", "bin", "postgres")); err != nil {
		return startErr
	}
	if err := os.Chmod(filepath.Join(scratch, "binaries"), 0o755); err != nil { //nolint:gosec // the server's account must read it
		return err
	}
	return os.Rename(filepath.Join(scratch, "binaries"), home)
}

// cacheDir is where downloaded binaries are kept: the user's cache, or for root a place that the
// server's account can read.
func cacheDir(c *cluster) (string, error) {
	if c.owner != nil {
		return "/var/cache/runledger/postgresql", nil
	}
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "runledger", "postgresql"), err
}
