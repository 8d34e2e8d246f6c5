package server

import (
	"encoding/json"
	"fmt"
	"slices"
)

// fewMembers is up to how many members an object's names are looked through one by one.
const fewMembers = 16

// nameSet are the names of an object's members so far.
type nameSet struct {
	few  []string
	many map[string]bool // once there are more than fewMembers
}

// size is how many names there are.
func (s *nameSet) size() int { return max(len(s.few), len(s.many)) }

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

// mostMembers is how many members an object may have: more than fit into a context, evidence or meta, and few
// enough that reading one object does not take twenty times a body's size.
const mostMembers = 10_000

// checkNames finds the objects in valid JSON that give one name to two of their members, since parsers
// disagree about which of the two counts, and jsonb keeps one in silence; or have far too many of them.
func checkNames(body []byte, found *flaws) {
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
			i = endOfText(body, i)
			if text := body[start : i+1]; len(open) > 0 && open[len(open)-1] != nil && namesMember(body[i+1:]) {
				names := open[len(open)-1]
				if names.size() > mostMembers {
					continue // which is told, and no more of them are looked at
				}
				if name := unquoted(text); !names.add(name) {
					found.add(start, fmt.Sprintf("An object has two members of the name %q.", printable(name)))
				}
				if names.size() > mostMembers {
					found.add(start, fmt.Sprintf("An object has more than %d members.", mostMembers))
				}
			}
		}
	}
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
