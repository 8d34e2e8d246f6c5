package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/internal/dbsqlc"
)

// surveyTimeout bounds one look at the runs.
const surveyTimeout = 10 * time.Second

// SurveyOptions is what a Survey needs.
type SurveyOptions struct {
	Config      *pgx.ConnConfig // of the database, to which each look has a connection of its own
	Interval    time.Duration   // between two looks
	ByWorkspace bool            // a series for each workspace, not one for all of them
	Log         *slog.Logger
}

// Survey looks at the runs now and then, and collects how old those are that are not completed, and
// when operations last succeeded, by type. A scrape gets what was last seen and asks nobody.
type Survey struct {
	o      SurveyOptions
	seen   atomic.Pointer[[]seenType]
	last   atomic.Int64 // when it was seen, in milliseconds since 1970
	errors prometheus.Counter

	active, oldest, success *prometheus.Desc
}

// seenType is what was seen of the runs of one type.
type seenType struct {
	labels  []string
	active  float64
	oldest  time.Time // zero if no run is active
	success time.Time // zero if none has succeeded
}

var lastSurvey = prometheus.NewDesc("runledger_survey_last_timestamp_seconds",
	"When this server last looked at the runs of each type, in seconds since 1970.", nil, nil)

// NewSurvey makes a Survey that has seen nothing yet.
func NewSurvey(o SurveyOptions) *Survey {
	labels := []string{"type"}
	if o.ByWorkspace {
		labels = append(labels, "workspace_id")
	}
	return &Survey{
		o: o,
		errors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "runledger_survey_errors_total", Help: "Looks at the runs of each type that failed.",
		}),
		active: prometheus.NewDesc("runledger_type_active_runs", "Runs that are queued or running, by type.", labels, nil),
		oldest: prometheus.NewDesc("runledger_type_oldest_active_run_age_seconds",
			"Age of the oldest run that is queued or running, since its creation, by type; 0 if there is none.", labels, nil),
		success: prometheus.NewDesc("runledger_type_last_success_timestamp_seconds",
			"When one of the latest runs of a type last completed as succeeded, in seconds since 1970; absent if none has.", labels, nil),
	}
}

// Run looks at each interval until ctx ends, for the first time at once. What fails is logged and
// tried again the next time.
func (s *Survey) Run(ctx context.Context) {
	ticker := time.NewTicker(s.o.Interval)
	defer ticker.Stop()
	level := slog.LevelWarn
	for {
		switch err := s.look(ctx); {
		case err == nil:
			level = slog.LevelWarn
		case ctx.Err() == nil:
			s.errors.Inc()
			s.o.Log.LogAttrs(ctx, level, "the survey of the runs failed", slog.Any("error", err))
			level = slog.LevelDebug // it will fail for as long as the reason lasts
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// look asks the database once.
func (s *Survey) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, s.o.Config)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, err := dbsqlc.New().SurveyOperationTypes(ctx, conn)
	if err != nil {
		return err
	}
	seen := s.sum(rows)
	s.seen.Store(&seen)
	s.last.Store(time.Now().UnixMilli())
	return nil
}

// sum adds the rows of a type up, of all workspaces where they are no label.
func (s *Survey) sum(rows []dbsqlc.SurveyOperationTypesRow) []seenType {
	var seen []seenType
	type series struct {
		operation   string
		workspaceID int64
	}
	places := map[series]int{}
	for _, row := range rows {
		key := series{operation: row.Type}
		labels := []string{row.Type}
		if s.o.ByWorkspace {
			key.workspaceID = row.WorkspaceID
			labels = append(labels, strconv.FormatInt(row.WorkspaceID, 10))
		}
		place, known := places[key]
		if !known {
			place = len(seen)
			places[key] = place
			seen = append(seen, seenType{labels: labels})
		}
		t := &seen[place]
		t.active += float64(row.Active)
		if at := row.OldestCreatedAt.Time; !at.IsZero() && (t.oldest.IsZero() || at.Before(t.oldest)) {
			t.oldest = at
		}
		if at := row.LastSucceededAt.Time; at.After(t.success) {
			t.success = at
		}
	}
	return seen
}

// Describe implements prometheus.Collector.
func (s *Survey) Describe(descriptions chan<- *prometheus.Desc) {
	s.errors.Describe(descriptions)
	for _, desc := range []*prometheus.Desc{s.active, s.oldest, s.success, lastSurvey} {
		descriptions <- desc
	}
}

// Collect implements prometheus.Collector.
func (s *Survey) Collect(collected chan<- prometheus.Metric) {
	s.errors.Collect(collected)
	seen := s.seen.Load()
	if seen == nil {
		return
	}
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		collected <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	gauge(lastSurvey, float64(s.last.Load())/1000)
	for _, t := range *seen {
		age := 0.0
		if !t.oldest.IsZero() {
			age = time.Since(t.oldest).Seconds()
		}
		gauge(s.active, t.active, t.labels...)
		gauge(s.oldest, age, t.labels...)
		if !t.success.IsZero() {
			gauge(s.success, float64(t.success.UnixMilli())/1000, t.labels...)
		}
	}
}
