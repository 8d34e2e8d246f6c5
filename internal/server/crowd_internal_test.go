package server

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestWhoHangsUpTakesNoPageFromTheOthers(t *testing.T) {
	t.Parallel()
	ctx, hangUp := context.WithCancel(t.Context())
	hangUp()
	gone := httptest.NewRequest(http.MethodGet, "/", http.NoBody).WithContext(ctx)
	read := reader{r: gone, read: func(r *http.Request) (*sheet, error) { return &sheet{}, r.Context().Err() }}
	var s Server
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
