package server

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/runledger/runledger/internal/dbsqlc"
)

// page is which part of a list a request asks for.
type page struct {
	limit   int
	after   position   // the last row of the page before
	follows bool       // there was one
	binding string     // what a cursor of this list is bound to
	values  url.Values // the parameters
	instant string     // the column of an instant that the list is ordered by, if it is not the id alone
	missing missing    // why there is no such list rather than an empty one; nil for lists that always are
	vary    []string   // on which further headers the answer depends
}

// missing asks why there is no such list rather than an empty one; no error says that it is empty.
type missing func(r *http.Request) error

// rows is how many rows to ask the database for: one more than fit tells that a page follows.
func (p page) rows() int32 { return int32(p.limit) + 1 } //nolint:gosec // at most maxPageSize

// pageOf is page for a list of a workspace's rows.
func (s *Server) pageOf(r *http.Request, workspaceID int64, p *params, first position) (page, error) {
	return s.page(r, "workspace "+strconv.FormatInt(workspaceID, 10), p, first)
}

// page reads limit and cursor and, with them, ends the reading of parameters. The list belongs to
// owner and begins behind first where there is no cursor.
func (s *Server) page(r *http.Request, owner string, p *params, first position) (page, error) {
	pg := page{limit: p.limit(), after: first, binding: owner + " " + binding(r, p.values), values: p.values}
	cursor, given := p.text("cursor")
	if err := s.cursors.load(r.Context(), s.db, s.queries); err != nil {
		return page{}, err
	}
	if given {
		after, ok := s.cursors.open(cursor, pg.binding)
		if values, another := p.otherwise(); !ok && another {
			after, ok = s.cursors.open(cursor, owner+" "+binding(r, values))
		}
		if !ok {
			p.fault("cursor", "It is not from this list: use next_cursor as it came, with the same filters and order.")
		}
		pg.after, pg.follows = after, true
	}
	return pg, p.done()
}

