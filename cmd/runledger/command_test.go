package main

import (
	"bytes"
	"context"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/spf13/cobra"
	"go.uber.org/goleak"

	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/dbtest"
)

func TestMain(m *testing.M) {
	dbtest.Main(m, goleak.Cleanup(func(code int) {
		_ = os.Remove(builtBinary)
		os.Exit(code)
	}))
}

const secret = "a secret of the tests, 32 bytes or more"

// command runs one command line with an environment of its own.
func command(t *testing.T, environ []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, environ, &out, &errs)
	return code, out.String(), errs.String()
}

// does is command for what must succeed; it returns what was printed.
func does(t *testing.T, environ []string, args ...string) string {
	t.Helper()
	code, stdout, stderr := command(t, environ, args...)
	if code != exitOK {
		t.Fatalf("runledger %s exits with %d: %s", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

func TestEveryCommandHasHelp(t *testing.T) {
	t.Parallel()
	var visit func(path []string, cmd *cobra.Command)
	visit = func(path []string, cmd *cobra.Command) {
		if out := does(t, nil, append(path, "--help")...); !strings.Contains(out, "Usage:") || cmd.Short == "" {
			t.Errorf("runledger %s --help prints %q", strings.Join(path, " "), out)
		}
		for _, child := range cmd.Commands() {
			visit(append(slices.Clip(path), child.Name()), child)
		}
	}
	visit(nil, (&app{}).rootCommand())
}

func TestAWrongCommandLineExitsWith2(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"nonsense", "serve now", "serve --fast", "migrate", "migrate sideways", "workspace create", "token", "member add a", "types add", "tenant add acme", "tenant rename acme 1",
		"seed --runs many", "dev extra", "legacy purge", "healthcheck --timeout soon", "version 2",
		"help nonsense", "help member nonsense", "nonsense --help", "-h nonsense", "member nonsense --help", "--help migrate sideways", "completion", "completion korn", "healthcheck --url nonsense", "healthcheck --url ftp://127.0.0.1",
	} {
		if code, stdout, stderr := command(t, nil, strings.Fields(line)...); code != exitUsage || stdout != "" || !strings.HasPrefix(stderr, "runledger: ") {
			t.Errorf("runledger %s exits with %d, prints %q and says %q", line, code, stdout, stderr)
		}
	}
}

func TestEveryFaultOfTheConfigurationIsNamedAtOnceAndNoSecretWithThem(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := command(t, []string{
		"RUNLEDGER_DATABASE_URL=postgres://user:hunter2@host:port/database", "RUNLEDGER_ADDR=nowhere", "RUNLEDGER_JWT_HS256_SECRET=hunter2",
		"RUNLEDGER_DATABASE_MAX_CONNS=many-hunter2", "RUNLEDGER_STATEMENT_TIMEOUT=soon", "RUNLEDGER_SHUTDOWN_DELAY=-1s",
		"RUNLEDGER_LOG_LEVEL=loud", "RUNLEDGER_LOG_FORMAT=xml", "RUNLEDGER_JWT_ISSUER=i",
		"RUNLEDGER_DATABASE_REPLICA_URL=postgres://user:hunter2@host:port/database", "RUNLEDGER_DATABASE_REPLICA_MAX_LAG=0s",
	}, "serve")
	if code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	for _, variable := range []string{
		"DATABASE_URL", "ADDR", "JWT_HS256_SECRET", "DATABASE_MAX_CONNS", "STATEMENT_TIMEOUT", "SHUTDOWN_DELAY", "LOG_LEVEL", "LOG_FORMAT", "JWT_AUDIENCE",
		"DATABASE_REPLICA_URL", "DATABASE_REPLICA_MAX_LAG",
	} {
		if !strings.Contains(stderr, "  RUNLEDGER_"+variable+" ") {
			t.Errorf("RUNLEDGER_%s is not named", variable)
		}
	}
	if strings.Contains(stdout+stderr, "hunter2") {
		t.Error("a secret is told")
	}
	if t.Failed() {
		t.Log(stderr)
	}
}

func TestATokenIsVerifiedAsSigned(t *testing.T) {
	t.Parallel()
	token := strings.TrimSpace(does(t, []string{
		"RUNLEDGER_JWT_HS256_SECRET=" + secret, "RUNLEDGER_JWT_ISSUER=i", "RUNLEDGER_JWT_AUDIENCE=a",
	}, "token", "alice", "--ttl", "5m"))
	verifier, err := auth.NewVerifier(t.Context(), auth.Config{HS256Secret: []byte(secret), Issuer: "i", Audience: "a"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if subject, err := verifier.Verify(t.Context(), token); err != nil || subject != "alice" {
		t.Errorf("the token is %q's: %v", subject, err)
	}
}

// fullDisk is where nothing can be written.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestASchemaOfALaterReleaseIsCalledSo(t *testing.T) {
	t.Parallel()
	database := dbtest.Fresh(t)
	if _, err := dbtest.Connect(t, database).Exec(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)"); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"up", "status"} {
		if out := does(t, []string{"RUNLEDGER_DATABASE_URL=" + database}, "migrate", command); !strings.Contains(out, "version 99999, newer than this binary") {
			t.Errorf("migrate %s says %q", command, out)
		}
	}
}

func TestAnOperatorSetsUpADatabase(t *testing.T) {
	t.Parallel()
	environ := []string{"RUNLEDGER_DATABASE_URL=" + dbtest.Empty(t)}
	if out := does(t, environ, "migrate", "status"); !strings.Contains(out, "pending") {
		t.Errorf("an empty database is %q", out)
	}
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			var out, errs bytes.Buffer
			if code := run(t.Context(), []string{"migrate", "up"}, environ, &out, &errs); code != exitOK {
				t.Errorf("migrate up exits with %d: %s", code, errs.String())
			}
		})
	}
	both.Wait()
	if out := does(t, environ, "migrate", "status"); !strings.HasSuffix(out, "up to date.\n") || strings.Contains(out, "pending") {
		t.Errorf("after migrate up: %q", out)
	}
	var errs bytes.Buffer
	if code := run(t.Context(), []string{"migrate", "status"}, environ, fullDisk{}, &errs); code != exitFailure || !strings.Contains(errs.String(), "no space left") {
		t.Errorf("what cannot be written exits with %d: %s", code, errs.String())
	}
	does(t, environ, "workspace", "create", "acme", "--name", "Acme Ltd")
	does(t, environ, "member", "add", "acme", "alice", "--role", "owner", "--name", "Alice")
	if out := does(t, environ, "member", "add", "acme", "alice", "--email", "alice@example.com"); out != "alice is an owner of acme, as before. Set the e-mail address to \"alice@example.com\".\n" {
		t.Errorf("with another address, she is %q", out)
	}
	if out := does(t, environ, "member", "add", "acme", "alice", "--role", "operator"); out != "alice is now an operator of acme.\n" {
		t.Errorf("member add says %q", out)
	}
	if out := does(t, environ, "member", "list", "acme"); !strings.Contains(out, "alice") || !strings.Contains(out, "operator") || !strings.Contains(out, "Alice") {
		t.Errorf("the members are %s", out)
	}
	does(t, environ, "member", "remove", "acme", "alice")
	does(t, environ, "workspace", "archive", "acme")
	if out := does(t, environ, "workspace", "list"); !strings.Contains(out, "Acme Ltd") || strings.Count(out, "Z\n") != 1 {
		t.Errorf("the workspaces are %s", out)
	}
	does(t, environ, "workspace", "unarchive", "acme")
	if out := does(t, environ, "workspace", "list"); strings.Count(out, "Z\n") != 0 {
		t.Errorf("the workspaces are %s", out)
	}
	does(t, environ, "types", "add", "policy_export", "--label", "Policy export", "--stale-after", "1h")
	if out := does(t, environ, "types", "disable", "policy_export"); out != "Disabled policy_export.\n" {
		t.Errorf("types disable says %q", out)
	}
	if out := does(t, environ, "types", "list"); !strings.Contains(out, "Policy export") || !strings.Contains(out, "refused") {
		t.Errorf("the types are %s", out)
	}
	does(t, environ, "types", "enable", "policy_export")
	if out := does(t, environ, "seed", "--workspaces", "2", "--runs", "100"); !strings.Contains(out, "100") {
		t.Errorf("seed says %s", out)
	}
	for _, line := range []string{
		"workspace create acme", "member add nobody alice", "member remove acme alice", "types add policy_export", "types enable nothing",
	} {
		if code, _, stderr := command(t, environ, strings.Fields(line)...); code != exitFailure || strings.Contains(stderr, "SQLSTATE") {
			t.Errorf("runledger %s exits with %d: %s", line, code, stderr)
		}
	}
}

