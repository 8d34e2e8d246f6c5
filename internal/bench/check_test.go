package main

import (
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// committed is a part of a document: a table with two keys, a ratio, a share and a bar.
const committed = `
A caption with 1.00 in it.

| page  | runs             | cost  | ratio | bar          | share of the whole | note |
|-------|------------------|-------|-------|--------------|--------------------|------|
| first | 10               | 0.400 | 1.00  |              | 2.00               | a    |
| first | 100 (the last)   | 0.500 | 1.20  | ≤ 1.25 holds | 0.80, ≥ 0.5 holds  | b    |
| first | 1000             | 0.500 | 1.40  | ≤ 1.25 **fails** |                | c    |

A note.
`

// measured is a table like it, as it is measured again.
func measured() *table {
	return &table{
		keys: 2,
		head: []string{"page", "runs", "cost", "ratio", "bar", "share of the whole", "note"},
		rows: [][]string{
			{"first", "10", "4.000", "1.00", "", "2.00", "x"},
			{"first", "100 (the last)", "5.000", "1.20", "≤ 1.25 holds", "0.80, ≥ 0.5 holds", "y"},
			{"first", "1000", "5.000", "1.40", "≤ 1.25 **fails**", "", "z"},
		},
	}
}

func TestCompareFindsWhatIsWorse(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change  func(t *table)
		part    string
		want    []string // the beginning of each fault
		leftOut []string
	}{
		"the same, at another cost": {change: func(*table) {}},
		"a ratio within the tolerance": {change: func(t *table) {
			t.rows[0][3], t.rows[0][5] = "1.25", "1.60"
		}},
		"a better ratio and a better share": {change: func(t *table) { t.rows[1][3], t.rows[1][5] = "0.10", "9.00, ≥ 0.5 holds" }},
		"a ratio that is larger":            {change: func(t *table) { t.rows[0][3] = "1.26" }, want: []string{"first, 10 (ratio): 1.26, was 1.00"}},
		"a share that is smaller": {change: func(t *table) { t.rows[1][5] = "0.63, ≥ 0.5 holds" }, want: []string{
			"first, 100 (the last) (share of the whole): 0.63, was 0.80",
		}},
		"a ratio that is no number": {change: func(t *table) { t.rows[0][3] = "NaN" }, want: []string{"first, 10 (ratio): NaN, was 1.00"}},
		"a bar that held and fails": {change: func(t *table) { t.rows[1][4] = "≤ 1.25 **fails**" }, want: []string{
			"first, 100 (the last) (bar): its bar held",
		}},
		"a bar behind a share that held and fails": {change: func(t *table) { t.rows[1][5] = "0.80, ≥ 0.9 **fails**" }, want: []string{
			"first, 100 (the last) (share of the whole): its bar held",
		}},
		"a bar that failed and holds": {change: func(t *table) { t.rows[2][4] = "≤ 1.25 holds" }},
		"a bar that is gone":          {change: func(t *table) { t.rows[1][4] = "" }, want: []string{"first, 100 (the last) (bar): its bar held"}},
		"a bar in a note that fails": {change: func(t *table) { t.notes = []string{"Memory: 9 MB (≤ 8 MB **fails**)."} }, want: []string{
			"a bar in the text held",
		}},
		"a row that was not measured": {change: func(t *table) { t.rows = t.rows[:2] }, want: []string{"first, 1000: is in the document, and was not"}},
		"a row that the options leave out": {
			change: func(t *table) {
				t.rows = t.rows[:2]
				t.leftOut = func(keys []string) bool { return keys[1] == "1000" }
			},
			leftOut: []string{"first, 1000"},
		},
		"a row that is not left out": {
			change: func(t *table) {
				t.rows = t.rows[1:]
				t.leftOut = func(keys []string) bool { return keys[1] == "1000" }
			},
			want: []string{"first, 10: is in the document, and was not measured"},
		},
		"a new row": {change: func(t *table) { t.rows = append(t.rows, slices.Concat([]string{"second"}, t.rows[0][1:])) }, want: []string{
			"second, 10: was measured, and is not in the document",
		}},
		"a ratio that was not measured":       {change: func(t *table) { t.rows[0][3] = "" }, want: []string{"first, 10 (ratio): is in the document"}},
		"a ratio that the document has not":   {change: func(t *table) { t.rows[2][5] = "1.00" }, want: []string{"first, 1000 (share of the whole): was measured"}},
		"a column of another name":            {change: func(t *table) { t.head[3] = "ratio of it" }, want: []string{`the column "ratio of it" was measured`, `the column "ratio" is in`}},
		"a column that is not to be compared": {change: func(t *table) { t.head[6] = "remark" }},
		"a document without a table":          {change: func(*table) {}, part: "Not measured yet.\n", want: []string{"the document has no table yet"}},
		"a document with a head alone":        {change: func(*table) {}, part: "| page | runs |\n|---|---|\n", want: []string{"the document has no table yet"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := measured()
			tc.change(now)
			part := committed
			if tc.part != "" {
				part = tc.part
			}
			faults, leftOut := compare(part, now, 0.25)
			if !slices.EqualFunc(faults, tc.want, strings.HasPrefix) {
				t.Errorf("faults %q, want %q", faults, tc.want)
			}
			if !slices.Equal(leftOut, tc.leftOut) {
				t.Errorf("left out %q, want %q", leftOut, tc.leftOut)
			}
		})
	}
}

