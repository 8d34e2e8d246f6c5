package schedule

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // where the machine has no zone database, as in a bare image, there is this one
)

// zones are the zones that were asked for, by name. Reading one opens a file, and a schedule's is
// asked for again and again.
var zones sync.Map

// unnamed are, in lower case, what Go takes for UTC and for the zone of the machine, and what stands beside
// the zones where a machine keeps them. None is a name of the database, nor is what begins with right/ or
// posix/: another machine may have it otherwise, or not at all.
var unnamed = []string{"", "local", "localtime", "posixrules"}

// LoadZone is the zone of the IANA database with that name. The machine's own database counts, for it
// is kept up to date; the one in the binary is for machines without.
func LoadZone(name string) (*time.Location, error) {
	if known, ok := zones.Load(name); ok {
		if zone, ok := known.(*time.Location); ok {
			return zone, nil
		}
	}
	zone, err := time.LoadLocation(name)
	if err != nil || path.Clean(name) != name || slices.Contains(unnamed, strings.ToLower(name)) ||
		strings.HasPrefix(name, "right/") || strings.HasPrefix(name, "posix/") {
		return nil, fmt.Errorf("the time zone %.100q is not one of the IANA database", name)
	}
	zones.Store(name, zone) // at most as many as there are files
	return zone, nil
}
