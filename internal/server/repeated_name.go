package server

import (
	"encoding/json"
	"slices"
)

// fewMembers is up to how many members an object's names are looked through one by one.
const fewMembers = 16

// nameSet are the names of an object's members so far.
type nameSet struct {
	few  []string
	many map[string]bool // once there are more than fewMembers
}

// add adds a name; false says that it is there already.
func (s *nameSet) add(name string) bool {
	if s.many == nil {
		if slices.Contains(s.few, name) {
			return false
		}
		if s.few = append(s.few, name); len(s.few) > fewMembers {
			s.many = make(map[string]bool, 2*len(s.few))
			for _, n := range s.few {
				s.many[n] = true
			}
		}
		return true
	}
	if s.many[name] {
		return false
	}
	s.many[name] = true
	return true
}

// repeatedName is the first name that an object in valid JSON gives to two of its members; ok is
// false if there is none. Parsers disagree about which of the two counts, and jsonb keeps one in
// silence.
func repeatedName(body []byte) (name string, ok bool) {
	var open []*nameSet // of the objects and, as nil, the arrays around
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '{':
			open = append(open, &nameSet{})
		case '[':
			open = append(open, nil)
		case '}', ']':
			open = open[:len(open)-1]
		case '"':
			start := i
			for i++; body[i] != '"'; i++ {
				if body[i] == '\\' {
					i++
				}
			}
			if text := body[start : i+1]; len(open) > 0 && open[len(open)-1] != nil && namesMember(body[i+1:]) {
				if name := unquoted(text); !open[len(open)-1].add(name) {
					return name, true
				}
			}
		}
	}
	return "", false
}

// namesMember tells whether what follows a text makes it a member's name.
func namesMember(rest []byte) bool {
	for _, c := range rest {
		switch c {
		case ' ', '\t', '\n', '\r':
		default:
			return c == ':'
		}
	}
	return false
}

// unquoted is the text that valid JSON says.
func unquoted(text []byte) string {
	if !slices.Contains(text, '\\') {
		return string(text[1 : len(text)-1])
	}
	var s string
	_ = json.Unmarshal(text, &s) // it is valid
	return s
}
