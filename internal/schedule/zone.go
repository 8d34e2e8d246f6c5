package schedule

import (
	"fmt"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // where the machine has no zone database, as in a bare image, there is this one
)

// zones are the zones that were asked for, by name. Reading one opens a file, and a schedule's is
// asked for again and again.
var zones sync.Map

// LoadZone is the zone of the IANA database with that name. The machine's own database counts, for it
// is kept up to date; the one in the binary is for machines without.
func LoadZone(name string) (*time.Location, error) {
	if known, ok := zones.Load(name); ok {
		if zone, ok := known.(*time.Location); ok {
			return zone, nil
		}
	}
	// Go takes these two for UTC and for the zone of the machine. Neither is a name of the database.
	unnamed := name == "" || strings.EqualFold(name, "local")
	zone, err := time.LoadLocation(name)
	if err != nil || unnamed {
		return nil, fmt.Errorf("the time zone %.100q is not one of the IANA database", name)
	}
	zones.Store(name, zone) // at most as many as there are files
	return zone, nil
}
