package server

import (
	"context"
	"net/http"
	"slices"
)

// Many ask for the same page at the same time: everybody who has it open when a change is announced,
// or a crowd that comes back after an outage. A page that is being read is none for who comes
// meanwhile, since what they have heard of may be newer; but all who wait for its end can have the
// next one, which begins after each of them has come. So a crowd costs the database and the encoder
// little more than one of it. A page depends on the rows of the database and its address alone (see
// polls.go), and everybody who shares one was let in by the gate after they had come.

// reader is a request for a page, and how to read it.
type reader struct {
	r    *http.Request
	read func(r *http.Request) (*sheet, error)
}

// reading is a page that was made for one request or several, or why it was not.
type reading struct {
	sheet *sheet
	err   error
}

// maxReadings is how many statements for one page are under way at once, unless they take long.
const maxReadings = 1

// share reads the page that a visitor asks for, alone or for all who ask for it.
func (s *Server) share(r *http.Request, v *visitor, read func(r *http.Request) (*sheet, error)) (*sheet, error) {
	asked := &requestOf(r).poll
	if asked.polls == nil || v.alone { // its answer depends on more than its address
		return read(r)
	}
	if !v.asked {
		if s.sheets.enterEmpty(asked.address) {
			defer s.sheets.leave(asked.address)
			s.metrics.pages.Count(false)
			return read(r) // with the question of the gate in its statement, for this one alone
		}
		if _, err := v.admit(r); err != nil {
			return nil, err
		}
		asked.moment = v.moment
	}
	made := s.sheets.ask(r.Context(), asked.address, reader{r, read})
	return made.sheet, made.err
}

// readGathered makes one page for all readers. What its statements run under is the first one's
// request, which ends with its client only if there is nobody else.
func (s *Server) readGathered(_ context.Context, _ address, readers []reader) []reading {
	first := readers[0]
	if len(readers) > 1 {
		first.r = first.r.WithContext(context.WithoutCancel(first.r.Context()))
		s.db.turns.shared(len(readers) - 1)
	}
	s.metrics.pages.Count(false)
	s.metrics.pages.byResult[true].Add(float64(len(readers) - 1))
	var made reading
	if made.sheet, made.err = first.read(first.r); made.err == nil {
		made.sheet.senders.Store(int32(len(readers))) //nolint:gosec // as many as there are requests
	}
	return slices.Repeat([]reading{made}, len(readers))
}
