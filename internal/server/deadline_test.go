package server_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// timed is an answer that notes until when it may be written.
type timed struct {
	*httptest.ResponseRecorder
	deadline time.Time
	flushed  func()
}

func (a *timed) Flush() {
	a.ResponseRecorder.Flush()
	a.flushed()
}

func (a *timed) SetWriteDeadline(deadline time.Time) error {
	a.deadline = deadline
	return nil
}

// TestTheLastBytesOfALongAnswerHaveADeadline looks at when an export, or a stream that ends, has been handed
// over: net/http sends the last of it afterwards, which a client that has stopped reading would hold up for ever.
func TestTheLastBytesOfALongAnswerHaveADeadline(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w := newWorker(t, h)
	for accept, path := range map[string]string{"application/x-ndjson": "", "text/csv": "", "text/event-stream": "/events"} {
		ctx, leave := context.WithCancel(t.Context())
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, w.path(path), http.NoBody)
		r.Header.Set("Authorization", "Bearer "+w.bearer)
		r.Header.Set("Accept", accept)
		got := &timed{ResponseRecorder: httptest.NewRecorder(), flushed: leave}
		h.server.ServeHTTP(got, r)
		leave()
		if left := time.Until(got.deadline); got.Code != http.StatusOK || left <= 0 || left > time.Minute {
			t.Errorf("%s: status %d, deadline %v", accept, got.Code, got.deadline)
		}
	}
}
