package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// compare says which ratios of a section are larger than in the document by more than the
// tolerance. Only ratios are compared: what one machine takes says nothing of another.
func compare(o options, section string, t *table) ([]string, error) {
	text, err := os.ReadFile(o.document)
	if err != nil {
		return nil, err
	}
	_, rest, _ := bytes.Cut(text, []byte(openingMark(section)))
	part, _, ended := bytes.Cut(rest, []byte(closingMark))
	if !ended {
		return nil, fmt.Errorf("%s has no part for %s", o.document, section)
	}
	committed := ratiosOf(parseTable(string(part)), t.keys)
	var worse []string
	for key, got := range ratiosOf(append([][]string{t.head}, t.rows...), t.keys) {
		before, known := committed[key]
		if known && got > before*(1+o.tolerance) {
			worse = append(worse, fmt.Sprintf("%s: %s: %.2f, was %.2f", section, key, got, before))
		}
	}
	if len(committed) == 0 {
		return nil, fmt.Errorf("%s has no ratios for %s yet", o.document, section)
	}
	return worse, nil
}

// parseTable reads the cells of the table in a piece of Markdown, its head first.
func parseTable(text string) [][]string {
	var rows [][]string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|-") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows
}

// ratiosOf are the numbers in the columns whose head begins with "ratio", by what their row is
// about.
func ratiosOf(rows [][]string, keys int) map[string]float64 {
	ratios := map[string]float64{}
	if len(rows) == 0 {
		return ratios
	}
	for _, row := range rows[1:] {
		for i, head := range rows[0] {
			if i < keys || i >= len(row) || !strings.HasPrefix(head, "ratio") {
				continue
			}
			if r, err := strconv.ParseFloat(row[i], 64); err == nil {
				ratios[strings.Join(row[:keys], ", ")+" ("+head+")"] = r
			}
		}
	}
	return ratios
}
