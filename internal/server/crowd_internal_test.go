package server

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
)

func TestWhoHangsUpTakesNoPageFromTheOthers(t *testing.T) {
	t.Parallel()
	ctx, hangUp := context.WithCancel(t.Context())
	hangUp()
	gone := httptest.NewRequest(http.MethodGet, "/", http.NoBody).WithContext(ctx)
	read := reader{r: gone, read: func(r *http.Request) (*sheet, error) { return &sheet{}, r.Context().Err() }}
	s := Server{db: &database{turns: newTurns(1, testPatience, func() {}, func(float64) {})}, metrics: newHTTPMetrics()}
	for readers, ended := range map[int]bool{1: true, 2: false} {
		line := newGatherer(maxReadings, reading{err: errAbandoned}, s.readGathered)
		made := line.do(context.WithoutCancel(ctx), address{}, []reader{read, read}[:readers])
		if len(made) != readers || (made[0].err != nil) != ended {
			t.Errorf("%d readers, the first of whom has hung up, get %v", readers, made)
		}
		if !ended && (made[0] != made[1] || made[0].sheet.senders.Load() != 2) {
			t.Errorf("they do not get the same: %v", made)
		}
	}
}

func TestWhatWasReadBesideThePageIsSharedWithNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := Server{db: &database{turns: newTurns(1, testPatience, func() {}, func(float64) {})}, metrics: newHTTPMetrics()}
		s.sheets = newGatherer(maxReadings, reading{err: errAbandoned}, s.readGathered)
		req := &request{poll: poll{polls: &polls{}}}
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r = r.WithContext(context.WithValue(r.Context(), requestKey{}, req))
		for _, alone := range []bool{true, false} {
			if !s.sheets.enterEmpty(req.poll.address) { // somebody reads it
				t.Fatal("the line is taken")
			}
			var got [2]*sheet
			var readers sync.WaitGroup
			for i := range got {
				readers.Go(func() {
					got[i], _ = s.share(r, &visitor{alone: alone, asked: true}, func(*http.Request) (*sheet, error) { return &sheet{}, nil })
				})
			}
			synctest.Wait() // until they wait, those that do
			s.sheets.leave(req.poll.address)
			readers.Wait()
			if (got[0] != got[1]) != alone {
				t.Errorf("alone %t: they get %p and %p", alone, got[0], got[1])
			}
		}
	})
}
