package server

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBucketsFollowTheClockAndHaveNoGaps(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		unit, zone   string
		from, before string   // local times, with an offset where there are two
		want         []string // RFC 3339, local
	}{
		{"day", "Europe/Berlin", "2026-03-28T15:00:00", "2026-03-30T12:00:00", []string{
			"2026-03-28T00:00:00+01:00", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00", "2026-03-31T00:00:00+02:00",
		}},
		{"hour", "Europe/Berlin", "2026-03-29T01:59:59", "2026-03-29T03:00:01", []string{
			"2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00",
		}},
		{"hour", "Europe/Berlin", "2026-10-25T01:30:00", "2026-10-25T03:00:00", []string{
			"2026-10-25T01:00:00+02:00", "2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00",
		}},
		{"hour", "Australia/Lord_Howe", "2026-04-05T01:10:00", "2026-04-05T02:10:00", []string{
			"2026-04-05T01:00:00+11:00", "2026-04-05T02:00:00+10:30", "2026-04-05T03:00:00+10:30",
		}},
		{"hour", "Australia/Lord_Howe", "2026-04-05T01:40:00+10:30", "2026-04-05T02:10:00", []string{ // after 01:59 came 01:30
			"2026-04-05T01:00:00+11:00", "2026-04-05T02:00:00+10:30", "2026-04-05T03:00:00+10:30",
		}},
		{"hour", "Australia/Lord_Howe", "2026-10-04T02:40:00", "2026-10-04T03:10:00", []string{ // after 01:59 came 02:30
			"2026-10-04T01:00:00+10:30", "2026-10-04T03:00:00+11:00", "2026-10-04T04:00:00+11:00",
		}},
		{"hour", "Asia/Kathmandu", "2026-04-05T01:10:00", "2026-04-05T01:20:00", []string{"2026-04-05T01:00:00+05:45", "2026-04-05T02:00:00+05:45"}},
		{"day", "America/Sao_Paulo", "2018-11-03T01:00:00", "2018-11-05T00:00:00", []string{ // no midnight on the 4th
			"2018-11-03T00:00:00-03:00", "2018-11-04T01:00:00-02:00", "2018-11-05T00:00:00-02:00",
		}},
		{"day", "Africa/Cairo", "2026-04-24T05:00:00", "2026-04-24T06:00:00", []string{"2026-04-24T01:00:00+03:00", "2026-04-25T00:00:00+03:00"}},
		{"day", "Pacific/Apia", "2011-12-29T01:00:00", "2011-12-31T05:00:00", []string{ // there was no 30th
			"2011-12-29T00:00:00-10:00", "2011-12-31T00:00:00+14:00", "2012-01-01T00:00:00+14:00",
		}},
		{"day", "America/Havana", "2026-11-01T00:30:00", "2026-11-01T12:00:00", []string{ // midnight came twice
			"2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00",
		}},
		{"week", "Pacific/Apia", "2011-12-29T01:00:00", "2012-01-02T05:00:00", []string{
			"2011-12-26T00:00:00-10:00", "2012-01-02T00:00:00+14:00", "2012-01-09T00:00:00+14:00",
		}},
		{"week", "Europe/Berlin", "2026-03-29T23:59:59", "2026-03-30T00:00:00", []string{"2026-03-23T00:00:00+01:00", "2026-03-30T00:00:00+02:00"}},
		{"week", "UTC", "2026-01-01T00:00:00", "2026-01-05T00:00:00.000001", []string{"2025-12-29T00:00:00Z", "2026-01-05T00:00:00Z", "2026-01-12T00:00:00Z"}},
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		at := func(local string) time.Time {
			t.Helper()
			if parsed, err := time.Parse(time.RFC3339, local); err == nil {
				return parsed
			}
			parsed, err := time.ParseInLocation("2006-01-02T15:04:05.999999", local, zone)
			if err != nil {
				t.Fatal(err)
			}
			return parsed
		}
		got := bucketUnits[c.unit].buckets(at(c.from), at(c.before), zone)
		if len(got) != len(c.want) {
			t.Errorf("%s of %s from %s: %v, want %v", c.unit, c.zone, c.from, got, c.want)
			continue
		}
		for i := range got {
			if text := got[i].In(zone).Format(time.RFC3339); text != c.want[i] {
				t.Errorf("%s of %s: boundary %d is %s, want %s", c.unit, c.zone, i, text, c.want[i])
			}
		}
	}
}

func TestEachInstantIsInTheOneBucketThatHoldsIt(t *testing.T) {
	t.Parallel()
	zones := []string{
		"UTC", "Pacific/Apia", "Pacific/Kwajalein", "Asia/Manila", "America/Juneau", "America/Havana", "America/Sao_Paulo",
		"Australia/Lord_Howe", "Africa/Cairo", "Africa/Monrovia", "Europe/Dublin", "Asia/Kathmandu", "Antarctica/Troll",
	}
	rapid.Check(t, func(t *rapid.T) {
		zone, err := time.LoadLocation(rapid.SampledFrom(zones).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		from := time.Unix(rapid.Int64Range(-4_000_000_000, 3_000_000_000).Draw(t, "from"), 0)
		// Where the clocks are set is where it goes wrong.
		if _, until := from.In(zone).ZoneBounds(); !until.IsZero() && rapid.Bool().Draw(t, "at a change of the clocks") {
			from = until.Add(time.Duration(rapid.IntRange(-48, 48).Draw(t, "hours off")) * time.Hour)
			from = from.Add(time.Duration(rapid.IntRange(0, 59).Draw(t, "minutes off")) * time.Minute)
		}
		before := from.Add(time.Duration(rapid.IntRange(1, 40*24).Draw(t, "hours")) * time.Hour)
		unit := bucketUnits[rapid.SampledFrom([]string{"hour", "day", "week"}).Draw(t, "unit")]
		got := unit.buckets(from, before, zone)
		if last := got[len(got)-1]; got[0].After(from) || !got[1].After(from) || last.Before(before) {
			t.Fatalf("the buckets are from %s, %s, … to %s", got[0], got[1], last)
		}
		for i := range got[1:] {
			if !got[i+1].After(got[i]) {
				t.Fatalf("the bucket behind the one of %s begins at %s", got[i], got[i+1])
			}
		}
		if unit.name != "hour" {
			return
		}
		// A bucket is the same whatever the range that shows it.
		earlier := unit.buckets(from.Add(-time.Duration(rapid.IntRange(1, 24*60).Draw(t, "minutes earlier"))*time.Minute), before, zone)
		for _, at := range got {
			if !slices.ContainsFunc(earlier, at.Equal) {
				t.Fatalf("a bucket begins at %s in one range, and in one that begins earlier they begin at %s", at, earlier)
			}
		}
	})
}
