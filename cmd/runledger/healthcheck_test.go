package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestHealthcheckTellsReadyFromNotReady(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]int{http.StatusOK: exitOK, http.StatusServiceUnavailable: exitFailure, http.StatusNotFound: exitFailure} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Connection", "close")
			if r.URL.Path != "/readyz" {
				t.Errorf("asked for %s", r.URL.Path)
			}
			w.WriteHeader(status)
		}))
		if code, _, stderr := command(t, nil, "healthcheck", "--url", s.URL); code != want {
			t.Errorf("%d gives %d: %s", status, code, stderr)
		}
		s.Close()
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/livez" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer s.Close()
	if code, _, stderr := command(t, nil, "healthcheck", "--live", "--url", s.URL); code != exitOK {
		t.Errorf("a server that lives gives %d: %s", code, stderr)
	}
	if code, _, _ := command(t, nil, "healthcheck", "--url", "http://127.0.0.1:1"); code != exitFailure {
		t.Errorf("no server gives %d", code)
	}
}