func TestOnADatabaseWithLegacyStoresEveryCommandPointsAtTheirRemoval(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.Empty(t)
	pool := dbtest.Connect(t, databaseURL)
	for _, name := range []string{"inventory_sync_runs", "entra_group_sync_runs", "backup_schedule_runs"} {
		if _, err := pool.Exec(t.Context(), "CREATE TABLE "+name+" (id bigint)"); err != nil {
			t.Fatal(err)
		}
	}
	environ := []string{"RUNLEDGER_DATABASE_URL=" + databaseURL}
	for line, wanted := range map[string]int{
		"migrate status": exitOK, "migrate up": exitFailure, "migrate grant pg_monitor": exitFailure, "workspace create acme": exitFailure, "workspace list": exitFailure,
		"member add acme alice": exitFailure, "types list": exitFailure, "tenant list acme": exitFailure, "audit list": exitFailure, "retention preview": exitFailure,
	} {
		code, stdout, stderr := command(t, environ, strings.Fields(line)...)
		if told := stdout + stderr; code != wanted || !strings.Contains(told, "runledger legacy plan") || strings.Contains(told, "migrate up") {
			t.Errorf("runledger %s exits with %d: %s", line, code, told)
		}
	}
}

func TestAnUnreachableDatabaseIsNamedWithoutItsPassword(t *testing.T) {
	t.Parallel()
	code, _, stderr := command(t, []string{"RUNLEDGER_DATABASE_URL=postgres://user:hunter2@127.0.0.1:1/database"}, "workspace", "list")
	if code != exitFailure || strings.Contains(stderr, "hunter2") || !strings.Contains(stderr, "cannot reach the database") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestAMistypedCommandIsGuessed(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"mirgate": "migrate", "tokn": "token", "sever": "serve", "serv": "serve", "serv --help": "serve", "migrate sttaus": "status", "workspace craete": "create",
	} {
		if code, _, stderr := command(t, nil, strings.Fields(line)...); code != exitUsage || !strings.Contains(stderr, `did you mean "`+want+`"?`) {
			t.Errorf("runledger %s exits with %d: %s", line, code, stderr)
		}
	}
	if _, _, stderr := command(t, nil, "nonsense"); strings.Contains(stderr, "did you mean") {
		t.Errorf("nonsense is guessed: %s", stderr)
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"token":           `"runledger token" takes SUBJECT` + "\n",
		"token a b":       `"runledger token" takes SUBJECT, and not "b" after that`,
		"member add acme": `"runledger member add" takes WORKSPACE SUBJECT; SUBJECT is missing`,
	} {
		if code, _, stderr := command(t, nil, strings.Fields(line)...); code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("runledger %s exits with %d: %s", line, code, stderr)
		}
	}
}

