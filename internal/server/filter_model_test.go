package server_test

import (
	"cmp"
	"encoding/json"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// modelRun is a run as a test wrote it, with what the filters look at. Instants that are nil are
// null in the database, and so is free data that is nil.
type modelRun struct {
	id             int64
	Key            int        `json:"key"` // which row it is, to learn its id by
	TenantID       *int64     `json:"tenant_id"`
	UserID         *int64     `json:"user_id"`
	Type           string     `json:"type"`
	Status         string     `json:"status"`
	Outcome        string     `json:"outcome"`
	Hash           string     `json:"run_identity_hash"`
	FailureSummary *string    `json:"failure_summary"` // JSON
	Context        *string    `json:"context"`         // JSON
	StartedAt      *time.Time `json:"started_at"`
	CompletedAt    *time.Time `json:"completed_at"`
	CreatedAt      *time.Time `json:"created_at"`
	UpdatedAt      *time.Time `json:"updated_at"`
	StalledAt      *time.Time `json:"stalled_at"`
}

// meets tells whether the run is what a query asks for, one filter after the other and as plainly
// as the contract says it.
func (m *modelRun) meets(query url.Values) bool {
	for name := range query {
		if !m.meetsOne(name, query.Get(name)) {
			return false
		}
	}
	return true
}

func (m *modelRun) meetsOne(name, value string) bool {
	switch name {
	case "type":
		return slices.Contains(strings.Split(value, ","), m.Type)
	case "status":
		return slices.Contains(strings.Split(value, ","), m.Status)
	case "outcome":
		return slices.Contains(strings.Split(value, ","), m.Outcome)
	case "tenant_id":
		return m.TenantID != nil && strconv.FormatInt(*m.TenantID, 10) == value
	case "user_id":
		return m.UserID != nil && strconv.FormatInt(*m.UserID, 10) == value
	case "run_identity_hash":
		return m.Hash == strings.ToLower(value)
	case "backup_schedule_id":
		return strings.HasPrefix(m.Type, "backup_schedule_") && m.scheduleID() == value
	case "failure_code":
		return slices.Contains(m.failureCodes(), value)
	case "stalled":
		return strconv.FormatBool(m.StalledAt != nil) == value
	case "order", "limit", "cursor":
		return true
	}
	column, end, _ := strings.Cut(name, "_")
	at := map[string]*time.Time{
		"created": m.CreatedAt, "started": m.StartedAt, "completed": m.CompletedAt, "updated": m.UpdatedAt,
	}[column]
	bound, err := time.Parse(time.RFC3339Nano, value)
	if err != nil {
		panic(err)
	}
	switch {
	case at == nil:
		return false
	case end == "from":
		return !at.Before(bound)
	default:
		return at.Before(bound)
	}
}

// scheduleID is the schedule that the run's context names, as a number or a string.
func (m *modelRun) scheduleID() string {
	if m.Context == nil {
		return ""
	}
	decoder := json.NewDecoder(strings.NewReader(*m.Context))
	decoder.UseNumber()
	var free any
	if err := decoder.Decode(&free); err != nil {
		panic(err)
	}
	object, _ := free.(map[string]any)
	switch id := object["backup_schedule_id"].(type) {
	case string:
		return id
	case json.Number:
		return id.String()
	default:
		return ""
	}
}

// failureCodes are the codes of the run's failures.
func (m *modelRun) failureCodes() []string {
	if m.FailureSummary == nil {
		return nil
	}
	var free any
	if err := json.Unmarshal([]byte(*m.FailureSummary), &free); err != nil {
		panic(err)
	}
	entries, _ := free.([]any)
	var codes []string
	for _, entry := range entries {
		object, _ := entry.(map[string]any)
		if code, ok := object["code"].(string); ok {
			codes = append(codes, code)
		}
	}
	return codes
}

// modelList is what a list of runs has to show: the ids of the runs that meet the query, in its
// order.
func modelList(runs []modelRun, query url.Values) []int64 {
	instant := func(m *modelRun) int64 {
		at := m.CreatedAt
		if query.Get("order") == "updated_at" {
			at = m.UpdatedAt
		}
		if at == nil {
			return math.MinInt64
		}
		return at.UnixMicro()
	}
	var kept []*modelRun
	for i := range runs {
		if runs[i].meets(query) {
			kept = append(kept, &runs[i])
		}
	}
	slices.SortFunc(kept, func(a, b *modelRun) int {
		return cmp.Or(cmp.Compare(instant(a), instant(b)), cmp.Compare(a.id, b.id))
	})
	if order := query.Get("order"); order == "" || order == "-created_at" {
		slices.Reverse(kept)
	}
	ids := make([]int64, 0, len(kept))
	for _, m := range kept {
		ids = append(ids, m.id)
	}
	return ids
}
