package seed

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/runledger/runledger/internal/ledger"
)

// run is one operation run as it is drawn. A zero instant or id is a null.
type run struct {
	occurrence

	id               int64
	number           int // over all runs, from 0
	lane             *lane
	status, outcome  string
	hash             string
	by               *user // nil: the system started it
	startedAt        time.Time
	completedAt      time.Time
	heartbeatAt      time.Time
	stalledAt        time.Time
	cancelAt         time.Time
	updatedAt        time.Time
	failures         int
	stalledOut       bool // the sweeper ended it
	retried          bool // somebody will start it again, if it failed
	retryOf          int64
	attempt          int64
	total            int // the objects it works on
	reports          int // how often its worker reported in between
	baseline, newest finished
}

// The words of operation_runs, as they go into a COPY.
const (
	statusQueued    = string(ledger.StatusQueued)
	statusRunning   = string(ledger.StatusRunning)
	statusCompleted = string(ledger.StatusCompleted)

	outcomePending            = string(ledger.OutcomePending)
	outcomeSucceeded          = string(ledger.OutcomeSucceeded)
	outcomePartiallySucceeded = string(ledger.OutcomePartiallySucceeded)
	outcomeFailed             = string(ledger.OutcomeFailed)
	outcomeCancelled          = string(ledger.OutcomeCancelled)
	outcomeBlocked            = string(ledger.OutcomeBlocked)
)

// The outcomes of completed runs and how often they come.
var (
	outcomes       = []string{outcomeSucceeded, outcomePartiallySucceeded, outcomeFailed, outcomeCancelled, outcomeBlocked}
	outcomeWeights = []float64{88.5, 5, 4.2, 1.5, 0.8}
)

// medians are how long a run of each type usually lasts.
var medians = map[string]time.Duration{
	typeInventorySync: 95 * time.Second,
	typeGroupSync:     40 * time.Second,
	typeDrift:         25 * time.Second,
	typeBackup:        6 * time.Minute,
	typeRetention:     15 * time.Second,
	typePurge:         30 * time.Second,
}

// draw makes the run of an occurrence.
func (t *timeline) draw(l *lane, o occurrence, id int64) run {
	d := t.dice
	sequence := uint64(o.sequence) //nolint:gosec // never negative
	if l.schedule != nil {
		sequence = uint64(o.at.UnixMicro())
	}
	d.place(t.world.seed, placeRun, l.index, sequence)
	r := run{occurrence: o, id: id, number: t.drawn, lane: l, hash: l.hash, attempt: l.attempt + 1, retryOf: l.retryOf, retried: d.chance(0.3)}
	if l.schedule != nil {
		r.hash = identityHash(l.ws, l.tenant, o.typ, fmt.Sprintf(`{"backup_schedule_id":%d,"scheduled_for":%q}`,
			l.schedule.id, o.slot.Format(time.RFC3339)))
	}
	if o.byUser {
		r.by = l.ws.users[d.skewed(len(l.ws.users))]
	}
	r.total = 1 + int(math.Min(float64(d.spread(120, 1)), 5000)) // a duration of 120 ns is as good as 120 objects
	if l.compares >= 0 {
		r.compare(t.lanes[l.compares].done)
	}
	switch {
	case o.final && l.ending != endsCompleted:
		r.leaveActive(d, l.ending)
	default:
		r.finish(d)
	}
	if r.useful() {
		l.remember(&r)
	}
	return r
}

// useful tells whether the run has seen something that later ones build on.
func (r *run) useful() bool {
	return r.outcome == outcomeSucceeded || r.outcome == outcomePartiallySucceeded
}

// compare finds the two latest syncs that were over when the run was created.
func (r *run) compare(done []finished) {
	for i := len(done) - 1; i > 0; i-- {
		if done[i].at.Before(r.at) {
			r.baseline, r.newest = done[i-1], done[i]
			return
		}
	}
}

// leaveActive leaves the run queued, running, or running and silent for so long that it counts as
// stalled, yet not so long that it would have been ended for it.
func (r *run) leaveActive(d *dice, e ending) {
	r.status, r.outcome, r.updatedAt = statusQueued, outcomePending, r.at
	if e == endsQueued {
		return
	}
	r.status = statusRunning
	r.startedAt = r.at.Add(d.between(300*time.Millisecond, 20*time.Second))
	r.heartbeatAt = r.lane.ws.end.Add(-d.between(time.Second, 30*time.Second))
	r.updatedAt = r.heartbeatAt
	if e == endsStalled {
		r.heartbeatAt = r.lane.ws.end.Add(-d.between(17*time.Minute, 28*time.Minute))
		r.stalledAt = r.heartbeatAt.Add(15*time.Minute + d.between(0, time.Minute))
		r.updatedAt = r.stalledAt
	} else if d.chance(0.1) {
		r.cancelAt = r.heartbeatAt.Add(-d.between(0, 10*time.Second))
	}
}