func TestEveryFaultOfTheFlagsOfSeedIsNamed(t *testing.T) {
	t.Parallel()
	code, _, stderr := command(t, nil, "seed", "--runs", "-5", "--until", "yesterday", "--workspaces", "0")
	for _, flag := range []string{"--runs", "--until", "--workspaces"} {
		if code != exitUsage || !strings.Contains(stderr, flag+" wants") {
			t.Errorf("seed exits with %d and does not name %s: %s", code, flag, stderr)
		}
	}
}

func TestTheHelpTeaches(t *testing.T) {
	t.Parallel()
	for line, wants := range map[string][]string{
		"workspace create": {"SLUG is", "a-z and 0-9"}, "workspace archive": {"slug or id", "workspace unarchive"},
		"types add": {"NAME begins"}, "member list": {"slug or id"}, "member remove": {"slug or id"},
		"tenant add": {"slug or id", "tenant_id", "cannot be removed"}, "tenant list": {"slug or id"}, "tenant rename": {"slug or id", "tenant list"}, "seed": {"no command takes"}, "types retain": {"--keep-nothing"},
	} {
		help := does(t, nil, append(strings.Fields(line), "--help")...)
		for _, want := range wants {
			if !strings.Contains(help, want) {
				t.Errorf("no %q in the help of %s: %s", want, line, help)
			}
		}
	}
	for line, name := range map[string]string{"--help": "runledger [command]", "member --help": "runledger member [command]", "token alice --help": "runledger token SUBJECT"} {
		if help := does(t, nil, strings.Fields(line)...); !strings.Contains(help, name) {
			t.Errorf("runledger %s prints %s", line, help)
		}
	}
	for _, group := range []string{"migrate", "seed", "workspace", "member", "tenant", "types", "retention", "audit"} {
		root := (&app{}).rootCommand()
		cmd, _, err := root.Find([]string{group})
		if err != nil {
			t.Fatal(err)
		}
		for _, cmd := range append(cmd.Commands(), cmd) {
			if !strings.Contains(cmd.Long, "RUNLEDGER_DATABASE_URL") {
				t.Errorf("the help of %q does not say which database it works on", cmd.CommandPath())
			}
		}
	}
}

