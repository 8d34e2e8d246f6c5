package seed

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"time"
)

// selection is what a sync reads: kinds of policies on platforms.
type selection struct {
	name      string
	types     []policyType
	platforms []string
}

func drawSelection(d *dice) selection {
	s := selection{name: pick(d, []string{"all-policies", "compliance", "apps-only", "security", "Grundschutz", "foundations", "Überwachung", "weekly-full"})}
	from := d.IntN(len(policyTypes))
	for i := range 2 + d.IntN(4) {
		s.types = append(s.types, policyTypes[(from+i)%len(policyTypes)])
	}
	from = d.IntN(len(platforms))
	for i := range 1 + d.IntN(2) {
		s.platforms = append(s.platforms, platforms[(from+i)%len(platforms)])
	}
	return s
}

// appendString appends s as a JSON string. The seed's own texts hold nothing but printable
// characters, for which Go and JSON quote alike.
func appendString(b []byte, s string) []byte { return strconv.AppendQuote(b, s) }

func appendTime(b []byte, at time.Time) []byte {
	b = append(b, '"')
	b = at.AppendFormat(b, time.RFC3339)
	return append(b, '"')
}

func appendHex(b []byte, d *dice, bytes int) []byte {
	for ; bytes > 0; bytes -= 8 {
		var raw [8]byte
		binary.LittleEndian.PutUint64(raw[:], d.Uint64())
		b = hex.AppendEncode(b, raw[:min(bytes, 8)])
	}
	return b
}

// uuid draws a random (version 4) UUID, RFC 9562.
func uuid(d *dice) string { return string(appendUUID(nil, d)) }

func appendUUID(b []byte, d *dice) []byte {
	var digits [32]byte
	appendHex(digits[:0], d, 16)
	digits[12], digits[16] = '4', "89ab"[d.IntN(4)]
	b = append(b, digits[:8]...)
	for _, part := range [][]byte{digits[8:12], digits[12:16], digits[16:20], digits[20:]} {
		b = append(append(b, '-'), part...)
	}
	return b
}

// appendContext appends the run's context: 200 to 600 bytes as PostgreSQL prints it.
func appendContext(b []byte, d *dice, r *run) []byte {
	b = append(b, `{"trigger":`...)
	switch {
	case r.retryOf != 0:
		b = append(b, `"retry"`...)
	case r.by != nil:
		b = append(b, `"manual"`...)
	default:
		b = append(b, `"scheduled"`...)
	}
	b = append(b, `,"correlation_id":"`...)
	b = appendUUID(b, d)
	b = append(b, `","worker":"worker-`...)
	b = strconv.AppendInt(b, int64(d.skewed(24)), 10)
	b = append(b, `","app_version":"2.`...)
	b = strconv.AppendInt(b, int64(r.at.YearDay()/30), 10)
	b = append(b, `.0"`...)
	if r.lane.schedule != nil {
		b = appendScheduleContext(b, d, r)
	} else {
		b = appendSelectionContext(b, d, r)
	}
	return append(b, '}')
}

func appendScheduleContext(b []byte, d *dice, r *run) []byte {
	s := r.lane.schedule
	b = append(b, `,"backup_schedule_id":`...)
	// An older version of the application wrote the id as a string.
	asText := d.chance(0.08)
	if asText {
		b = append(b, '"')
	}
	b = strconv.AppendInt(b, s.id, 10)
	if asText {
		b = append(b, '"')
	}
	b = append(b, `,"scheduled_for":`...)
	b = appendTime(b, r.slot)
	b = append(b, `,"timezone":`...)
	b = appendString(b, s.zone.String())
	b = append(b, `,"retention_keep_last":`...)
	b = strconv.AppendInt(b, int64(s.keepLast), 10)
	switch r.typ {
	case typeBackup:
		b = append(b, `,"policy_types":["deviceConfiguration","settingsCatalogPolicy","conditionalAccessPolicy"],"backup_set_id":`...)
		b = strconv.AppendInt(b, 10_000+int64(d.IntN(900_000)), 10)
		b = append(b, `,"bytes_written":`...)
		b = strconv.AppendInt(b, 40_000+d.Int64N(90_000_000), 10)
	case typeRetention:
		b = append(b, `,"backup_sets":{"kept":`...)
		b = strconv.AppendInt(b, int64(s.keepLast), 10)
		b = append(b, `,"let_go":`...)
		b = strconv.AppendInt(b, int64(d.IntN(8)), 10)
		b = append(b, '}')
	default:
		b = append(b, `,"purge":{"soft_deleted_before":`...)
		b = appendTime(b, r.slot.Add(-30*day))
		b = append(b, `,"permanently":true}`...)
	}
	return b
}

