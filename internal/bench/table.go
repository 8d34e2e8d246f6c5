package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
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

// The generated parts of the document stand between two such lines each.
func openingMark(section string) string { return "<!-- bench: " + section + " -->\n" }

const closingMark = "<!-- end -->"

// write puts a section's table into the document.
func (b *bench) write(ctx context.Context, section string, t *table) error {
	text, err := os.ReadFile(b.document)
	if err != nil {
		return err
	}
	before, rest, found := bytes.Cut(text, []byte(openingMark(section)))
	_, after, ended := bytes.Cut(rest, []byte(closingMark))
	if !found || !ended {
		return fmt.Errorf("%s has no part for %s: it wants the lines %q and %q", b.document, section, openingMark(section), closingMark)
	}
	origin, err := b.origin(ctx)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	out.Write(before)
	out.WriteString(openingMark(section))
	out.WriteString("\n" + t.markdown() + "\n" + origin + "\n\n")
	out.WriteString(closingMark)
	out.Write(after)
	return os.WriteFile(b.document, out.Bytes(), 0o644)
}

// origin says on what, and of what, a table was measured.
func (b *bench) origin(ctx context.Context) (string, error) {
	version, err := b.postgresVersion(ctx)
	if err != nil {
		return "", err
	}
	commit, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		commit = []byte("unknown") // a copy of the sources without their history
	}
	return fmt.Sprintf("*Measured on %s at commit %s: %s, PostgreSQL %s, %s.*",
		time.Now().UTC().Format("2 January 2006, 15:04 UTC"), bytes.TrimSpace(commit), runtime.Version(), version, machine()), nil
}

// machine names the machine, and how busy it was with other things.
func machine() string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	load := ""
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		load, _, _ = strings.Cut(string(text), " ")
	}
	return fmt.Sprintf("%s/%s, %d cores of %s, load average %s at the end", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), model, load)
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(max(b, 1)) }

// holds says whether a ratio is within its bar.
func holds(r, bar float64) string {
	if r <= bar {
		return fmt.Sprintf("≤ %.2f holds", bar)
	}
	return fmt.Sprintf("≤ %.2f **fails**", bar)
}

func perSecond(rate float64) string { return strconv.FormatFloat(rate, 'f', 0, 64) }

// String is the cost of a thousand requests in seconds: all of it, and its two parts.
func (c cost) String() string {
	return fmt.Sprintf("%.3f = %.3f + %.3f", c.total().Seconds(), c.server.Seconds(), c.database.Seconds())
}
