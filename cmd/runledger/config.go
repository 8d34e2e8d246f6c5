package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/console"
	"github.com/runledger/runledger/internal/server"
	"github.com/runledger/runledger/internal/telemetry"
)

// config is everything of ours that the environment can set. What Go, PostgreSQL and OpenTelemetry have
// standard variables for is read beside it: GOMAXPROCS, GOGC, PG… and OTEL_….
type config struct {
	DatabaseURL string `env:"DATABASE_URL"`

	// Of a server that a command is a client of.
	URL   string `env:"URL"`
	Token string `env:"TOKEN"`

	Addr      string `env:"ADDR"       envDefault:":8080"`
	AdminAddr string `env:"ADMIN_ADDR" envDefault:"127.0.0.1:9090"`

	JWTSecret         string   `env:"JWT_HS256_SECRET"`
	JWTPublicKeyFile  string   `env:"JWT_PUBLIC_KEY_FILE"`
	JWTPrivateKeyFile string   `env:"JWT_PRIVATE_KEY_FILE"`
	JWTJWKSURL        string   `env:"JWT_JWKS_URL"`
	JWTAlgorithms     []string `env:"JWT_ALGORITHMS"`
	JWTIssuer         string   `env:"JWT_ISSUER"`
	JWTAudience       string   `env:"JWT_AUDIENCE"`

	ConsoleClientID string   `env:"CONSOLE_OIDC_CLIENT_ID"`
	ConsoleScope    string   `env:"CONSOLE_OIDC_SCOPE"     envDefault:"openid"`
	ConsoleOrigins  []string `env:"CONSOLE_OIDC_ORIGINS"`

	DatabaseReplicaURL     string        `env:"DATABASE_REPLICA_URL"`
	DatabaseReplicaMaxLag  time.Duration `env:"DATABASE_REPLICA_MAX_LAG" envDefault:"5s"`
	DatabaseMaxConns       int32         `env:"DATABASE_MAX_CONNS"       envDefault:"8"`
	DatabaseAcquireTimeout time.Duration `env:"DATABASE_ACQUIRE_TIMEOUT" envDefault:"2s"`
	StatementTimeout       time.Duration `env:"STATEMENT_TIMEOUT"        envDefault:"5s"`
	MaxStaleness           time.Duration `env:"MAX_STALENESS"            envDefault:"1s"`
	IdleTransactionTimeout time.Duration `env:"IDLE_TRANSACTION_TIMEOUT" envDefault:"10s"`

	RatePerAddress float64        `env:"RATE_PER_ADDRESS" envDefault:"4000"`
	RatePerSubject float64        `env:"RATE_PER_SUBJECT" envDefault:"2000"`
	RateBurst      time.Duration  `env:"RATE_BURST"       envDefault:"2s"`
	TrustedProxies []netip.Prefix `env:"TRUSTED_PROXIES"`
	MaxRequests    int            `env:"MAX_REQUESTS"     envDefault:"2048"`
	MaxStreams     int            `env:"MAX_STREAMS"      envDefault:"4096"`
	MaxConnections int            `env:"MAX_CONNECTIONS"  envDefault:"16384"`
	HeaderTimeout  time.Duration  `env:"HEADER_TIMEOUT"   envDefault:"5s"`
	ReadTimeout    time.Duration  `env:"READ_TIMEOUT"     envDefault:"30s"`
	WriteTimeout   time.Duration  `env:"WRITE_TIMEOUT"    envDefault:"60s"`
	IdleTimeout    time.Duration  `env:"IDLE_TIMEOUT"     envDefault:"2m"`
	CORSOrigins    []string       `env:"CORS_ORIGINS"`

	SweepInterval      time.Duration `env:"SWEEP_INTERVAL"       envDefault:"15s"`
	RetentionInterval  time.Duration `env:"RETENTION_INTERVAL"   envDefault:"0s"`
	SurveyInterval     time.Duration `env:"SURVEY_INTERVAL"      envDefault:"1m"`
	MetricsByWorkspace bool          `env:"METRICS_BY_WORKSPACE" envDefault:"false"`

	ShutdownGrace time.Duration `env:"SHUTDOWN_GRACE" envDefault:"20s"`
	ShutdownDelay time.Duration `env:"SHUTDOWN_DELAY" envDefault:"1s"`

	LogLevel  slog.Level `env:"LOG_LEVEL"  envDefault:"info"`
	LogFormat string     `env:"LOG_FORMAT" envDefault:"auto"`

	// Exporter is nil where nothing is traced.
	Exporter *telemetry.Exporter `env:"-"`
}

