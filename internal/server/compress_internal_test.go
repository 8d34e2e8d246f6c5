package server

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

func TestWhereAllCompressorsAreTakenLargeAnswersAreSentAsTheyAre(t *testing.T) {
	t.Parallel()
	compressors := make(slots, 1)
	body := strings.Repeat(`"rows"`, worthCompressing)
	var during func()
	compressing := compressed(compressors)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		size, _ := strconv.Atoi(r.URL.Query().Get("size"))
		w.Header().Set("Content-Type", "application/json")
		limitCompressing(w.Header(), r, size)
		limitCompressing(w.Header(), r, size)
		during()
		_, _ = w.Write([]byte(body[:size]))
	}))
	get := func(size int) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "/?size="+strconv.Itoa(size), http.NoBody)
		r.Header.Set("Accept-Encoding", "GZip")
		w := httptest.NewRecorder()
		compressing.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestKey{}, new(request))))
		return w
	}
	nested := false
	during = func() {
		if nested {
			return
		}
		nested = true
		if got := get(worthCompressing); got.Header().Get("Content-Encoding") != "" || got.Body.Len() != worthCompressing || len(got.Header()["No-Gzip-Compression"]) > 0 {
			t.Errorf("the second large answer has %v and %d bytes", got.Header(), got.Body.Len())
		}
		if got := get(worthCompressing - 1); got.Header().Get("Content-Encoding") != "" {
			t.Errorf("a small one has %v", got.Header())
		}
	}
	for range 2 {
		if got := get(worthCompressing); got.Header().Get("Content-Encoding") != "gzip" {
			t.Errorf("a large answer has %v", got.Header())
		}
	}
	if len(compressors) > 0 {
		t.Error("a compressor is not given back")
	}
}
