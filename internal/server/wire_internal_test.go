package server

import (
	"encoding/json"
	"math"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgtype"
)

// naughty are strings that break encoders.
var naughty = []string{
	"", " ", "plain", `"`, `\`, `\"`, "\x00", "\x1f", "\x7f", "\b\f\n\r\t", "</script><!--", "&<>'", "\u2028\u2029", "é", "日本語",
	"🏳️‍🌈", "\ufeff", "\ufffd", "\xff", "a\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc0\x80", "\u202e", "{}", "null", "' OR 1=1 --",
	strings.Repeat("\x01", 300), strings.Repeat("\xff", 300), "\U0010ffff",
}

// sameString fails the test unless the encoder's JSON of s is what encoding/json says of s.
func sameString(t *testing.T, s string) {
	t.Helper()
	encoded := appendQuoted(nil, s)
	var got string
	if err := json.Unmarshal(encoded, &got); err != nil {
		t.Fatalf("%q is encoded as %q: %v", s, encoded, err)
	}
	reference, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var want string
	if err := json.Unmarshal(reference, &want); err != nil {
		t.Fatal(err)
	}
	if got != want || !utf8.Valid(encoded) {
		t.Fatalf("%q is encoded as %q, which reads %q and not %q", s, encoded, got, want)
	}
}

func TestEveryASCIICharacterIsEncodedAsEncodingJSONReadsIt(t *testing.T) {
	t.Parallel()
	for c := range rune(0x180) {
		sameString(t, string(c))
		sameString(t, "a"+string(c)+"b"+string(c))
	}
}

func FuzzAppendQuoted(f *testing.F) {
	for _, s := range naughty {
		f.Add(s)
	}
	f.Fuzz(sameString)
}

func FuzzCursor(f *testing.F) {
	var keeper cursorKeeper
	key := []byte(strings.Repeat("k", 32))
	keeper.key.Store(&key)
	const binding = "workspace 1 /workspaces/1/operation-runs?"
	sealed := keeper.seal(position{at: 1, id: 2}, binding)
	f.Add(sealed)
	f.Add(sealed[:len(sealed)-1])
	for _, s := range naughty {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, cursor string) {
		if p, ok := keeper.open(cursor, binding); ok && keeper.seal(p, binding) != cursor {
			t.Fatalf("%q opens and is not a cursor that was sealed", cursor)
		}
		if _, ok := keeper.open(cursor, binding+"x"); ok {
			t.Fatalf("%q opens another list", cursor)
		}
	})
}

func FuzzParams(f *testing.F) {
	for _, query := range []string{
		"", "limit=5", "type=a,b&status=queued", "created_from=2026-01-01T00:00:00Z", "created_from=9999-12-31T23:59:59.9999999Z",
		"created_from=0000-01-01T00:00:00%2B23:59", "%zz", "a;b", "limit=%FF", "tenant_id=9223372036854775808", "failure_code=%F0%9F",
		"order=updated_at&fields=id,context&outcome=failed,succeeded&type=a,b,c", "severity=low,high&finding_type=drift", "from=2026-01-01T00:00:00Z",
	} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		for _, read := range []func(p *params){
			func(p *params) {
				f := runFilter(p)
				order := runOrders[p.ordering("-created_at", "created_at", "updated_at")]
				bound := order.bind(f, order.first())
				bound.branches()
				p.fields(runMembers)
			},
			func(p *params) { findingFilter(p) },
			func(p *params) { inventoryFilter(p) },
			func(p *params) { p.slotsRange(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) },
		} {
			p := parseParams(&http.Request{URL: &url.URL{RawQuery: query}})
			read(p)
			limit := p.limit()
			if limit < 1 || limit > maxPageSize {
				t.Fatalf("%q gives a page of %d", query, limit)
			}
			if err := p.done(); err != nil {
				for _, fault := range answerFor(err).faults {
					if fault.Detail == "" || !utf8.ValidString(fault.Parameter) || len(fault.Parameter) > 110 {
						t.Fatalf("%q: fault %+v", query, fault)
					}
				}
			}
		}
	})
}

func FuzzPositionOfAnInstant(f *testing.F) {
	f.Add(int64(0), int64(1))
	f.Add(int64(-1), int64(1))
	f.Fuzz(func(t *testing.T, micros, id int64) {
		p := position{at: micros, id: id}
		if again := positionAt(p.timestamptz(), id); again != p {
			t.Fatalf("%+v comes back as %+v", p, again)
		}
	})
}

// sameInstant fails the test if an instant is not written as the time package writes it.
func sameInstant(t *testing.T, micros int64) {
	t.Helper()
	at := time.UnixMicro(micros).UTC()
	want := "null"
	if at.Year() >= 0 && at.Year() <= 9999 {
		want = at.Format(`"` + time.RFC3339Nano + `"`)
	}
	if got := string(appendInstant(nil, micros)); got != want {
		t.Errorf("%d is written as %s, want %s", micros, got, want)
	}
}

func TestEveryDayIsWrittenAsTheTimePackageWritesIt(t *testing.T) {
	t.Parallel()
	begin := time.Date(-1, time.December, 30, 0, 0, 0, 0, time.UTC)
	for day, n := begin, 0; day.Year() < 10001; day, n = day.AddDate(0, 0, 1), n+1 {
		sameInstant(t, day.UnixMicro()-1)
		sameInstant(t, day.UnixMicro()+int64(n*7_654_321)%86_400_000_000)
	}
}

func FuzzAppendInstant(f *testing.F) {
	for _, micros := range []int64{0, -1, 1_764_000_000_123_456, 1_764_000_000_120_000, -62_167_219_200_000_001, 253_402_300_800_000_000, math.MinInt64, math.MaxInt64} {
		f.Add(micros)
	}
	f.Fuzz(sameInstant)
}

func TestAppendTimeWritesNothingThatRFC3339CannotRead(t *testing.T) {
	t.Parallel()
	for _, p := range []position{{at: -62135596800000001}, {at: -210866803200000000}, {at: 9224318015999999999 / 2}, beforeAll, afterAll} {
		b := append(appendTime([]byte{'{'}, "at", p.timestamptz()), '}')
		var v struct{ At *string }
		if err := json.Unmarshal(b, &v); err != nil {
			t.Errorf("%s: %v", b, err)
		}
	}
	if got := string(appendTime([]byte{'{'}, "at", pgtype.Timestamptz{})); got != `{"at":null` {
		t.Errorf("no instant is %s", got)
	}
}
