package server

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/ledger"
)

// A list's statement is sqlc's: its columns, its workspace, its order and its limit. What differs
// from request to request is which filters it has. A statement for every combination would be
// thousands, and one statement with optional filters has no good plan, so a filter is added where
// the statement says AND true. Filters are made of constants in this package; whatever came from
// a request is an argument.

// condition is one filter: SQL in which each ? stands for the next argument.
type condition struct {
	sql  string
	args []any
	// leads says that an index holds the few rows that meet the condition. PostgreSQL estimates
	// them to be many; no index of another condition may tempt it away.
	leads bool
	// carries says that the index of a leading condition holds the columns of others, too, and
	// carried is how it holds this one's: written as no other index has it.
	carries bool
	carried string
	column  string // that has the one value where this holds
	common  bool   // whether nearly all rows meet it
	// untimely says that the condition keeps the few runs that an index of untimely ones holds.
	untimely bool
	// bounds says that the condition is a bound of the list's own order, which every index ends in.
	bounds bool
}

// plain is the condition in a form that no index is looked up by.
func (c condition) plain() condition { return condition{sql: "(" + c.sql + ") IS TRUE", args: c.args} }

// allOf is the condition that all of conditions hold.
func allOf(conditions []condition) condition {
	var all condition
	for i, c := range conditions {
		if i > 0 {
			all.sql += " AND "
		}
		all.sql += c.sql
		all.args = append(all.args, c.args...)
		all.leads = all.leads || c.leads
		all.untimely = all.untimely || c.untimely
		all.bounds = all.bounds || c.bounds
	}
	return all
}

// filter is what a request wants a list narrowed to: all conditions, and one of each choice.
type filter struct {
	all []condition
	// Each choice is a set of conditions of which no row meets two. Every combination of choices
	// makes a branch of the statement, read in the list's order out of its own index, and the
	// branches are merged: PostgreSQL 15 cannot read column = ANY in order.
	choices [][]condition
	ranges  []timeRange // see runOrder.bind, which makes the following of them
	// timely are the conditions of runs for which ranges bound the list's order. Each of untimely
	// makes a branch of those for which they do not.
	timely   []condition
	untimely []condition
	// byCreation says that a list in the order of updates is read in that of creation (see the
	// function), or sorted if the filter is selective.
	byCreation bool
	// selective says that an index of one of the conditions holds few rows of a workspace.
	selective bool
	// identified says that all rows are of one identity: thousands at most.
	identified bool
}

// and keeps the rows for which the condition holds.
func (f *filter) and(sql string, args ...any) {
	f.all = append(f.all, condition{sql: sql, args: args})
}

// andCarried keeps the rows whose column has the value.
func (f *filter) andCarried(column, carried string, value any) {
	f.all = append(f.all, condition{sql: column + " = ?", args: []any{value}, column: column, carried: carried})
}

// anyOf keeps the rows whose column is one of values; no values keep all.
func (f *filter) anyOf(column string, values []string) {
	choice := make([]condition, 0, len(values))
	for _, value := range values {
		choice = append(choice, condition{sql: column + " = ?", args: []any{value}, column: column, carried: column + ` COLLATE "C"`})
	}
	switch len(choice) {
	case 0:
	case 1:
		f.all = append(f.all, choice[0])
	default:
		f.choices = append(f.choices, choice)
	}
}

// filters is how many filters there are, of which the ranges count as one.
func (f *filter) filters() int { return len(f.all) + len(f.choices) + min(len(f.ranges), 1) }

// maxBranches bounds how many branches choices may make of the statement. Each takes nearly as long
// to plan as a page to read, unless the statement is planned once for all, and twice as long if it
// is read in another order than its own.
func (f *filter) maxBranches() int {
	switch {
	case f.filters() <= 1:
		return 24
	case f.isForeseen():
		return 6
	case f.byCreation && f.identified:
		return 4 // without them every run of the identity is visited, which takes longer still
	case f.byCreation, len(f.ranges) > 0 && len(f.all) > 0:
		return 2
	default:
		return 6
	}
}

// narrowed is a database whose statements are narrowed by a filter.
type narrowed struct {
	dbsqlc.DBTX
	filter filter
	// joined are the list's table and those that the statement joins with it for some of its columns, if any.
	joined []string
	// claimed is what else each row is under, if the gate has not been asked.
	claimed []condition
}

const (
	filterMark = "AND true"
	orderMark  = "\nORDER BY"
)

