package main

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/console"
	"github.com/runledger/runledger/internal/server"
)

// config is everything that the environment can set. This file is its only reader.
type config struct {
	DatabaseURL string `env:"DATABASE_URL"`

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

	DatabaseMaxConns       int32         `env:"DATABASE_MAX_CONNS"       envDefault:"8"`
	DatabaseAcquireTimeout time.Duration `env:"DATABASE_ACQUIRE_TIMEOUT" envDefault:"2s"`
	StatementTimeout       time.Duration `env:"STATEMENT_TIMEOUT"        envDefault:"5s"`
	IdleTransactionTimeout time.Duration `env:"IDLE_TRANSACTION_TIMEOUT" envDefault:"10s"`

	SweepInterval     time.Duration `env:"SWEEP_INTERVAL"     envDefault:"15s"`
	RetentionInterval time.Duration `env:"RETENTION_INTERVAL" envDefault:"0s"`

	ShutdownGrace time.Duration `env:"SHUTDOWN_GRACE" envDefault:"20s"`
	ShutdownDelay time.Duration `env:"SHUTDOWN_DELAY" envDefault:"1s"`

	LogLevel  slog.Level `env:"LOG_LEVEL"  envDefault:"info"`
	LogFormat string     `env:"LOG_FORMAT" envDefault:"auto"`
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
	for _, need := range needs {
		need(&c, &f)
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
	f.lines = append(f.lines, "  "+envPrefix+variable+" "+fmt.Sprintf(format, args...))
}

// unreadable words the error of a variable that cannot be read, without its value.
func (f *faults) unreadable(err error) {
	parse, ok := errors.AsType[env.ParseError](err)
	if !ok {
		f.lines = append(f.lines, "  "+err.Error())
		return
	}
	wants := map[reflect.Type]string{
		reflect.TypeFor[int32]():         "wants a whole number",
		reflect.TypeFor[time.Duration](): "wants a duration such as 500ms, 5s or 2m",
		reflect.TypeFor[slog.Level]():    "wants debug, info, warn or error",
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
		if _, _, err := net.SplitHostPort(address); err != nil {
			f.add(variable, "wants host:port or :port, such as :8080")
		}
	}
	if c.DatabaseMaxConns < 1 {
		f.add("DATABASE_MAX_CONNS", "wants at least 1")
	}
	for variable, d := range map[string]time.Duration{
		"DATABASE_ACQUIRE_TIMEOUT": c.DatabaseAcquireTimeout, "STATEMENT_TIMEOUT": c.StatementTimeout,
		"IDLE_TRANSACTION_TIMEOUT": c.IdleTransactionTimeout, "SHUTDOWN_GRACE": c.ShutdownGrace,
	} {
		if d < time.Millisecond {
			f.add(variable, "wants at least 1ms")
		}
	}
	for variable, d := range map[string]time.Duration{
		"SHUTDOWN_DELAY": c.ShutdownDelay, "SWEEP_INTERVAL": c.SweepInterval, "RETENTION_INTERVAL": c.RetentionInterval,
	} {
		if d < 0 {
			f.add(variable, "cannot be negative")
		}
	}
	c.checkConsole(f)
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
	if !isOrigin(c.JWTIssuer) {
		f.add("JWT_ISSUER", "wants to be the address of an OpenID Connect provider for CONSOLE_OIDC_CLIENT_ID: "+wanted)
	}
	if !strings.Contains(" "+c.ConsoleScope+" ", " openid ") {
		f.add("CONSOLE_OIDC_SCOPE", "wants openid among its words")
	}
	for _, origin := range c.ConsoleOrigins {
		if !isOrigin(origin) {
			f.add("CONSOLE_OIDC_ORIGINS", "wants each to be "+wanted)
		}
	}
}

// isOrigin tells whether an address is one that nobody on the way can answer for.
func isOrigin(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.User != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	loopback := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	return u.Scheme == "https" || u.Scheme == "http" && loopback
}

// console is how people sign in to the console.
func (c *config) console() console.Settings {
	return console.Settings{
		Issuer: c.JWTIssuer, ClientID: c.ConsoleClientID, Scope: c.ConsoleScope, Audience: c.JWTAudience,
		Origins: c.ConsoleOrigins,
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
		f.add("JWT_HS256_SECRET", "| %[1]sJWT_PUBLIC_KEY_FILE | %[1]sJWT_JWKS_URL: exactly one of them is to be set, not %d",
			envPrefix, len(sources))
		return
	}
	// Issuer and audience are named above where they are missing.
	complete := c.auth()
	complete.Issuer, complete.Audience = "set", "set"
	if err := complete.Validate(); err != nil {
		f.add(sources[0], "cannot be used: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
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

// pool is the configuration of the database connections of a server.
func (c *config) pool() (*pgxpool.Config, error) {
	pool, err := pgxpool.ParseConfig(c.DatabaseURL)
	if err != nil {
		return nil, err
	}
	pool.MaxConns = c.DatabaseMaxConns
	pool.ConnConfig.ConnectTimeout = c.DatabaseAcquireTimeout
	params := pool.ConnConfig.RuntimeParams
	maps.Copy(params, server.SessionSettings())
	params["application_name"] = "runledger"
	params["statement_timeout"] = milliseconds(c.StatementTimeout)
	params["idle_in_transaction_session_timeout"] = milliseconds(c.IdleTransactionTimeout)
	return pool, nil
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

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
