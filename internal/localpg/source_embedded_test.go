//go:build unix

package localpg

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// archive is what the repository serves: a tar, packed by xz, in a zip.
func archive(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil { //nolint:gosec // the server's user must get in
		t.Fatal(err)
	}
	fakeBinaries(t, filepath.Join(dir, "bin"), "postgres (PostgreSQL) 17.5")
	// It cannot start a server, just as the real one cannot on the directory that it is given.
	if err := os.WriteFile(filepath.Join(dir, "bin", "pg_ctl"), []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	packed, err := exec.CommandContext(t.Context(), "tar", "-C", dir, "-cJ", "bin").Output()
	if err != nil {
		t.Skipf("no tar with xz here: %v", err)
	}
	var jar bytes.Buffer
	w := zip.NewWriter(&jar)
	entry, err := w.Create("postgres.txz")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := entry.Write(packed); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return jar.Bytes()
}

// repository serves one archive under every name, with the given checksum.
func repository(t *testing.T, jar []byte, checksum string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".sha256") {
			_, _ = w.Write([]byte(checksum))
			return
		}
		_, _ = w.Write(jar)
	}))
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections() // the library's client
		server.Close()
	})
	return server.URL
}

func TestADownloadIsPutInPlaceWholeOrNotAtAll(t *testing.T) { //nolint:paralleltest // closes the default client's connections
	jar := archive(t)
	sum := sha256.Sum256(jar)
	good := hex.EncodeToString(sum[:])
	cache := filepath.Dir(newDir(t))
	home := filepath.Join(cache, "17")

	killed := filepath.Join(cache, "download", "binaries", "bin")
	if err := os.MkdirAll(killed, 0o755); err != nil { //nolint:gosec // the server's user must get in
		t.Fatal(err)
	}
	fakeBinaries(t, killed, "what a killed download left")
	if err := download(t.Context(), repository(t, jar, strings.Repeat("0", 64)), cache, home); err == nil {
		t.Error("an archive with another checksum was taken")
	}
	if _, err := os.Stat(home); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a failed download left %s: %v", home, err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := download(cancelled, "http://127.0.0.1:1", cache, home); err == nil {
		t.Error("a cancelled download succeeded")
	}
	if err := download(t.Context(), repository(t, jar, good), cache, home); err != nil {
		t.Fatal(err)
	}
	found, err := inspect(t.Context(), filepath.Join(home, "bin"), &cluster{dir: cache})
	if err != nil || found.major != 17 {
		t.Errorf("found %v, %v", found, err)
	}
	if _, err := os.Stat(filepath.Join(cache, "download")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the download left its scratch directory: %v", err)
	}
}