// finish completes the run, unless its end would lie in the future.
func (r *run) finish(d *dice) {
	end := r.lane.ws.end
	longest := 90 * time.Minute
	if r.lane.schedule == nil {
		longest = min(longest, r.lane.period/3-time.Minute)
	}
	r.status, r.outcome = statusCompleted, outcomes[d.weighted(outcomeWeights)]
	r.startedAt = r.at.Add(min(d.spread(2*time.Second, 1), 30*time.Second))
	work := d.spread(medians[r.typ], 0.8)
	r.stalledOut = d.chance(0.04) && r.outcome == outcomeFailed && r.lane.stallable()
	if r.outcome == outcomeBlocked || r.outcome == outcomeFailed && !r.stalledOut {
		work /= 4
	}
	r.completedAt = r.startedAt.Add(min(work, max(longest, time.Second)).Truncate(time.Microsecond))
	r.reports = min(int(work/(2*time.Minute)), 3)
	r.beats(d)
	r.updatedAt = r.completedAt
	if (r.outcome == outcomeCancelled || r.outcome == outcomeBlocked) && d.chance(0.4) { // it had not begun
		r.startedAt, r.heartbeatAt, r.reports = time.Time{}, time.Time{}, 0
	}
	if r.outcome == outcomeCancelled {
		r.cancelAt = r.at.Add(r.completedAt.Sub(r.at) / 2).Truncate(time.Microsecond)
	} else if r.outcome != outcomeSucceeded {
		r.failures = 1
		if !r.stalledOut && d.chance(0.25) {
			r.failures = 2 + d.skewed(9)
		}
	}
	if r.completedAt.After(end) {
		r.interrupt(end)
	}
}

// beats gives a long enough run its last heartbeat, and a run that the sweeper ended its silence:
// it was marked after a quarter of an hour without one, and ended after another.
func (r *run) beats(d *dice) {
	const interval = 30 * time.Second
	if lasted := r.completedAt.Sub(r.startedAt); lasted >= interval {
		r.heartbeatAt = r.startedAt.Add(lasted.Truncate(interval))
	}
	if r.stalledOut {
		r.heartbeatAt = r.completedAt
		r.stalledAt = r.heartbeatAt.Add(15*time.Minute + d.between(0, 30*time.Second))
		r.completedAt = r.stalledAt.Add(15*time.Minute + d.between(0, 30*time.Second))
	}
}

// stallable tells whether the stream's runs are far enough apart for one to lie silent half an hour.
func (l *lane) stallable() bool { return l.schedule == nil && l.period >= 4*time.Hour }

// interrupt looks at a run at an instant before its end: it is still going on. In an archived
// workspace nothing goes on, so there it ends.
func (r *run) interrupt(now time.Time) {
	if r.lane.ws.archived {
		r.completedAt, r.updatedAt = now, now
		if r.startedAt.After(now) {
			r.startedAt = now
		}
		r.heartbeatAt, r.stalledAt = clip(r.heartbeatAt, now), clip(r.stalledAt, now)
		r.cancelAt = clip(r.cancelAt, now)
		return
	}
	r.status, r.outcome, r.failures, r.stalledOut, r.reports = statusRunning, outcomePending, 0, false, 0
	r.completedAt, r.cancelAt, r.stalledAt = time.Time{}, time.Time{}, time.Time{}
	if r.startedAt.IsZero() || r.startedAt.After(now) {
		r.status, r.startedAt, r.heartbeatAt, r.updatedAt = statusQueued, time.Time{}, time.Time{}, r.at
		return
	}
	r.heartbeatAt = now
	r.updatedAt = now
}

// clip takes an instant after now back.
func clip(at, now time.Time) time.Time {
	if at.After(now) {
		return time.Time{}
	}
	return at
}

// identity is the hash that all runs of a recurring piece of work share.
func (s *stream) identity() string {
	return identityHash(s.ws, s.tenant, s.typ, fmt.Sprintf(`{"selection":%q,"work":%d}`, s.selection.name, s.index))
}

// identityHash is the hash of what makes two runs the same piece of work.
func identityHash(ws *workspace, t *tenant, typ, identity string) string {
	tenantID := "null"
	if t != nil {
		tenantID = strconv.FormatInt(t.id, 10)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, `{"identity":%s,"tenant_id":%s,"type":%q,"workspace_id":%d}`, identity, tenantID, typ, ws.id))
	return hex.EncodeToString(sum[:])
}
