package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// check compares a section with its part of the document, and returns what is worse.
func check(o options, section string, t *table) ([]string, error) {
	text, err := os.ReadFile(o.document)
	if err != nil {
		return nil, err
	}
	part, err := partOf(text, section)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.document, err)
	}
	faults, leftOut := compare(part, t, o.tolerance)
	for _, row := range leftOut {
		note("%s: %s is not compared: the options leave it out", section, row)
	}
	for i := range faults {
		faults[i] = section + ": " + faults[i]
	}
	return faults, nil
}

// partOf is what stands between the marks of a section.
func partOf(text []byte, section string) (string, error) {
	_, rest, found := bytes.Cut(text, []byte(openingMark(section)))
	part, _, ended := bytes.Cut(rest, []byte(closingMark))
	if !found || !ended {
		return "", fmt.Errorf("there is no part for %s", section)
	}
	return string(part), nil
}

// compare says what of a table is worse than in its part of the document: a ratio that is larger by more
// than the tolerance or a share that is smaller by as much, a bar that held and fails, and a row or a
// number that is on one side alone. Only ratios are compared: what one machine takes says nothing of
// another. It also returns the rows of the document that the options leave out.
func compare(part string, t *table, tolerance float64) (faults, leftOut []string) {
	before, now := parseTable(part), append([][]string{t.head}, t.rows...)
	if len(before) < 2 { //nolint:mnd // a head and a row
		return []string{"the document has no table yet"}, nil
	}
	faults, leftOut = missingRows(before, now, t)
	faults = append(faults, worseRatios(before, now, t.keys, tolerance)...)
	held, holds := barsOf(before, t.keys), barsOf(now, t.keys)
	for _, at := range inBoth(before, now, t.keys) {
		if held[at] && !holds[at] {
			faults = append(faults, at.String()+": its bar held in the document, and does not now")
		}
	}
	if notes := strings.Join(t.notes, "\n"); strings.Contains(notes, failing) && !strings.Contains(textOf(part), failing) {
		faults = append(faults, "a bar in the text held in the document, and does not now: "+notes)
	}
	return faults, leftOut
}

// textOf is a piece of Markdown without its table.
func textOf(part string) string {
	var text strings.Builder
	for line := range strings.Lines(part) {
		if !strings.HasPrefix(line, "|") {
			text.WriteString(line)
		}
	}
	return text.String()
}

// missingRows are the rows and the compared columns that only one side has.
func missingRows(before, now [][]string, t *table) (faults, leftOut []string) {
	was, is := rowNames(before, t.keys), rowNames(now, t.keys)
	for i, row := range was {
		switch {
		case slices.Contains(is, row):
		case t.leftOut != nil && t.leftOut(before[i+1][:t.keys]):
			leftOut = append(leftOut, row)
		default:
			faults = append(faults, row+": is in the document, and was not measured")
		}
	}
	for _, row := range is {
		if !slices.Contains(was, row) {
			faults = append(faults, row+": was measured, and is not in the document")
		}
	}
	for _, column := range now[0][t.keys:] {
		if isCompared(column) && !slices.Contains(before[0], column) {
			faults = append(faults, fmt.Sprintf("the column %q was measured, and is not in the document", column))
		}
	}
	for _, column := range before[0][min(t.keys, len(before[0])):] {
		if isCompared(column) && !slices.Contains(now[0], column) {
			faults = append(faults, fmt.Sprintf("the column %q is in the document, and was not measured", column))
		}
	}
	return faults, leftOut
}

// worseRatios are the ratios and shares, of the rows and columns that both sides have, that are worse
// or that one side does not have.
func worseRatios(before, now [][]string, keys int, tolerance float64) []string {
	var faults []string
	was, is := ratiosOf(before, keys), ratiosOf(now, keys)
	for _, at := range inBoth(before, now, keys) {
		before, known := was[at]
		got, measured := is[at]
		switch {
		case !known && !measured:
		case !known:
			faults = append(faults, at.String()+": was measured, and is not in the document")
		case !measured:
			faults = append(faults, at.String()+": is in the document, and was not measured")
		case isShare(at.column) && !(got >= before/(1+tolerance)), !isShare(at.column) && !(got <= before*(1+tolerance)): // or is no number
			faults = append(faults, fmt.Sprintf("%s: %.2f, was %.2f", at, got, before))
		}
	}
	return faults
}

// cell is a place in a table: what its row is about, and the head of its column.
type cell struct{ row, column string }

func (c cell) String() string { return c.row + " (" + c.column + ")" }

// inBoth are the places that both tables have, in the order of the second.
func inBoth(before, now [][]string, keys int) []cell {
	var all []cell
	was := rowNames(before, keys)
	for _, row := range rowNames(now, keys) {
		for _, column := range now[0][keys:] {
			if slices.Contains(was, row) && slices.Contains(before[0], column) {
				all = append(all, cell{row, column})
			}
		}
	}
	return all
}

// rowNames are what the rows are about.
func rowNames(rows [][]string, keys int) []string {
	var names []string
	for _, row := range rows[1:] {
		names = append(names, strings.Join(row[:min(keys, len(row))], ", "))
	}
	return names
}

// isShare tells of a column by its head whether less is worse in it.
func isShare(column string) bool {
	return strings.HasPrefix(column, "share") || column == "of COPY"
}

// isCompared tells whether a column has ratios, shares or bars.
func isCompared(column string) bool {
	return isShare(column) || strings.HasPrefix(column, "ratio") || column == "bar"
}

// parseTable reads the cells of the table in a piece of Markdown, its head first.
func parseTable(text string) [][]string {
	var rows [][]string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|-") {
			continue
		}
		line = strings.TrimSuffix(strings.TrimPrefix(line, "|"), "|")
		cells := strings.Split(line, "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows
}

// ratiosOf are the numbers in the columns of ratios and shares. A bar may stand behind one.
func ratiosOf(rows [][]string, keys int) map[cell]float64 {
	ratios := map[cell]float64{}
	eachCompared(rows, keys, func(at cell, text string) {
		number, _, _ := strings.Cut(text, ",")
		if r, err := strconv.ParseFloat(number, 64); err == nil {
			ratios[at] = r
		}
	})
	return ratios
}

// barsOf says of each bar whether it holds.
func barsOf(rows [][]string, keys int) map[cell]bool {
	bars := map[cell]bool{}
	eachCompared(rows, keys, func(at cell, text string) {
		if strings.HasSuffix(text, holding) || strings.HasSuffix(text, failing) {
			bars[at] = strings.HasSuffix(text, holding)
		}
	})
	return bars
}

// eachCompared visits the cells of the columns that are compared.
func eachCompared(rows [][]string, keys int, visit func(at cell, text string)) {
	if len(rows) == 0 {
		return
	}
	for i, name := range rowNames(rows, keys) {
		row := rows[i+1]
		for j := keys; j < min(len(rows[0]), len(row)); j++ {
			if isCompared(rows[0][j]) {
				visit(cell{name, rows[0][j]}, row[j])
			}
		}
	}
}
