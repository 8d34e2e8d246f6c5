package legacy

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/runledger/runledger/db"
)

// shadowed are the columns of operation_runs whose canonical values cannot take the place of the
// application's without a rewrite of the table or of an index. Each has a nullable column beside
// it, ours plus its name, that Backfill and a trigger fill and Contract puts in its place.
var shadowed = []string{
	"type", "status", "outcome", "run_identity_hash", "failure_summary", "context",
	"started_at", "completed_at", "created_at", "updated_at",
}

// renamed are the columns that only get another name, by table: canonical name, legacy name.
var renamed = map[string]map[string]string{
	"findings":        {"evidence": "evidence_jsonb"},
	"inventory_items": {"meta": "meta_jsonb"},
}

// dropped are the legacy references, by table.
var dropped = map[string][]string{
	"findings":        {"baseline_run_id", "current_run_id"},
	"inventory_items": {"last_seen_run_id"},
}

// referenceColumn, in inventory_items, remembers what the application had written into
// last_seen_operation_run_id: null if that is what stands there still, 0 if it was null and
// Backfill filled it, else the reference that Backfill cleared because it leads nowhere.
const referenceColumn = ours + "reference"

// shadow is the column that holds the canonical value of column until Contract.
func shadow(column string) string { return ours + column }

// isShadowed tells whether a canonical column has a shadow.
func isShadowed(table, column string) bool {
	return table == "operation_runs" && slices.Contains(shadowed, column)
}

// current is the column that holds, or will hold, the values of a canonical column until Contract.
func current(table, column string) string {
	if isShadowed(table, column) {
		return shadow(column)
	}
	if old, ok := renamed[table][column]; ok {
		return old
	}
	return column
}

// makeCanonical has the migrations make the canonical tables in a schema of their own, where they
// stay empty: what Contract is to arrive at is read from there and written down nowhere else.
func (r *Removal) makeCanonical(ctx context.Context) error {
	if err := r.alter(ctx, "CREATE SCHEMA IF NOT EXISTS "+canonicalSchema); err != nil {
		return err
	}
	address, err := withSettings(r.databaseURL, canonicalSchema)
	if err != nil {
		return err
	}
	if _, err := db.Up(ctx, address); err != nil {
		return fmt.Errorf("make the canonical tables: %w", err)
	}
	return nil
}

// withSettings is a database address, URL or keywords and values, with another search_path and with
// the settings that a session of the removal must have.
func withSettings(address, schema string) (string, error) {
	if !strings.HasPrefix(address, "postgres://") && !strings.HasPrefix(address, "postgresql://") {
		address += " search_path=" + schema
		for _, name := range sortedKeys(settings) {
			address += fmt.Sprintf(" %s='%s'", name, settings[name])
		}
		return address, nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", fmt.Errorf("read the database address: %w", err)
	}
	query := u.Query()
	query.Set("search_path", schema)
	for name, value := range settings {
		query.Set(name, value)
	}
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20") // a plus is no space to the driver
	return u.String(), nil
}

// currentIndex writes the definition of a canonical index for the application's table as it is
// until Contract: under the given name, on the columns that will be the canonical ones.
func currentIndex(table, name, canonicalName, definition string) string {
	head, body, _ := strings.Cut(definition, " USING ")
	body = onCurrentColumns(table, body)
	concurrently := strings.Replace(head, "INDEX "+canonicalName+" ON ", "INDEX CONCURRENTLY "+quoted(name)+" ON ", 1)
	return inPublic(concurrently) + " USING " + body
}

// onCurrentColumns replaces the names of canonical columns by those that stand for them.
func onCurrentColumns(table, expression string) string {
	replace := func(column string) {
		if now := current(table, column); now != column {
			expression = regexp.MustCompile(`\b`+column+`\b`).ReplaceAllString(expression, now)
		}
	}
	if table == "operation_runs" {
		for _, column := range shadowed {
			replace(column)
		}
	}
	for column := range renamed[table] {
		replace(column)
	}
	return expression
}

// inPublic moves the tables that a definition names from the canonical schema to public.
func inPublic(definition string) string {
	return strings.ReplaceAll(definition, canonicalSchema+".", "public.")
}

// isConstant tells whether a default is the same for every row, so that a column can be added
// with it without a rewrite of the table.
func isConstant(fallback string) bool { return !strings.Contains(fallback, "(") }
