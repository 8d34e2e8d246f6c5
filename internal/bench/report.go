package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// soakReport is what a soak has found.
type soakReport struct {
	runs                 int
	soakFor, overloadFor time.Duration

	most, normal, over, after *tally
	memories                  memories
}

// table is the report for people.
func (r *soakReport) table() *table {
	t := &table{
		caption: fmt.Sprintf("A soak: %d %% lists, %d %% starts and reports, %d %% heartbeats in the largest workspace of %d runs, by %d clients.",
			listShare, writeShare, 100-listShare-writeShare, r.runs, fleetClients),
		head: []string{
			"load", "asked/s", "2xx/s", "2xx p50", "2xx p99", "refused/s", "refused p50", "refused p99", "anything else",
			"p99 in the server", "generator late p99", "cores: server + database + generator",
		},
		keys: 1,
	}
	r.most.addTo(t, fmt.Sprintf("as much as %d clients get", soakConnections))
	r.normal.addTo(t, fmt.Sprintf("half of that, for %s", r.soakFor))
	r.over.addTo(t, fmt.Sprintf("%d times that, for %s", overloadFactor, r.overloadFor))
	r.after.addTo(t, "half of it again")
	t.notes = append(t.notes, r.memories.note(),
		fmt.Sprintf("In the overload, the p99 of what was admitted is %.1f times that of the soak.", r.ratio()))
	return t
}

// verdict is an error for everything that does not hold.
func (r *soakReport) verdict() error {
	return errors.Join(r.most.wrong(), r.normal.wrong(), r.over.wrong(), r.after.wrong(), r.normal.refusal(), r.over.wantRefused(), bearable(r.ratio()), r.memories.growing())
}

// ratio is how many times as long the slowest admitted requests take in the overload.
func (r *soakReport) ratio() float64 {
	return float64(r.over.percentile(good, 0.99)) / float64(max(r.normal.percentile(good, 0.99), time.Microsecond))
}

// bearable fails for admitted requests that take more than five times as long in an overload.
func bearable(ratio float64) error {
	const most = 5
	if ratio > most {
		return fmt.Errorf("admitted requests take %.1f times as long in an overload, more than %d times", ratio, most)
	}
	return nil
}

// tenths is how the report writes a time.
func tenths(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

func (t *tally) addTo(table *table, name string) {
	late := "-" // who asks when the last answer has come is never late
	if len(t.late) > 0 {
		late = tenths(percentile(t.late, 0.99))
	}
	table.add(name, perSecond(float64(t.asked())/t.ended.Sub(t.began).Seconds()), perSecond(t.rate()),
		tenths(t.percentile(good, 0.5)), tenths(t.percentile(good, 0.99)), perSecond(float64(len(t.took[refused]))/t.ended.Sub(t.began).Seconds()),
		tenths(t.percentile(refused, 0.5)), tenths(t.percentile(refused, 0.99)), strconv.Itoa(len(t.took[other])), t.inside, late, t.cores)
	if t.busy > 0 {
		table.notes = append(table.notes, fmt.Sprintf("%s: %d requests found none of the %d clients free and waited for one, which is in their times.",
			name, t.busy, fleetClients))
	}
}

// wrong is an error if anything came back but 2xx, 429 and 503.
func (t *tally) wrong() error {
	if len(t.others) > 0 {
		return fmt.Errorf("answers that are neither 2xx nor 429 nor 503: %v", t.others)
	}
	return nil
}

// refusal is an error if anything was refused at a rate that the server can sustain.
func (t *tally) refusal() error {
	if n := len(t.took[refused]); n > 0 {
		return fmt.Errorf("%d requests were refused at a rate that the server can sustain", n)
	}
	return nil
}

// wantRefused is an error if nothing was refused, which is no overload.
func (t *tally) wantRefused() error {
	if len(t.took[refused]) == 0 {
		return errors.New("nothing was refused in what was to be an overload")
	}
	return nil
}
