package server

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// params reads the query parameters of a request and collects everything that is wrong with
// them, so that the caller hears of all faults at once.
type params struct {
	values url.Values
	known  []string
	faults []fault
	pages  pageSizes
	usual  string // the order of the list, if it is the one that is meant without the parameter
}

const orderParameter = "order"

// mostParams is how many parameters an address takes at most, as far as that is worth knowing.
const mostParams = 24

// parseParams reads the query of r.
func parseParams(r *http.Request) *params {
	values, err := url.ParseQuery(r.URL.RawQuery)
	p := &params{values: values, known: make([]string, 0, mostParams), pages: pageSizes{usual: defaultPageSize, most: maxPageSize}}
	if err != nil {
		p.fault("", "The query is not well-formed: a percent sign starts two hexadecimal digits, and & separates parameters.")
	}
	return p
}

// fault notes what is wrong with a parameter.
func (p *params) fault(name, format string, args ...any) {
	if len(p.faults) < maxFaults {
		p.faults = append(p.faults, fault{Parameter: name, Detail: fmt.Sprintf(format, args...)})
	}
}

// noCondition refuses an If-Match where it is held against nothing, so that nobody relies on it.
func (p *params) noCondition(r *http.Request) *params {
	if r.Header.Values(ifMatch) != nil {
		p.faults = append(p.faults, fault{Header: ifMatch, Detail: "Only a PATCH and a DELETE can be made to depend on a revision."})
	}
	return p
}

// faulted tells whether something is wrong with one of some parameters, so that there is nothing to hold
// others against: what stands in for it, nobody has asked for.
func (p *params) faulted(names ...string) bool {
	return slices.ContainsFunc(p.faults, func(f fault) bool { return slices.Contains(names, f.Parameter) })
}

// text is a parameter's value; ok is false if it was not given or cannot be used.
func (p *params) text(name string) (value string, ok bool) {
	p.known = append(p.known, name)
	values := p.values[name]
	if len(values) == 0 {
		return "", false
	}
	value = values[0]
	switch {
	case len(values) > 1:
		p.fault(name, "Give it once.")
	case value == "":
		p.fault(name, "Give it a value, or leave it out.")
	case len(value) > maxTextParameter:
		p.fault(name, "At most %d bytes.", maxTextParameter)
	case !utf8.ValidString(value), strings.ContainsFunc(value, unicode.IsControl):
		p.fault(name, "No control characters, and valid UTF-8.")
	default:
		return value, true
	}
	return "", false
}

const maxTextParameter = 1024

// id is a parameter that is the id of a row.
func (p *params) id(name string) (int64, bool) {
	value, ok := p.text(name)
	if !ok {
		return 0, false
	}
	id, ok := parseID(value)
	if !ok {
		p.fault(name, "An id is a whole number from 1 to 9223372036854775807.")
	}
	return id, ok
}

// parseHash reads a SHA-256 in hexadecimal digits, which come back in lower case.
func parseHash(text string) (string, bool) {
	if sum, err := hex.DecodeString(text); err != nil || len(sum) != sha256.Size {
		return "", false
	}
	return strings.ToLower(text), true
}

// notAHash is what is wrong with what parseHash does not read.
const notAHash = "A SHA-256 is 64 hexadecimal digits."

// identityHash is a parameter that is a SHA-256 in 64 hexadecimal digits.
func (p *params) identityHash(name string) (string, bool) {
	text, ok := p.text(name)
	if !ok {
		return "", false
	}
	hash, ok := parseHash(text)
	if !ok {
		p.fault(name, notAHash)
	}
	return hash, ok
}

// flag is a parameter that is true or false.
func (p *params) flag(name string) (value, ok bool) {
	text, ok := p.text(name)
	if !ok {
		return false, false
	}
	if text != "true" && text != "false" {
		p.fault(name, "Either true or false.")
		return false, false
	}
	return text == "true", true
}

