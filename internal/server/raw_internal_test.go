package server

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/runledger/runledger/internal/dbsqlc"
)

// wireOf is a row as PostgreSQL sends it in binary: its columns and their values.
type wireOf struct {
	fields []pgconn.FieldDescription
	values [][]byte
}

// add adds a column with the type and the value.
func (w *wireOf) add(t testing.TB, name string, oid uint32, value any) {
	t.Helper()
	encoded, err := pgtype.NewMap().Encode(oid, pgx.BinaryFormatCode, value, []byte{})
	if err != nil {
		t.Fatal(err)
	}
	w.fields = append(w.fields, pgconn.FieldDescription{Name: name, DataTypeOID: oid, Format: pgx.BinaryFormatCode})
	w.values = append(w.values, encoded)
}

// wireOfRun is a run as PostgreSQL sends it.
func wireOfRun(t testing.TB, run *dbsqlc.OperationRun) *wireOf {
	t.Helper()
	w := &wireOf{}
	w.add(t, "id", pgtype.Int8OID, run.ID)
	w.add(t, "workspace_id", pgtype.Int8OID, run.WorkspaceID)
	w.add(t, "tenant_id", pgtype.Int8OID, run.TenantID)
	w.add(t, "user_id", pgtype.Int8OID, run.UserID)
	w.add(t, "initiator_name", pgtype.TextOID, run.InitiatorName)
	w.add(t, "type", pgtype.TextOID, run.Type)
	w.add(t, "status", pgtype.TextOID, run.Status)
	w.add(t, "outcome", pgtype.TextOID, run.Outcome)
	w.add(t, "run_identity_hash", pgtype.TextOID, run.RunIdentityHash)
	w.add(t, "summary_counts", pgtype.JSONBOID, run.SummaryCounts)
	w.add(t, "failure_summary", pgtype.JSONBOID, run.FailureSummary)
	w.add(t, "context", pgtype.JSONBOID, run.Context)
	w.add(t, "started_at", pgtype.TimestamptzOID, run.StartedAt)
	w.add(t, "completed_at", pgtype.TimestamptzOID, run.CompletedAt)
	w.add(t, "created_at", pgtype.TimestamptzOID, run.CreatedAt)
	w.add(t, "updated_at", pgtype.TimestamptzOID, run.UpdatedAt)
	w.add(t, "idempotency_key", pgtype.TextOID, run.IdempotencyKey)
	w.add(t, "heartbeat_at", pgtype.TimestamptzOID, run.HeartbeatAt)
	w.add(t, "progressed_at", pgtype.TimestamptzOID, run.ProgressedAt)
	w.add(t, "stalled_at", pgtype.TimestamptzOID, run.StalledAt)
	w.add(t, "stalled", pgtype.TextOID, run.Stalled)
	w.add(t, "cancel_requested_at", pgtype.TimestamptzOID, run.CancelRequestedAt)
	w.add(t, "retry_of_id", pgtype.Int8OID, run.RetryOfID)
	w.add(t, "attempt", pgtype.Int8OID, run.Attempt)
	w.add(t, "revision", pgtype.Int8OID, run.Revision)
	w.add(t, "recalled_at", pgtype.TimestamptzOID, run.RecalledAt)
	w.add(t, "recalled_by_user_id", pgtype.Int8OID, run.RecalledByUserID)
	w.add(t, "recall_reason", pgtype.TextOID, run.RecallReason)
	w.add(t, "recalled", pgtype.BoolOID, run.Recalled)
	return w
}

// instantAt is an instant in microseconds since 1970, null at 0 and infinite at the ends.
func instantAt(micros int64) pgtype.Timestamptz {
	// PostgreSQL's own range, from 4714 BC to 294276 AD; beyond what microseconds since 1970 can say,
	// no two encodings need agree.
	const first, last = -210_866_803_200_000_000, math.MaxInt64 - 1_000_000_000_000_000
	if micros == 0 {
		return pgtype.Timestamptz{}
	}
	if micros != math.MinInt64 && micros != math.MaxInt64 {
		micros = min(max(micros, first), last)
	}
	return position{at: micros}.timestamptz()
}

func unlessEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func unlessZero(n int64) *int64 {
	if n == 0 {
		return nil
	}
	return &n
}

// FuzzRunFromTheWire holds the encoder of wire bytes to the one of structs, and both to
// encoding/json.
func FuzzRunFromTheWire(f *testing.F) {
	for _, s := range naughty {
		f.Add(int64(1), int64(0), s, "", int64(1_769_900_000_000_001), int64(0), true)
	}
	for _, at := range []int64{
		math.MinInt64, math.MaxInt64, 1, -1, 999_999, 1_000_000, -62_167_219_200_000_000, -62_167_219_200_000_001,
		253_402_300_799_999_999, 253_402_300_800_000_000, 951_782_400_000_000, 4_107_542_400_000_000, 1_769_900_000_120_000,
	} {
		f.Add(int64(math.MaxInt64), int64(math.MinInt64), "no_progress", "stalled", at, at, false)
	}
	f.Fuzz(func(t *testing.T, id, tenant int64, text, stalled string, at, then int64, yes bool) {
		free, err := json.Marshal(map[string]any{"text": text, "n": tenant, "yes": yes, "null": nil})
		if err != nil {
			t.Fatal(err)
		}
		run := &dbsqlc.OperationRun{
			ID: id, WorkspaceID: tenant, TenantID: unlessZero(tenant), UserID: unlessZero(at), InitiatorName: unlessEmpty(text),
			Type: text, Status: stalled, Outcome: text + stalled, RunIdentityHash: stalled + text,
			SummaryCounts: free, Context: free, StartedAt: instantAt(at), CompletedAt: instantAt(then), CreatedAt: instantAt(-at),
			UpdatedAt: instantAt(at + 1), HeartbeatAt: instantAt(then), StalledAt: instantAt(then), Stalled: unlessEmpty(stalled),
			FailureSummary: free, ProgressedAt: instantAt(at), CancelRequestedAt: instantAt(-then), RecalledAt: instantAt(then),
			RecalledByUserID: unlessZero(then), RetryOfID: unlessZero(id), Attempt: at, Revision: then, Recalled: yes, RecallReason: unlessEmpty(stalled),
		}
		w := wireOfRun(t, run)
		columns, err := runMembers.among(w.fields)
		if err != nil {
			t.Fatal(err)
		}
		row := rawRow{fields: w.fields, columns: columns, values: w.values}
		got, want := string(row.append(nil)), string(appendRun(nil, run))
		if got != want {
			t.Fatalf("from the wire\n%s\nfrom the struct\n%s", got, want)
		}
		if at := row.position("created_at"); at != positionAt(run.CreatedAt, run.ID) {
			t.Fatalf("the position is %+v, not %+v", at, positionAt(run.CreatedAt, run.ID))
		}
		sameRun(t, got, run)
	})
}

