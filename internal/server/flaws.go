package server

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// flaws are where valid JSON says what PostgreSQL's jsonb cannot hold: U+0000, half a surrogate pair, numbers
// beyond any use, two members of one name.
type flaws []flaw

type flaw struct {
	at     int // the byte that it begins with
	detail string
}

// mostFlaws is how many flaws of a body are looked for; each operation of a batch may have some.
const mostFlaws = 1000

func (f *flaws) add(at int, detail string) {
	if len(*f) <= mostFlaws {
		*f = append(*f, flaw{at, detail})
	}
}

// flawsOf are the flaws of valid JSON, each with the pointer to where it is. The error is the answer where
// there are too many to tell.
func flawsOf(body []byte) ([]fault, error) {
	var found flaws
	checkNames(body, &found)
	checkValues(body, &found)
	if len(found) == 0 {
		return nil, nil
	}
	slices.SortStableFunc(found, func(a, b flaw) int { return cmp.Compare(a.at, b.at) })
	told := make([]fault, 0, len(found))
	for i, pointer := range pointersTo(body, found) {
		told = append(told, fault{Pointer: pointer, Detail: found[i].detail})
	}
	if len(found) > mostFlaws {
		return nil, errFlaws(told)
	}
	return told, nil
}

// errFlaws is the answer to a body of which something cannot be stored.
func errFlaws(flaws []fault) *apiError {
	refused := errBody(flaws[0].Detail)
	refused.faults = flaws[:min(len(flaws), maxFaults)]
	return refused
}

// readBatch reads the JSON object in a request's body whose array name is a batch. What of an element cannot be
// stored is its own answer, by its place; anything else of the kind is the error.
func readBatch(r *http.Request, name string) (json.RawMessage, map[int][]fault, error) {
	body, flaws, err := readFlawed(r)
	if err != nil {
		return nil, nil, err
	}
	ofElements := map[int][]fault{}
	var others []fault
	for _, f := range flaws {
		rest, inArray := strings.CutPrefix(f.Pointer, "/"+name+"/")
		place, _, _ := strings.Cut(rest, "/")
		if i, err := strconv.Atoi(place); inArray && err == nil {
			ofElements[i] = append(ofElements[i], f)
		} else {
			others = append(others, f)
		}
	}
	if len(others) > 0 {
		return nil, nil, errFlaws(flaws)
	}
	return body, ofElements, nil
}

// pointersTo are the JSON pointers (RFC 6901) to where found begin in valid JSON, in the order of both: to a
// value, and where it is in a member's name, to the object that has it.
func pointersTo(body []byte, found flaws) []string {
	pointers := make([]string, 0, len(found))
	var at path
	for i := 0; i < len(body) && len(pointers) < len(found); i++ {
		here := at
		switch body[i] {
		case '{':
			at = append(at, step{})
			continue
		case '[':
			at = append(at, step{array: true})
			continue
		case '}', ']':
			at = at[:len(at)-1]
			continue
		case ',':
			at[len(at)-1].index++
			continue
		case '"':
			start := i
			i = endOfText(body, i)
			if last := len(at) - 1; last >= 0 && !at[last].array && namesMember(body[i+1:]) {
				at[last].name, here = body[start:i+1], at[:last]
			}
		}
		for len(pointers) < len(found) && found[len(pointers)].at <= i {
			pointers = append(pointers, here.String())
		}
	}
	return pointers
}

// path is where in JSON something is.
type path []step

// step is the member of an object, or the element of an array.
type step struct {
	array bool
	index int
	name  []byte // with its quotes
}

// String is the path as a JSON pointer.
func (p path) String() string {
	var b strings.Builder
	for _, s := range p {
		if b.WriteByte('/'); s.array {
			b.WriteString(strconv.Itoa(s.index))
		} else {
			b.WriteString(pointed.Replace(printable(unquoted(s.name))))
		}
	}
	return b.String()
}

// endOfText is where the text that begins at i of valid JSON ends.
func endOfText(body []byte, i int) int {
	for i++; body[i] != '"'; i++ {
		if body[i] == '\\' {
			i++
		}
	}
	return i
}

// checkValues finds the texts, those of names among them, and the numbers of valid JSON that cannot be stored.
func checkValues(body []byte, found *flaws) {
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case c == '"':
			end, ok := checkString(body, i+1)
			if !ok {
				found.add(i, `A text holds \u0000 or half of a surrogate pair, which cannot be stored.`)
				end = endOfText(body, i)
			}
			i = end
		case c == '-' || c >= '0' && c <= '9':
			number := numberAt(body[i:])
			if !storable(number) {
				found.add(i, "A number is longer than 1000 digits or has an exponent beyond 308.")
			}
			i += len(number) - 1
		}
	}
}

// checkString looks at the escapes of the string that begins at i and returns where it ends.
func checkString(body []byte, i int) (end int, ok bool) {
	high := false // the escape before was the first half of a surrogate pair
	for ; ; i++ {
		c := body[i]
		unicode := c == '\\' && body[i+1] == 'u'
		var unit uint64
		if unicode {
			unit, _ = strconv.ParseUint(string(body[i+2:i+6]), 16, 32)
		}
		low := unicode && unit >= 0xDC00 && unit <= 0xDFFF
		if high != low {
			return 0, false
		}
		high = unicode && unit >= 0xD800 && unit <= 0xDBFF
		switch {
		case unicode && unit == 0:
			return 0, false
		case unicode:
			i += 5
		case c == '\\':
			i++
		case c == '"':
			return i, true
		}
	}
}

// storable tells whether a number is one that PostgreSQL's numeric holds and others can read.
func storable(number []byte) bool {
	const longest, largest = 1000, 308
	if len(number) > longest {
		return false
	}
	_, exponent, has := bytes.Cut(bytes.ToLower(number), []byte{'e'})
	if !has {
		return true
	}
	n, err := strconv.Atoi(string(exponent))
	return err == nil && n >= -largest && n <= largest
}
