package seed

import (
	"fmt"
	"math"
	"time"
)

// historyMonths is how far back from Options.Until the data reaches.
const historyMonths = 18

// world is everything but the runs and what hangs on them: small, held in memory, and all that is
// needed to draw every run again.
type world struct {
	seed       uint64
	runs       int
	until      time.Time
	workspaces []*workspace
	streams    []stream
}

type workspace struct {
	id         int64
	index      uint64
	org        spelled
	slug       string
	start, end time.Time // when it began, and when its newest run may be
	archived   bool
	users      []*user
	tenants    []*tenant
	schedules  []*schedule
}

type user struct {
	id      int64
	number  int // within the workspace, from 1
	given   spelled
	family  spelled
	role    string
	created time.Time
}

func (u *user) name() string { return u.given.name + " " + u.family.name }

type tenant struct {
	id         int64
	name       string
	externalID string
	start      time.Time
}

// newWorld lays out the workspaces and plans who runs what how often. The planned runs add up to
// o.Runs exactly.
func newWorld(o Options) (*world, error) {
	w := &world{seed: o.Seed, runs: o.Runs, until: o.Until}
	begin := o.Until.AddDate(0, -historyMonths, 0)
	life := o.Until.Sub(begin)
	d := newDice()
	for i, quota := range apportion(o.Runs, shares(o.Workspaces)) {
		d.place(o.Seed, placeWorkspace, uint64(i), 0)
		ws := &workspace{index: uint64(i), org: organisations[i%len(organisations)], start: begin, end: o.Until}
		if i > 0 {
			ws.start = begin.Add(d.between(0, life/2)).Truncate(time.Hour)
		}
		// The smallest is the one that was given up, a month ago.
		if o.Workspaces >= 5 && i == o.Workspaces-1 {
			ws.archived, ws.end = true, o.Until.AddDate(0, -1, 0)
		}
		ws.people(d, quota)
		ws.customers(d, quota)
		w.workspaces = append(w.workspaces, ws)
		scheduled, err := w.planSchedules(d, ws, quota/4)
		if err != nil {
			return nil, err
		}
		w.planStreams(d, ws, quota-scheduled)
	}
	return w, nil
}

// number gives everything in the world its id, counting from the first of each kind.
func (w *world) number(workspaceID, userID, tenantID, scheduleID int64) {
	take := func(next *int64) int64 {
		*next++
		return *next - 1
	}
	for _, ws := range w.workspaces {
		ws.id = take(&workspaceID)
		ws.slug = fmt.Sprintf("%s-%d", ws.org.plain, ws.id)
		for _, u := range ws.users {
			u.id = take(&userID)
		}
		for _, t := range ws.tenants {
			t.id = take(&tenantID)
		}
		for _, s := range ws.schedules {
			s.id = take(&scheduleID)
		}
	}
}

var roles = []string{"owner", "manager", "operator", "readonly"}

// people gives the workspace its members: one of each role first, then mostly operators.
func (ws *workspace) people(d *dice, quota int) {
	n := min(4+int(math.Sqrt(float64(quota))/8), 80)
	for i := range n {
		u := &user{number: i + 1, given: pick(d, givenNames), family: pick(d, familyNames)}
		if i < len(roles) {
			u.role = roles[i]
		} else {
			u.role = roles[d.weighted([]float64{1, 4, 14, 8})]
		}
		u.created = ws.start.Add(d.between(0, ws.end.Sub(ws.start)/4))
		ws.users = append(ws.users, u)
	}
}

// customers gives the workspace its tenants. The first is there from the beginning, the others
// come over time.
func (ws *workspace) customers(d *dice, quota int) {
	n := min(2+int(math.Sqrt(float64(quota))/5), 400)
	taken := make(map[string]bool, n)
	for i := range n {
		t := &tenant{name: pick(d, customers), externalID: uuid(d), start: ws.start}
		if i > 0 {
			t.start = ws.start.Add(d.between(0, ws.end.Sub(ws.start)/2)).Truncate(time.Hour)
		}
		if taken[t.name] {
			t.name += " " + pick(d, places)
		}
		if taken[t.name] {
			t.name = fmt.Sprintf("%s %d", t.name, i+1)
		}
		taken[t.name] = true
		ws.tenants = append(ws.tenants, t)
	}
}

// periods are how often a recurring operation may come.
var periods = []time.Duration{
	28 * day, 14 * day, 7 * day, 3 * day, 2 * day, day,
	12 * time.Hour, 8 * time.Hour, 6 * time.Hour, 4 * time.Hour, 3 * time.Hour, 2 * time.Hour, time.Hour,
}

const day = 24 * time.Hour

// planStreams plans quota runs that no backup schedule starts, over the workspace's tenants.
func (w *world) planStreams(d *dice, ws *workspace, quota int) {
	first := len(w.streams)
	// Some work belongs to no tenant: the directory of the workspace's own people.
	own := quota / 50
	w.planType(d, ws, nil, typeGroupSync, own)
	for i, n := range apportion(quota-own, fall(len(ws.tenants), 0.9)) {
		t := ws.tenants[i]
		parts := apportion(n, []float64{48, 27, 25})
		before := len(w.streams)
		w.planType(d, ws, t, typeInventorySync, parts[0])
		syncs := len(w.streams) - before
		if syncs == 0 { // nothing to compare: no drift either
			parts[1] += parts[2]
			parts[2] = 0
		}
		w.planType(d, ws, t, typeGroupSync, parts[1])
		drift := len(w.streams)
		w.planType(d, ws, t, typeDrift, parts[2])
		for j := drift; j < len(w.streams); j++ {
			w.streams[j].compares = before + (j-drift)%syncs
			w.streams[j].selection = w.streams[w.streams[j].compares].selection
		}
	}
	w.planActive(d, ws, w.streams[first:], quota)
}

// planType plans n runs of one type: recurring pieces of work, as many as it takes for none to
// come more than once an hour.
func (w *world) planType(d *dice, ws *workspace, t *tenant, typ string, n int) {
	if n == 0 {
		return
	}
	start := ws.start
	if t != nil {
		start = t.start
	}
	life := ws.end.Sub(start)
	capacity := max(int(life/time.Hour), 1)
	pieces := max((n+capacity-1)/capacity, min(3, n/60), 1)
	for _, count := range apportion(n, fall(pieces, 0)) {
		if count == 0 {
			continue
		}
		s := stream{index: uint64(len(w.streams)), ws: ws, tenant: t, typ: typ, count: count, compares: -1}
		s.period = life / time.Duration(count)
		for _, p := range periods {
			if p <= s.period {
				s.period = p
				break
			}
		}
		steps := max(int64(s.period/(5*time.Minute)), 2)
		s.last = ws.end.Add(-time.Duration(1+d.Int64N(steps-1)) * 5 * time.Minute)
		s.batched = d.chance(0.3)
		s.selection = drawSelection(d)
		w.streams = append(w.streams, s)
	}
}

// planActive chooses the few recurring pieces of work whose newest run is still going on.
func (w *world) planActive(d *dice, ws *workspace, streams []stream, quota int) {
	if ws.archived || len(streams) == 0 {
		return
	}
	n := min(1+int(math.Sqrt(float64(quota))/8), (len(streams)+1)/2)
	for i, at := range d.Perm(len(streams))[:n] {
		switch s := &streams[at]; {
		case i%4 == 3 && s.period >= 2*time.Hour:
			s.ending = endsStalled
		case i%3 == 2:
			s.ending = endsQueued
		default:
			s.ending = endsRunning
		}
	}
}
