package server

import (
	"log/slog"
	"sync"
	"time"
)

// seldom is a warning for what anybody can bring about as often as they like: it is said once a minute at most,
// with how often there was reason to since it was said before.
type seldom struct {
	mu    sync.Mutex
	last  time.Time
	times int
}

// due tells whether to say it now, and with what count. It costs next to nothing where it was said just before.
func (s *seldom) due() (times slog.Attr, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times++
	if time.Since(s.last) < time.Minute {
		return slog.Attr{}, false
	}
	times = slog.Int("times", s.times)
	s.last, s.times = time.Now(), 0
	return times, true
}
