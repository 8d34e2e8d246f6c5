package server

import (
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzhttp"

	"github.com/runledger/runledger/api"
	"github.com/runledger/runledger/internal/static"
)

var (
	openAPIYAML = sync.OnceValue(func() static.File { return static.New("application/yaml", api.YAML()) })
	openAPIJSON = sync.OnceValue(func() static.File { return static.New("application/json", api.JSON()) })
)

// openAPI answers with a form of the interface's description.
func openAPI(form func() static.File) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Cache-Control", "public, max-age=300")
		return answerFile(w, r, form())
	}
}

// answerFile writes a file that is the same for everybody, compressed for those who take it so. Who reads it may
// be anybody, as slowly as the timeouts allow: nothing is held for them but their connection, and they
// have no place among the requests that are answered.
func answerFile(w http.ResponseWriter, r *http.Request, f static.File) error {
	requestOf(r).place.leave()
	h := w.Header()
	h.Set("ETag", f.ETag)
	body := f.Body
	if acceptsGzip(r) {
		body = f.Gzip
		h.Set("Content-Encoding", "gzip")
		h.Set("ETag", strings.TrimSuffix(f.ETag, `"`)+`-gzip"`) // another representation, another tag
	}
	h.Set(gzhttp.HeaderNoCompression, "static") // it is compressed as far as it is to be; this is not sent
	if matchesTag(r.Header.Values(ifNoneMatch), h.Get("ETag")) {
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", f.ContentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body) // a client that hung up is nobody to report to
	return nil
}

// acceptsGzip tells whether the client takes gzip. Browsers name it plainly; what weighs it
// with anything but 1 is served without.
func acceptsGzip(r *http.Request) bool {
	for _, value := range r.Header.Values("Accept-Encoding") {
		for part := range strings.SplitSeq(value, ",") {
			if strings.TrimSpace(part) == "gzip" {
				return true
			}
		}
	}
	return false
}
