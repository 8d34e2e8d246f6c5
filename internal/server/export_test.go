package server

import (
	"context"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/feed"
)

// Routes are the routes of the server, for tests that walk them.
func (s *Server) Routes() chi.Routes { return s.router }

// SetStreamTimes sets how often streams show that they live, and how long clients may take.
func (s *Server) SetStreamTimes(pulse, patience time.Duration) {
	s.streams.pulse, s.streams.patience = pulse, patience
}

// AwaitStreamSlot waits until there is room for one more stream, and takes it.
func (s *Server) AwaitStreamSlot() { s.streams.slots <- struct{}{} }

// TakeExportSlots leaves no room for an export.
func (s *Server) TakeExportSlots() {
	for range cap(s.exports.slots) {
		s.exports.slots <- struct{}{}
	}
}

// SealChanges is a position in the changes of a workspace as clients keep it.
func (s *Server) SealChanges(at feed.Position, workspaceID int64) string {
	if err := s.cursors.load(context.Background(), s.db, s.queries); err != nil {
		panic(err)
	}
	return s.sealChanges(at, workspaceID)
}

// InvalidateTokensWhen makes every token invalid from when invalid says so.
func (s *Server) InvalidateTokensWhen(invalid func() bool) {
	verify := s.verify
	s.verify = func(ctx context.Context, token string) (auth.Subject, error) {
		if invalid() {
			return "", errTokenInvalid
		}
		return verify(ctx, token)
	}
}

// SetPollClock makes the server judge by clock how old the answers are that it remembers.
func (s *Server) SetPollClock(clock func() time.Time) { s.polls.clock = clock }

// SetMostBytes makes the server take so many bytes of large bodies at once, and of one subject so many.
func (s *Server) SetMostBytes(most, ofSubject int) {
	s.capacity.weights.most, s.capacity.weights.shares.most = int64(most), ofSubject
}

// PlannedForValues tells whether a statement with that context is planned anew for its values each time.
func PlannedForValues(ctx context.Context) bool { return ctx.Value(planningKey{}) == planForValues }

// HeldBytes is how many bytes of large bodies are held, and whether any subject holds some.
func (s *Server) HeldBytes() (bytes int64, held bool) {
	shares := s.capacity.weights.shares
	shares.mu.Lock()
	defer shares.mu.Unlock()
	return s.capacity.weights.held.Load(), len(shares.held) > 0
}

// UsedConnections is how many connections the server has used so far.
func (s *Server) UsedConnections() int64 { return s.gate.used.Load() }

// Compressed wraps a handler as the server's answers are.
func Compressed(next http.Handler) http.Handler {
	compressing := compressed(make(slots, mostCompressors))(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		compressing.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestKey{}, new(request))))
	})
}

// Observed wraps a handler as all of the server's are.
func (s *Server) Observed(next http.Handler) http.Handler { return s.observe(next) }
