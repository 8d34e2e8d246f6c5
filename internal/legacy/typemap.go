package legacy

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

//go:embed data/type_map.tsv
var builtinTypeMap string

// TypeMap says what each legacy run type becomes. Its keys are compared with lower(btrim(type)).
type TypeMap struct{ standard map[string]string }

// typeName is the form that operation_types asks of a name.
var typeName = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

// ReadTypeMap reads lines of an old and a new type with a tab between them. Empty lines and those
// that start with # are skipped. Its error names every line at fault.
func ReadTypeMap(r io.Reader) (*TypeMap, error) {
	m := &TypeMap{standard: map[string]string{}}
	var faults []error
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSuffix(lines.Text(), "\r")
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		before, after, found := strings.Cut(line, "\t")
		key := strings.ToLower(strings.Trim(before, " "))
		previous, twice := m.standard[key]
		switch {
		case !found:
			faults = append(faults, fmt.Errorf("line %d: want an old and a new type with a tab between them", n))
		case !typeName.MatchString(after):
			faults = append(faults, fmt.Errorf("line %d: %q is not a type name (want %s)", n, after, typeName))
		case twice && previous != after:
			faults = append(faults, fmt.Errorf("line %d: %q is already mapped to %q", n, key, previous))
		default:
			m.standard[key] = after
		}
	}
	if err := lines.Err(); err != nil {
		faults = append(faults, err)
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("type map: %w", errors.Join(faults...))
	}
	return m, nil
}

// defaultTypeMap is the map that the binary carries.
func defaultTypeMap() *TypeMap {
	m, err := ReadTypeMap(strings.NewReader(builtinTypeMap))
	if err != nil {
		panic("legacy: " + err.Error()) // the embedded map is part of the binary
	}
	return m
}

// pairs lists the map's old types in order, and what each becomes.
func (m *TypeMap) pairs() (old, standard []string) {
	old = slices.Sorted(maps.Keys(m.standard))
	for _, key := range old {
		standard = append(standard, m.standard[key])
	}
	return old, standard
}
