package main

import (
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
)

// meantForOthers are the variables with our prefix that others read: the tests, docker-compose.yml, and
// those that Kubernetes sets for a service named runledger.
var meantForOthers = regexp.MustCompile(
	`^(TEST_.*|LEGACY_.*|PICTURES|IMAGE|PROXY_IMAGE|SUBNET|(.+_)?SERVICE_(HOST|PORT(_.+)?)|(.+_)?PORT(_[0-9]+_(TCP|UDP|SCTP)(_.+)?)?)$`)

// mistyped is a variable that nothing reads.
type mistyped struct{ name, meant string } // meant is empty if nothing is near

// findMistyped finds what the environment has under our prefix and nobody reads, in order.
func findMistyped(environ []string) []mistyped {
	var known []string
	for field := range reflect.TypeFor[config]().Fields() {
		if name := field.Tag.Get("env"); name != "-" {
			known = append(known, prefixed(name))
		}
	}
	var found []mistyped
	for _, name := range slices.Sorted(maps.Keys(env.ToMap(environ))) {
		bare, ours := strings.CutPrefix(name, envPrefix)
		if !ours || slices.Contains(known, name) || meantForOthers.MatchString(bare) {
			continue
		}
		const near = 3 // letters, and no more than half of them
		meant, distance := nearest(strings.ToUpper(name), known)
		if distance > min(near, len(bare)/2) {
			meant = ""
		}
		found = append(found, mistyped{name, meant})
	}
	return found
}

// addMistyped adds them to the faults: what is missing may be there under a name that nothing reads.
func (f *faults) addMistyped(environ []string) {
	for _, v := range findMistyped(environ) {
		text := "is read by nothing"
		if v.meant != "" {
			text += "; did you mean " + v.meant + "?"
		}
		f.lines = append(f.lines, "  "+v.name+" "+text)
	}
}

// nearest is the one of known that differs least from word, and in how many letters. The first of
// several is as good as the others; of none it is empty.
func nearest(word string, known []string) (found string, distance int) {
	for _, candidate := range known {
		if d := letters(word, candidate); found == "" || d < distance {
			found, distance = candidate, d
		}
	}
	return found, distance
}

// letters is how many letters have to be put in, left out or replaced to make b of a (Levenshtein).
func letters(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
