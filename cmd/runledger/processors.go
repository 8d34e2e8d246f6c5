package main

import (
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/auth"
)

// processorsVariable is Go's own variable.
const processorsVariable = "GOMAXPROCS"

// checkProcessors finds a number of processors that Go passes over without a word.
func checkProcessors(environ map[string]string, f *faults) {
	const bits = 31 // of Go's number of them
	text := environ[processorsVariable]
	if n, err := strconv.ParseUint(text, 10, bits); text != "" && (err != nil || n == 0) {
		f.add(processorsVariable, "wants how many processors to use, a whole number from 1 on")
	}
}

// leaveProcessors leaves half of this process's processors to PostgreSQL where that runs on the same
// machine, since an answer costs it as much as the server. With all of them for both, each takes the
// processor from the other in the middle of a system call; Go then takes the call for one that blocks,
// and moves its work to another thread and back, which was a fifth of the server's CPU and a tenth of
// its rate. GOMAXPROCS, where it is set, is left as it is, and so is a single processor. What is behind
// a loopback address is taken for PostgreSQL itself; where it is a proxy to one elsewhere, GOMAXPROCS
// says so.
func leaveProcessors(database *pgx.ConnConfig) {
	if os.Getenv(processorsVariable) == "" && isHere(database) { // Go takes an empty one for none
		half := (runtime.NumCPU() + 1) / 2 //nolint:mnd // as it says
		// A container with fewer has them to itself.
		runtime.GOMAXPROCS(min(half, runtime.GOMAXPROCS(0)))
	}
}

// isHere tells whether all addresses of a database are on this machine.
func isHere(database *pgx.ConnConfig) bool {
	if !isLocal(database.Host) {
		return false
	}
	for _, other := range database.Fallbacks {
		if !isLocal(other.Host) {
			return false
		}
	}
	return true
}

// isLocal tells whether a host of a database's address is this machine: a directory with PostgreSQL's
// socket, or a loopback address.
func isLocal(host string) bool {
	return strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || auth.IsLoopback(host)
}
