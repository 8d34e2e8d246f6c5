// Package telemetry is what a server tells operators of itself beside its log: metrics of its
// queries, its pool and the runs that it keeps, and traces.
//
// No metric has a label that grows with use. Routes, queries and types of operations are as many as
// the code and the allow-list name; workspaces are a label where the operator asks for it.
package telemetry

import "strings"

// QueryName is the name that a statement of sqlc has in its first line, "other" for a statement
// without one.
func QueryName(sql string) string {
	const mark = "-- name: "
	rest, marked := strings.CutPrefix(sql, mark)
	name, _, ended := strings.Cut(rest, " ")
	if !marked || !ended {
		return "other"
	}
	return name
}
