package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAlgorithmsAreBlamedByThemselves(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "nothing.pem")
	if err := os.WriteFile(key, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		variables []string
		named     []string // of these: the algorithms, and the sources of keys
	}{
		{[]string{"JWT_HS256_SECRET=" + secret, "JWT_ALGORITHMS=none"}, []string{"JWT_ALGORITHMS"}},
		{[]string{"JWT_HS256_SECRET=short", "JWT_ALGORITHMS=none"}, []string{"JWT_HS256_SECRET", "JWT_ALGORITHMS"}},
		{[]string{"JWT_HS256_SECRET=short"}, []string{"JWT_HS256_SECRET"}},
		{[]string{"JWT_JWKS_URL=http://issuer.example/jwks", "JWT_ALGORITHMS=HS256"}, []string{"JWT_JWKS_URL", "JWT_ALGORITHMS"}},
		{[]string{"JWT_PUBLIC_KEY_FILE=" + key, "JWT_ALGORITHMS=none"}, []string{"JWT_PUBLIC_KEY_FILE", "JWT_ALGORITHMS"}},
		{[]string{"JWT_PUBLIC_KEY_FILE=" + key, "JWT_ALGORITHMS=ES256"}, []string{"JWT_PUBLIC_KEY_FILE"}},
		{[]string{"JWT_ALGORITHMS=none"}, []string{"JWT_HS256_SECRET", "JWT_ALGORITHMS"}},
		{[]string{"JWT_ALGORITHMS=HS256"}, []string{"JWT_HS256_SECRET"}},
		{[]string{"JWT_ALGORITHMS=RS256,HS256"}, []string{"JWT_HS256_SECRET", "JWT_ALGORITHMS"}},
		{[]string{"JWT_HS256_SECRET=" + secret, "JWT_ALGORITHMS=HS256"}, nil},
	} {
		environ := []string{"RUNLEDGER_JWT_ISSUER=i", "RUNLEDGER_JWT_AUDIENCE=a"}
		for _, v := range c.variables {
			environ = append(environ, envPrefix+v)
		}
		var told string
		if _, err := readConfig(environ, needVerifier); err != nil {
			told = err.Error()
		}
		var named []string
		for _, variable := range []string{"JWT_HS256_SECRET", "JWT_PUBLIC_KEY_FILE", "JWT_JWKS_URL", "JWT_ALGORITHMS"} {
			if strings.Contains(told, "  "+envPrefix+variable+" ") {
				named = append(named, variable)
			}
		}
		if diff := cmp.Diff(c.named, named); diff != "" {
			t.Errorf("%v: %s\n%s", c.variables, diff, told)
		}
	}
}

func TestTheConsoleSignsInOverWhatCannotBeListenedToAlone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		issuer, origins string
		named           string // of the two variables
	}{
		{"https://login.example", "https://tokens.example,http://localhost:8080", ""},
		{"https://login.example/tenant", "http://[::1]:8080", ""},
		{"https://login.example", "HTTPS://tokens.example/", ""},
		{"http://login.example", "https://tokens.example", "JWT_ISSUER"},
		{"i", "https://tokens.example", "JWT_ISSUER"},
		{"https://login.example", "http://tokens.example", "CONSOLE_OIDC_ORIGINS"},
		{"https://login.example", "https://u@tokens.example", "CONSOLE_OIDC_ORIGINS"},
		{"https://login.example", "https://a.example,nonsense", "CONSOLE_OIDC_ORIGINS"},
	} {
		var told string
		_, err := readConfig([]string{
			"RUNLEDGER_CONSOLE_OIDC_CLIENT_ID=c", "RUNLEDGER_JWT_ISSUER=" + c.issuer, "RUNLEDGER_CONSOLE_OIDC_ORIGINS=" + c.origins,
		})
		if err != nil {
			told = err.Error()
		}
		for _, variable := range []string{"JWT_ISSUER", "CONSOLE_OIDC_ORIGINS"} {
			if named := strings.Contains(told, "  "+envPrefix+variable+" "); named != (variable == c.named) {
				t.Errorf("%+v: %s named %t\n%s", c, variable, named, told)
			}
		}
	}
}