// What is written must be what is compared: a table is no worse than itself.
func TestATableIsAsGoodAsItsMarkdown(t *testing.T) {
	t.Parallel()
	now := measured()
	now.caption, now.notes = "A caption.", []string{"A note."}
	if faults, leftOut := compare(now.markdown(), now, 0); len(faults)+len(leftOut) > 0 {
		t.Errorf("faults %q, left out %q", faults, leftOut)
	}
}

func TestPartOf(t *testing.T) {
	t.Parallel()
	text := []byte("before\n<!-- bench: lists -->\n\nthe part\n\n<!-- end -->\n<!-- bench: flat -->\nno end")
	if part, err := partOf(text, "lists"); err != nil || part != "\nthe part\n\n" {
		t.Errorf("part %q, %v", part, err)
	}
	for _, section := range []string{"flat", "cold"} {
		if part, err := partOf(text, section); err == nil {
			t.Errorf("a part of %s: %q", section, part)
		}
	}
}

func TestParseTable(t *testing.T) {
	t.Parallel()
	got := parseTable("text | with a line\n\n  | a | b |  |\n|---|:--|---|\n| 1 |   | `x` |\n\n*more*\n")
	want := [][]string{{"a", "b", ""}, {"1", "", "`x`"}}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := parseTable("no table\n"); got != nil {
		t.Errorf("got %q of no table", got)
	}
}

func TestRatiosOf(t *testing.T) {
	t.Parallel()
	rows := [][]string{
		{"ratio of what", "connections", "ratio", "cost", "ratio of that", "of COPY", "share", "requests/s", "bar"},
		{"runs", "8", "1.20", "0.3", "0.50, ≤ 1.25 holds", "2.12", "", "900", "≤ 1.25 holds"},
		{"runs", "32", "not yet"},
	}
	got := ratiosOf(rows, 2)
	want := map[cell]float64{{"runs, 8", "ratio"}: 1.20, {"runs, 8", "ratio of that"}: 0.50, {"runs, 8", "of COPY"}: 2.12}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := ratiosOf(nil, 1); len(got) > 0 {
		t.Errorf("got %v of nothing", got)
	}
}

func TestBars(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ got, want string }{
		{holds(1.25, 1.25), "≤ 1.25 holds"},
		{holds(1.2500001, 1.25), "≤ 1.25 **fails**"},
		{holds(math.NaN(), 5), "≤ 5.00 **fails**"},
		{reaches(0.75, 0.75), "≥ 0.75 holds"},
		{reaches(9.99, 10), "≥ 10 **fails**"},
		{reaches(math.NaN(), 1), "≥ 1 **fails**"},
		{bound(true, "30 MB"), "≤ 30 MB holds"},
		{bound(false, "40 MB"), "≤ 40 MB **fails**"},
	} {
		if tc.got != tc.want {
			t.Errorf("%q, want %q", tc.got, tc.want)
		}
	}
	rows := [][]string{{"what", "bar", "ratio", "measured"}, {"a", "≤ 1 holds", "1.3, ≤ 1.25 **fails**", "holds"}, {"b", "", "1", ""}}
	if got, want := barsOf(rows, 1), map[cell]bool{{"a", "bar"}: true, {"a", "ratio"}: false}; !maps.Equal(got, want) {
		t.Errorf("bars %v, want %v", got, want)
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		of   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1}, 2.5}, {[]float64{8, 1, 2, 3}, 2.5}} {
		before := slices.Clone(tc.of)
		if got := median(tc.of); got != tc.want || !slices.Equal(tc.of, before) {
			t.Errorf("median of %v is %v, want %v; they are %v now", before, got, tc.want, tc.of)
		}
	}
	if got := median([]time.Duration{time.Second, 3 * time.Second}); got != 2*time.Second {
		t.Errorf("median of durations: %v", got)
	}
}
