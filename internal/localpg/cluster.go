package localpg

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// cluster is the data of one private server and how it is to be run.
//
// Its directory holds data (what initdb makes), data.new (an initdb that has not finished),
// password, postgresql.log, lock, and container if a container runs it. The directory is the
// caller's; only data belongs to the user that the server runs as. So that user, if it is not the
// caller, cannot trick a caller who is root into writing elsewhere through a symbolic link.
type cluster struct {
	dir      string
	port     int
	settings map[string]string
	owner    *account // whom the processes run as; nil for the caller
	primary  *cluster // which this one is a standby of; nil if of none
	password string
	log      *slog.Logger
}

// engine is a PostgreSQL that can run a cluster.
type engine interface {
	fmt.Stringer
	// prepare makes the cluster if there is none, and its password.
	prepare(ctx context.Context, c *cluster) error
	// command is the server in the foreground. An interrupt shuts it down fast, a quit at once.
	command(c *cluster) *exec.Cmd
}

const (
	lockName = "lock"
	logName  = "postgresql.log"
)

// prepareDir creates a cluster's directory. One with anything in it that is no cluster is refused,
// since it was surely named by mistake.
func prepareDir(dir string, owner *account) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // the server's user must get through the parents
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	isLock := func(e fs.DirEntry) bool { return e.Name() == lockName }
	if len(entries) > 0 && !slices.ContainsFunc(entries, isLock) {
		return fmt.Errorf("%s is not empty, and what is in it is no private PostgreSQL", dir)
	}
	mode := fs.FileMode(0o700)
	if owner != nil {
		mode = 0o711 // another user has to get through to its data, though not to look around
	}
	if err := os.Chmod(dir, mode); err != nil {
		return err
	}
	return owner.canEnter(dir)
}

func (c *cluster) path(name string) string { return filepath.Join(c.dir, name) }

// major is the major version that made the data, 0 if there is none.
func (c *cluster) major() (int, error) {
	text, err := os.ReadFile(c.path("data/PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", c.path("data/PG_VERSION"), err)
	}
	return major, nil
}

// discard removes the data of a cluster that does not run. A container's is removed when it is
// prepared without its mark.
func (c *cluster) discard() error {
	for _, name := range []string{"data", "data.new", "password", containerMark, logName} {
		if err := os.RemoveAll(c.path(name)); err != nil {
			return err
		}
	}
	return nil
}

// readPassword reads the password of a cluster that is there already.
func (c *cluster) readPassword() error {
	text, err := os.ReadFile(c.path("password"))
	c.password = string(text)
	return err
}

// makePassword makes up the password of a new cluster.
func (c *cluster) makePassword() error {
	c.password = rand.Text()
	return os.WriteFile(c.path("password"), []byte(c.password), 0o600)
}

// arguments are the server's settings as -c name=value, in a stable order: the defaults, what
// the caller wants on top of them, and last what the engine insists on.
func (c *cluster) arguments(insist map[string]string) []string {
	all := map[string]string{
		"timezone":      "UTC",
		"log_timezone":  "UTC",
		"lc_messages":   "C",
		"log_statement": "none",
	}
	maps.Copy(all, c.settings)
	maps.Copy(all, insist)
	args := make([]string, 0, 2*len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		args = append(args, "-c", name+"="+all[name])
	}
	return args
}
