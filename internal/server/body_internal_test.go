package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/runledger/runledger/internal/dbsqlc"
	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/workspace"
)

// surrogates are escapes that may be half a pair; encoding/json reads such a half as U+FFFD, so that
// it is no judge of them.
var surrogates = regexp.MustCompile(`\\u[dD][89a-fA-F]`)

// judged reads a document by encoding/json's tokens: whether it can be kept as it is.
func judged(body []byte) bool {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	type level struct {
		object bool
		name   bool // a name comes next
		names  map[string]bool
	}
	var levels []*level
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return true
		}
		if err != nil {
			return false
		}
		var top *level
		if len(levels) > 0 {
			top = levels[len(levels)-1]
		}
		isName := top != nil && top.object && top.name
		switch token := token.(type) {
		case json.Delim:
			if token == '}' || token == ']' {
				levels = levels[:len(levels)-1]
				continue
			}
			if top != nil {
				top.name = true
			}
			if levels = append(levels, &level{object: token == '{', name: true, names: map[string]bool{}}); len(levels) > maxJSONDepth {
				return false
			}
			continue
		case string:
			if strings.ContainsRune(token, 0) || isName && top.names[token] {
				return false
			}
			if isName {
				top.names[token], top.name = true, false
				continue
			}
		case json.Number:
			if !storable([]byte(token)) {
				return false
			}
		}
		if top != nil {
			top.name = true
		}
	}
}

func FuzzBody(f *testing.F) {
	for _, body := range []string{
		`{}`, ` {"type":"inventory_sync"} `, `{"type":"inventory_sync","identity":{"a":[1,"x",null]},"context":{"password":"x","a":{"b":[]}},"tenant_id":7,"initiator_name":"Ada"}`,
		`{"status":"completed","outcome":"failed","summary_counts":{"a":1},"failure_summary":[{"code":"a","message":"b"}],"at":"2026-01-31T12:00:00Z"}`,
		`{"operations":[{"start":{"type":"a","run_identity_hash":"00","idempotency_key":"k"}},{"report":{"id":1,"revision":2,"status":"running"}}]}`,
		`{"findings":[{"finding_type":"drift","fingerprint":"f","severity":"low","evidence":{}}],"items":[{"policy_type":"p","external_id":"e","meta":{"a":1},"last_seen_at":"2026-01-31T12:00:00Z"}],"operation_run_id":3}`,
		`{"name":"n","frequency":"weekly","days_of_week":[1,5],"time_of_day":"02:30","timezone":"Europe/Berlin","retention_keep_last":3,"grace_seconds":null,"is_enabled":true}`,
		`{"a":1,"a":2}`, `{"a":{"b":1},"b":{"b":1}}`, `{"a":"\u0000"}`, `{"a":"\ud83d\ude00"}`, `{"a":"\ud800"}`, `{"a":1e309}`, `{"a":-0.0e-0}`, `[[[[]]]]`, `{"a":"\\\"{"}`, "\xff", `{"a":"` + "\u2028" + `"}`,
		strings.Repeat("[", 65) + strings.Repeat("]", 65), `{"a\\":1,"a\u005c":2}`, `{"a~/b":"x"}`, `"`, `{"status":"acknowledged"}`, `{"reason":"r"}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		flaws, err := checkJSON(body)
		if err == nil && len(flaws) > 0 {
			err = errFlaws(flaws)
		}
		switch valid := json.Valid(body) && utf8.Valid(body); {
		case err == nil && (!valid || !judged(body)):
			t.Fatalf("%q is taken", body)
		case err != nil && valid && judged(body) && !surrogates.Match(body):
			t.Fatalf("%q is refused: %v", body, err)
		case err != nil:
			return
		}
		if body = bytes.TrimSpace(body); body[0] != '{' {
			return
		}
		var ws workspace.Scope
		told := func(faults []fault) {
			for _, fault := range faults {
				if fault.Detail == "" || !utf8.ValidString(fault.Pointer) {
					t.Fatalf("%q: fault %+v", body, fault)
				}
			}
		}
		for _, parse := range []func(f *fields){
			func(f *fields) { parseStart(f, ws) }, func(f *fields) { parseReport(f) }, func(f *fields) { parseFinding(f) }, func(f *fields) { parseItem(f) },
			func(f *fields) { f.schedule(&dbsqlc.BackupSchedule{}) },
			func(f *fields) {
				for _, o := range parseObservations(f, "findings", nil, nil, parseFinding) {
					told(o.faults)
				}
			},
			func(f *fields) {
				for _, o := range parseObservations(f, "items", nil, nil, parseItem) {
					told(o.faults)
				}
			},
		} {
			f := parseFields(body, "")
			parse(f)
			told(f.faultless())
		}
		if operations, err := parseBatch(body, nil, ws, nil); err == nil {
			for _, o := range operations {
				told(o.faults)
			}
		}
		_, _ = parseFindingStatus(body)
	})
}

func TestAValueCountsAsPostgreSQLPrintsItWithoutSpace(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	for value, want := range map[string]int{
		`{}`: 2, `[1e3]`: 5 + 3, `{"1e9":"e1e99","a":-1.5E+10}`: 28 + 10, `[2e-7,3E7,45]`: 13 + 14, `"\\\"1e9"`: 9, `1e308`: 5 + 308, `["\u00e9",0]`: 12,
		` { "a" : [ 1 ,	2 , { "b,:" : null } ] , "c" : true } `:           33,
		`{"a":` + strings.Repeat("[", 50) + strings.Repeat("]", 50) + `}`: 106,
	} {
		got := compact([]byte(value))
		if got != want {
			t.Errorf("%s: %d, want %d", value, got, want)
		}
		var length int
		if err := pool.QueryRow(t.Context(), "SELECT octet_length(j) - regexp_count(regexp_replace(j, '\"([^\"\\\\]|\\\\.)*\"', '', 'g'), ' ') FROM (SELECT ($1::text)::jsonb::text AS j) AS of", value).Scan(&length); err != nil {
			t.Fatal(err)
		}
		if length > got {
			t.Errorf("%s counts as %d bytes, and PostgreSQL prints %d", value, got, length)
		}
	}
}