func TestTheVersionIsAFlagAsWell(t *testing.T) {
	t.Parallel()
	if flag, command := does(t, nil, "--version"), does(t, nil, "version"); flag != command || !strings.HasPrefix(flag, "runledger ") {
		t.Errorf("--version prints %q, version %q", flag, command)
	}
}

func TestADatabaseWithoutTheSchemaIsToldHowToGetIt(t *testing.T) {
	t.Parallel()
	environ := []string{"RUNLEDGER_DATABASE_URL=" + dbtest.Empty(t)}
	for _, line := range []string{
		"workspace list", "workspace create acme", "member list acme", "tenant list acme", "types list", "retention preview", "retention run", "audit list", "seed --runs 0",
		"migrate grant pg_monitor",
	} {
		if code, _, stderr := command(t, environ, strings.Fields(line)...); code != exitFailure || !strings.HasSuffix(stderr, ": run \"runledger migrate up\" first\n") {
			t.Errorf("runledger %s exits with %d: %s", line, code, stderr)
		}
	}
}

func TestTheServersRoleIsToldWhoseCommandItIs(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.Fresh(t)
	pool := dbtest.Connect(t, databaseURL)
	var role string
	if err := pool.QueryRow(t.Context(), "SELECT 'cli_' || replace(gen_random_uuid()::text, '-', '')").Scan(&role); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), "CREATE ROLE "+role+" LOGIN PASSWORD 'servers'"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := pool.Exec(context.WithoutCancel(t.Context()), "DROP OWNED BY "+role+"; DROP ROLE "+role); err != nil {
			t.Error(err)
		}
	})
	owner := []string{"RUNLEDGER_DATABASE_URL=" + databaseURL}
	does(t, owner, "migrate", "grant", role)
	does(t, owner, "workspace", "create", "acme")
	as, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	as.User = url.UserPassword(role, "servers")
	environ := []string{"RUNLEDGER_DATABASE_URL=" + as.String()}
	does(t, environ, "workspace", "list")
	does(t, environ, "tenant", "list", "acme")
	for _, line := range []string{"workspace create acme", "types disable inventory_sync", "tenant add acme Contoso"} {
		if code, _, stderr := command(t, environ, strings.Fields(line)...); code != exitFailure || !strings.Contains(stderr, "the role that owns the tables") {
			t.Errorf("runledger %s exits with %d: %s", line, code, stderr)
		}
	}
}

func TestNoSlugIsTakenForTheIDOfAnotherWorkspace(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.Fresh(t)
	environ := []string{"RUNLEDGER_DATABASE_URL=" + databaseURL}
	does(t, environ, "workspace", "create", "acme")
	for _, digits := range []string{"1", "007", "9223372036854775807"} {
		if code, _, stderr := command(t, environ, "workspace", "create", digits); code != exitUsage || !strings.Contains(stderr, "digits") {
			t.Errorf("a workspace %s: %d, %s", digits, code, stderr)
		}
	}
	pool := dbtest.Connect(t, databaseURL)
	if _, err := pool.Exec(t.Context(), `WITH acme AS (SELECT id FROM workspaces WHERE slug = 'acme')
		INSERT INTO workspaces (slug, name) SELECT id::text, 'made by hand' FROM acme`); err != nil {
		t.Fatal(err)
	}
	var id string
	if err := pool.QueryRow(t.Context(), "SELECT id::text FROM workspaces WHERE slug = 'acme'").Scan(&id); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"member", "add", id, "mallory", "--role", "owner"}, {"workspace", "archive", id}} {
		if code, _, stderr := command(t, environ, args...); code != exitFailure || !strings.Contains(stderr, "slug of workspace") {
			t.Errorf("%v: %d, %s", args, code, stderr)
		}
	}
}

// What others have written is in the tables: an audit event of a server that was taken over, or a user's name.
func TestNoFieldOfATableMakesAnotherLineOrSpeaksToTheTerminal(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	a := &app{stdout: &out}
	err := a.table("A\tB", 1, func(int) []any { return []any{int64(7), "x\ny\tz\x1b[8m\u009b8m"} })
	if lines := strings.Split(out.String(), "\n"); err != nil || len(lines) != 3 || lines[1] != "7  x\uFFFDy\uFFFDz\uFFFD[8m\uFFFD8m" {
		t.Errorf("error %v, %q", err, out.String())
	}
}
