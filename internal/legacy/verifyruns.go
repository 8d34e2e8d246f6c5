package legacy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
)

// comparedRun is one run: what the application had written, and what stands there now.
type comparedRun struct {
	id, workspace     int64
	oldType, newType  *string
	oldContext        *string
	newContext        *string
	oldFailure        *string
	newFailure        *string
	oldHash, newHash  *string
	oldState, state   *string // status and outcome
	oldTimes          [4]pgtype.Timestamp
	times             [4]pgtype.Timestamptz
	tenant            *int64
	changed           bool
	archivedOriginals bool
}

// timeColumns are those of comparedRun's times.
var timeColumns = [4]string{"started_at", "completed_at", "created_at", "updated_at"}

// runQuery selects comparedRun's fields.
func (v *verifier) runQuery() string {
	if v.after {
		return `SELECT r.id, r.workspace_id, r.tenant_id, r.revision > 1, o.operation_run_id IS NOT NULL,
			CASE WHEN o.operation_run_id IS NULL THEN r.type ELSE o.type END, r.type,
			CASE WHEN o.operation_run_id IS NULL THEN r.context ELSE o.context END::text, r.context::text,
			CASE WHEN o.operation_run_id IS NULL THEN r.failure_summary::text ELSE o.failure_summary::text END, r.failure_summary::text,
			coalesce(o.run_identity_hash, r.run_identity_hash), r.run_identity_hash,
			'', '', r.started_at AT TIME ZONE 'UTC', r.started_at, r.completed_at AT TIME ZONE 'UTC', r.completed_at,
			r.created_at AT TIME ZONE 'UTC', r.created_at, r.updated_at AT TIME ZONE 'UTC', r.updated_at
			FROM public.operation_runs r LEFT JOIN legacy_archive.operation_run_originals o ON o.operation_run_id = r.id`
	}
	shadowOf := func(column, kind string) string { return v.column("operation_runs", shadow(column), kind) }
	query := fmt.Sprintf(`SELECT r.id, r.workspace_id, r.tenant_id, false AS changed, false, r.type, %s,
		r.context::text, %s::text, r.failure_summary::text, %s::text, r.run_identity_hash, %s,
		r.status || ' ' || r.outcome, %s || ' ' || %s`,
		shadowOf("type", "text"), shadowOf("context", "jsonb"), shadowOf("failure_summary", "jsonb"),
		shadowOf("run_identity_hash", "text"), shadowOf("status", "text"), shadowOf("outcome", "text"))
	for _, c := range timeColumns {
		query += fmt.Sprintf(", r.%s, %s", c, shadowOf(c, "timestamptz"))
	}
	return query + " FROM public.operation_runs r"
}

// compareRuns compares every run.
func (v *verifier) compareRuns(ctx context.Context) error {
	var r comparedRun
	targets := []any{
		&r.id, &r.workspace, &r.tenant, &r.changed, &r.archivedOriginals, &r.oldType, &r.newType, &r.oldContext, &r.newContext,
		&r.oldFailure, &r.newFailure, &r.oldHash, &r.newHash, &r.oldState, &r.state,
	}
	for i := range r.times {
		targets = append(targets, &r.oldTimes[i], &r.times[i])
	}
	v.progress.begin("verify operation_runs", 0, int64(len(v.runs)))
	defer v.progress.end()
	return v.each(ctx, v.runQuery(), targets, func() error {
		v.progress.advance(1)
		if !v.since("operation_runs", r.id, r.changed) {
			v.compareRun(&r)
		}
		return nil
	})
}

func (v *verifier) compareRun(r *comparedRun) {
	const table = "operation_runs"
	standard, reason := *r.oldType, "not_in_map"
	if mapped, ok := v.types[strings.ToLower(strings.Trim(*r.oldType, " "))]; ok {
		standard, reason = mapped, "standardised"
	} else if !v.standard[standard] {
		v.report.UnknownType[standard]++
	}
	v.expectText(r.id, "type", reason, &standard, r.newType)
	v.compareContext(r, standard)
	if !sameFailure(r.oldFailure, r.newFailure) {
		v.differ(table, r.id, "failure_summary", "jsonb of the original", text(r.oldFailure), text(r.newFailure))
	}
	if !v.after || text(r.newHash) != derivedHash(text(r.oldHash), r.id) {
		v.expectText(r.id, "run_identity_hash", "unchanged", r.oldHash, r.newHash)
	}
	v.expectText(r.id, "status, outcome", "unchanged", r.oldState, r.state)
	for i, got := range r.times {
		want := r.oldTimes[i]
		if want.Valid != got.Valid || want.Valid && (want.InfinityModifier != got.InfinityModifier ||
			want.InfinityModifier == pgtype.Finite && !want.Time.Equal(got.Time)) {
			v.differ(table, r.id, timeColumns[i], "the same instant in UTC", fmt.Sprint(want.Time), fmt.Sprint(got.Time))
		}
	}
}

