package server

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// columnID is the column that every row has, and the member that it is always shown with.
const columnID = "id"

// member is a member of a row as the interface shows it.
type member struct {
	name   string
	key    string  // the name in quotes, with its colon
	column string  // of the statement
	object members // of which the value is made, if it is an object: it is null where the column is
	// implied is what stands for null in a row that has a value in the column since.
	implied, since string
}

// members are the members of a row in their order.
type members []member

// shown are members that show the columns of the same names.
func shown(names ...string) members {
	all := make(members, 0, len(names))
	for _, name := range names {
		all = append(all, shownAs(name, name))
	}
	return all
}

// shownAs is a member that shows a column.
func shownAs(name, column string) member {
	return member{name: name, key: `"` + name + `":`, column: column}
}

// names are the names of the members.
func (m members) names() []string {
	names := make([]string, 0, len(m))
	for i := range m {
		names = append(names, m[i].name)
	}
	return names
}

// columns are the columns that the members show.
func (m members) columns() []string {
	columns := make([]string, 0, len(m))
	for i := range m {
		columns = append(columns, m[i].column)
		if m[i].since != "" {
			columns = append(columns, m[i].since)
		}
		columns = append(columns, m[i].object.columns()...)
	}
	return columns
}

// among finds the members' columns among those of a statement.
func (m members) among(fields []pgconn.FieldDescription) ([]column, error) {
	columns := make([]column, 0, len(m))
	index := -1
	for i := range m {
		var err error
		if index, err = indexOf(fields, m[i].column, index+1); err != nil {
			return nil, err
		}
		c := column{key: m[i].key, index: index, implied: m[i].implied}
		switch {
		case m[i].object != nil:
			c.object, err = m[i].object.among(fields)
		case m[i].since != "":
			c.since, err = indexOf(fields, m[i].since, index+1)
		}
		if err != nil {
			return nil, err
		}
		if c.append, err = appender(&fields[index]); err != nil {
			return nil, err
		}
		columns = append(columns, c)
	}
	return columns, nil
}

// indexOf finds a column, most likely at likely: a statement has its columns mostly in the order of
// the members.
func indexOf(fields []pgconn.FieldDescription, name string, likely int) (int, error) {
	if likely < len(fields) && fields[likely].Name == name {
		return likely, nil
	}
	for i := range fields {
		if fields[i].Name == name {
			return i, nil
		}
	}
	return 0, fmt.Errorf("the statement has no column %s", name)
}

// selection is what a list shows of its rows.
type selection struct {
	members
	part bool // whether there are other members
}

// fields is which members of a list's rows a request wants: all, or those that the parameter
// fields names and the id.
func (p *params) fields(all members) selection {
	text, ok := p.text("fields")
	if !ok {
		return selection{members: all}
	}
	known := all.names()
	named := strings.Split(text, ",")
	var unknown, twice []string
	for i, name := range named {
		quoted := strconv.Quote(printable(name))
		switch {
		case slices.Contains(named[:i], name):
			if !slices.Contains(twice, quoted) {
				twice = append(twice, quoted)
			}
		case !slices.Contains(known, name):
			unknown = append(unknown, quoted)
		}
	}
	if len(unknown) > 0 {
		p.fault("fields", "Not known: %s. Known: %s.", strings.Join(unknown, ", "), strings.Join(known, ", "))
	}
	if len(twice) > 0 {
		p.fault("fields", "Name each once: %s.", strings.Join(twice, ", "))
	}
	wanted := make(members, 0, len(all))
	for i := range all {
		if all[i].name == columnID || slices.Contains(named, all[i].name) {
			wanted = append(wanted, all[i])
		}
	}
	return selection{members: wanted, part: true}
}

// rewriting is how a statement is changed that is to read no more than what is shown, and the position of a row.
func (s selection) rewriting(instant string) func(sql string) string {
	if !s.part {
		return nil
	}
	columns := append(s.columns(), columnID, instant)
	return func(sql string) string { return selectOnly(sql, columns) }
}

// selectOnly is a list's statement that selects none but columns. What it selects is columns
// alone, each of which may have a table before and another name behind it.
func selectOnly(sql string, columns []string) string {
	before, list, after := cutList(sql)
	var kept []string
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		if slices.Contains(columns, item[strings.LastIndexAny(item, ". ")+1:]) {
			kept = append(kept, item)
		}
	}
	return before + "\nSELECT " + strings.Join(kept, ", ") + " FROM " + after
}

// cutList cuts the statement of a list: what comes before its columns, these, and what comes behind FROM.
func cutList(sql string) (before, columns, after string) {
	before, rest, ok := strings.Cut(sql, "\nSELECT ")
	columns, after, found := strings.Cut(rest, "FROM ")
	if !ok || !found {
		panic("server: not a statement of a list: " + sql)
	}
	return before, columns, after
}
