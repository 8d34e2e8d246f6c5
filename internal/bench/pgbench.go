package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// pgbenchProgram finds pgbench: on PATH, or where packages put it, the newest version first.
func pgbenchProgram() (string, error) {
	if path, err := exec.LookPath("pgbench"); err == nil {
		return path, nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench") // the pattern is a constant
	if len(found) == 0 {
		return "", errors.New("there is no pgbench here; it comes with PostgreSQL's server package (postgresql-contrib on some systems)")
	}
	return slices.Max(found), nil
}

// pgbenchScript writes the query as a script of pgbench and returns the arguments that name it.
// The query's arguments are variables, so that -M prepared sends them as parameters.
func (b *bench) pgbenchScript(name string, q query) ([]string, error) {
	path := filepath.Join(b.dir, name+".sql")
	arguments := []string{"-f", path}
	statement := q.sql
	for i, arg := range slices.Backward(q.args) { // $12 before $1
		variable := "a" + strconv.Itoa(i+1)
		arguments = append(arguments, "-D", variable+"="+literal(arg))
		statement = strings.ReplaceAll(statement, "$"+strconv.Itoa(i+1), ":"+variable)
	}
	lines := strings.Split(statement, "\n")
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, "--") })
	return arguments, os.WriteFile(path, []byte(strings.TrimSpace(strings.Join(lines, " "))+";\n"), 0o600)
}

var tpsLine = regexp.MustCompile(`tps = ([0-9.]+)`)

// pgbench runs the script so many times on each of the connections. What it takes to connect, and to
// plan the statement the first few times, is measured by a short run before and taken off, of the CPU
// time and of the time by the clock alike.
func (b *bench) pgbench(ctx context.Context, script []string, databaseURL string, connections, each int) (sample, error) {
	const first = 10
	beginning, err := b.pgbenchRun(ctx, script, databaseURL, connections, first)
	if err != nil {
		return sample{}, err
	}
	whole, err := b.pgbenchRun(ctx, script, databaseURL, connections, first+each)
	if err != nil {
		return sample{}, err
	}
	return whole.warm(beginning, each*connections)
}

// ran is what a run of pgbench took: the CPU time of the backends, and by the clock.
type ran struct{ cpu, took time.Duration }

var errNotLonger = errors.New("pgbench took no longer for many statements than for a few")

// warm is what the statements were like that a whole run had more than its beginning.
func (whole ran) warm(beginning ran, statements int) (sample, error) {
	took := whole.took - beginning.took
	if took <= 0 {
		return sample{}, errNotLonger
	}
	return sample{
		cost{database: whole.cpu - beginning.cpu}.perThousand(statements), float64(statements) / took.Seconds(),
	}, nil
}

// pgbenchRun runs the script so many times on each connection. What the backends have run is in the
// postmaster's account of ended children.
func (b *bench) pgbenchRun(ctx context.Context, script []string, databaseURL string, connections, each int) (ran, error) {
	program, err := pgbenchProgram()
	if err != nil {
		return ran{}, err
	}
	postmaster := b.pg.PID()
	children := childrenOf(postmaster)
	before, err := childrenTime(postmaster)
	if err != nil {
		return ran{}, err
	}
	arguments := append([]string{
		"-M", "prepared", "-n", "-c", strconv.Itoa(connections), "-j", strconv.Itoa(min(connections, 2)), "-t", strconv.Itoa(each),
	}, script...)
	command := exec.CommandContext(ctx, program, append(arguments, databaseURL)...)
	pgOptions := ""
	for name, value := range referenceSettings() {
		pgOptions += " -c " + name + "=" + value
	}
	command.Env = append(os.Environ(), "PGOPTIONS="+pgOptions)
	out, err := command.CombinedOutput()
	if err != nil {
		return ran{}, fmt.Errorf("pgbench: %w\n%s", err, out)
	}
	for start := time.Now(); childrenOf(postmaster) > children && time.Since(start) < time.Second; {
		time.Sleep(time.Millisecond) // the last backends are ending
	}
	after, err := childrenTime(postmaster)
	if err != nil {
		return ran{}, err
	}
	took, err := timeOf(out, connections*each)
	return ran{after - before, took}, err
}

// timeOf is how long pgbench took for so many statements, without connecting, by what it says.
func timeOf(out []byte, statements int) (time.Duration, error) {
	match := tpsLine.FindSubmatch(out)
	if match == nil {
		return 0, fmt.Errorf("pgbench tells no rate:\n%s", out)
	}
	rate, err := strconv.ParseFloat(string(match[1]), 64)
	return time.Duration(float64(statements) / rate * float64(time.Second)), err
}
