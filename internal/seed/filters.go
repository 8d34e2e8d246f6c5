package seed

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Filter is a filter of a list of runs with a value that the data gives a meaning to.
type Filter struct {
	Name  string // the parameter, or the instant of a range
	Kind  string // common, middling, rare, absent, several, true, false, narrow or open
	Query string // as it stands in an address
}

// Filters are values of every filter of a workspace's runs: common, middling, rare and absent
// ones, lists, and ranges that are narrow, open and empty. They are for measuring and for tests of
// query plans.
func Filters(ctx context.Context, conn *pgx.Conn, workspaceID int64) ([]Filter, error) {
	c := chooser{ctx: ctx, conn: conn, workspaceID: workspaceID}
	c.ranked("type", "type", "policy_export")
	c.ranked("outcome", "outcome", "")
	c.ranked("status", "status", "")
	c.ranked("tenant_id", "tenant_id", "999999999")
	c.ranked("user_id", "user_id", "999999999")
	c.ranked("run_identity_hash", "run_identity_hash", strings.Repeat("0", 64))
	c.ranked("backup_schedule_id", "context->>'backup_schedule_id'", "999999999")
	c.ranked("failure_code", "failure_summary->0->>'code'", "no_such_code")
	c.filters = append(c.filters,
		Filter{"stalled", "true", "stalled=true"}, Filter{"stalled", "false", "stalled=false"},
		Filter{"type", "several", "type=drift_generate_findings,entra_group_sync,policy_export"},
		Filter{"outcome", "several", "outcome=blocked,cancelled"},
		Filter{"status", "several", "status=queued,running"},
	)
	for _, name := range []string{"created", "started", "completed", "updated"} {
		c.filters = append(c.filters,
			Filter{name, "narrow", name + "_from=" + c.at("0.3") + "&" + name + "_before=" + c.at("0.301")},
			Filter{name, "open", name + "_from=" + c.at("0.5")},
			Filter{name, "absent", name + "_before=1999-01-01T00:00:00Z"},
		)
	}
	return c.filters, c.err
}

// chooser looks values up until it fails.
type chooser struct {
	ctx         context.Context //nolint:containedctx // a chooser is gone when the call that has the context returns
	conn        *pgx.Conn
	workspaceID int64
	filters     []Filter
	err         error
}

// one is the text that a query about the workspace gives.
func (c *chooser) one(sql string) string {
	var v *string
	if c.err == nil {
		c.err = c.conn.QueryRow(c.ctx, sql, c.workspaceID).Scan(&v)
	}
	if c.err == nil && v == nil {
		c.err = fmt.Errorf("the workspace has no such value: %s", sql)
	}
	if c.err != nil {
		return ""
	}
	return *v
}

// ranked adds the commonest value of an expression, a middling one, the rarest, and one that no
// run has.
func (c *chooser) ranked(name, expression, absent string) {
	add := func(kind, value string) {
		c.filters = append(c.filters, Filter{name, kind, name + "=" + url.QueryEscape(value)})
	}
	from := "SELECT v::text FROM (SELECT " + expression + " AS v, count(*) AS n FROM operation_runs WHERE workspace_id = $1 GROUP BY 1) AS g WHERE v IS NOT NULL ORDER BY n "
	add("common", c.one(from+"DESC LIMIT 1"))
	add("middling", c.one(from+"DESC OFFSET (SELECT count(DISTINCT "+expression+") / 2 FROM operation_runs WHERE workspace_id = $1) LIMIT 1"))
	add("rare", c.one(from+"LIMIT 1"))
	if absent != "" {
		add("absent", absent)
	}
}

// at is the instant that the fraction of the workspace's time lies before.
func (c *chooser) at(fraction string) string {
	return url.QueryEscape(c.one("SELECT to_char((min(created_at) + " + fraction + " * (max(created_at) - min(created_at))) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM operation_runs WHERE workspace_id = $1"))
}
