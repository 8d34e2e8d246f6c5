package server

import (
	"net/http"

	"github.com/runledger/runledger/api"
)

func (s *Server) openAPIYAML(w http.ResponseWriter, r *http.Request) error {
	return answerDocument(w, r, "application/yaml", api.YAML())
}

func (s *Server) openAPIJSON(w http.ResponseWriter, r *http.Request) error {
	return answerDocument(w, r, "application/json", api.JSON())
}

// answerDocument writes a document that is the same for everybody.
func answerDocument(w http.ResponseWriter, r *http.Request, contentType string, body []byte) error {
	h := w.Header()
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("ETag", entityTag("", body))
	if matchesTag(r.Header.Values("If-None-Match"), h.Get("ETag")) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", contentType)
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body)
	return nil
}
