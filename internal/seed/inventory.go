package seed

import (
	"fmt"
	"time"
)

// items is how many inventory items the syncs of a lane have seen. It is known when the lane is at
// its end.
func (l *lane) items() int {
	if l.typ != typeInventorySync || len(l.done) == 0 {
		return 0
	}
	return min(max(l.count/4, 3), 500)
}

// itemRows are the inventory items of every sync. They are seen by the runs at the end of the
// timeline, so that it is walked to its end before the first.
func (l *loader) itemRows() table {
	columns := []string{
		"workspace_id", "tenant_id", "policy_type", "external_id", "display_name", "category", "platform", "meta",
		"last_seen_at", "last_seen_operation_run_id", "created_at", "updated_at",
	}
	var lanes []*lane
	d := newDice()
	walked, n := false, 0
	return table{"inventory_items", columns, func() []any {
		if !walked {
			t := newTimeline(l.world, l.firstRun)
			for t.step() != nil { //nolint:revive // each step leaves its mark on the lanes
			}
			lanes, walked = t.lanes, true
		}
		for len(lanes) > 0 && n == lanes[0].items() {
			lanes, n = lanes[1:], 0
		}
		if len(lanes) == 0 {
			return nil
		}
		d.place(l.world.seed, placeItem, lanes[0].index, uint64(n)) //nolint:gosec // never negative
		n++
		return lanes[0].item(d)
	}}
}

// item draws one item. Most were seen by the newest run that saw something; the others have gone
// since.
func (l *lane) item(d *dice) []any {
	seen := l.done[len(l.done)-1]
	if d.chance(0.08) {
		seen = pick(d, l.done)
	}
	p := pick(d, l.selection.types)
	platform := pick(d, l.selection.platforms)
	name := fmt.Sprintf("%s – %s %s", p.noun, pick(d, places), platform)
	created := seen.at.Add(-d.between(0, seen.at.Sub(l.tenant.start))).Truncate(time.Microsecond)
	meta := fmt.Appendf(nil, `{"odata_type":"#microsoft.graph.%s","etag":"W/\"%x\"","assignments":%d,"scope_tags":[%q]}`,
		p.name, d.Uint64(), d.skewed(30), pick(d, places))
	return []any{
		l.ws.id, l.tenant.id, p.name, uuid(d), name, p.category, platform, meta, seen.at, seen.id, created, seen.at,
	}
}
