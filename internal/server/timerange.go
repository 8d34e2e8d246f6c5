package server

import (
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// timeRange is a half-open range of one of a run's instants.
type timeRange struct {
	name         string // created, started, completed or updated
	from, before pgtype.Timestamptz
}

// timeRanges are the ranges that a list of runs can be narrowed to, with the parameters that each is
// given by.
var timeRanges = []struct{ name, from, before string }{
	{"created", "created_from", "created_before"},
	{"started", "started_from", "started_before"},
	{"completed", "completed_from", "completed_before"},
	{"updated", "updated_from", "updated_before"},
}

// timeRange reads the parameters of a range.
func (p *params) timeRange(names struct{ name, from, before string }) (r timeRange, ok bool) {
	from, hasFrom := p.time(names.from)
	before, hasBefore := p.time(names.before)
	if hasFrom && hasBefore && !from.Before(before) {
		p.fault(names.before, "It is not after %s, so that no run could be in the range.", names.from)
	}
	return timeRange{
		name:   names.name,
		from:   pgtype.Timestamptz{Time: from, Valid: hasFrom},
		before: pgtype.Timestamptz{Time: before, Valid: hasBefore},
	}, hasFrom || hasBefore
}

// timely is how close together nearly all runs have their instants. The other two are the
// conditions of the indexes that hold those runs which have not.
const (
	timely            = 2 * time.Hour
	untimelyExecution = "(started_at < created_at" +
		" OR CASE WHEN NOT isfinite(started_at) OR NOT isfinite(created_at) THEN true ELSE started_at - created_at > '02:00:00' END" +
		" OR completed_at < created_at" +
		" OR CASE WHEN NOT isfinite(completed_at) OR NOT isfinite(created_at) THEN true ELSE completed_at - created_at > '02:00:00' END" +
		" OR created_at IS NULL)"
	untimelyUpdate = "(updated_at < created_at" +
		" OR CASE WHEN NOT isfinite(updated_at) OR NOT isfinite(created_at) THEN true ELSE updated_at - created_at > '02:00:00' END" +
		" OR created_at IS NULL OR updated_at IS NULL)"
)

// runOrder is the order of a list of runs.
type runOrder struct {
	name       string // created or updated
	descending bool
}

// instant is the SQL of what the list is ordered by, as it stands in the indexes. A run without
// the instant stands before all others.
func (o runOrder) instant() string { return "coalesce(" + o.name + "_at, '-infinity')" }

// first is the position before the list's first run.
func (o runOrder) first() position {
	if o.descending {
		return afterAll
	}
	return beforeAll
}

// bind turns the filter's ranges into conditions for a list in this order that begins behind
// after.
//
// A range of the instant that the list is ordered by bounds the part of the index that is read. A
// range of another instant does so as well for all runs that are timely; the untimely are read
// from an index of their own.
func (o runOrder) bind(f filter, after position) filter {
	for _, r := range f.ranges {
		if r.name == o.name {
			f.all = append(f.all, o.within(r, after)...)
			continue
		}
		implied := timeRange{name: o.name, from: r.from, before: r.before}
		implied.from.Time = implied.from.Time.Add(-timely)
		if o.name == "updated" { // what a list by creation shows was created before the range's end
			implied.before.Time = implied.before.Time.Add(timely)
		}
		f.choices = append(f.choices, o.branches(r, o.within(implied, after)))
	}
	return f
}

// branches are the timely runs in the range, with what follows for the list's own order, and the
// untimely.
func (o runOrder) branches(r timeRange, implied []condition) []condition {
	own := r.conditions()
	untimely := []string{untimelyExecution}
	switch {
	case r.name == "updated" || r.name == "created":
		untimely = []string{untimelyUpdate}
	case o.name == "updated": // neither instant of the two is created_at
		untimely = []string{untimelyExecution, untimelyUpdate}
	}
	timelyRuns := slices.Concat(implied, plain(own))
	var branches []condition
	except := ""
	for _, u := range untimely {
		few := allOf(append([]condition{{sql: u}}, plain(own)...))
		few.sql += except
		few.leads = true
		branches = append(branches, few)
		except += " AND " + u + " IS NOT TRUE"
	}
	return append(branches, allOf(append(timelyRuns, bound("true"+except))))
}

// bound is a condition about the instant that the list is ordered by.
func bound(sql string, args ...any) condition {
	return condition{sql: sql, args: args, bounds: true}
}

// plain are conditions in a form that no index is looked up by.
func plain(conditions []condition) []condition {
	plain := make([]condition, 0, len(conditions))
	for _, c := range conditions {
		plain = append(plain, c.plain())
	}
	return plain
}

// within is the range for a list that is ordered by the range's own instant. Its near end is
// where the index is entered, unless the list begins within the range already: PostgreSQL enters
// at the first row comparison, so this one stands before that of the position.
func (o runOrder) within(r timeRange, after position) []condition {
	var conditions []condition
	if o.descending {
		if r.before.Valid && after.at >= r.before.Time.UnixMicro() {
			conditions = append(conditions, bound("("+o.instant()+", id) < (?::timestamptz, 0)", r.before))
		}
		if r.from.Valid {
			conditions = append(conditions, bound(o.instant()+" >= ?", r.from))
		}
		if r.before.Valid && !r.from.Valid {
			conditions = append(conditions, bound(o.name+"_at IS NOT NULL"))
		}
		return conditions
	}
	if r.from.Valid && after.at < r.from.Time.UnixMicro() {
		conditions = append(conditions, bound("("+o.instant()+", id) > (?::timestamptz, 0)", r.from))
	}
	if r.before.Valid {
		conditions = append(conditions, bound(o.instant()+" < ?", r.before))
		if !r.from.Valid && after.at == math.MinInt64 {
			conditions = append(conditions, bound(o.name+"_at IS NOT NULL"))
		}
	}
	return conditions
}

// conditions are the two ends of the range. A run without the instant is in no range.
func (r timeRange) conditions() []condition {
	var ends []condition
	if r.from.Valid {
		ends = append(ends, condition{sql: r.name + "_at >= ?", args: []any{r.from}})
	}
	if r.before.Valid {
		ends = append(ends, condition{sql: r.name + "_at < ?", args: []any{r.before}})
	}
	return ends
}
