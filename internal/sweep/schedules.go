package sweep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/internal/agenda"
	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/schedule"
)

const (
	// watchEvery is how often backup schedules are looked after. The shortest grace is a minute.
	watchEvery = time.Minute
	// mostWorkspaces bounds the series of the metric: the schedules of further workspaces are counted
	// together.
	mostWorkspaces = 500
	// otherWorkspaces is the label that those are counted under.
	otherWorkspaces = "other"
	// allWorkspaces is what all are counted under where they have no label.
	allWorkspaces = ""
)

// watchSchedules looks after the backup schedules of all workspaces: it notes edits that others have
// made, and tells of slots that were missed and of recoveries. A fault in one workspace is none of the
// others'.
func (s *Sweeper) watchSchedules(ctx context.Context, db dbsqlc.DBTX, now time.Time) error {
	workspaces, err := s.queries.ListWorkspacesWithSchedules(ctx, db)
	if err != nil {
		return fmt.Errorf("look for backup schedules: %w", err)
	}
	var failures []error
	seen := scheduleSurvey{}
	if !s.options.ByWorkspace {
		seen.count(allWorkspaces, nil) // though there be none
	}
	told := map[string]int{}
	began := time.Now()
	for _, workspaceID := range workspaces {
		// Many workspaces take a while, and what is edited meanwhile is not to hold before it was.
		found, err := agenda.Watch(ctx, db, workspaceID, now.Add(time.Since(began)))
		for kind, n := range found.Events {
			told[kind] += n
			s.metrics.slots.WithLabelValues(kind).Add(float64(n))
		}
		if err != nil {
			failures = append(failures, fmt.Errorf("workspace %d: %w", workspaceID, err))
		}
		if ctx.Err() != nil {
			break
		}
		if err == nil {
			seen.count(s.labelOf(workspaceID), found.States)
		}
	}
	if len(told) > 0 {
		s.options.Log.LogAttrs(ctx, slog.LevelInfo, "told of backup schedules",
			slog.Int("missed", told[schedule.EventMissed]), slog.Int("recovered", told[schedule.EventRecovered]))
	}
	// A sum without a workspace that could not be looked after would tell of fewer than there are.
	if ctx.Err() == nil && (s.options.ByWorkspace || len(failures) == 0) {
		s.metrics.schedules.Store(&seen)
	}
	return errors.Join(failures...)
}

// labelOf is what the schedules of a workspace are counted under.
func (s *Sweeper) labelOf(workspaceID int64) string {
	if !s.options.ByWorkspace {
		return allWorkspaces
	}
	return strconv.FormatInt(workspaceID, 10)
}

// scheduleSurvey counts schedules by workspace, if that was asked for, and state.
type scheduleSurvey map[string]map[schedule.State]int

// count adds the schedules of a workspace.
func (v scheduleSurvey) count(name string, states map[schedule.State]int) {
	if v[name] == nil && len(v) >= mostWorkspaces {
		name = otherWorkspaces
	}
	if v[name] == nil {
		v[name] = map[schedule.State]int{}
	}
	for state, n := range states {
		v[name][state] += n
	}
}

// describeSchedules describes the metric of schedules.
func (o *Options) describeSchedules() *prometheus.Desc {
	labels := []string{"state"}
	if o.ByWorkspace {
		labels = append(labels, "workspace_id")
	}
	return prometheus.NewDesc("runledger_backup_schedules",
		"Backup schedules that are not deleted, by state. By workspace, the others count together beyond 500.", labels, nil)
}

// collect sends every state of whatever is counted, so that a series does not vanish with its last schedule.
func (v scheduleSurvey) collect(desc *prometheus.Desc, collected chan<- prometheus.Metric) {
	for workspace, states := range v {
		for _, state := range schedule.States {
			labels := []string{string(state)}
			if workspace != allWorkspaces {
				labels = append(labels, workspace)
			}
			collected <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(states[state]), labels...)
		}
	}
}