// qualifier is the table before a column's name.
var qualifier = regexp.MustCompile(`[a-z_]+\.`)

// Query runs the statement narrowed.
func (n narrowed) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	sql, args = n.narrow(sql, args)
	return n.DBTX.Query(withPlanning(ctx, n.planning()), sql, args...)
}

// QueryRow runs the statement narrowed.
func (n narrowed) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	sql, args = n.narrow(sql, args)
	return n.DBTX.QueryRow(withPlanning(ctx, n.planning()), sql, args...)
}

// mostPrepared is how many filters there may be for a statement to be kept on each connection, so that it
// is not parsed again, which takes a third of the time of planning it: there are hundreds of combinations of
// three, of which few are asked for, and thousands of all.
const mostPrepared = 3

// planning tells how the statement is planned. With several filters, which index is best depends
// on their values.
func (n narrowed) planning() planning {
	f := n.filter
	if f.filters() <= mostPrepared && slices.ContainsFunc(f.choices, leading) && !f.selective {
		return planForAll // the index that leads is the best for any value
	}
	if (f.filters() <= 1 || f.isForeseen()) && f.combinations() <= f.maxBranches() {
		return planForAll
	}
	return planForValues
}

// foreseen are the columns for which it is known before the values are which index is the best: the one
// that begins with them. Ranges bound the part of it that is read.
var foreseen = []string{
	"type", "outcome", "status", "tenant_id", "user_id", "outcome type", "tenant_id type",
}

// isForeseen tells whether the filter is of one of those.
func (f *filter) isForeseen() bool {
	columns := make([]string, 0, len(f.all)+len(f.choices))
	for _, c := range f.all {
		if !c.common { // no index is chosen for it
			columns = append(columns, c.column)
		}
	}
	for _, choice := range f.choices {
		columns = append(columns, choice[0].column)
	}
	slices.Sort(columns)
	if f.identified { // the index of identities holds all these columns
		return f.filters() <= mostPrepared && !slices.Contains(columns, "")
	}
	return slices.Contains(foreseen, strings.Join(columns, " "))
}

// combinations is how many there are of one value of each choice.
func (f *filter) combinations() int {
	n := 1
	for _, choice := range f.choices {
		n *= len(choice)
	}
	return n
}

func (n narrowed) narrow(sql string, args []any) (string, []any) {
	before, after, ok := strings.Cut(sql, filterMark)
	if !ok {
		panic("server: a statement without " + filterMark + " cannot be narrowed")
	}
	args = slices.Clip(args) // appending must not write into the caller's
	branches := n.filter.branches()
	statements := make([]string, 0, len(branches))
	for _, conditions := range branches {
		where := bind(slices.Concat(n.claimed, conditions), &args)
		switch f := n.filter; {
		case !f.byCreation || allOf(conditions).untimely:
			statements = append(statements, before+where+after)
		case f.selective:
			statements = append(statements, before+where+sorted(after))
		default:
			statements = append(statements, byCreation(before, where, after))
		}
	}
	if n.filter.filters() > mostPrepared {
		args = append([]any{pgx.QueryExecModeCacheDescribe}, args...)
	}
	if len(statements) == 1 {
		return statements[0], args
	}
	// The first line is the statement's name, by which it is measured.
	name, _, _ := strings.Cut(before, "\n")
	name += "\n"
	union := "(" + strings.Join(statements, ") UNION ALL (") + ")"
	if order := strings.LastIndex(after, orderMark); order >= 0 {
		// Outside of the branches a column has no table to be named with.
		return name + "SELECT * FROM (" + union + ") AS branches" + qualifier.ReplaceAllString(after[order:], ""), args
	}
	return name + "SELECT sum(count)::bigint FROM (" + union + ") AS branches", args
}

// branches are the conditions of each branch of a statement. PostgreSQL plans each for itself,
// which takes about as long as reading a page: no branch is made that would only read again what
// another one reads.
func (f *filter) branches() [][]condition {
	branches := [][]condition{f.all}
	for _, choice := range f.choices {
		choice = f.divided(choice, len(branches))
		product := make([][]condition, 0, len(branches)*len(choice))
		for _, c := range choice {
			for _, branch := range branches {
				product = append(product, append(slices.Clone(branch), c))
			}
		}
		branches = product
	}
	for i, branch := range branches {
		branches[i] = append(slices.Clone(branch), f.timely...)
	}
	for _, few := range f.untimely {
		branch := append(slices.Clone(f.all), few)
		for _, choice := range f.choices {
			branch = append(branch, eitherOf(choice))
		}
		branches = append(branches, branch)
	}
	return branches
}

