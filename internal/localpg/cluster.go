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
// password, postgresql.log, lock, and container if a container runs it.
type cluster struct {
	dir      string
	port     int
	settings map[string]string
	owner    *account // whom the processes run as; nil for the caller
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

// discard removes the data of a cluster that does not run.
func (c *cluster) discard() error {
	for _, name := range []string{"data", "data.new", "password", "postgresql.log"} {
		if err := os.RemoveAll(c.path(name)); err != nil {
			return err
		}
	}
	return nil
}

// ensurePassword reads the superuser's password, or makes one.
func (c *cluster) ensurePassword() error {
	path := c.path("password")
	text, err := os.ReadFile(path) //nolint:gosec // a file of the directory we were given
	if errors.Is(err, fs.ErrNotExist) {
		text = []byte(rand.Text())
		err = c.owner.writeFile(path, text)
	}
	c.password = string(text)
	return err
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
	var args []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		args = append(args, "-c", name+"="+all[name])
	}
	return args
}
