package main

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// inside is what a server and a machine say of themselves: what has been done so far.
type inside struct {
	at        time.Time
	cost      cost
	generator time.Duration      // CPU time of this program
	answers   map[float64]uint64 // answers that took no longer than so many seconds, by the server's own clock
}

// look looks inside now.
func (w *soakWorld) look(ctx context.Context) (inside, error) {
	i := inside{at: time.Now()}
	var err error
	if i.cost, err = w.server.spent(ctx); err != nil {
		return i, err
	}
	if i.generator, err = cpuTime(os.Getpid()); err != nil {
		return i, err
	}
	i.answers, err = w.server.durations(ctx)
	return i, err
}

// cores is how many cores the server, its database and the generator have kept busy since before.
func (i inside) cores(before inside) string {
	per := func(now, then time.Duration) float64 { return float64(now-then) / float64(i.at.Sub(before.at)) }
	return fmt.Sprintf("%.2f + %.2f + %.2f", per(i.cost.server, before.cost.server), per(i.cost.database, before.cost.database),
		per(i.generator, before.generator))
}

// slowest is a time within which the server answered a share of the requests since before, by its
// own clock, which begins when it has read a request's header. Refusals are among them.
func (i inside) slowest(before inside, share float64) string {
	var all uint64
	bounds := slices.Sorted(maps.Keys(i.answers))
	if len(bounds) > 0 {
		last := bounds[len(bounds)-1]
		all = i.answers[last] - before.answers[last]
	}
	for _, bound := range bounds {
		if float64(i.answers[bound]-before.answers[bound]) >= share*float64(all) && !math.IsInf(bound, 0) {
			return fmt.Sprintf("≤ %g ms", bound*1000)
		}
	}
	return "longer"
}

// durations reads the histogram of the server's answers, all routes together.
func (c *contender) durations(ctx context.Context) (map[float64]uint64, error) {
	families, err := c.metrics(ctx)
	if err != nil {
		return nil, err
	}
	answers := map[float64]uint64{}
	for _, metric := range families["runledger_http_request_duration_seconds"].GetMetric() {
		for _, bucket := range metric.GetHistogram().GetBucket() {
			answers[bucket.GetUpperBound()] += bucket.GetCumulativeCount()
		}
	}
	return answers, nil
}

// polls reads how often polls were answered in which way.
func (c *contender) polls(ctx context.Context) (map[string]float64, error) {
	families, err := c.metrics(ctx)
	if err != nil {
		return nil, err
	}
	answers := map[string]float64{}
	for _, metric := range families["runledger_http_polls_total"].GetMetric() {
		for _, label := range metric.GetLabel() {
			answers[label.GetValue()] += metric.GetCounter().GetValue()
		}
	}
	return answers, nil
}

// metrics is what the server counts, as Prometheus reads it, by name.
func (c *contender) metrics(ctx context.Context) (map[string]*dto.MetricFamily, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.admin+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(resp.Body)
}
