// Package console holds the operations console: the pages, styles and scripts that a browser gets
// under /console/. They are files as they are written, without a build step, and stand in the
// binary. The console asks the public interface alone; nothing here reads the database.
//
// The server serves what is here; this package knows no HTTP.
package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/runledger/runledger/internal/static"
)

//go:embed static
var embedded embed.FS

// page is the one HTML page, with {names} for what New puts in: settings as values of attributes, and
// addresses made of constants of this package and hex digits. The templates of the standard library
// find methods by name, which keeps all methods of all libraries in the binary: 3.6 MB more.
//
//go:embed static/index.html
var page string

// Settings is what the page tells its scripts. Nothing of it is secret.
type Settings struct {
	// Issuer is the address of the OpenID Connect provider, and ClientID what the console is
	// called there. Without a ClientID people sign in with a token of their own.
	Issuer, ClientID string
	// Scope is what the console asks the provider for, and Audience whom the tokens are for.
	Scope, Audience string
	// Origins are further origins at which the provider answers, beside that of Issuer.
	Origins []string
}

// Site is the console with its settings, ready to be served. Make one with New.
type Site struct {
	files   map[string]static.File
	page    static.File
	version string
}

// New makes the console's site. It fails only if the page cannot be made, which the tests rule out.
func New(s Settings) (*Site, error) {
	loaded, err := assets()
	if err != nil {
		return nil, err
	}
	files, version := loaded.files, loaded.version
	var modules []string
	for name := range files {
		if strings.HasSuffix(name, ".js") && name != "theme.js" && !strings.HasPrefix(name, "lib/") {
			modules = append(modules, name)
		}
	}
	slices.Sort(modules)
	base := "/console/assets/" + version
	var preloaded strings.Builder
	for _, name := range modules {
		_, _ = fmt.Fprintf(&preloaded, "<link rel=\"modulepreload\" href=\"%s/%s\">\n", base, name)
	}
	body := strings.NewReplacer(
		"{issuer}", html.EscapeString(s.Issuer), "{client_id}", html.EscapeString(s.ClientID),
		"{scope}", html.EscapeString(s.Scope), "{audience}", html.EscapeString(s.Audience),
		"{base}", base, "{modules}", preloaded.String(),
	).Replace(page)
	return &Site{files: files, version: version, page: static.New(contentTypes[".html"], []byte(body))}, nil
}

// Page is the page that every address of the console shows; its scripts look at the address.
func (s *Site) Page() static.File { return s.page }

// Asset is the file at a path below /console/assets/, which begins with the version of all files.
// Another version's path gives this version's file, for a page that another server sent during an
// update; current tells whether it is the very one that was asked for.
func (s *Site) Asset(name string) (f static.File, current, ok bool) {
	version, name, _ := strings.Cut(name, "/")
	f, ok = s.files[name]
	return f, version == s.version, ok
}

// assetFiles are all files but the page, by name, and the version that changes with any of them.
type assetFiles struct {
	files   map[string]static.File
	version string
}

// assets reads and compresses the files, once in a process.
var assets = sync.OnceValues(func() (assetFiles, error) {
	files := map[string]static.File{}
	sum := sha256.New()
	err := fs.WalkDir(embedded, "static", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := embedded.ReadFile(name)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(sum, "%s %d\n%s", name, len(body), body)
		name = strings.TrimPrefix(name, "static/")
		if name != "index.html" {
			files[name] = static.New(contentTypes[path.Ext(name)], body)
		}
		return nil
	})
	return assetFiles{files, hex.EncodeToString(sum.Sum(nil))[:16]}, err
})

var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	".md":   "text/markdown; charset=utf-8",
}