const envPrefix = "RUNLEDGER_"

// need is a check of what one command wants of the configuration beyond its being readable.
type need func(*config, *faults)

// readConfig reads the environment and reports everything that is wrong with it at once.
func readConfig(environ []string, needs ...need) (config, error) {
	var c config
	var f faults
	err := env.ParseWithOptions(&c, env.Options{Prefix: envPrefix, Environment: env.ToMap(environ)})
	if aggregate, ok := errors.AsType[env.AggregateError](err); ok {
		for _, each := range aggregate.Errors {
			f.unreadable(each)
		}
	}
	c.check(&f)
	c.Exporter = readExporter(env.ToMap(environ), &f)
	checkProcessors(env.ToMap(environ), &f)
	for _, need := range needs {
		need(&c, &f)
	}
	if len(f.lines) > 0 { // else a server warns of them; one that a later release reads keeps this one from nothing
		f.addMistyped(environ)
	}
	return c, f.err()
}

// faults collects what is wrong with the environment, one fault a variable.
type faults struct {
	lines []string
	named map[string]bool
}

func (f *faults) add(variable, format string, args ...any) {
	if f.named[variable] {
		return
	}
	if f.named == nil {
		f.named = map[string]bool{}
	}
	f.named[variable] = true
	f.lines = append(f.lines, "  "+prefixed(variable)+" "+fmt.Sprintf(format, args...))
}

// prefixed is the whole name of a variable. Those of OpenTelemetry and of Go are standard and have no prefix.
func prefixed(variable string) string {
	if strings.HasPrefix(variable, "OTEL_") || variable == processorsVariable {
		return variable
	}
	return envPrefix + variable
}

// unreadable words the error of a variable that cannot be read, without its value.
func (f *faults) unreadable(err error) {
	parse, ok := errors.AsType[env.ParseError](err)
	if !ok {
		f.lines = append(f.lines, "  "+err.Error())
		return
	}
	wants := map[reflect.Type]string{
		reflect.TypeFor[int32]():          "wants a whole number",
		reflect.TypeFor[time.Duration]():  "wants a duration such as 500ms, 5s or 2m",
		reflect.TypeFor[slog.Level]():     "wants debug, info, warn or error",
		reflect.TypeFor[int]():            "wants a whole number",
		reflect.TypeFor[float64]():        "wants a number",
		reflect.TypeFor[bool]():           "wants true or false",
		reflect.TypeFor[[]netip.Prefix](): "wants networks such as 10.0.0.0/8,fd00::/8",
	}[parse.Type]
	field, _ := reflect.TypeFor[config]().FieldByName(parse.Name)
	f.add(field.Tag.Get("env"), "%s", wants)
}

func (f *faults) err() error {
	if len(f.lines) == 0 {
		return nil
	}
	slices.Sort(f.lines)
	return usageError{fmt.Errorf("the configuration cannot be used:\n%s", strings.Join(f.lines, "\n"))}
}

// check finds values that can be read and cannot be right.
func (c *config) check(f *faults) {
	for variable, address := range map[string]string{"ADDR": c.Addr, "ADMIN_ADDR": c.AdminAddr} {
		if !isAddress(address) {
			f.add(variable, "wants host:port or :port, such as :8080")
		}
	}
	if c.DatabaseMaxConns < 1 {
		f.add("DATABASE_MAX_CONNS", "wants at least 1")
	}
	if _, err := pgxpool.ParseConfig(c.DatabaseReplicaURL); c.DatabaseReplicaURL != "" && err != nil {
		f.add("DATABASE_REPLICA_URL", "cannot be read; it wants postgres://user:password@host:5432/database")
	}
	for variable, d := range map[string]time.Duration{
		"DATABASE_REPLICA_MAX_LAG": c.DatabaseReplicaMaxLag, "DATABASE_ACQUIRE_TIMEOUT": c.DatabaseAcquireTimeout, "STATEMENT_TIMEOUT": c.StatementTimeout,
		"IDLE_TRANSACTION_TIMEOUT": c.IdleTransactionTimeout, "SHUTDOWN_GRACE": c.ShutdownGrace, "RATE_BURST": c.RateBurst,
		"HEADER_TIMEOUT": c.HeaderTimeout, "READ_TIMEOUT": c.ReadTimeout, "WRITE_TIMEOUT": c.WriteTimeout, "IDLE_TIMEOUT": c.IdleTimeout,
	} {
		if d < time.Millisecond {
			f.add(variable, "wants at least 1ms")
		}
	}
	for variable, d := range map[string]time.Duration{
		"SHUTDOWN_DELAY": c.ShutdownDelay, "SWEEP_INTERVAL": c.SweepInterval, "RETENTION_INTERVAL": c.RetentionInterval,
		"SURVEY_INTERVAL": c.SurveyInterval, "MAX_STALENESS": c.MaxStaleness,
	} {
		if d < 0 {
			f.add(variable, "cannot be negative")
		}
	}
	c.checkConsole(f)
	c.checkLimits(f)
	if !slices.Contains([]string{"auto", "json", "text"}, c.LogFormat) {
		f.add("LOG_FORMAT", "wants auto, json or text")
	}
}

