package server_test

import (
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/dbtest"
	"github.com/runledger/runledger/internal/server"
)

// What clients can bring about without end is told once a minute, with whom it concerns.
func TestTheLogTellsSeldomOfWhoAsksTooMuchAndOfTokensThatAreRefused(t *testing.T) {
	t.Parallel()
	log := &lines{}
	h := newHarnessOn(t, dbtest.Pool(t), server.Options{
		Log: slog.New(slog.NewTextHandler(log, nil)), Limits: server.Limits{PerAddress: server.Rate{PerSecond: 0.001, Burst: 12}},
	})
	w := dbtest.NewWorkspace(t, h.pool)
	path := address("/workspaces/{workspace_id}", w.ID, 0)
	strange, err := auth.NewSecretSigner([]byte("another secret of at least thirty-two bytes"))
	if err != nil {
		t.Fatal(err)
	}
	forged, err := strange.Sign(w.Owner.Subject, testIssuer, testAudience, time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	expired, err := h.signer.Sign(w.Owner.Subject, testIssuer, testAudience, time.Hour, time.Now().Add(-2*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(status int, token string, times int) {
		t.Helper()
		for range times {
			if got := h.do(t, http.MethodGet, path, token); got.status != status {
				t.Fatalf("%d %s, want %d", got.status, got.body, status)
			}
		}
	}
	ask(http.StatusUnauthorized, expired, 3)
	if n := log.count("a token is refused"); n != 0 {
		t.Errorf("an expired token is told of %d times", n)
	}
	ask(http.StatusUnauthorized, forged, 3)
	if n := log.count("a token is refused", "client=127.0.0.1", "signature is invalid", "times=1"); n != 1 {
		t.Errorf("forged tokens are told of %d times", n)
	}
	ask(http.StatusOK, h.token(t, w.Owner.Subject), 6)
	if n := log.count("msg=request", "client=127.0.0.1", "status=200"); n != 6 {
		t.Errorf("%d answered requests are told of", n)
	}
	ask(http.StatusTooManyRequests, h.token(t, w.Owner.Subject), 5)
	if n := log.count("somebody asks too much", "client=127.0.0.1", "one address"); n != 1 {
		t.Errorf("an address that asks too often is told of %d times", n)
	}
	if n := log.count("msg=request", "status=429"); n != 0 {
		t.Errorf("%d of its requests are told of", n)
	}
}
