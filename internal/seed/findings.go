package seed

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// drift draws the findings of drift generation. It has dice of its own, so that counting them in
// one pass and writing them in another draws the same.
type drift struct{ dice *dice }

func newDrift() *drift { return &drift{dice: newDice()} }

// count is how many findings r made: mostly none, seldom many. It leaves the dice in r's place.
func (f *drift) count(t *timeline, r *run) int {
	if r.typ != typeDrift || r.newest.id == 0 || !r.useful() {
		return 0
	}
	f.dice.place(t.world.seed, placeFinding, r.lane.index, uint64(r.sequence)) //nolint:gosec // never negative
	if !f.dice.chance(0.2) {
		return 0
	}
	return 1 + f.dice.skewed(8)
}

func (l *loader) findingRows() table {
	columns := []string{
		"workspace_id", "tenant_id", "finding_type", "scope_key", "fingerprint", "subject_type", "subject_external_id",
		"severity", "status", "acknowledged_at", "acknowledged_by_user_id", "evidence",
		"baseline_operation_run_id", "current_operation_run_id", "created_at", "updated_at", "revision",
	}
	t, f := newTimeline(l.world, l.firstRun), newDrift()
	var r *run
	left := 0
	return table{"findings", columns, func() []any {
		for left == 0 {
			if r = t.step(); r == nil {
				return nil
			}
			left = f.count(t, r)
		}
		left--
		return f.row(r)
	}}
}

var (
	severities      = []string{"medium", "low", "high", "critical"}
	severityWeights = []float64{50, 30, 16, 4}
	differences     = []string{"modified", "modified", "modified", "missing", "added"}
)

// row draws one finding of r.
func (f *drift) row(r *run) []any {
	d, ws := f.dice, r.lane.ws
	p := pick(d, r.lane.selection.types)
	subject := uuid(d)
	scope := sha256.Sum256(fmt.Appendf(nil, "%d:%s", r.lane.compares, r.lane.selection.name))
	fingerprint := sha256.Sum256(fmt.Appendf(nil, "drift:%d:%s:%s", r.number, p.name, subject))
	difference := pick(d, differences)
	evidence := fmt.Appendf(nil, `{"change":%q,"policy_type":%q,"display_name":%q,`+
		`"baseline":{"operation_run_id":%d,"hash":"%x"},"current":{"operation_run_id":%d,"hash":"%x"},"changed_fields":[%q]}`,
		difference, p.name, p.noun, r.baseline.id, d.Uint64(), r.newest.id, d.Uint64(),
		pick(d, []string{"settings.passwordMinimumLength", "assignments", "displayName", "settings.größteDatei", "grantControls"}))
	status, revision := "new", int64(1)
	updated := r.completedAt
	var acknowledgedAt, acknowledgedBy any
	if d.chance(0.35) {
		by := ws.users[d.skewed(len(ws.users))]
		at := r.completedAt.Add(d.between(2*time.Minute, 9*day))
		if !at.After(ws.end) {
			status, revision, updated = "acknowledged", 2, at
			acknowledgedAt, acknowledgedBy = at, by.id
		}
	}
	return []any{
		ws.id, r.lane.tenant.idOrNull(), "drift", hex.EncodeToString(scope[:]), hex.EncodeToString(fingerprint[:]), "policy", subject,
		severities[d.weighted(severityWeights)], status, acknowledgedAt, acknowledgedBy, evidence,
		r.baseline.id, r.newest.id, r.completedAt, updated, revision,
	}
}
