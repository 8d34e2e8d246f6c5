package server

import (
	"math"
	"strings"
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
// A range of the instant that the list is ordered by bounds the part of the index that is read.
// Ranges of other instants do so as well, together, for all runs that are timely; the untimely are
// read from indexes of their own.
func (o runOrder) bind(f filter, after position) filter {
	own, others := o.split(f.ranges)
	switch {
	case o.name == "updated" && len(f.all)+len(f.choices)+len(others) > 0:
		f.byCreation = true
	case len(others) == 0:
		f.timely = o.within(own, after)
		return f
	}
	if f.byCreation && f.selective { // few runs, which are sorted
		for _, r := range f.ranges {
			f.timely = append(f.timely, plain(r.conditions())...)
		}
		return f
	}
	untimely := map[string]bool{untimelyUpdate: f.byCreation}
	var checks []condition
	for _, r := range others {
		checks = append(checks, r.conditions()...)
		untimely[untimelyUpdate] = untimely[untimelyUpdate] || r.name == "updated"
		untimely[untimelyExecution] = untimely[untimelyExecution] || r.name == "started" || r.name == "completed"
	}
	if f.byCreation {
		checks = append(checks, own.conditions()...)
		f.timely = runOrder{name: "created"}.within(o.created(f.ranges, after), beforeAll)
	} else {
		f.timely = o.within(o.created(f.ranges, after), after)
	}
	for _, u := range []string{untimelyExecution, untimelyUpdate} {
		if !untimely[u] {
			continue
		}
		few := allOf(append(append([]condition{{sql: u}}, plain(checks)...), o.within(own, after)...))
		few.leads, few.untimely = true, true
		f.untimely = append(f.untimely, few)
		checks = append(checks, condition{sql: u + " IS NOT TRUE"})
	}
	f.timely = append(f.timely, unforeseen(allOf(checks)))
	return f
}

// unforeseen is a condition of which PostgreSQL expects that half of the rows meet it, as it knows
// nothing about what a CASE keeps. So it reads them in the list's order until there are enough; if
// it believes that hardly any row meets a condition, it reads them all, and sorts.
func unforeseen(c condition) condition {
	return bound("CASE WHEN "+c.sql+" THEN true ELSE false END", c.args...)
}

// split tells the range of the instant that the list is ordered by from the others.
func (o runOrder) split(ranges []timeRange) (own timeRange, others []timeRange) {
	for _, r := range ranges {
		if r.name == o.name {
			own = r
		} else {
			others = append(others, r)
		}
	}
	return own, others
}

// created is when the timely runs were created that are in all ranges, and behind after where the
// list is one of updates.
func (o runOrder) created(ranges []timeRange, after position) timeRange {
	var all timeRange
	for _, r := range ranges {
		if r.name != "created" && r.from.Valid {
			r.from.Time = r.from.Time.Add(-timely)
		}
		all = all.and(r)
	}
	if at := after.timestamptz(); o.name == "updated" && at.InfinityModifier == pgtype.Finite && at.Time.Year() > 0 {
		at.Time = at.Time.Add(-timely)
		all = all.and(timeRange{from: at})
	}
	return all
}

// and is what lies in both ranges.
func (r timeRange) and(other timeRange) timeRange {
	if other.from.Valid && (!r.from.Valid || other.from.Time.After(r.from.Time)) {
		r.from = other.from
	}
	if other.before.Valid && (!r.before.Valid || other.before.Time.Before(r.before.Time)) {
		r.before = other.before
	}
	return r
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

// byCreation is a page in the order of updates where a filter keeps timely runs, which no index holds
// in that order. But a timely run was created before it was updated. Of some more runs than the page
// holds, the first in the order of creation, those that were updated first could be the page: none that
// was created after the last of their updates is on it. So the page is among these earliest runs and
// the rest of those created until then, and they are sorted by whom this is a branch of. Half as many
// again are read at first, so that a few runs that took hours do not make that rest one of hours. Fewer
// are all that there are: nothing follows the place of the last one then, as there is none.
//
// The statement is ListRunsByUpdate in three parts, with its parameters $1 to $4.
func byCreation(before, where, after string) string {
	const created = "coalesce(created_at, '-infinity')"
	head, columns, table := cutList(before)
	from := " FROM " + table
	position := unforeseen(condition{sql: sorted("(coalesce(updated_at, '-infinity'), id) > ($2::timestamptz, $3::bigint)")}).sql
	return head + "\nWITH earliest AS MATERIALIZED (SELECT " + columns + ", " + created + " AS created" + from + where +
		" AND " + position + " ORDER BY " + created + ", id LIMIT $4::bigint * 3 / 2)," +
		" last AS (SELECT created, id, (SELECT updated_at FROM earliest ORDER BY updated_at OFFSET $4::bigint - 1 LIMIT 1) AS updated" +
		" FROM earliest ORDER BY created, id OFFSET $4::bigint * 3 / 2 - 1)" +
		" SELECT " + columns + " FROM earliest UNION ALL (SELECT " + columns + from +
		// These come first: see within.
		"AND (" + created + ", id) > ((SELECT created FROM last), (SELECT id FROM last))" +
		" AND " + created + " <= (SELECT updated FROM last)\n" + where + sorted(after) + ")"
}

// sorted is SQL that names the instant of an update in a form that no index holds, so that
// PostgreSQL does not read the order of updates and skip: it finds what a filter keeps, and sorts.
func sorted(sql string) string {
	const updated = "coalesce(updated_at, '-infinity')"
	return strings.ReplaceAll(sql, updated, updated+" + '0'::interval")
}
