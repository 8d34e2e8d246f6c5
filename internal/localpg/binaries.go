package localpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
)

// binaries is a PostgreSQL installed in a directory of this machine.
type binaries struct {
	dir   string // holds initdb and postgres
	major int
}

func (b binaries) String() string { return fmt.Sprintf("PostgreSQL %d in %s", b.major, b.dir) }

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// inspect finds out which PostgreSQL is in dir, and fails if c cannot be run by it.
func inspect(ctx context.Context, dir string, c *cluster) (binaries, error) {
	for _, name := range []string{serverProgram, "initdb"} {
		if _, err := exec.LookPath(filepath.Join(dir, name)); err != nil {
			return binaries{}, fmt.Errorf("%s: no %s", dir, name)
		}
	}
	if err := c.owner.canEnter(dir); err != nil {
		return binaries{}, err
	}
	postgres := filepath.Join(dir, serverProgram)
	out, err := exec.CommandContext(ctx, postgres, "--version").Output() //nolint:gosec // found by us
	if err != nil {
		return binaries{}, fmt.Errorf("%s --version: %w", postgres, err)
	}
	match := versionPattern.FindSubmatch(out)
	if match == nil {
		return binaries{}, fmt.Errorf("%s --version says %q", postgres, out)
	}
	major, err := strconv.Atoi(string(match[1]))
	if err != nil {
		return binaries{}, fmt.Errorf("%s --version says %q", postgres, out)
	}
	if major < OldestVersion {
		return binaries{}, fmt.Errorf("%s: version %d is older than %d", dir, major, OldestVersion)
	}
	made, err := c.major()
	if err != nil {
		return binaries{}, err
	}
	if made != 0 && made != major {
		return binaries{}, fmt.Errorf("%s: version %d cannot run the data in %s, which version %d made", dir, major, c.dir, made)
	}
	return binaries{dir: dir, major: major}, nil
}

// prepare runs initdb under a name that only a finished cluster loses, so that one that was
// killed midway is never taken for a cluster.
func (b binaries) prepare(ctx context.Context, c *cluster) error {
	_, err := os.Stat(c.path("data"))
	if err == nil {
		return c.readPassword()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	unfinished := c.path("data.new")
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	if err := os.Mkdir(unfinished, 0o700); err != nil {
		return err
	}
	if err := c.owner.give(unfinished); err != nil {
		return err
	}
	fill := b.initdb
	if c.primary != nil {
		fill = b.copyPrimary
	}
	if err := fill(ctx, c, unfinished); err != nil {
		return err
	}
	return os.Rename(unfinished, c.path("data"))
}

// copyPrimary makes a standby of the cluster's primary in an empty directory. Roles and passwords are
// the primary's.
func (b binaries) copyPrimary(ctx context.Context, c *cluster, data string) error {
	c.password = c.primary.password
	if err := os.WriteFile(c.path("password"), []byte(c.password), 0o600); err != nil {
		return err
	}
	args := []string{
		"--pgdata", data, "--host", "127.0.0.1", "--port", strconv.Itoa(c.primary.port), "--username", superuser,
		"--write-recovery-conf", "--wal-method", "stream", "--checkpoint", "fast",
	}
	if c.settings["fsync"] == "off" {
		args = append(args, "--no-sync")
	}
	// What is on PATH may be a link to a server whose other programs are not.
	server, err := filepath.EvalSymlinks(filepath.Join(b.dir, serverProgram))
	if err != nil {
		return err
	}
	program := filepath.Join(filepath.Dir(server), "pg_basebackup")
	if _, err := exec.LookPath(program); err != nil {
		return fmt.Errorf("%w: no pg_basebackup beside %s", ErrNoStandby, server)
	}
	return run(ctx, c, program, args, "PGPASSWORD="+c.password)
}

// initdb makes a cluster in an empty directory.
func (b binaries) initdb(ctx context.Context, c *cluster, data string) error {
	if err := c.makePassword(); err != nil {
		return err
	}
	// The password must not be among the arguments, which all users can read. initdb takes it
	// from a file, one that its user may read.
	passwordFile := c.path("password.initdb")
	if err := os.WriteFile(passwordFile, []byte(c.password), 0o600); err != nil {
		return err
	}
	defer func() { _ = os.Remove(passwordFile) }()
	if err := c.owner.give(passwordFile); err != nil {
		return err
	}
	args := []string{
		"--pgdata", data, "--pwfile", passwordFile, "--username", superuser,
		"--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C",
	}
	if c.settings["fsync"] == "off" {
		args = append(args, "--no-sync")
	}
	return run(ctx, c, filepath.Join(b.dir, "initdb"), args)
}

// run runs a program of PostgreSQL for its effect.
func run(ctx context.Context, c *cluster, program string, args []string, environ ...string) error {
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // found by us
	cmd.Dir, cmd.Env, cmd.SysProcAttr = c.dir, append(serverEnv(), environ...), c.owner.attributes()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(program), err, lastLines(out))
	}
	return nil
}

func (b binaries) command(c *cluster) *exec.Cmd {
	args := append([]string{"-D", c.path("data")}, c.arguments(map[string]string{
		"listen_addresses":        "127.0.0.1",
		"port":                    strconv.Itoa(c.port),
		"unix_socket_directories": "",
		"logging_collector":       "off",
		"log_destination":         "stderr",
	})...)
	// The process must outlive the context of Start, so there is none here; Stop ends it.
	cmd := exec.Command(filepath.Join(b.dir, serverProgram), args...) //nolint:gosec,noctx // see above
	cmd.Env, cmd.SysProcAttr = serverEnv(), c.owner.attributes()
	return cmd
}

// serverEnv is the whole environment of initdb and postgres: nothing of the caller's, whose PG
// variables would change what they do. The locale makes messages English and, on macOS, keeps
// the system's libraries from starting threads that PostgreSQL cannot live with.
func serverEnv() []string {
	return []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH")}
}
