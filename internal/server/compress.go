package server

import (
	"net/http"

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

// compressed compresses answers in zstd or gzip for clients that take it, at the levels that cost
// least. Tags are weak, so that they are those of the plain answers; Vary names Accept-Encoding.
func compressed() func(http.Handler) http.Handler {
	wrap, err := gzhttp.NewWrapper(
		gzhttp.MinSize(worthCompressing),
		gzhttp.CompressionLevel(gzip.BestSpeed),
		gzhttp.ContentTypes([]string{"application/json", "application/problem+json", "application/yaml"}),
		gzhttp.SetContentType(false),
	)
	if err != nil {
		panic(err) // the options are these
	}
	return func(next http.Handler) http.Handler { return wrap(next) }
}
