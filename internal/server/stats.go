package server

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/schedule"
	"github.com/runledger/runledger/internal/workspace"
)

// statsRequest is which statistic a request asks for.
type statsRequest struct {
	from, before time.Time
	unit         bucketUnit
	zone         *time.Location
	filter       filter
}

// getRunStats answers how many runs there were in each bucket of a range, by type and outcome, how
// many of them succeeded, and how long they took.
func (s *Server) getRunStats(w http.ResponseWriter, r *http.Request, ws workspace.Scope) error {
	p := parseParams(r)
	asked := parseStats(p, time.Now())
	p.position(r)
	if err := p.done(); err != nil {
		return err
	}
	boundaries := asked.unit.buckets(asked.from, asked.before, asked.zone)
	starts := make([]pgtype.Timestamptz, len(boundaries))
	for i, at := range boundaries {
		starts[i] = pgtype.Timestamptz{Time: at, Valid: true}
	}
	var rows []dbsqlc.ListRunStatsRow
	err := s.reading(r, page{}, func(db dbsqlc.DBTX) (err error) {
		rows, err = s.queries.ListRunStats(r.Context(), narrowed{DBTX: db, filter: asked.filter}, dbsqlc.ListRunStatsParams{
			WorkspaceID: ws.ID(), Boundaries: starts,
			CreatedFrom:   pgtype.Timestamptz{Time: asked.from, Valid: true},
			CreatedBefore: pgtype.Timestamptz{Time: asked.before, Valid: true},
		})
		return err
	})
	if err != nil {
		return err
	}
	groups, totals := collectStats(rows)
	return answerJSON(w, r, func(b []byte) []byte {
		b = append(b, `{"data":[`...)
		for i, g := range groups {
			b = append(separated(b, i), '{')
			b = appendTime(b, "bucket_at", starts[g.all.Bucket-1])
			b = appendTime(b, "bucket_before", starts[g.all.Bucket])
			b = append(g.appendTo(b), '}')
		}
		b = append(b, `],"totals":[`...)
		for i, g := range totals {
			b = append(g.appendTo(append(separated(b, i), '{')), '}')
		}
		return append(b, `],"next_cursor":null}`...)
	})
}

// parseStats reads what a request asks for.
func parseStats(p *params, now time.Time) statsRequest {
	asked := statsRequest{unit: bucketUnits[p.choice("bucket", "day", "hour", "week")], zone: time.UTC}
	if name, ok := p.text("timezone"); ok {
		zone, err := schedule.LoadZone(name)
		if err != nil {
			p.fault("timezone", noSuchZone)
		} else {
			asked.zone = zone
		}
	}
	from, hasFrom := p.time("from")
	before, hasBefore := p.time("before")
	blamed, end := "before", "It"
	if !hasBefore {
		before = now.UTC().Truncate(time.Microsecond)
		blamed, end = "from", "before, which is now if it is not given,"
	}
	if !hasFrom {
		from = asked.unit.bucketOf(before.Add(-asked.unit.usual).In(asked.zone))
	}
	asked.from, asked.before = from, before
	switch {
	case p.faulted("from", "before"):
	case !from.Before(before):
		p.fault(blamed, "%s is not after from, so that no run could be in the range.", end)
	case hasFrom && !p.faulted("bucket") && before.Sub(from) > asked.unit.longest+setBack:
		p.fault(blamed, "%s is more than %d days after from, which is the longest range by the %s.", end,
			asked.unit.longest/dayLength, asked.unit.name)
	}
	// No other index is to be tempted by the filters: none has all that is counted.
	if types := p.list("type"); len(types) > 0 {
		asked.filter.and("(type = ANY (?::text[])) IS TRUE", types)
	}
	if id, ok := p.id("tenant_id"); ok {
		asked.filter.and("(tenant_id = ?) IS TRUE", id)
	}
	return asked
}

// statsGroup is the runs of a type in a bucket, or in the whole range.
type statsGroup struct {
	all      dbsqlc.ListRunStatsRow
	outcomes []dbsqlc.ListRunStatsRow // in the order of the outcomes
}

// collectStats groups what the database counted, in its order, by bucket and type, and by type alone.
func collectStats(rows []dbsqlc.ListRunStatsRow) (groups, totals []*statsGroup) {
	var group *statsGroup
	for _, row := range rows {
		if row.AllOutcomes == 0 {
			group.outcomes = append(group.outcomes, row)
			continue
		}
		group = &statsGroup{all: row}
		if row.WholeRange == 0 {
			groups = append(groups, group)
		} else {
			totals = append(totals, group)
		}
	}
	return groups, totals
}

// appendTo appends the members of a group.
func (g *statsGroup) appendTo(b []byte) []byte {
	var completed, succeeded int64
	for _, o := range g.outcomes {
		switch ledger.Outcome(o.Outcome) {
		case ledger.OutcomePending:
		case ledger.OutcomeSucceeded:
			succeeded += o.Runs
			fallthrough
		default:
			completed += o.Runs
		}
	}
	b = appendText(b, "type", g.all.Type)
	b = appendInt(b, "count", g.all.Runs)
	b = appendKey(b, "success_rate")
	if completed == 0 {
		b = append(b, "null"...)
	} else {
		b = strconv.AppendFloat(b, float64(succeeded)/float64(completed), 'f', -1, 64)
	}
	b = appendPercentiles(b, g.all.Percentiles)
	b = append(appendKey(b, "outcomes"), '[')
	for i, o := range g.outcomes {
		b = appendText(append(separated(b, i), '{'), "outcome", o.Outcome)
		b = appendInt(b, "count", o.Runs)
		b = append(appendPercentiles(b, o.Percentiles), '}')
	}
	return append(b, ']')
}

// appendPercentiles appends the percentiles of how long runs took, of which there are none if no
// run is known to have taken any time, to the microsecond.
func appendPercentiles(b []byte, seconds []float64) []byte {
	const micros = 1e6
	for i, name := range []string{"p50_duration_seconds", "p95_duration_seconds"} {
		b = appendKey(b, name)
		if len(seconds) == 0 {
			b = append(b, "null"...)
			continue
		}
		b = strconv.AppendFloat(b, math.Round(seconds[i]*micros)/micros, 'f', -1, 64)
	}
	return b
}