func appendSelectionContext(b []byte, d *dice, r *run) []byte {
	s := r.lane.selection
	b = append(b, `,"selection":{"name":`...)
	b = appendString(b, s.name)
	b = append(b, `,"policy_types":[`...)
	for i, p := range s.types {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, p.name)
	}
	b = append(b, `],"platforms":[`...)
	for i, p := range s.platforms {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, p)
	}
	b = append(b, `],"include_assignments":`...)
	b = strconv.AppendBool(b, len(s.types)%2 == 0)
	b = append(b, '}')
	switch r.typ {
	case typeDrift:
		if r.newest.id != 0 {
			b = append(b, `,"baseline_operation_run_id":`...)
			b = strconv.AppendInt(b, r.baseline.id, 10)
			b = append(b, `,"current_operation_run_id":`...)
			b = strconv.AppendInt(b, r.newest.id, 10)
		}
	case typeGroupSync:
		b = append(b, `,"delta_link":"`...)
		b = appendHex(b, d, 16)
		b = append(b, '"')
	default:
		b = append(b, `,"pages":`...)
		b = strconv.AppendInt(b, 1+int64(r.total/100), 10)
		b = append(b, `,"throttled":`...)
		b = strconv.AppendInt(b, int64(d.skewed(12)), 10)
	}
	return b
}

// appendCounts appends the run's summary_counts.
func appendCounts(b []byte, d *dice, r *run) []byte {
	if r.startedAt.IsZero() {
		return append(b, '{', '}')
	}
	total := r.total
	failed, processed := 0, total
	switch r.outcome {
	case outcomeSucceeded:
	case outcomePartiallySucceeded:
		failed = 1 + d.skewed(total)
	case outcomeBlocked:
		processed = 0
	case outcomeFailed:
		processed = d.IntN(total + 1)
		failed = processed - d.IntN(processed+1)
	default: // cancelled, or still going on
		processed = d.IntN(total + 1)
	}
	updated := d.skewed(processed - failed + 1)
	for i, c := range [...]struct {
		name  string
		count int
	}{{"total", total}, {"processed", processed}, {"succeeded", processed - failed}, {"failed", failed}, {"updated", updated}} {
		b = append(b, "{,"[min(i, 1)])
		b = appendString(b, c.name)
		b = append(b, ':')
		b = strconv.AppendInt(b, int64(c.count), 10)
	}
	return append(b, '}')
}

// failureWeights are the weights of failureCodes.
var failureWeights = func() []float64 {
	weights := make([]float64, len(failureCodes))
	for i, f := range failureCodes {
		weights[i] = f.weight
	}
	return weights
}()

// appendFailures appends the run's failure_summary.
func appendFailures(b []byte, d *dice, r *run) []byte {
	b = append(b, '[')
	for i := range r.failures {
		if i > 0 {
			b = append(b, ',')
		}
		f := failureCodes[d.weighted(failureWeights)]
		if r.stalledOut {
			f = failureCode{code: "run_stalled", message: "No heartbeat for 30 minutes."}
		}
		b = append(b, `{"code":`...)
		b = appendString(b, f.code)
		b = append(b, `,"message":`...)
		b = appendString(b, f.message)
		b = append(b, '}')
	}
	return append(b, ']')
}
