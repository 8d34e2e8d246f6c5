package server

import (
	"net/http"
	"strings"

	"github.com/klauspost/compress/gzhttp"
	"github.com/klauspost/compress/gzip"
)

// byTokenAndEncoding are the headers by which an answer differs that is made for one token.
var byTokenAndEncoding = []string{"Accept-Encoding, Authorization"}

// varyByToken says that an answer is made for the token that it was asked for with, beside what is
// said already: that its bytes are for the encoding that was asked for.
func varyByToken(h http.Header) {
	if before := h["Vary"]; len(before) == 1 && before[0] == "Accept-Encoding" {
		h["Vary"] = byTokenAndEncoding
		return
	}
	h.Add("Vary", "Authorization")
}

// worthCompressing is the size in bytes from which an answer is compressed: below it, headers and
// packets weigh as much as what would be saved.
const worthCompressing = 1400

// mostCompressors is how many answers are compressed at once. Each has a compressor of 0.8 MB until it is
// sent, which is as long as its reader takes; beside them answers are sent as they are.
const mostCompressors = 64

// compressed compresses answers in zstd or gzip for clients that take it, at the levels that cost
// least. Tags are weak, so that they are those of the plain answers; Vary names Accept-Encoding.
func compressed(compressors slots) func(http.Handler) http.Handler {
	wrap, err := gzhttp.NewWrapper(
		gzhttp.MinSize(worthCompressing),
		gzhttp.CompressionLevel(gzip.BestSpeed),
		gzhttp.ContentTypes([]string{"application/json", "application/problem+json"}),
		gzhttp.SetContentType(false),
	)
	if err != nil {
		panic(err) // the options are these
	}
	return func(next http.Handler) http.Handler {
		compressing := wrap(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead && r.Header["Accept-Encoding"] != nil {
				w = unmeasured{w}
			}
			req := requestOf(r)
			req.compressors = compressors
			defer func() {
				if req.compressing {
					compressors.leave()
				}
			}()
			compressing.ServeHTTP(w, r)
		})
	}
}

// limitCompressing sees to it that an answer of so many bytes is compressed only if there is a compressor
// for it.
func limitCompressing(h http.Header, r *http.Request, bytes int) {
	req := requestOf(r)
	accepted := strings.ToLower(strings.Join(r.Header["Accept-Encoding"], ",")) // RFC 9110, section 8.4.1
	if bytes < worthCompressing || req.compressing || !strings.Contains(accepted, "gzip") && !strings.Contains(accepted, "zstd") {
		return
	}
	if _, req.compressing = req.compressors.enter(); !req.compressing {
		h.Set(gzhttp.HeaderNoCompression, "crowded") // it is not sent
	}
}

// unmeasured is the answer to a HEAD whose GET may be compressed. Its length is then not that of the plain
// body, and no other one may be told (RFC 9110 section 8.6).
type unmeasured struct{ http.ResponseWriter }

// WriteHeader writes the header without a length.
func (w unmeasured) WriteHeader(status int) {
	w.Header().Del("Content-Length")
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w unmeasured) Unwrap() http.ResponseWriter { return w.ResponseWriter }