// FuzzRowFromTheWire holds the encoder of wire bytes to encoding/json for rows that sum up the runs they name.
func FuzzRowFromTheWire(f *testing.F) {
	for _, s := range naughty {
		f.Add(int64(1), int64(2), s, s, int64(1_769_900_000_000_001), true)
		f.Add(int64(math.MaxInt64), int64(0), "", s, int64(0), false)
	}
	f.Fuzz(func(t *testing.T, id, run int64, text, status string, at int64, yes bool) {
		w := &wireOf{}
		want := map[string]any{}
		number := func(name string, n *int64) { w.add(t, name, pgtype.Int8OID, n); want[name] = n }
		words := func(name string, s *string) { w.add(t, name, pgtype.TextOID, s); want[name] = s }
		instant := func(name string, v pgtype.Timestamptz) {
			w.add(t, name, pgtype.TimestamptzOID, v)
			want[name] = instantOf(v)
		}
		summary := func(name, column, prefix string, id *int64, kind *string) {
			w.add(t, column, pgtype.Int8OID, id)
			w.add(t, prefix+"type", pgtype.TextOID, kind)
			w.add(t, prefix+"status", pgtype.TextOID, &status)
			w.add(t, prefix+"outcome", pgtype.TextOID, kind)
			w.add(t, prefix+"started_at", pgtype.TimestamptzOID, instantAt(at))
			w.add(t, prefix+"completed_at", pgtype.TimestamptzOID, instantAt(-at))
			want[column] = id
			if want[name] = nil; kind != nil {
				want[name] = map[string]any{
					"id": id, "type": kind, "status": status, "outcome": kind,
					"started_at": instantOf(instantAt(at)), "completed_at": instantOf(instantAt(-at)),
				}
			}
		}
		free, err := json.Marshal(map[string]any{"text": text, "yes": yes})
		if err != nil {
			t.Fatal(err)
		}
		number("id", &id)
		for _, name := range []string{"workspace_id", "tenant_id", "acknowledged_by_user_id"} {
			number(name, unlessZero(run))
		}
		for _, name := range []string{"finding_type", "scope_key", "fingerprint", "subject_type", "subject_external_id", "severity", "status"} {
			words(name, unlessEmpty(text))
		}
		for _, name := range []string{"acknowledged_at", "created_at", "updated_at"} {
			instant(name, instantAt(at))
		}
		w.add(t, "evidence", pgtype.JSONBOID, free)
		want["evidence"] = json.RawMessage(free)
		summary("baseline_operation_run", "baseline_operation_run_id", "baseline_", unlessZero(run), unlessEmpty(text))
		summary("current_operation_run", "current_operation_run_id", "current_", unlessZero(id), unlessEmpty(status))
		number("revision", &run)
		w.add(t, "recalled", pgtype.BoolOID, yes)
		want["recalled"] = yes
		columns, err := findingMembers.among(w.fields)
		if err != nil {
			t.Fatal(err)
		}
		wantMembers(t, string(appendColumns(nil, columns, w.values)), findingMembers.names(), want)
	})
}

// sameRun holds the JSON of a run to what encoding/json makes of its values.
func sameRun(t *testing.T, text string, run *dbsqlc.OperationRun) {
	t.Helper()
	wantMembers(t, text, runMembers.names(), map[string]any{
		"id": run.ID, "workspace_id": run.WorkspaceID, "tenant_id": run.TenantID, "user_id": run.UserID,
		"initiator_name": run.InitiatorName, "type": run.Type, "status": run.Status, "outcome": run.Outcome,
		"run_identity_hash": run.RunIdentityHash, "summary_counts": json.RawMessage(run.SummaryCounts),
		"failure_summary": json.RawMessage(run.FailureSummary), "context": json.RawMessage(run.Context),
		"started_at": instantOf(run.StartedAt), "completed_at": instantOf(run.CompletedAt), "created_at": instantOf(run.CreatedAt),
		"updated_at": instantOf(run.UpdatedAt), "heartbeat_at": instantOf(run.HeartbeatAt), "progressed_at": instantOf(run.ProgressedAt),
		"stalled": stalledText(run), "stalled_at": instantOf(run.StalledAt), "cancel_requested_at": instantOf(run.CancelRequestedAt),
		"retry_of_id": run.RetryOfID, "attempt": run.Attempt, "revision": run.Revision, "recalled": run.Recalled,
		"recalled_at": instantOf(run.RecalledAt), "recalled_by_user_id": run.RecalledByUserID, "recall_reason": run.RecallReason,
	})
}

// instantOf is an instant as encoding/json takes it: a string, or nil where RFC 3339 has none.
func instantOf(v pgtype.Timestamptz) any {
	if !v.Valid || v.InfinityModifier != pgtype.Finite || v.Time.UTC().Year() < 0 || v.Time.UTC().Year() > 9999 {
		return nil
	}
	return v.Time.UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano)
}

