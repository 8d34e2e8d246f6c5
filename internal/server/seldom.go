package server

import (
	"context"
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

// warn says it, if it was not said just before.
func (s *seldom) warn(ctx context.Context, log *slog.Logger, message string, attrs ...slog.Attr) {
	s.mu.Lock()
	s.times++
	if time.Since(s.last) < time.Minute {
		s.mu.Unlock()
		return
	}
	times := s.times
	s.last, s.times = time.Now(), 0
	s.mu.Unlock()
	log.LogAttrs(ctx, slog.LevelWarn, message, append(attrs, slog.Int("times", times))...)
}