// instantPattern is what time.Parse does not hold instants to, though RFC 3339 section 5.6 does: two
// digits for the hour, a point before the fraction, and an offset of less than a day.
var instantPattern = regexp.MustCompile(`T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// parseInstant reads an instant (RFC 3339). PostgreSQL's timestamptz begins in 4713 BC, so that it has
// every one that can be written.
func parseInstant(text string) (time.Time, bool) {
	text = strings.ToUpper(text) // section 5.6: t and z are as good
	at, err := time.Parse(time.RFC3339, text)
	at = at.UTC()
	// An offset can lead out of the years that RFC 3339 has, and what has no such year could not be shown.
	if err != nil || !instantPattern.MatchString(text) || at.Year() < 0 || at.Year() > 9999 {
		return time.Time{}, false
	}
	return at, true
}

// time is a parameter that is an instant (RFC 3339), as PostgreSQL counts: no row's instant lies
// between two microseconds, so the end of a range that does is the later of the two.
func (p *params) time(name string) (time.Time, bool) {
	text, ok := p.text(name)
	if !ok {
		return time.Time{}, false
	}
	at, ok := parseInstant(text)
	if !ok {
		p.fault(name, "An instant as in RFC 3339, such as 2026-01-31T12:00:00Z (in a query, + is written %%2B).")
		return time.Time{}, false
	}
	return at.Add(time.Microsecond - 1).Truncate(time.Microsecond), true
}

// list is a parameter that is a comma-separated list of values, each one of allowed unless that
// is empty. The values come back sorted and each once.
func (p *params) list(name string, allowed ...string) []string {
	text, ok := p.text(name)
	if !ok {
		return nil
	}
	values := strings.Split(text, ",")
	slices.Sort(values)
	values = slices.Compact(values)
	var unknown []string
	for _, value := range values {
		switch {
		case value == "":
			p.fault(name, "A comma stands between two values.")
			return nil
		case len(allowed) > 0 && !slices.Contains(allowed, value):
			unknown = append(unknown, strconv.Quote(value))
		}
	}
	if len(unknown) > 0 {
		p.fault(name, "Not known: %s. Known: %s.", strings.Join(unknown, ", "), strings.Join(allowed, ", "))
		return nil
	}
	return values
}

// choice is a parameter that is one of allowed; the first is meant where it is not given.
func (p *params) choice(name string, allowed ...string) string {
	text, ok := p.text(name)
	if !ok {
		return allowed[0]
	}
	if !slices.Contains(allowed, text) {
		p.fault(name, "One of %s.", strings.Join(allowed, ", "))
		return allowed[0]
	}
	return text
}

// ordering is the parameter that orders a list, a choice.
func (p *params) ordering(allowed ...string) string {
	order := p.choice(orderParameter, allowed...)
	if order == allowed[0] {
		p.usual = order
	}
	return order
}

// otherwise are the same parameters in other words: the usual order written out, or left out where it
// was. There are none of a list in another order.
func (p *params) otherwise() (values url.Values, ok bool) {
	if p.usual == "" {
		return nil, false
	}
	values = maps.Clone(p.values)
	if values.Has(orderParameter) {
		values.Del(orderParameter)
	} else {
		values.Set(orderParameter, p.usual)
	}
	return values, true
}

// The sizes of a page, in rows.
const (
	defaultPageSize = 50
	maxPageSize     = 200
)

// pageSizes are the sizes of the pages of one list: the one that nobody asked for, and the largest.
type pageSizes struct{ usual, most int }

// limit is the size of a page. A larger one than the largest is lowered to it.
func (p *params) limit() int {
	text, ok := p.text("limit")
	if !ok {
		return p.pages.usual
	}
	if text == "" || strings.Trim(text, "0123456789") != "" || strings.Trim(text, "0") == "" {
		p.fault("limit", "A whole number of at least 1; what is above %d counts as that.", p.pages.most)
		return p.pages.usual
	}
	n, err := strconv.Atoi(text)
	if err != nil { // digits only, so it is larger than any page
		return p.pages.most
	}
	return min(n, p.pages.most)
}

// done is the error that names every fault, or nil if there is none.
func (p *params) done() error {
	for _, name := range slices.Sorted(maps.Keys(p.values)) {
		if !slices.Contains(p.known, name) {
			p.fault(printable(name), "There is no such parameter here.")
		}
	}
	if len(p.faults) > 0 {
		return errInvalidParameters(p.faults)
	}
	return nil
}

// noParams refuses every parameter, for an endpoint that takes none.
func noParams(r *http.Request) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	return parseParams(r).done()
}

// unconditional refuses every parameter, and an If-Match, for an endpoint that takes neither.
func unconditional(r *http.Request) error {
	if r.Header.Values(ifMatch) == nil {
		return noParams(r)
	}
	return parseParams(r).noCondition(r).done()
}

// bodiless refuses every parameter, an If-Match and a body that says anything, for an endpoint that takes
// none of them. Clients that always send an object may.
func bodiless(r *http.Request) error {
	if err := unconditional(r); err != nil {
		return err
	}
	return noBody(r)
}

// printable is a name that came from outside, short enough to be sent back.
func printable(name string) string {
	const longest = 100
	name = strings.ToValidUTF8(name, "\uFFFD")
	if len(name) > longest {
		name = strings.ToValidUTF8(name[:longest], "") + "…"
	}
	return name
}

// texts are values of a string type as strings.
func texts[T ~string](values []T) []string {
	plain := make([]string, 0, len(values))
	for _, value := range values {
		plain = append(plain, string(value))
	}
	return plain
}
