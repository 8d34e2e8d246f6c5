package server

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/dbsqlc"
)

// An export is a list as one answer. It is read in pages like the list, each with a statement and
// a connection of its own, so that neither a slow client nor a long list holds a connection or
// meets a limit of time. The next page is read while the one before is sent.

const (
	exportPageBytes    = 1 << 20 // what a page should have
	maxExportPageBytes = 4 << 20 // where the rest of a page is left to the next
	maxExportRows      = 2000    // of a page
	// exportPatience is how long a client may take for a page.
	exportPatience = 30 * time.Second
	// exportPulse is how often it is checked whether the reader still may read.
	exportPulse = 12 * time.Second
	// maxExports is how many exports are sent at once, each of which has about two pages in memory.
	maxExports            = 32
	maxExportsOfSubject   = 8
	maxExportsOfWorkspace = 16
)

// exportLimits bounds the exports of a server.
type exportLimits struct {
	slots       slots // for each export one
	ofSubject   *shares[auth.Subject]
	ofWorkspace *shares[int64] // by its id: its members together are not to have all
	// reading is for those of them that a page is being read for: however many there are, they leave half
	// of the connections to all others. Who sends to a slow client is not among them.
	reading slots
}

func newExportLimits(connections int, m *httpMetrics) exportLimits {
	return exportLimits{
		slots: make(slots, maxExports), reading: make(slots, max(connections/2, 1)),
		ofSubject: newSubjectShares("exports", maxExportsOfSubject, m.refusal(refusedShare)),
		ofWorkspace: newShares[int64](
			quota{name: "exports", holder: "workspace", most: maxExportsOfWorkspace, what: "exports", unit: requestsAtOnce},
			m.refusal(refusedWorkspace)),
	}
}

// errNoLongerReader says that the reader of an export is no longer a member.
var errNoLongerReader = errors.New("the reader of an export may no longer read")

// runList is a list of runs from some position on.
type runList struct {
	server      *Server
	workspaceID int64
	order       runOrder
	filter      filter
	// missing is why there is no such list rather than an empty one, nil where there is one.
	missing missing
}

// narrowed is what the list's statement behind a position is narrowed to.
func (l runList) narrowed(after position) narrowed {
	return narrowed{filter: l.order.bind(l.filter, after)}
}

// query runs the list's statement on a database that hands over the rows.
func (l runList) query(ctx context.Context, db dbsqlc.DBTX, after position, rows int32) (err error) {
	p := dbsqlc.ListRunsParams{WorkspaceID: l.workspaceID, Position: after.timestamptz(), PositionID: after.id, PageSize: rows}
	switch queries := l.server.queries; {
	case l.order.descending:
		_, err = queries.ListRuns(ctx, db, p)
	case l.order.name == "created":
		_, err = queries.ListRunsOldestFirst(ctx, db, dbsqlc.ListRunsOldestFirstParams(p))
	default:
		_, err = queries.ListRunsByUpdate(ctx, db, dbsqlc.ListRunsByUpdateParams(p))
	}
	return err
}

// exportPage is a part of an export.
type exportPage struct {
	body        []byte
	rows        int
	first, last position
	more        bool
	err         error
}

// export is one answer that is a whole list.
type export struct {
	list    runList
	format  *exportFormat
	show    selection
	limit   int32 // rows of the next page
	receipt receipt

	requestID string // for the log
}

// receipt is what proves that an export came whole.
type receipt struct {
	rows        int64
	first, last position
	sum         hash.Hash
}

// exportRuns writes all runs of a list. Once the answer has begun, it is broken off if anything
// goes wrong: without its end and its receipt, nobody takes it for whole.
func (s *Server) exportRuns(
	w http.ResponseWriter, r *http.Request, list runList, show selection, format *exportFormat,
) error {
	requestOf(r).poll.read() // nobody is to wait until it is sent
	requestOf(r).exported = true
	leave, ok := s.exports.slots.enter()
	if !ok {
		s.metrics.refusal(refusedExports)()
		return errOverloaded
	}
	defer leave()
	subject := requestOf(r).subject
	if err := s.exports.ofSubject.take(subject, 1); err != nil {
		return err
	}
	defer s.exports.ofSubject.giveBack(subject, 1)
	if err := s.exports.ofWorkspace.take(list.workspaceID, 1); err != nil {
		return err
	}
	defer s.exports.ofWorkspace.giveBack(list.workspaceID, 1)
	requestOf(r).place.wait() // the exports have limits of their own
	const firstRows = 200
	e := &export{
		list: list, format: format, show: show, limit: firstRows, receipt: receipt{sum: sha256.New()}, requestID: requestOf(r).id,
	}
	first := e.page(r.Context(), list.order.first(), nil)
	if first.err != nil {
		return first.err
	}
	if first.rows == 0 {
		if err := list.missing(r); err != nil {
			return err
		}
	}
	e.begin(w, r.Method)
	if r.Method == http.MethodHead {
		return nil
	}
	connection := http.NewResponseController(w)
	// Its last bytes leave when this has returned; net/http sets another deadline for the next request.
	defer func() { _ = connection.SetWriteDeadline(time.Now().Add(exportPatience)) }()
	if err := e.send(w, r, connection, first); err != nil {
		s.log.LogAttrs(r.Context(), slog.LevelWarn, "an export broke off", slog.String("request_id", e.requestID),
			slog.Int64("rows", e.receipt.rows), slog.Any("error", err), traceID(r.Context()))
		panic(http.ErrAbortHandler)
	}
	return nil
}

