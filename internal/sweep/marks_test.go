package sweep

import (
	"testing"
	"time"
)

// Whoever follows what has changed since an instant hears of a mark.
func TestAMarkIsAChangeThatAReportNeedNotKnowOf(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for kind, heartbeat := range map[string]string{"no_heartbeat": "now() - '16 minutes'::interval", "no_progress": "now()"} {
		id := w.run(t, running+"updated_at, heartbeat_at", hoursAgo(2)+"now() - '2 hours'::interval, "+heartbeat)
		w.sweep(t)
		if got := w.state(t, id); got.Stalled == nil || *got.Stalled != kind || got.Revision != 1 {
			t.Errorf("the run is %+v", got)
		}
		if age := one[float64](t, w, "SELECT extract(epoch FROM now() - updated_at)::float8 FROM operation_runs WHERE workspace_id = $1 AND id = $2", w.workspace, id); age > time.Hour.Seconds() {
			t.Errorf("%s: the record last changed %v s ago", kind, age)
		}
	}
}
