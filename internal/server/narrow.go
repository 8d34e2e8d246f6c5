package server

import (
	"context"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/dbsqlc"
)

// A list's statement is sqlc's: its columns, its workspace, its order and its limit. What differs
// from request to request is which filters it has. A statement for every combination would be
// thousands, and one statement with optional filters has no good plan, so a filter is added where
// the statement says AND true. Filters are made of constants in this package; whatever came from
// a request is an argument.

// condition is one filter: SQL in which ? stands for the argument.
type condition struct {
	sql string
	arg any // not used if sql has no ?
}

// filter is what a request wants a list narrowed to: all conditions, and one of each choice.
type filter struct {
	all     []condition
	choices [][]condition // each a set of conditions of which no row meets two
}

func (f *filter) and(sql string, arg any) {
	f.all = append(f.all, condition{sql, arg})
}

// anyOf keeps the rows whose column is one of values; no values keep all.
func (f *filter) anyOf(column string, values []string) {
	choice := make([]condition, 0, len(values))
	for _, value := range values {
		choice = append(choice, condition{column + " = ?", value})
	}
	switch len(choice) {
	case 0:
	case 1:
		f.all = append(f.all, choice[0])
	default:
		f.choices = append(f.choices, choice)
	}
}

// maxBranches bounds how many branches a statement may have.
const maxBranches = 24

// narrowed is a database whose statements are narrowed by a filter.
type narrowed struct {
	dbsqlc.DBTX
	filter filter
	// branch makes of every combination of choices a branch of its own, each read in the list's
	// order out of its own index and merged: PostgreSQL 15 cannot read column = ANY in order.
	branch bool
}

const (
	filterMark = "AND true"
	orderMark  = "\nORDER BY"
)

// Query runs the statement narrowed.
func (n narrowed) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	sql, args = n.narrow(sql, args)
	return n.DBTX.Query(ctx, sql, args...)
}

// QueryRow runs the statement narrowed.
func (n narrowed) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	sql, args = n.narrow(sql, args)
	return n.DBTX.QueryRow(ctx, sql, args...)
}

func (n narrowed) narrow(sql string, args []any) (string, []any) {
	before, after, ok := strings.Cut(sql, filterMark)
	if !ok {
		panic("server: a statement without " + filterMark + " cannot be narrowed")
	}
	args = args[:len(args):len(args)] // appending must not write into the caller's
	common := bind(n.filter.all, &args)
	branches := n.branches(&args)
	if len(branches) == 1 {
		return before + common + branches[0] + after, args
	}
	order := strings.LastIndex(after, orderMark)
	var union strings.Builder
	union.WriteString("SELECT * FROM (")
	for i, branch := range branches {
		if i > 0 {
			union.WriteString(" UNION ALL ")
		}
		union.WriteString("(" + before + common + branch + after + ")")
	}
	union.WriteString(") AS branches" + after[order:])
	return union.String(), args
}

// branches is the SQL of each branch of the statement; one if it has none.
func (n narrowed) branches(args *[]any) []string {
	branches := []string{""}
	for _, choice := range n.filter.choices {
		if !n.branch || len(branches)*len(choice) > maxBranches {
			either := make([]string, 0, len(choice))
			for _, c := range choice {
				either = append(either, "("+strings.TrimPrefix(bind([]condition{c}, args), "AND ")+")")
			}
			for i := range branches {
				branches[i] += " AND (" + strings.Join(either, " OR ") + ")"
			}
			continue
		}
		product := make([]string, 0, len(branches)*len(choice))
		for _, c := range choice {
			sql := " " + bind([]condition{c}, args)
			for _, branch := range branches {
				product = append(product, branch+sql)
			}
		}
		branches = product
	}
	return branches
}

// bind is the SQL of conditions, each with AND before it, and appends their arguments.
func bind(conditions []condition, args *[]any) string {
	var sql strings.Builder
	for i, c := range conditions {
		if i > 0 {
			sql.WriteByte(' ')
		}
		text := c.sql
		if strings.Contains(text, "?") {
			*args = append(*args, c.arg)
			text = strings.ReplaceAll(text, "?", "$"+strconv.Itoa(len(*args)))
		}
		sql.WriteString("AND " + text)
	}
	return sql.String()
}
