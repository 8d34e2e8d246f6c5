package server

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// exportFormat is a form in which a list of runs can be had whole.
type exportFormat struct {
	mediaType string
	head      func(b []byte, show members) []byte // appends what comes before the rows
	row       func(b []byte, row rawRow) []byte   // appends a row
	trailing  bool                                // whether the receipt comes in trailers and not as a line
}

// The forms of a list, the preferred one first. The first one is a page of JSON and no export.
var listFormats = []*exportFormat{
	{mediaType: "application/json"},
	{
		mediaType: "application/x-ndjson",
		head:      func(b []byte, _ members) []byte { return b },
		row:       func(b []byte, row rawRow) []byte { return append(row.append(b), '\n') },
	},
	{mediaType: "text/csv", head: appendCSVHead, row: appendCSVRow, trailing: true},
}

var errNotAcceptable = &apiError{
	status: http.StatusNotAcceptable, kind: "not-acceptable", title: "Not acceptable",
	detail: "This list is to be had as application/json, or whole as application/x-ndjson or text/csv.",
}

// errNoTrailers refuses a table whose end nobody could tell.
var errNoTrailers = &apiError{
	status: http.StatusNotAcceptable, kind: errNotAcceptable.kind, title: errNotAcceptable.title,
	detail: "A table has its receipt in trailers, and HTTP/1.0 has none: ask in HTTP/1.1, or for application/x-ndjson.",
}

// acceptedFormat is the form of a list that a request prefers (RFC 9110, section 12.5.1), nil for
// pages of JSON.
func acceptedFormat(r *http.Request) (*exportFormat, error) {
	accept := strings.Join(r.Header.Values("Accept"), ",")
	if strings.TrimSpace(accept) == "" {
		return nil, nil //nolint:nilnil // pages of JSON are no export
	}
	var best *exportFormat
	bestQuality := 0.0
	for _, format := range listFormats {
		if quality := qualityOf(format.mediaType, accept); quality > bestQuality {
			best, bestQuality = format, quality
		}
	}
	switch best {
	case nil:
		return nil, errNotAcceptable
	case listFormats[0]:
		return nil, nil //nolint:nilnil // pages of JSON are no export
	default:
		if best.trailing && !r.ProtoAtLeast(1, 1) {
			return nil, errNoTrailers
		}
		return best, nil
	}
}

// qualityOf is how much an Accept header wants a media type: what its most specific range that
// holds the type says, 0 if none does.
func qualityOf(mediaType, accept string) float64 {
	kind, _, _ := strings.Cut(mediaType, "/")
	quality, precision := 0.0, -1
	for _, part := range elements(accept) {
		wanted, parameters, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		q := 1.0
		if text, ok := parameters["q"]; ok {
			if q, err = strconv.ParseFloat(text, 64); err != nil || !(q >= 0 && q <= 1) {
				continue
			}
		}
		specific := map[string]int{"*/*": 0, kind + "/*": 1, mediaType: 2}
		if p, ok := specific[wanted]; ok && p > precision {
			quality, precision = q, p
		}
	}
	return quality
}

// elements are the elements of a header's list. A comma in a quoted string parts none (RFC 9110, sections
// 5.6.1 and 5.6.4).
func elements(list string) []string {
	var found []string
	begin, quoted, escaped := 0, false, false
	for i, c := range list {
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			found = append(found, list[begin:i])
			begin = i + 1
		}
	}
	return append(found, list[begin:])
}
