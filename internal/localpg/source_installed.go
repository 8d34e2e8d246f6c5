package localpg

import (
	"path/filepath"
	"slices"
	"strconv"
)

// places are where packages put the servers of PostgreSQL, one directory per major version.
var places = []string{
	"/usr/lib/postgresql/*/bin",          // Debian, Ubuntu
	"/usr/pgsql-*/bin",                   // the PostgreSQL project's own RPMs
	"/usr/libexec/postgresql*",           // Alpine
	"/opt/homebrew/opt/postgresql@*/bin", // Homebrew on Apple silicon
	"/usr/local/opt/postgresql@*/bin",    // Homebrew on Intel
	"/Applications/Postgres.app/Contents/Versions/*/bin",
}

// installed lists the directories with an installed PostgreSQL, newest first.
func installed() []string {
	var found []string
	for _, place := range places {
		dirs, err := filepath.Glob(place)
		if err != nil {
			panic("localpg: " + err.Error()) // the patterns are constants
		}
		found = append(found, dirs...)
	}
	slices.SortStableFunc(found, func(a, b string) int { return lastNumber(b) - lastNumber(a) })
	return found
}

// lastNumber is the last run of digits in a path: the major version in the paths of places.
func lastNumber(path string) int {
	isDigit := func(b byte) bool { return '0' <= b && b <= '9' }
	end := len(path)
	for end > 0 && !isDigit(path[end-1]) {
		end--
	}
	start := end
	for start > 0 && isDigit(path[start-1]) {
		start--
	}
	n, _ := strconv.Atoi(path[start:end]) // no digits count as 0
	return n
}