// text is a nullable text for messages and comparisons.
func text(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

func (v *verifier) expectText(id int64, column, reason string, want, got *string) {
	if (want == nil) != (got == nil) || want != nil && *want != *got {
		v.differ("operation_runs", id, column, reason, text(want), text(got))
	}
}

// derivedHash is the hash of an older one of several active runs of one identity.
func derivedHash(original string, id int64) string {
	sum := sha256.Sum256([]byte(original + ":" + strconv.FormatInt(id, 10)))
	return hex.EncodeToString(sum[:])
}

// compareContext compares a run's context with what it must be.
func (v *verifier) compareContext(r *comparedRun, standard string) {
	schedule, reason := v.scheduleFor(r, standard)
	if reason != "schedule_added" {
		v.expectText(r.id, "context", reason, r.oldContext, r.newContext)
		return
	}
	want := map[string]json.RawMessage{}
	if r.oldContext != nil && strings.HasPrefix(*r.oldContext, "{") {
		if err := json.Unmarshal([]byte(*r.oldContext), &want); err != nil {
			v.differ("operation_runs", r.id, "context", "readable JSON", *r.oldContext, err.Error())
			return
		}
	}
	want["backup_schedule_id"] = json.RawMessage(strconv.FormatInt(schedule, 10))
	var got map[string]json.RawMessage
	if r.newContext == nil || json.Unmarshal([]byte(*r.newContext), &got) != nil || !reflect.DeepEqual(want, got) {
		v.differ("operation_runs", r.id, "context", reason, fmt.Sprintf("the original with backup_schedule_id %d", schedule), text(r.newContext))
	}
}

// scheduleFor is the schedule that a run's context must gain, and the reason if it gains none.
func (v *verifier) scheduleFor(r *comparedRun, standard string) (schedule int64, reason string) {
	schedule, bridged := v.named[r.id]
	if !bridged {
		return 0, "not_bridged"
	}
	of, exists := v.schedules[schedule]
	switch {
	case schedule == 0:
		return 0, "several_schedules"
	case !exists || of != r.workspace:
		return 0, "schedule_other_workspace"
	case standard != "backup_schedule_run" && standard != "backup_schedule_retention" && standard != "backup_schedule_purge":
		return 0, "type_not_of_a_schedule"
	case r.oldContext == nil, *r.oldContext == "null", *r.oldContext == "[]":
		return schedule, "schedule_added"
	case !strings.HasPrefix(*r.oldContext, "{"):
		return 0, "context_not_an_object"
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal([]byte(*r.oldContext), &keys); err != nil {
		return 0, "context_not_an_object"
	}
	if present, ok := keys["backup_schedule_id"]; ok && string(present) != "null" {
		return 0, "context_names_a_schedule"
	}
	return schedule, "schedule_added"
}

// sameFailure tells whether a jsonb is the json it came from, but for what jsonb cannot hold.
func sameFailure(original, got *string) bool {
	if original == nil || got == nil {
		return original == got
	}
	if *original == *got {
		return true
	}
	want, err := decodeLoosely(*original)
	if err != nil {
		return false
	}
	have, err := decodeLoosely(*got)
	if err != nil {
		return false
	}
	if whole, ok := have.(string); ok && whole == *original {
		return true // jsonb refused it even so; the whole text is kept
	}
	return reflect.DeepEqual(want, have)
}

// decodeLoosely decodes JSON such that what jsonb must change is equal: encoding/json itself makes
// U+FFFD of half a surrogate pair, and U+0000 is made one here.
func decodeLoosely(s string) (any, error) {
	d := json.NewDecoder(bytes.NewReader([]byte(s)))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return nil, err
	}
	return loosen(value), nil
}

func loosen(value any) any {
	switch value := value.(type) {
	case string:
		return strings.ReplaceAll(value, "\x00", "\uFFFD")
	case json.Number:
		return loosenNumber(value)
	case []any:
		for i := range value {
			value[i] = loosen(value[i])
		}
		return value
	case map[string]any:
		same := make(map[string]any, len(value))
		for key, v := range value {
			same[strings.ReplaceAll(key, "\x00", "\uFFFD")] = loosen(v)
		}
		return same
	}
	return value
}

// loosenNumber writes a number in one way, however it was written. One with an exponent beyond
// all measure is left as it is.
func loosenNumber(n json.Number) any {
	const beyond = 6
	if _, exponent, ok := strings.Cut(strings.ToLower(n.String()), "e"); ok && len(exponent) > beyond {
		return n
	}
	rational, ok := new(big.Rat).SetString(n.String())
	if !ok {
		return n
	}
	return rational.RatString()
}

// compareDerived checks that a run has a derived hash only if another had a right to its identity.
func (v *verifier) compareDerived(ctx context.Context) error {
	var id int64
	var hash, original string
	return v.each(ctx, `
		SELECT r.id, r.run_identity_hash, o.run_identity_hash
		FROM legacy_archive.operation_run_originals o JOIN public.operation_runs r ON r.id = o.operation_run_id
		WHERE r.run_identity_hash <> o.run_identity_hash
		  AND NOT EXISTS (SELECT FROM public.operation_runs k WHERE k.workspace_id = r.workspace_id
		                  AND k.tenant_id IS NOT DISTINCT FROM r.tenant_id AND k.run_identity_hash = o.run_identity_hash)`,
		[]any{&id, &hash, &original}, func() error {
			v.differ("operation_runs", id, "run_identity_hash", "no other active run has its identity", original, hash)
			return nil
		})
}