// divided is how a choice divides so many branches: by its conditions, or by one that holds for any of them.
func (f *filter) divided(choice []condition, branches int) []condition {
	led := f.selective || slices.ContainsFunc(f.choices, leading)
	if f.byCreation && !led && !f.identified && !f.isForeseen() {
		choice = neighbours(choice)
	}
	// The few rows that lead are read once, whatever the choices are.
	if f.selective || led && !leading(choice) || branches*len(choice) > f.maxBranches() || choice[0].column == f.undivided() {
		return []condition{eitherOf(choice)}
	}
	return choice
}

// undivided is the column whose values make no branches beside those of another: of types and statuses
// each index holds the other one. Active runs are few, so that their statuses are read, of any type;
// and nearly all runs are completed, so that a list with that status is read by its types.
func (f *filter) undivided() string {
	of := func(column string) []condition {
		if i := slices.IndexFunc(f.choices, func(c []condition) bool { return c[0].column == column }); i >= 0 {
			return f.choices[i]
		}
		if i := slices.IndexFunc(f.all, func(c condition) bool { return c.column == column }); i >= 0 {
			return f.all[i : i+1]
		}
		return nil
	}
	statuses := of("status")
	switch {
	case statuses == nil || of("type") == nil:
		return "none"
	case slices.ContainsFunc(statuses, func(c condition) bool { return !slices.Contains(activeStatuses, c.args[0].(string)) }): //nolint:forcetypeassert // see anyOf
		return "status"
	default:
		return "type"
	}
}

// neighbours is a choice of values that follow each other among all that their column can have as what lies
// between the first and the last of them, which is one branch of a statement; any other choice as it is.
func neighbours(choice []condition) []condition {
	all := map[string][]string{"status": texts(ledger.Statuses), "outcome": texts(ledger.Outcomes)}[choice[0].column]
	if len(all) == 0 || len(choice) == 1 {
		return choice
	}
	either := eitherOf(choice)
	values, _ := either.args[0].([]string)
	first, last := slices.Min(values), slices.Max(values)
	if slices.ContainsFunc(all, func(v string) bool { return first < v && v < last && !slices.Contains(values, v) }) {
		return choice
	}
	column := choice[0].column
	return []condition{allOf([]condition{{sql: column + " >= ? AND " + column + " <= ?", args: []any{first, last}}, unforeseen(either)})}
}

// leading tells whether every condition of a choice leads.
func leading(choice []condition) bool {
	return !slices.ContainsFunc(choice, func(c condition) bool { return !c.leads })
}

// eitherOf is the condition that one of conditions holds.
func eitherOf(conditions []condition) condition {
	if column := conditions[0].column; column != "" { // of one of its values
		values := make([]string, 0, len(conditions))
		for _, c := range conditions {
			values = append(values, c.args[0].(string)) //nolint:forcetypeassert // see anyOf
		}
		return condition{sql: column + " = ANY (?)", args: []any{values}, carried: conditions[0].carried}
	}
	var either condition
	for i, c := range conditions {
		if i > 0 {
			either.sql += " OR "
		}
		either.sql += "(" + c.sql + ")"
		either.args = append(either.args, c.args...)
	}
	either.sql = "(" + either.sql + ")"
	return either
}

// bind is the SQL of conditions, each with AND before it, and appends their arguments to args.
func bind(conditions []condition, args *[]any) string {
	if len(conditions) == 0 {
		return ""
	}
	if i := slices.IndexFunc(conditions, func(c condition) bool { return c.leads }); i >= 0 {
		carries := conditions[i].carries
		conditions = slices.Clone(conditions)
		for i, c := range conditions {
			switch {
			case c.leads, c.bounds:
			case carries:
				conditions[i] = c.inCarrier()
			default:
				conditions[i] = c.plain()
			}
		}
	}
	all := allOf(conditions)
	var sql strings.Builder
	sql.WriteString("AND ")
	for i, part := range strings.Split(all.sql, "?") {
		if i > 0 {
			*args = append(*args, all.args[i-1])
			sql.WriteString("$" + strconv.Itoa(len(*args)))
		}
		sql.WriteString(part)
	}
	return sql.String()
}