func TestAVariableThatNothingReadsIsTold(t *testing.T) {
	t.Parallel()
	found := findMistyped([]string{
		"RUNLEDGER_SWEEP_INTERVALL=1s", "RUNLEDGER_log_level=info", "RUNLEDGER_NONSENSE=1", "RUNLEDGER_FOO=1", "RUNLEDGER_ADDR=:1", "RUNLEDGER_TOKEN=t", "HOME=/", "OTEL_NONSENSE=1",
		"RUNLEDGER_TEST_POSTGRES=local", "RUNLEDGER_LEGACY_RUNS=1", "RUNLEDGER_PICTURES=/p", "RUNLEDGER_IMAGE=i", "RUNLEDGER_PORT=tcp://10.0.0.1:80",
		"RUNLEDGER_PORT_80_TCP_ADDR=10.0.0.1", "RUNLEDGER_SERVICE_HOST=10.0.0.1", "RUNLEDGER_SERVICE_PORT_HTTP=80", "RUNLEDGER_ADMIN_SERVICE_PORT=90",
	})
	want := []mistyped{{"RUNLEDGER_FOO", ""}, {"RUNLEDGER_NONSENSE", ""}, {"RUNLEDGER_SWEEP_INTERVALL", "RUNLEDGER_SWEEP_INTERVAL"}, {"RUNLEDGER_log_level", "RUNLEDGER_LOG_LEVEL"}}
	if diff := cmp.Diff(want, found, cmp.AllowUnexported(mistyped{})); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsMissingIsToldWithTheVariableThatNothingReads(t *testing.T) {
	t.Parallel()
	mistyped := []string{"RUNLEDGER_DATABSE_URL=postgres://hunter2@h/d", "RUNLEDGER_OTEL_NONSENSE=1"}
	for _, line := range []string{"serve", "workspace list", "migrate up", "legacy status"} {
		code, stdout, stderr := command(t, mistyped, strings.Fields(line)...)
		for _, says := range []string{
			"  RUNLEDGER_DATABASE_URL is not set", "  RUNLEDGER_DATABSE_URL is read by nothing; did you mean RUNLEDGER_DATABASE_URL?\n",
			"  RUNLEDGER_OTEL_NONSENSE is read by nothing\n",
		} {
			if code != exitUsage || !strings.Contains(stderr, says) || strings.Contains(stdout+stderr, "hunter2") {
				t.Errorf("runledger %s exits with %d and does not say %q: %s", line, code, says, stderr)
			}
		}
	}
	if _, err := readConfig(mistyped); err != nil {
		t.Errorf("where nothing is missing, it is a fault: %v", err)
	}
}

func TestWhereToListenAndTheProcessorsAreReadBeforeAnythingIsDone(t *testing.T) {
	t.Parallel()
	for variable, faulty := range map[string]map[string]bool{
		"RUNLEDGER_ADDR":       {":65535": false, ":0": false, "[::1]:8080": false, ":65536": true, ":99999": true, ":-1": true, ":": true, "nowhere": true, ":web": true},
		"RUNLEDGER_ADMIN_ADDR": {"127.0.0.1:9090": false, "127.0.0.1:99999": true, "127.0.0.1": true},
		"GOMAXPROCS":           {"1": false, "64": false, "": false, "0": true, "-1": true, "half": true, "1.5": true, "99999999999": true},
	} {
		for value, wanted := range faulty {
			_, err := readConfig([]string{variable + "=" + value})
			if named := err != nil && strings.Contains(err.Error(), "  "+variable+" wants "); named != wanted || !named && err != nil {
				t.Errorf("%s=%s is a fault: %t; %v", variable, value, named, err)
			}
		}
	}
}

func TestAServerWarnsOfAVariableThatNothingReads(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	a := &app{environ: []string{"RUNLEDGER_SWEEP_INTERVALL=1s"}, stdout: t.Output(), stderr: &log}
	if err := a.serve(t.Context(), config{}, nil, nil); err == nil {
		t.Error("a server without a database serves")
	}
	for _, wanted := range []string{"WARN", "RUNLEDGER_SWEEP_INTERVALL", `"meant":"RUNLEDGER_SWEEP_INTERVAL"`} {
		if !strings.Contains(log.String(), wanted) {
			t.Errorf("the log has no %s: %s", wanted, log.String())
		}
	}
}

// documented is a variable as the code or a text has it. The default is empty where the text has a
// word in its place, or nothing.
type documented struct{ Name, Default string }

// ofTheConfiguration are the variables that config reads.
func ofTheConfiguration() []documented {
	var all []documented
	for field := range reflect.TypeFor[config]().Fields() {
		if name := field.Tag.Get("env"); name != "-" {
			all = append(all, documented{envPrefix + name, field.Tag.Get("envDefault")})
		}
	}
	return all
}

func TestTheTextsNameEveryVariableWithItsDefault(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	// Whoever serves has no use for these three.
	notOfServe := []string{"RUNLEDGER_URL", "RUNLEDGER_TOKEN", "RUNLEDGER_JWT_PRIVATE_KEY_FILE"}
	wanted := map[string]string{}
	served := map[string]string{}
	for _, v := range ofTheConfiguration() {
		wanted[v.Name] = v.Default
		served[v.Name] = v.Default
	}
	for _, name := range notOfServe {
		delete(served, name)
	}
	for where, c := range map[string]struct {
		text, line string
		wanted     map[string]string
	}{
		"README.md":              {string(readme), "(?m)^\\| `(RUNLEDGER_[A-Z0-9_]+)` \\|.*\\| (?:`([^`|]*)` |[^|]*)\\|$", wanted},
		"runledger serve --help": {environmentHelp, `(?m)^  (RUNLEDGER_[A-Z0-9_]+) (?:.*\n {30,})*.*?(?:\(([^() ]+)\))?$`, served},
	} {
		got := map[string]string{}
		for _, m := range regexp.MustCompile(c.line).FindAllStringSubmatch(c.text, -1) {
			got[m[1]] = m[2]
		}
		for name, usual := range got {
			if usual == "none" || usual == "required" {
				got[name] = ""
			}
		}
		if diff := cmp.Diff(c.wanted, got); diff != "" {
			t.Errorf("the configuration (-) and %s (+): %s", where, diff)
		}
	}
}
