//go:build unix

package localpg

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestTheServerIsReachableOverLoopbackOnlyAndWantsThePassword(t *testing.T) {
	t.Parallel()
	s := mustStart(t, Options{Dir: newDir(t)})
	if got := query(t, s, "SELECT current_setting('listen_addresses') || '|' || current_setting('unix_socket_directories')"); got != "127.0.0.1|" {
		t.Errorf("listens on %s", got)
	}
	if got := query(t, s, "SELECT DISTINCT auth_method FROM pg_hba_file_rules"); got != "scram-sha-256" {
		t.Errorf("authenticates by %s", got)
	}
	wrong := strings.ReplaceAll(s.URL("postgres"), s.cluster.password, "guess")
	if conn, err := pgx.Connect(t.Context(), wrong); err == nil {
		_ = conn.Close(t.Context())
		t.Error("a wrong password was taken")
	}
	if got := query(t, s, "SELECT current_setting('server_encoding') || ' ' || current_setting('fsync')"); got != "UTF8 off" {
		t.Errorf("encoding and fsync are %s", got)
	}
}

func TestThePasswordIsNobodyElsesToRead(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	dir := newDir(t)
	s := mustStart(t, Options{Dir: dir})
	for name, want := range map[string]os.FileMode{"password": 0o600, "data": 0o700, "lock": 0o600, logName: 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %s", name, info.Mode())
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "password.initdb")); err == nil {
		t.Error("initdb's copy of the password is still there")
	}
	text, err := os.ReadFile(filepath.Join(dir, logName))
	if err != nil {
		t.Fatal(err)
	}
	log.Write(text)
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range commands {
		text, _ := os.ReadFile(file)
		log.Write(text)
	}
	if bytes.Contains(log.Bytes(), []byte(s.cluster.password)) {
		t.Error("the password is in a log or a command line")
	}
}

func TestTheServerIsInAProcessGroupOfItsOwn(t *testing.T) {
	t.Parallel()
	s := mustStart(t, Options{Dir: newDir(t)})
	group, err := syscall.Getpgid(s.PID())
	if err != nil {
		t.Fatal(err)
	}
	if group != s.PID() {
		t.Errorf("process group %d of process %d", group, s.PID())
	}
}

func TestRootRunsTheServerAsAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("for root only")
	}
	s := mustStart(t, Options{Dir: newDir(t)})
	info, err := os.Stat(filepath.Join("/proc", strconv.Itoa(s.PID())))
	if err != nil {
		t.Fatal(err)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != s.cluster.owner.uid || stat.Uid == 0 {
		t.Errorf("the server runs as %+v", info.Sys())
	}
}

func TestADirectoryThatTheServersUserCannotReachIsRefusedByName(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("for root only")
	}
	closed := filepath.Join(filepath.Dir(newDir(t)), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	startFails(t, Options{Dir: filepath.Join(closed, "pg")}, closed+" (mode", "data directory elsewhere")
}

func TestOnlyAFittingPostgreSQLIsTaken(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for name, c := range map[string]struct{ version, made, want string }{
		"too old":           {"postgres (PostgreSQL) 14.18", "", "older than 15"},
		"other data":        {"postgres (PostgreSQL) 17.5", "15", "which version 15 made"},
		"no version at all": {"hello", "", `says "hello`},
		"same data":         {"postgres (PostgreSQL) 17.5 (Debian)", "17", ""},
		"a beta":            {"postgres (PostgreSQL) 19beta1", "", ""},
	} {
		dir := newDir(t)
		if err := os.MkdirAll(filepath.Join(dir, "data"), 0o755); err != nil { //nolint:gosec // the server's user must get in
			t.Fatal(err)
		}
		if c.made != "" {
			if err := os.WriteFile(filepath.Join(dir, "data/PG_VERSION"), []byte(c.made+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		fakeBinaries(t, dir, c.version)
		_, err := inspect(ctx, dir, &cluster{dir: dir})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := inspect(ctx, newDir(t), &cluster{}); err == nil {
		t.Error("a directory without PostgreSQL was taken")
	}
}

// fakeBinaries are programs that say they are a version of PostgreSQL.
func fakeBinaries(t *testing.T, dir, version string) {
	t.Helper()
	for _, name := range []string{"postgres", "initdb"} {
		script := "#!/bin/sh\necho '" + version + "'\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
	}
}

func TestInstalledPlacesAreOrderedByTheirVersion(t *testing.T) {
	t.Parallel()
	paths := []string{"/usr/lib/postgresql/9.6/bin", "/usr/pgsql-17/bin", "/opt/homebrew/opt/postgresql@16/bin", "/x"}
	got := make([]int, 0, len(paths))
	for _, path := range paths {
		got = append(got, lastNumber(path))
	}
	if want := []int{6, 17, 16, 0}; !slices.Equal(got, want) {
		t.Errorf("versions %v, want %v", got, want)
	}
}

func TestTheContainersPasswordIsNotAmongItsArguments(t *testing.T) {
	t.Parallel()
	c := &cluster{port: 5433, password: "secret-of-the-test", settings: map[string]string{"port": "1", "fsync": "off"}}
	cmd := container{docker: "docker", name: "runledger-x"}.command(c)
	line := strings.Join(cmd.Args, " ")
	if strings.Contains(line, c.password) {
		t.Errorf("the password is in %s", line)
	}
	for _, want := range []string{"127.0.0.1:5433:5432", "-c port=5432", "-c fsync=off"} {
		if !strings.Contains(line, want) {
			t.Errorf("%q is not in %s", want, line)
		}
	}
	if !slices.Contains(cmd.Env, "POSTGRES_PASSWORD="+c.password) {
		t.Error("the container gets no password")
	}
}

func TestThereIsACommandThatInstallsPostgreSQL(t *testing.T) {
	t.Parallel()
	command, _, _ := strings.Cut(installCommand(), " ")
	if command == "see" {
		t.Skip("no package manager here")
	}
	if _, err := exec.LookPath(command); err != nil {
		t.Error(err)
	}
}
