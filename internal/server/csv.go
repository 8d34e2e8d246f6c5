package server

import (
	"bytes"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
)

// appendCSVHead appends the names of the columns as a line (RFC 4180).
func appendCSVHead(b []byte, show members) []byte {
	for i, name := range show.names() {
		b = append(separated(b, i), name...)
	}
	return append(b, '\r', '\n')
}

// appendCSVRow appends a row as a line. A null is an empty field, free data is its JSON.
func appendCSVRow(b []byte, row rawRow) []byte {
	for i := range row.columns {
		c := &row.columns[i]
		b = separated(b, i)
		start := len(b)
		v := row.values[c.index]
		switch {
		case v != nil && row.fields[c.index].DataTypeOID == pgtype.TextOID:
			b = append(b, v...)
		case v != nil && row.fields[c.index].DataTypeOID == pgtype.TimestamptzOID:
			b = c.append(b, v)
			quoted := b[start:]
			b = append(b[:start], bytes.TrimSuffix(bytes.Trim(quoted, `"`), []byte("null"))...)
		case v != nil:
			b = c.append(b, v)
		case c.implied != "" && row.values[c.since] != nil:
			b = append(b, c.implied...)
		}
		b = closeCSVField(b, start)
	}
	return append(b, '\r', '\n')
}

// closeCSVField makes a field of what stands in b from start on.
func closeCSVField(b []byte, start int) []byte {
	field := b[start:]
	formula := isFormula(field)
	if !formula && !bytes.ContainsAny(field, "\",\r\n") {
		return b
	}
	text := bytes.Clone(field)
	b = append(b[:start], '"')
	if formula {
		b = append(b, '\'')
	}
	for _, c := range text {
		if c == '"' {
			b = append(b, '"')
		}
		b = append(b, c)
	}
	return append(b, '"')
}

// isFormula tells whether a spreadsheet would calculate a field instead of showing it: behind any
// apostrophes it begins with a sign of a formula, in ASCII or full width. Such a field gets one
// apostrophe more, which a reader can take away again.
func isFormula(field []byte) bool {
	field = bytes.TrimLeft(field, "'")
	if len(field) == 0 {
		return false
	}
	if strings.IndexByte("=+-@\t\r\n", field[0]) >= 0 {
		return true
	}
	for _, sign := range []string{"＝", "＋", "－", "＠"} {
		if bytes.HasPrefix(field, []byte(sign)) {
			return true
		}
	}
	return false
}
