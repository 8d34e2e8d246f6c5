package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// What a soak is made of.
const (
	listShare, writeShare = 70, 25 // per cent; the rest are heartbeats
	soakConnections       = 8      // as many as the server's pool has
	openRuns              = 200    // runs that have not ended, at which an end is as likely as a start
	mostInFlight          = 4000   // requests that the generator has under way at once
)

// soakWorld is where a soak happens: a copy of the database with a million runs, and a server on it.
type soakWorld struct {
	*bench

	place  place
	server *contender

	mu      sync.Mutex
	open    []int64 // runs that have been started here and have not ended
	cursors []string
}

// newSoakWorld makes the copy, so that the kept data stays as it was seeded.
func (b *bench) newSoakWorld(ctx context.Context) (*soakWorld, error) {
	const name = "soak"
	for _, statement := range []string{"DROP DATABASE IF EXISTS " + name + " WITH (FORCE)", "CREATE DATABASE " + name + " TEMPLATE " + databaseName(b.middle)} {
		if err := b.administer(ctx, statement); err != nil {
			return nil, err
		}
	}
	w := &soakWorld{bench: b}
	databaseURL := b.pg.URL(name)
	var err error
	if w.place, err = findPlace(ctx, databaseURL); err != nil {
		return nil, err
	}
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := conn.QueryRow(ctx, `SELECT u.subject FROM workspace_memberships AS m JOIN users AS u ON u.id = m.user_id
		WHERE m.workspace_id = $1 AND m.role <> 'readonly' AND u.subject IS NOT NULL ORDER BY u.id LIMIT 1`, w.place.workspaceID).Scan(&w.place.subject); err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "UPDATE workspaces SET archived_at = NULL WHERE id = $1", w.place.workspaceID); err != nil {
		return nil, err
	}
	w.server, err = b.startServe(ctx, databaseURL, w.place.subject)
	return w, err
}

func (w *soakWorld) close() error {
	w.server.stop()
	return w.administer(context.Background(), "DROP DATABASE soak WITH (FORCE)")
}