// checkConsole finds what would keep people from signing in to the console.
func (c *config) checkConsole(f *faults) {
	if c.ConsoleClientID == "" {
		return
	}
	const wanted = "https://host, or http on loopback"
	if !isTrustworthy(c.JWTIssuer) {
		f.add("JWT_ISSUER", "wants to be the address of an OpenID Connect provider for "+envPrefix+"CONSOLE_OIDC_CLIENT_ID: "+wanted)
	}
	if !strings.Contains(" "+c.ConsoleScope+" ", " openid ") {
		f.add("CONSOLE_OIDC_SCOPE", "wants openid among its words")
	}
	for _, origin := range c.ConsoleOrigins {
		if !isTrustworthy(origin) {
			f.add("CONSOLE_OIDC_ORIGINS", "wants each to be "+wanted)
		}
	}
}

// isTrustworthy tells whether an address is one that nobody on the way can answer for.
func isTrustworthy(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.User != nil {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && auth.IsLoopback(u.Hostname())
}

// console is how people sign in to the console.
func (c *config) console() console.Settings {
	return console.Settings{
		Issuer: c.JWTIssuer, ClientID: c.ConsoleClientID, Scope: c.ConsoleScope, Audience: c.JWTAudience,
		Origins: c.ConsoleOrigins,
	}
}

// checkLimits finds limits that cannot be right.
func (c *config) checkLimits(f *faults) {
	for variable, rate := range map[string]float64{"RATE_PER_ADDRESS": c.RatePerAddress, "RATE_PER_SUBJECT": c.RatePerSubject} {
		if !(rate >= 0) || math.IsInf(rate, 0) {
			f.add(variable, "wants requests per second, or 0 for no limit")
		}
	}
	for variable, most := range map[string]int{"MAX_REQUESTS": c.MaxRequests, "MAX_STREAMS": c.MaxStreams, "MAX_CONNECTIONS": c.MaxConnections} {
		if most < 1 {
			f.add(variable, "wants at least 1")
		}
	}
	for _, origin := range c.CORSOrigins {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Scheme+"://"+u.Host != origin || strings.Contains(origin, "*") {
			f.add("CORS_ORIGINS", "wants origins such as https://app.example.com, each with its scheme and without a path or *")
		}
	}
}

// limits are what one client, and all together, may ask of a server.
func (c *config) limits() server.Limits {
	rate := func(perSecond float64) server.Rate {
		return server.Rate{PerSecond: perSecond, Burst: int(min(math.Ceil(perSecond*c.RateBurst.Seconds()), math.MaxInt32))}
	}
	return server.Limits{
		PerAddress: rate(c.RatePerAddress), PerSubject: rate(c.RatePerSubject), TrustedProxies: c.TrustedProxies, MaxRequests: c.MaxRequests,
	}
}

// needDatabase wants the address of a database.
func needDatabase(c *config, f *faults) {
	const wanted = "wants postgres://user:password@host:5432/database"
	if c.DatabaseURL == "" {
		f.add("DATABASE_URL", "is not set; it "+wanted)
		return
	}
	// The driver's error may quote the address, and with it the password.
	if _, err := pgxpool.ParseConfig(c.DatabaseURL); err != nil {
		f.add("DATABASE_URL", "cannot be read; it "+wanted)
	}
}

// needToken wants to know who asks a server.
func needToken(c *config, f *faults) {
	if c.Token == "" {
		f.add("TOKEN", "is not set; it wants a bearer token, such as one of \"runledger token\"")
	}
}

// needIssuer wants to know whose tokens, and for whom.
func needIssuer(c *config, f *faults) {
	if c.JWTIssuer == "" {
		f.add("JWT_ISSUER", "is not set; it wants the iss claim of valid tokens")
	}
	if c.JWTAudience == "" {
		f.add("JWT_AUDIENCE", "is not set; it wants the aud claim of valid tokens")
	}
}

// needVerifier wants what tokens are verified by.
func needVerifier(c *config, f *faults) {
	needIssuer(c, f)
	var sources []string
	for variable, value := range map[string]string{
		"JWT_HS256_SECRET": c.JWTSecret, "JWT_PUBLIC_KEY_FILE": c.JWTPublicKeyFile, "JWT_JWKS_URL": c.JWTJWKSURL,
	} {
		if value != "" {
			sources = append(sources, variable)
		}
	}
	if len(sources) != 1 {
		f.add("JWT_HS256_SECRET", "| %[1]sJWT_PUBLIC_KEY_FILE | %[1]sJWT_JWKS_URL: exactly one of them is to be set, not %[2]d",
			envPrefix, len(sources))
		if c.algorithmsFor(standIn("JWT_HS256_SECRET")) != nil && c.algorithmsFor(standIn("JWT_JWKS_URL")) != nil {
			f.add("JWT_ALGORITHMS", "wants algorithms of one kind of key, such as RS256,ES256 or HS256")
		}
		return
	}
	// Issuer and audience are named above where they are missing, the algorithms below.
	keys := c.auth()
	keys.Issuer, keys.Audience, keys.Algorithms = "set", "set", nil
	if err := keys.Validate(); err != nil {
		f.add(sources[0], "cannot be used: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
		keys = standIn(sources[0])
	}
	if err := c.algorithmsFor(keys); err != nil {
		f.add("JWT_ALGORITHMS", "cannot be used: %v", err)
	}
}

// standIn is valid, with a source of keys like the one that a variable names.
func standIn(variable string) auth.Config {
	if variable == "JWT_HS256_SECRET" {
		const enough = 32
		return auth.Config{HS256Secret: make([]byte, enough), Issuer: "set", Audience: "set"}
	}
	return auth.Config{JWKSURL: "https://issuer.invalid/jwks", Issuer: "set", Audience: "set"}
}

// algorithmsFor is what is wrong with the algorithms for such keys.
func (c *config) algorithmsFor(keys auth.Config) error {
	keys.Algorithms = c.JWTAlgorithms
	return keys.Validate()
}

// needSigner wants what tokens are signed with.
func needSigner(c *config, f *faults) {
	needIssuer(c, f)
	if (c.JWTSecret == "") == (c.JWTPrivateKeyFile == "") {
		f.add("JWT_HS256_SECRET", "| %sJWT_PRIVATE_KEY_FILE: exactly one of them is to be set", envPrefix)
		return
	}
	if _, err := c.signer(); err != nil {
		variable := "JWT_HS256_SECRET"
		if c.JWTPrivateKeyFile != "" {
			variable = "JWT_PRIVATE_KEY_FILE"
		}
		f.add(variable, "cannot be used: %v", err)
	}
}

// signer is what tokens are signed with.
func (c *config) signer() (*auth.Signer, error) {
	if c.JWTPrivateKeyFile != "" {
		return auth.NewFileSigner(c.JWTPrivateKeyFile)
	}
	return auth.NewSecretSigner([]byte(c.JWTSecret))
}

// auth is what tokens are verified by.
func (c *config) auth() auth.Config {
	return auth.Config{
		HS256Secret: []byte(c.JWTSecret), PublicKeyFile: c.JWTPublicKeyFile, JWKSURL: c.JWTJWKSURL,
		Algorithms: c.JWTAlgorithms, Issuer: c.JWTIssuer, Audience: c.JWTAudience,
	}
}

// devDataDir is where dev keeps its data unless told otherwise: a place that PostgreSQL's user
// can reach when root starts it, the user's own data directory (XDG Base Directory Specification)
// otherwise.
func devDataDir(environ []string) (string, error) {
	if os.Geteuid() == 0 {
		return "/var/lib/runledger/dev", nil
	}
	variables := env.ToMap(environ)
	if dir := variables["XDG_DATA_HOME"]; filepath.IsAbs(dir) {
		return filepath.Join(dir, "runledger", "dev"), nil
	}
	if home := variables["HOME"]; filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "share", "runledger", "dev"), nil
	}
	return "", usageError{errors.New("HOME is not set: name a directory with --data-dir")}
}
