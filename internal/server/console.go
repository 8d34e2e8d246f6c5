package server

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/runledger/runledger/internal/console"
)

// consolePage answers with the console's page, whatever is asked for below /console/: which view
// an address stands for is the page's own business, and what it may show is that of the interface
// that it asks.
func (s *Server) consolePage(w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Security-Policy", s.consolePolicy)
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	// Signing in again happens in a window of its own, which tells this one.
	h.Set("Cross-Origin-Opener-Policy", "same-origin-allow-popups")
	return answerFile(w, r, s.console.Page())
}

// consoleAsset answers with a script or style. Its path holds a hash of all of them, so a browser
// never has to ask twice.
func (s *Server) consoleAsset(w http.ResponseWriter, r *http.Request) error {
	f, current, ok := s.console.Asset(strings.TrimPrefix(r.URL.Path, "/console/assets/"))
	if !ok {
		return errNotFound
	}
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	if current {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	h.Set("Content-Security-Policy", "default-src 'none'")
	return answerFile(w, r, f)
}

// consoleHome sends a browser to where relative addresses work.
func (*Server) consoleHome(w http.ResponseWriter, r *http.Request) error {
	http.Redirect(w, r, "/console/", http.StatusPermanentRedirect)
	return nil
}

// consolePolicy is the Content-Security-Policy of the console: scripts and styles of this server
// alone, no markup made of strings, and no request to anybody but this server and, at signing in,
// the provider.
func consolePolicy(s console.Settings) string {
	connect := []string{"'self'"}
	if s.ClientID != "" {
		for _, address := range append([]string{s.Issuer}, s.Origins...) {
			u, err := url.Parse(address)
			if err != nil || u.Host == "" {
				continue
			}
			if origin := u.Scheme + "://" + u.Host; !slices.Contains(connect, origin) {
				connect = append(connect, origin)
			}
		}
	}
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
		"connect-src " + strings.Join(connect, " ") + "; base-uri 'none'; form-action 'none'; " +
		"frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
}
