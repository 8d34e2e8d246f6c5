package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// request is one of the mix: who sends it, since when it is due, and where it is noted.
type request struct {
	in    *soakWorld
	by    *caller
	due   time.Time
	tally *tally
}

// send sends a request of the mix.
func (r request) send(ctx context.Context) {
	defer r.in.answered.Add(1)
	switch dice := rand.IntN(100); {
	case dice < listShare:
		r.list(ctx)
	case dice < listShare+writeShare:
		r.write(ctx)
	default:
		r.heartbeat(ctx)
	}
}

// list is a page as a frontend or an integration reads it.
func (r request) list(ctx context.Context) {
	w := r.in
	paths := []string{
		w.place.runs(), w.place.runs() + "?status=running", w.place.runs() + "?outcome=failed&limit=20",
		w.place.runs() + "?type=inventory_sync&order=created_at", w.place.history(), w.place.history() + "?limit=200",
	}
	path := paths[rand.IntN(len(paths))]
	if cursor := w.cursor(); cursor != "" && rand.IntN(4) == 0 {
		path = w.place.runs() + "?cursor=" + cursor
	}
	text := r.ask(ctx, http.MethodGet, path, "")
	if path != w.place.runs() {
		return
	}
	if _, after, ok := strings.Cut(text, `"next_cursor":"`); ok {
		cursor, _, _ := strings.Cut(after, `"`)
		w.mu.Lock()
		w.cursors = append(w.cursors[max(0, len(w.cursors)-20):], cursor)
		w.mu.Unlock()
	}
}

func (w *soakWorld) cursor() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.cursors) == 0 {
		return ""
	}
	return w.cursors[rand.IntN(len(w.cursors))]
}

// write starts a run or ends one.
func (r request) write(ctx context.Context) {
	w := r.in
	if id, ok := w.take(rand.IntN(2 * openRuns)); ok {
		text := r.ask(ctx, http.MethodPatch, w.place.runs()+"/"+strconv.FormatInt(id, 10),
			`{"status":"completed","outcome":"succeeded","summary_counts":{"items":12},"context":{"by":"soak"}}`)
		if text == "" {
			w.put(id)
		}
		return
	}
	text := r.ask(ctx, http.MethodPost, w.place.runs(), `{"type":"inventory_sync","context":{"trigger":"manual"}}`)
	if rest, ok := strings.CutPrefix(text, `{"id":`); ok {
		digits, _, _ := strings.Cut(rest, ",")
		if id, err := strconv.ParseInt(digits, 10, 64); err == nil {
			w.put(id)
		}
	}
}

func (r request) heartbeat(ctx context.Context) {
	w := r.in
	id, ok := w.take(0)
	if !ok {
		r.list(ctx)
		return
	}
	r.ask(ctx, http.MethodPost, w.place.runs()+"/"+strconv.FormatInt(id, 10)+"/heartbeat", "")
	w.put(id)
}

// take takes an open run, if there are more than so many.
func (w *soakWorld) take(more int) (int64, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.open) <= more {
		return 0, false
	}
	i := rand.IntN(len(w.open))
	id := w.open[i]
	w.open = slices.Delete(w.open, i, i+1)
	return id, true
}

func (w *soakWorld) put(id int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = append(w.open, id)
}

// ask sends a request, notes what came of it, and returns the body of a good answer.
func (r request) ask(ctx context.Context, method, path, body string) string {
	got, err := r.by.ask(ctx, method, path, body, method == http.MethodPost || method == http.MethodPatch || path == r.in.place.runs())
	took := time.Since(r.due)
	switch {
	case err != nil && ctx.Err() != nil: // the end of everything
	case err != nil:
		r.tally.note(other, took, "no answer: "+err.Error())
	case got.status < http.StatusMultipleChoices:
		r.tally.note(good, took, "")
		return string(got.body)
	case (got.status == http.StatusTooManyRequests || got.status == http.StatusServiceUnavailable) && got.retryAfter:
		r.tally.note(refused, took, "")
	default:
		r.tally.note(other, took, fmt.Sprintf("%d %s: %.200s", got.status, method, got.body))
	}
	return ""
}