// soak loads a server with a realistic mix for as long as the options say and then with five times
// what it can take, and fails if it does not hold.
func (b *bench) soak(ctx context.Context) (err error) {
	w, err := b.newSoakWorld(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	const finding = 10 * time.Second
	note("finding the rate that the server can sustain")
	w.closed(ctx, finding) // statements are prepared, caches warm, some runs open
	most := w.closed(ctx, finding)
	sustainable := most.rate()
	note("soaking for %s at half of %.0f requests a second", b.soakFor, sustainable)
	watching, stop := context.WithCancel(ctx)
	memories := w.watchMemory(watching)
	normal := w.offered(ctx, sustainable/2, b.soakFor)
	stop()
	slope, first, last := (<-memories).slope()
	note("asking for five times the sustainable rate for %s", b.overloadFor)
	over := w.offered(ctx, 5*sustainable, b.overloadFor)
	after := w.offered(ctx, sustainable/2, finding)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	t := &table{
		caption: fmt.Sprintf("A soak: %d %% lists, %d %% starts and reports, %d %% heartbeats in the largest workspace of %d runs.",
			listShare, writeShare, 100-listShare-writeShare, b.middle),
		head: []string{"load", "asked/s", "answered 2xx/s", "2xx p50", "2xx p99", "refused", "refused p50", "refused p99", "anything else"},
		keys: 1,
	}
	most.addTo(t, fmt.Sprintf("as much as %d clients get", soakConnections))
	normal.addTo(t, fmt.Sprintf("half of that, for %s", b.soakFor))
	over.addTo(t, fmt.Sprintf("five times that, for %s", b.overloadFor))
	after.addTo(t, "half of it again")
	t.notes = append(t.notes, fmt.Sprintf("Resident memory: %s at first, %s at last, a slope of %+.1f KiB a minute over the second half of the soak.",
		mebibytes(first), mebibytes(last), slope/1024))
	ratio := float64(over.percentile(good, 0.99)) / float64(max(normal.percentile(good, 0.99), time.Microsecond))
	t.notes = append(t.notes, fmt.Sprintf("In the overload, the p99 of what was admitted is %.1f times that of the soak.", ratio))
	fmt.Println(t.markdown())
	return errors.Join(most.wrong(), normal.wrong(), over.wrong(), after.wrong(), normal.refusal(), over.wantRefused(), bearable(ratio))
}

// bearable fails for admitted requests that take more than five times as long in an overload.
func bearable(ratio float64) error {
	const most = 5
	if ratio > most {
		return fmt.Errorf("admitted requests take %.1f times as long in an overload, more than %d times", ratio, most)
	}
	return nil
}

// kind is how a request ended.
type kind int

const (
	good    kind = iota // 2xx
	refused             // 429 or 503, as it is to be in an overload
	other               // anything else
)

// tally is what came of a load.
type tally struct {
	began, ended time.Time

	mu     sync.Mutex
	asked  int
	unsent int // because the generator had too many under way
	took   [3][]time.Duration
	others map[string]int
}

func (t *tally) note(k kind, took time.Duration, what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked++
	t.took[k] = append(t.took[k], took)
	if k == other {
		t.others[what]++
	}
}

// rate is how many good answers came in a second.
func (t *tally) rate() float64 { return float64(len(t.took[good])) / t.ended.Sub(t.began).Seconds() }

// percentile is how long the quickest share of the requests of a kind took at most.
func (t *tally) percentile(k kind, share float64) time.Duration {
	if len(t.took[k]) == 0 {
		return 0
	}
	slices.Sort(t.took[k])
	return t.took[k][int(share*float64(len(t.took[k])-1))]
}

func (t *tally) addTo(table *table, name string) {
	precise := func(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
	table.add(name, perSecond(float64(t.asked)/t.ended.Sub(t.began).Seconds()), perSecond(t.rate()),
		precise(t.percentile(good, 0.5)), precise(t.percentile(good, 0.99)), strconv.Itoa(len(t.took[refused])),
		precise(t.percentile(refused, 0.5)), precise(t.percentile(refused, 0.99)), strconv.Itoa(len(t.took[other])))
	if t.unsent > 0 {
		table.notes = append(table.notes, fmt.Sprintf("%s: %d more requests were not sent, because %d were under way.", name, t.unsent, mostInFlight))
	}
}

// wrong is an error if anything came back but 2xx, 429 and 503.
func (t *tally) wrong() error {
	if len(t.others) > 0 {
		return fmt.Errorf("answers that are neither 2xx nor 429 nor 503: %v", t.others)
	}
	return nil
}

// refusal is an error if anything was refused at a rate that the server can sustain.
func (t *tally) refusal() error {
	if n := len(t.took[refused]); n > 0 {
		return fmt.Errorf("%d requests were refused at a rate that the server can sustain", n)
	}
	return nil
}

// wantRefused is an error if nothing was refused, which is no overload.
func (t *tally) wantRefused() error {
	if len(t.took[refused]) == 0 {
		return errors.New("nothing was refused in what was to be an overload")
	}
	return nil
}

// closed asks with as many clients as the server has connections, each as soon as it has its answer.
func (w *soakWorld) closed(ctx context.Context, long time.Duration) *tally {
	t := &tally{began: time.Now(), others: map[string]int{}}
	var working sync.WaitGroup
	for range soakConnections {
		working.Go(func() {
			for time.Since(t.began) < long && ctx.Err() == nil {
				w.one(ctx, t)
			}
		})
	}
	working.Wait()
	t.ended = time.Now()
	return t
}

// offered asks at a rate, whatever comes back.
func (w *soakWorld) offered(ctx context.Context, rate float64, long time.Duration) *tally {
	t := &tally{began: time.Now(), others: map[string]int{}}
	var working sync.WaitGroup
	places := make(chan struct{}, mostInFlight)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for sent := 0; time.Since(t.began) < long && ctx.Err() == nil; <-tick.C {
		for due := int(time.Since(t.began).Seconds() * rate); sent < due; sent++ {
			select {
			case places <- struct{}{}:
				working.Go(func() {
					w.one(ctx, t)
					<-places
				})
			default:
				t.unsent++
			}
		}
	}
	t.ended = time.Now()
	working.Wait()
	return t
}

// one is a request of the mix.
func (w *soakWorld) one(ctx context.Context, t *tally) {
	switch dice := rand.IntN(100); {
	case dice < listShare:
		w.list(ctx, t)
	case dice < listShare+writeShare:
		w.write(ctx, t)
	default:
		w.heartbeat(ctx, t)
	}
}

// list is a page as a frontend or an integration reads it.
func (w *soakWorld) list(ctx context.Context, t *tally) {
	paths := []string{
		w.place.runs(), w.place.runs() + "?status=running", w.place.runs() + "?outcome=failed&limit=20",
		w.place.runs() + "?type=inventory_sync&order=created_at", w.place.history(), w.place.history() + "?limit=200",
	}
	path := paths[rand.IntN(len(paths))]
	if cursor := w.cursor(); cursor != "" && rand.IntN(4) == 0 {
		path = w.place.runs() + "?cursor=" + cursor
	}
	text := w.ask(ctx, t, http.MethodGet, path, "")
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
func (w *soakWorld) write(ctx context.Context, t *tally) {
	if id, ok := w.take(rand.IntN(2 * openRuns)); ok {
		text := w.ask(ctx, t, http.MethodPatch, w.place.runs()+"/"+strconv.FormatInt(id, 10),
			`{"status":"completed","outcome":"succeeded","summary_counts":{"items":12},"context":{"by":"soak"}}`)
		if text == "" {
			w.put(id)
		}
		return
	}
	text := w.ask(ctx, t, http.MethodPost, w.place.runs(), `{"type":"inventory_sync","context":{"trigger":"manual"}}`)
	if rest, ok := strings.CutPrefix(text, `{"id":`); ok {
		digits, _, _ := strings.Cut(rest, ",")
		if id, err := strconv.ParseInt(digits, 10, 64); err == nil {
			w.put(id)
		}
	}
}

func (w *soakWorld) heartbeat(ctx context.Context, t *tally) {
	id, ok := w.take(0)
	if !ok {
		w.list(ctx, t)
		return
	}
	w.ask(ctx, t, http.MethodPost, w.place.runs()+"/"+strconv.FormatInt(id, 10)+"/heartbeat", "")
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
func (w *soakWorld) ask(ctx context.Context, t *tally, method, path, body string) string {
	begin := time.Now()
	req, err := http.NewRequestWithContext(ctx, method, w.server.base+path, strings.NewReader(body))
	if err != nil {
		t.note(other, 0, err.Error())
		return ""
	}
	req.Header.Set("Authorization", "Bearer "+w.server.token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := w.server.client.Do(req)
	if failed, ok := errors.AsType[*url.Error](err); ok {
		err = failed.Err // without the address
	}
	if err != nil {
		if ctx.Err() == nil {
			t.note(other, time.Since(begin), "no answer: "+err.Error())
		}
		return ""
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	took := time.Since(begin)
	switch status := resp.StatusCode; {
	case err != nil:
		t.note(other, took, "half an answer: "+err.Error())
	case status < http.StatusMultipleChoices:
		t.note(good, took, "")
		return string(text)
	case (status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable) && resp.Header.Get("Retry-After") != "":
		t.note(refused, took, "")
	default:
		t.note(other, took, fmt.Sprintf("%d %s: %.200s", status, method, text))
	}
	return ""
}

// memories are the resident memory of a process, second by second.
type memories []int64

// watchMemory looks at the server's memory until ctx ends.
func (w *soakWorld) watchMemory(ctx context.Context) <-chan memories {
	all := make(chan memories, 1)
	go func() {
		var m memories
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			if rss, err := memory(w.server.command.Process.Pid, "VmRSS"); err == nil {
				m = append(m, rss)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				all <- m
				return
			}
		}
	}()
	return all
}

// slope is by how many bytes the memory grew in a minute, over the second half of the time: the
// line of least squares. first and last are what there was.
func (m memories) slope() (perMinute float64, first, last int64) {
	if len(m) == 0 {
		return 0, 0, 0
	}
	half := m[len(m)/2:]
	var sumX, sumY, sumXX, sumXY float64
	for i, y := range half {
		x := float64(i)
		sumX, sumY, sumXX, sumXY = sumX+x, sumY+float64(y), sumXX+x*x, sumXY+x*float64(y)
	}
	n := float64(len(half))
	if d := n*sumXX - sumX*sumX; d > 0 {
		perMinute = (n*sumXY - sumX*sumY) / d * 60
	}
	return perMinute, m[0], m[len(m)-1]
}
