package server

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/runledger/runledger/internal/workspace"
)

// page is which part of a list a request asks for.
type page struct {
	limit   int
	after   position // the last row of the page before
	binding string   // what a cursor of this list is bound to
}

// rows is how many rows to ask the database for: one more than fit tells that a page follows.
func (p page) rows() int32 { return int32(p.limit) + 1 } //nolint:gosec // at most maxPageSize

// pageOf is page for a list of a workspace's rows.
func (s *Server) pageOf(r *http.Request, ws workspace.Scope, p *params, first position) (page, error) {
	return s.page(r, "workspace "+strconv.FormatInt(ws.ID(), 10), p, first)
}

// page reads limit and cursor and, with them, ends the reading of parameters. The list belongs to
// owner and begins behind first where there is no cursor.
func (s *Server) page(r *http.Request, owner string, p *params, first position) (page, error) {
	pg := page{limit: p.limit(), after: first, binding: owner + " " + binding(r, p.values)}
	cursor, given := p.text("cursor")
	if err := s.cursors.load(r.Context(), s.db, s.queries); err != nil {
		return page{}, err
	}
	if given {
		after, ok := s.cursors.open(cursor, pg.binding)
		if !ok {
			p.fault("cursor", "It is not from this list: use next_cursor as it came, with the same filters and order.")
		}
		pg.after = after
	}
	return pg, p.done()
}

// binding is what makes an owner's list this list and no other: its address, filters and order.
func binding(r *http.Request, values url.Values) string {
	filters := url.Values{}
	for name, value := range values {
		if name != "cursor" && name != "limit" {
			filters[name] = value
		}
	}
	return r.URL.Path + "?" + filters.Encode()
}

// answerPage writes one page of a list. rows holds one row more than the page where another
// page follows; appendRow encodes a row, and at tells its position.
func answerPage[Row any](
	s *Server, w http.ResponseWriter, r *http.Request, pg page, rows []Row,
	appendRow func(b []byte, row *Row) []byte, at func(row *Row) position,
) error {
	next := ""
	if len(rows) > pg.limit {
		rows = rows[:pg.limit]
		next = s.cursors.seal(at(&rows[len(rows)-1]), pg.binding)
		w.Header().Set("Link", "<"+nextPage(r, next)+`>; rel="next"`)
	}
	return answerJSON(w, r, func(b []byte) []byte {
		b = append(b, `{"data":[`...)
		for i := range rows {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendRow(b, &rows[i])
		}
		b = append(b, `],"next_cursor":`...)
		if next == "" {
			b = append(b, "null"...)
		} else {
			b = appendQuoted(b, next)
		}
		return append(b, '}')
	})
}

// nextPage is the address of the page behind cursor, relative to the server's own (RFC 8288
// section 3.1), so that it holds behind any proxy.
func nextPage(r *http.Request, cursor string) string {
	query := r.URL.Query()
	query.Set("cursor", cursor)
	return r.URL.EscapedPath() + "?" + query.Encode()
}

// byID is the position of a row in a list that is ordered by its ids.
func byID(id int64) position { return positionAt(pgtype.Timestamptz{}, id) }