// begin writes the head of the answer.
func (e *export) begin(w http.ResponseWriter, method string) {
	h := w.Header()
	h.Set("Cache-Control", "private, no-cache")
	varyByToken(h)
	h.Add("Vary", "Accept")
	if e.format.trailing {
		h.Set("Content-Type", e.format.mediaType+"; charset=utf-8; header=present")
		h.Set("Content-Disposition", `attachment; filename="operation-runs.csv"`)
		if method != http.MethodHead {
			h.Set("Trailer", "Digest, Receipt")
		}
	} else {
		h.Set("Content-Type", e.format.mediaType)
	}
	w.WriteHeader(http.StatusOK)
}

// send writes the pages, from the first on, and the receipt.
func (e *export) send(w http.ResponseWriter, r *http.Request, connection *http.ResponseController, first exportPage) error {
	ctx, stop := context.WithCancel(r.Context())
	pages, spare := make(chan exportPage), make(chan []byte, 2)
	var reader sync.WaitGroup
	defer reader.Wait()
	defer stop()
	spare <- nil
	reader.Go(func() { e.readOn(ctx, first, pages, spare) })

	if err := e.write(w, connection, e.format.head(nil, e.show.members)); err != nil {
		return err
	}
	checked := time.Now()
	for page, open := first, true; open; page, open = <-pages {
		if page.err != nil {
			return page.err
		}
		if err := e.write(w, connection, page.body); err != nil {
			return err
		}
		if e.receipt.rows == 0 {
			e.receipt.first = page.first
		}
		e.receipt.rows += int64(page.rows)
		if page.rows > 0 {
			e.receipt.last = page.last // the page behind one that is full may have none
		}
		if time.Since(checked) > exportPulse {
			if err := e.list.server.mayRead(r, e.list.workspaceID); err != nil {
				return errors.Join(errNoLongerReader, err)
			}
			checked = time.Now()
		}
		if page.more {
			spare <- page.body
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	text := e.receipt.append(nil, e.list.order.name+"_at")
	if e.format.trailing {
		// By this prefix they are trailers and nothing else, even where the head has not left yet.
		w.Header().Set(http.TrailerPrefix+"Digest", "sha-256="+base64.StdEncoding.EncodeToString(e.receipt.sum.Sum(nil)))
		w.Header().Set(http.TrailerPrefix+"Receipt", string(text))
		return nil
	}
	_, err := w.Write(append(append([]byte(`{"receipt":`), text...), '}', '\n'))
	return err
}

// write writes a part of the body, for which the client has some time.
func (e *export) write(w http.ResponseWriter, connection *http.ResponseController, body []byte) error {
	_, _ = e.receipt.sum.Write(body) // never fails
	if err := connection.SetWriteDeadline(time.Now().Add(exportPatience)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	_, err := w.Write(body)
	return err
}

// readOn reads the pages behind one into pages, until there are no more. Each takes the place of
// one that was sent. A panic is a defect, which ends the export and not the process.
func (e *export) readOn(ctx context.Context, before exportPage, pages chan<- exportPage, spare <-chan []byte) {
	defer close(pages)
	defer func() {
		if cause := recover(); cause != nil {
			err := fmt.Errorf("panic: %v\n%s", cause, debug.Stack())
			e.list.server.log.LogAttrs(ctx, slog.LevelError, "panic while an export was read",
				slog.String("request_id", e.requestID), slog.Any("error", err), traceID(ctx))
			select {
			case pages <- exportPage{err: err}:
			case <-ctx.Done():
			}
		}
	}()
	for page := before; page.more && page.err == nil; {
		var body []byte
		select {
		case body = <-spare:
		case <-ctx.Done():
			return
		}
		page = e.page(ctx, page.last, body[:0])
		select {
		case pages <- page:
		case <-ctx.Done():
			return
		}
	}
}

// page reads the page behind a position into body. How many rows the next one has follows from how
// large this one's are.
func (e *export) page(ctx context.Context, after position, body []byte) exportPage {
	p := exportPage{body: body}
	leave, err := e.list.server.exports.reading.await(ctx)
	if err != nil {
		p.err = err
		return p
	}
	defer leave()
	instant := e.list.order.name + "_at"
	came := int32(0)
	narrowed := e.list.narrowed(after)
	narrowed.DBTX = e.list.server.db
	db := rawRows{DBTX: narrowed, show: e.show.members, rewrite: e.show.rewriting(instant), each: func(row rawRow) {
		came++
		if len(p.body) >= maxExportPageBytes {
			return // rows much larger than those before: the next page begins with this one
		}
		p.body = e.format.row(p.body, row)
		p.last = row.position(instant)
		if p.rows == 0 {
			p.first = p.last
		}
		p.rows++
	}}
	p.err = e.list.query(ctx, db, after, e.limit)
	p.more = came == e.limit || int(came) > p.rows
	if p.rows > 0 {
		rows := exportPageBytes / max(len(p.body)/p.rows, 1)
		e.limit = int32(min(max(rows, 1), maxExportRows))
	}
	return p
}

// append appends the receipt as a JSON object.
func (r *receipt) append(b []byte, instant string) []byte {
	b = appendInt(append(b, '{'), "rows", r.rows)
	for _, end := range []struct {
		name string
		at   position
	}{{"first", r.first}, {"last", r.last}} {
		b = appendKey(b, end.name)
		if r.rows == 0 {
			b = append(b, "null"...)
			continue
		}
		b = appendInt(append(b, '{'), columnID, end.at.id)
		b = append(appendTime(b, instant, end.at.timestamptz()), '}')
	}
	return append(appendText(b, "sha256", hex.EncodeToString(r.sum.Sum(nil))), '}')
}
