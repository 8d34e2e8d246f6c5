package server

import (
	"fmt"
	"math"
	"net/http"
	"strconv"

	"github.com/runledger/runledger/internal/dbsqlc"
)

// positionHeader carries how far the database's log had come when a write was done, and comes back
// with a list that is to show it.
const positionHeader = "Runledger-Position"

// anyPosition is what a list is asked for with by those who wait for no write of their own.
const anyPosition = "any"

// logPosition is a place in the write-ahead log of the database, PostgreSQL's pg_lsn. Its text has
// always the same length, so that of two texts the greater one is the later position.
type logPosition uint64

// unreachable is a position that no replica ever comes to.
const unreachable logPosition = math.MaxUint64

const positionDigits = 16

// String is the position as the header has it.
func (p logPosition) String() string { return fmt.Sprintf("%0*X", positionDigits, uint64(p)) }

// askedPosition is the position that a list has to show, if the request lets a replica answer at
// all: one that does not say how much it has to know is not answered by a replica.
func askedPosition(r *http.Request) (wanted logPosition, asked bool, err error) {
	values := r.Header.Values(positionHeader)
	if len(values) == 0 {
		return 0, false, nil
	}
	if len(values) == 1 && values[0] == anyPosition {
		return 0, true, nil
	}
	parsed, parseErr := strconv.ParseUint(values[0], 16, 64)
	wanted = logPosition(parsed)
	if len(values) > 1 || parseErr != nil || wanted.String() != values[0] {
		return 0, false, errInvalidParameters([]fault{wrongPosition})
	}
	return wanted, true, nil
}

var wrongPosition = fault{Header: positionHeader, Detail: "Give it once: as it came in the answer to a write, or any."}

// position notes it if the position that r asks for is none, beside whatever else is wrong.
func (p *params) position(r *http.Request) {
	if _, _, err := askedPosition(r); err != nil {
		p.faults = append(p.faults, wrongPosition)
	}
}

// positioned is the answer to a write. When it begins, the write is done, and the answer is given
// the position that shows it.
type positioned struct {
	http.ResponseWriter
	position func() logPosition
}

// positioning wraps the answer to a write where there is a replica that the position could matter
// to.
func (s *Server) positioning(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	if s.replica == nil {
		return w
	}
	return positioned{ResponseWriter: w, position: func() logPosition {
		at, err := s.queries.GetLogPosition(r.Context(), s.replica.primary)
		if err != nil {
			return unreachable // the write is done; whoever wants to see it is to ask the primary
		}
		return logPosition(at) //nolint:gosec // bits are bits
	}}
}

// WriteHeader begins the answer.
func (w positioned) WriteHeader(status int) {
	if status >= http.StatusOK && status < http.StatusMultipleChoices {
		w.Header().Set(positionHeader, w.position().String())
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w positioned) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// reading runs read, which reads a list, on the replica if the request may be answered by it and it
// is there and far enough. Else, and if anything goes wrong there, read runs on the primary, from the
// start.
//
// A page that follows another is the primary's: on a replica that is behind the database which gave
// the page before, rows would be missing that were there already.
func (s *Server) reading(r *http.Request, pg page, read func(db dbsqlc.DBTX) error) error {
	wanted, asked, err := askedPosition(r)
	if err != nil {
		return err
	}
	if s.replica != nil {
		if asked && !pg.follows && s.replica.read(r.Context(), wanted, read) {
			return nil
		}
		s.replica.metrics.primary.Inc()
	}
	return read(s.db)
}
