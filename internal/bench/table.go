package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// table is what a section prints and writes.
type table struct {
	caption string
	head    []string
	rows    [][]string
	keys    int // how many of the first columns say what a row is about
	notes   []string
	// leftOut tells of a row of the document, by its first columns, whether the options leave it out.
	// Without it no row is.
	leftOut func(keys []string) bool
}

func (t *table) add(cells ...string) {
	t.rows = append(t.rows, cells)
	note("  %s", strings.Join(cells, " | "))
}

// markdown is the table as it stands in the document, aligned for those who read the source.
func (t *table) markdown() string {
	widths := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	line := func(cells []string) {
		for i, cell := range cells {
			fmt.Fprintf(&b, "| %-*s ", widths[i], cell)
		}
		b.WriteString("|\n")
	}
	fmt.Fprintf(&b, "%s\n\n", t.caption)
	line(t.head)
	for _, width := range widths {
		b.WriteString("|" + strings.Repeat("-", width+2))
	}
	b.WriteString("|\n")
	for _, row := range t.rows {
		line(row)
	}
	for _, n := range t.notes {
		fmt.Fprintf(&b, "\n%s\n", n)
	}
	return b.String()
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(max(b, 1)) }

// What stands behind a bar. The bars of a table end in one of them.
const (
	holding = "holds"
	failing = "**fails**"
)

// holds says whether a ratio is within its bar.
func holds(r, bar float64) string { return fmt.Sprintf("≤ %.2f %s", bar, verdict(r <= bar)) }

// reaches says whether a share is no less than its bar.
func reaches(share, bar float64) string {
	return fmt.Sprintf("≥ %.4g %s", bar, verdict(share >= bar))
}

// bound says whether what was measured is within a bar.
func bound(ok bool, bar string) string { return "≤ " + bar + " " + verdict(ok) }

func verdict(ok bool) string {
	if ok {
		return holding
	}
	return failing
}

func perSecond(rate float64) string { return strconv.FormatFloat(rate, 'f', 0, 64) }

// String is the cost of a thousand requests in seconds: all of it, and its two parts. It is the parts
// that are rounded, so that they add up for the reader as well.
func (c cost) String() string {
	server, database := c.server.Round(time.Millisecond), c.database.Round(time.Millisecond)
	return fmt.Sprintf("%.3f = %.3f + %.3f", (server + database).Seconds(), server.Seconds(), database.Seconds())
}
