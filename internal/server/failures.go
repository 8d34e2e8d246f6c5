package server

import (
	"fmt"
	"slices"
	"unicode/utf8"
)

// failureCode keeps the runs that have a failure with that code. Nearly all runs that failed have
// one failure: an index has its code. For the few that have more, an index says how long the codes
// of the others are. Both hold the columns of other filters as well; see condition.carried.
func failureCode(code string) []condition {
	const first = "failure_summary -> 0 ->> 'code'"
	has := unforeseen(condition{
		sql:  "failure_summary @> jsonb_build_array(jsonb_build_object('code', ?::text)) AND " + first + " IS DISTINCT FROM ?",
		args: []any{code, code},
	})
	later := "failure_summary -> 1 IS NOT NULL AND " + laterCodeLike(code)
	return []condition{
		{sql: first + " = ?", args: []any{code}, leads: true, carries: true},
		{sql: later + " AND " + has.sql, args: has.args, leads: true, carries: true},
	}
}

// lengthClasses is how many lengths of codes the index of later failures tells apart.
const lengthClasses = 16

// laterCodeLike is the condition that a failure behind the first has a code as long as this one,
// modulo lengthClasses, as it stands in the index.
func laterCodeLike(code string) string {
	return fmt.Sprintf(`jsonb_path_match(failure_summary, '$[1 to last].code like_regex "^(.{%d})*.{%d}$" flag "s"')`,
		lengthClasses, utf8.RuneCountInString(code)%lengthClasses)
}

// inCarrier is the condition as the indexes of failure codes hold its column. Of several values
// they are asked for what lies between the least and the greatest, which keeps their order, and the
// condition itself decides.
func (c condition) inCarrier() condition {
	if c.carried == "" {
		return c.plain()
	}
	values, several := c.args[0].([]string)
	if !several {
		return condition{sql: c.carried + " = ?", args: c.args[:1]}
	}
	return allOf([]condition{
		{sql: c.carried + " >= ? AND " + c.carried + " <= ?", args: []any{slices.Min(values), slices.Max(values)}}, unforeseen(c),
	})
}