// binding is what makes an owner's list this list and no other: its address, filters and order.
// How many rows a page has and what it shows of each may differ from page to page.
func binding(r *http.Request, values url.Values) string {
	filters := url.Values{}
	for name, value := range values {
		if name != "cursor" && name != "limit" && name != "fields" {
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
	sheet, err := s.makeSheet(r, pg, func(l *listing) error {
		for i := range rows {
			l.add(func(b []byte) []byte { return appendRow(b, &rows[i]) }, func() position { return at(&rows[i]) })
		}
		return nil
	})
	if err != nil {
		return err
	}
	return sheet.answer(w, r, pg)
}

// answerRows writes one page of a list: what is to be shown of the rows that query reads with the
// database that it is given. That is the list's, narrowed to what the visitor may see, but its rows
// go straight to the page.
func (s *Server) answerRows(
	w http.ResponseWriter, r *http.Request, v *visitor, pg page, show selection, n narrowed,
	query func(ctx context.Context, db dbsqlc.DBTX) error,
) error {
	// Of a page that shows a part of its rows, no join is needed to find out what has changed.
	again := requestOf(r).poll.mayCompare() && (len(n.joined) == 0 || !show.part)
	if again {
		if same, err := s.answerSame(w, r, v, pg, n, query); same || err != nil {
			return err
		}
	}
	rewrite := show.rewriting(pg.instant)
	var versions []string
	if again {
		versions = n.versions()
		rewrite = selectingVersions(rewrite, versions)
	}
	sheet, err := s.share(r, v, func(r *http.Request) (*sheet, error) {
		return s.makeSheet(r, pg, func(l *listing) error {
			return v.read(r, func() (rows int, err error) {
				if err := v.narrow(r, &n, show); err != nil {
					return 0, err
				}
				err = s.reading(r, pg, func(db dbsqlc.DBTX) error {
					l.restart()
					n.DBTX = db
					return query(r.Context(), rawRows{DBTX: n, show: show.members, rewrite: rewrite, each: func(row rawRow) {
						l.add(row.append, func() position { return row.position(pg.instant) })
						if again {
							l.versions.add(row, len(versions))
						}
					}})
				})
				return l.rows, err
			})
		})
	})
	if err != nil {
		return err
	}
	v.found(sheet.rows)
	return sheet.answer(w, r, pg)
}

// listing is a page while its rows come in. It has a buffer from its first row on: a request that
// waits for its turn needs none.
type listing struct {
	page
	buffer

	rows  int      // so far
	shown int      // of them
	last  position // of the last row that is shown, if no more fit

	versions versionSum // of the rows, where the page is asked for again
}

// largestPage is how many bytes a page has when no more rows fit, however few they are: what others have
// written into rows of their own is not to take a server's memory.
const largestPage = 8 << 20

// restart makes the page one without rows.
func (l *listing) restart() {
	l.body = l.body[:0]
	l.rows, l.shown = 0, 0
	l.versions.restart()
}

// begin makes sure that the page has begun.
func (l *listing) begin() {
	if l.kept == nil {
		l.buffer = borrowBuffer()
	}
	if len(l.body) == 0 {
		l.body = append(l.body, `{"data":[`...)
	}
}

// add adds a row, unless none fits any more: then it tells that a page follows.
func (l *listing) add(appendRow func(b []byte) []byte, at func() position) {
	l.begin()
	l.rows++
	if l.full() {
		return
	}
	l.body = appendRow(separated(l.body, l.shown))
	l.shown++
	if l.full() {
		l.last = at()
	}
}

// full tells whether no more rows fit.
func (l *listing) full() bool { return l.shown == l.limit || len(l.body) >= largestPage }

// sheet is a page that is ready to be sent, to everybody for whom it was made.
type sheet struct {
	buffer

	rows    int
	sum     uint64   // of their versions, 0 where these are not known
	weights *weights // that the page is on
	weight  int      // bytes, 0 where it is none
	refused error    // why it is not to be sent but to who has it already
	tag     string
	link    string       // to the page that follows, if one does
	senders atomic.Int32 // who have yet to send it
}

// makeSheet makes the page that fill adds rows to.
func (s *Server) makeSheet(r *http.Request, pg page, fill func(l *listing) error) (*sheet, error) {
	l := &listing{page: pg}
	err := fill(l)
	if err == nil && l.rows == 0 && pg.missing != nil {
		err = pg.missing(r)
	}
	if err != nil {
		l.giveBack()
		return nil, err
	}
	l.begin()
	l.body = append(l.body, `],"next_cursor":`...)
	made := &sheet{rows: l.rows, sum: l.versions.sum()}
	if l.rows == l.shown {
		l.body = append(l.body, "null}"...)
	} else {
		next := s.cursors.seal(l.last, pg.binding)
		made.link = "<" + pg.next(r, next) + `>; rel="next"`
		l.body = append(appendQuoted(l.body, next), '}')
	}
	made.buffer, made.tag = l.buffer, entityTag("", l.body)
	if len(l.body) >= heavy {
		if made.refused = s.capacity.weights.hold(len(l.body)); made.refused == nil {
			made.weights, made.weight = s.capacity.weights, len(l.body)
		}
	}
	made.senders.Store(1)
	return made, nil
}

// answer sends the page to one of those for whom it was made.
func (p *sheet) answer(w http.ResponseWriter, r *http.Request, pg page) error {
	defer func() {
		if p.senders.Add(-1) == 0 {
			p.giveBack()
			if p.weight > 0 {
				p.weights.release(p.weight)
			}
		}
	}()
	if !matchesTag(r.Header.Values(ifNoneMatch), p.tag) {
		if p.refused != nil {
			return p.refused
		}
		if err := requestOf(r).place.holdShared(p.weight); err != nil {
			return err
		}
	}
	if p.link != "" {
		w.Header().Set("Link", p.link)
	}
	requestOf(r).poll.sum = p.sum
	return answerWeighed(w, r, http.StatusOK, p.tag, p.body, pg.vary...)
}

// next is the address of the page behind cursor, relative to the server's own (RFC 8288 section
// 3.1), so that it holds behind any proxy.
func (p page) next(r *http.Request, cursor string) string {
	p.values.Set("cursor", cursor)
	return r.URL.EscapedPath() + "?" + p.values.Encode()
}

// byID is the position of a row in a list that is ordered by its ids.
func byID(id int64) position { return positionAt(pgtype.Timestamptz{}, id) }