// wantMembers holds an object to what encoding/json makes of the values: the members that are named, in
// their order, and no others.
func wantMembers(t *testing.T, text string, names []string, values map[string]any) {
	t.Helper()
	if len(names) != len(values) {
		t.Fatalf("of %d members %d have a value", len(names), len(values))
	}
	var want strings.Builder
	for i, name := range names {
		value, known := values[name]
		encoded, err := json.Marshal(value)
		if err != nil || !known {
			t.Fatalf("%s: %v, known: %t", name, err, known)
		}
		want.WriteString(map[bool]string{true: "{", false: ","}[i == 0] + `"` + name + `":` + string(encoded))
	}
	want.WriteString("}")
	if !json.Valid([]byte(text)) {
		t.Fatalf("this is no JSON: %s", text)
	}
	if got, want := inOrder(t, text), inOrder(t, want.String()); got != want {
		t.Errorf("the row is\n%s\nand to encoding/json\n%s", got, want)
	}
}

// inOrder is a JSON object with its members one a line as they come, and their values in a form of its own
// for each value.
func inOrder(t *testing.T, text string) string {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if _, err := decoder.Token(); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			t.Fatal(err)
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s: %s\n", name, normal(t, value))
	}
	return b.String()
}

// normal is JSON with its members in order.
func normal(t *testing.T, text []byte) []byte {
	t.Helper()
	var v any
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	if err := decoder.Decode(&v); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func TestAColumnThatNoAnswerCanShowIsAnErrorAndNotGarbage(t *testing.T) {
	t.Parallel()
	for _, field := range []pgconn.FieldDescription{
		{Name: "id", DataTypeOID: pgtype.NumericOID, Format: pgx.BinaryFormatCode},
		{Name: "id", DataTypeOID: pgtype.Int8OID, Format: pgx.TextFormatCode}, // of the simple protocol
		{Name: "id", DataTypeOID: pgtype.TimestamptzOID, Format: pgx.TextFormatCode},
		{Name: "other", DataTypeOID: pgtype.Int8OID, Format: pgx.BinaryFormatCode},
	} {
		if columns, err := shown("id").among([]pgconn.FieldDescription{field}); err == nil {
			t.Errorf("%+v is shown as %v", field, columns)
		}
	}
	for _, format := range []int16{pgx.TextFormatCode, pgx.BinaryFormatCode} {
		columns, err := shown("v").among([]pgconn.FieldDescription{{Name: "v", DataTypeOID: pgtype.JSONBOID, Format: format}})
		if err != nil {
			t.Fatal(err)
		}
		value := slices.Concat([]byte{1}[:format], []byte(`{"a": 1}`))
		if got := string(appendColumns(nil, columns, [][]byte{value})); got != `{"v":{"a": 1}}` {
			t.Errorf("format %d: %s", format, got)
		}
	}
}

func BenchmarkPageFromTheWire(b *testing.B) {
	text, name := "entra_group_sync", "Grace Sørensen"
	at := instantAt(1_769_900_000_120_000)
	run := &dbsqlc.OperationRun{
		ID: 48213, WorkspaceID: 7, TenantID: unlessZero(31), InitiatorName: &name, Type: text, Status: "completed", Outcome: "succeeded",
		RunIdentityHash: strings.Repeat("9f2b6c1d", 8), SummaryCounts: []byte(`{"total": 1, "failed": 1, "processed": 1}`),
		FailureSummary: []byte(`[]`), Context: []byte(`{"worker": "` + strings.Repeat("w", 400) + `"}`),
		StartedAt: at, CompletedAt: at, CreatedAt: at, UpdatedAt: at, HeartbeatAt: at, ProgressedAt: at, Attempt: 1, Revision: 3,
	}
	const rows = 50
	buffer := make([]byte, 0, 1<<17)
	b.Run("wire", func(b *testing.B) {
		w := wireOfRun(b, run)
		b.ReportAllocs()
		for b.Loop() {
			columns, err := runMembers.among(w.fields)
			if err != nil {
				b.Fatal(err)
			}
			page := buffer
			for range rows {
				page = appendColumns(page, columns, w.values)
			}
		}
	})
	b.Run("struct", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			page := buffer
			for range rows {
				page = appendRun(page, run)
			}
		}
	})
}
