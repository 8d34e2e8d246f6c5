package server_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/runledger/runledger/internal/dbtest"
)

// unpacked is a body without its encoding.
func unpacked(t testing.TB, encoding string, packed []byte) string {
	t.Helper()
	var plain io.Reader = bytes.NewReader(packed)
	var err error
	switch encoding {
	case "gzip":
		plain, err = gzip.NewReader(plain)
	case "zstd":
		plain, err = zstd.NewReader(plain, zstd.WithDecoderConcurrency(1))
	case "":
	default:
		t.Fatalf("nobody asked for %s", encoding)
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(plain)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// packedPages is a workspace with a page of runs as they are in use.
func packedPages(t testing.TB, h *harness) (token, path string) {
	t.Helper()
	w := dbtest.NewWorkspace(t, h.pool)
	_, err := h.pool.Exec(t.Context(), `INSERT INTO operation_runs (workspace_id, type, initiator_name, context, summary_counts)
		SELECT $1, 'inventory_sync', 'Grace Sørensen', jsonb_build_object('worker', 'worker-' || i, 'selection', md5(i::text)), jsonb_build_object('total', i)
		FROM generate_series(1, 50) AS i`, w.ID)
	if err != nil {
		t.Fatal(err)
	}
	return h.token(t, w.Owner.Subject), fmt.Sprintf("/workspaces/%d/operation-runs", w.ID)
}

func TestAnswersAreCompressedForThoseWhoTakeItAndAreTheSame(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.pool = dbtest.Pool(t)
	token, path := packedPages(t, h)
	type head struct {
		StatusCode int
		Header     http.Header
	}
	get := func(path string, header ...string) (head, []byte) {
		t.Helper()
		resp, err := h.plainly(path, token, header...)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return head{resp.StatusCode, resp.Header}, body
	}
	plain, want := get(path)
	if plain.Header.Get("Content-Encoding") != "" || len(want) < 10_000 {
		t.Fatalf("%q, %d bytes", plain.Header.Get("Content-Encoding"), len(want))
	}
	for accepted, encoding := range map[string]string{
		"gzip": "gzip", "zstd": "zstd", "gzip, deflate, br, zstd": "zstd", "gzip;q=1, zstd;q=0": "gzip", "br": "", "identity": "", "gzip;q=0": "",
	} {
		resp, body := get(path, "Accept-Encoding", accepted)
		if got := resp.Header.Get("Content-Encoding"); got != encoding {
			t.Errorf("%s gets %q", accepted, got)
			continue
		}
		if unpacked(t, encoding, body) != string(want) {
			t.Errorf("%s: another body", accepted)
		}
		if encoding != "" && len(body)*4 > len(want) {
			t.Errorf("%s: %d bytes of %d are left", accepted, len(body), len(want))
		}
		if resp.Header.Get("ETag") != plain.Header.Get("ETag") || !strings.Contains(strings.Join(resp.Header.Values("Vary"), ","), "Accept-Encoding") {
			t.Errorf("%s: %v", accepted, resp.Header)
		}
		again, rest := get(path, "Accept-Encoding", accepted, "If-None-Match", resp.Header.Get("ETag"))
		if again.StatusCode != http.StatusNotModified || len(rest) > 0 {
			t.Errorf("%s, again: %d with %d bytes", accepted, again.StatusCode, len(rest))
		}
	}
	// A tiny body is sent as it is, and a stream is not held back.
	for _, small := range []string{path + "/count", path + "/0"} {
		if resp, _ := get(small, "Accept-Encoding", "gzip, zstd"); resp.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s is compressed", small)
		}
	}
	stream, err := h.plainly(path+"/events", token, "Accept-Encoding", "gzip, zstd")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Body.Close() }()
	if encoding := stream.Header.Get("Content-Encoding"); encoding != "" || slices.Contains(stream.Header.Values("No-Gzip-Compression"), "stream") {
		t.Errorf("the stream is in %q: %v", encoding, stream.Header)
	}
}

// What a page of 50 runs costs in each encoding, from the request to its last byte, and its size.
func BenchmarkPageIn(b *testing.B) {
	h := newHarnessOnFresh(b)
	token, path := packedPages(b, h)
	for _, encoding := range []string{"identity", "gzip", "zstd"} {
		b.Run(encoding, func(b *testing.B) {
			client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
			defer client.CloseIdleConnections()
			var size int64
			for b.Loop() {
				req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, h.url+path, http.NoBody)
				if err != nil {
					b.Fatal(err)
				}
				req.Header.Set("Authorization", "Bearer "+token)
				req.Header.Set("Accept-Encoding", encoding)
				resp, err := client.Do(req)
				if err != nil {
					b.Fatal(err)
				}
				if size, err = io.Copy(io.Discard, resp.Body); err != nil {
					b.Fatal(err)
				}
				_ = resp.Body.Close()
			}
			b.ReportMetric(float64(size), "bytes/page")
		})
	}
}

func TestAHeadTellsNoLengthThatItsGetDoesNotHave(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	token, path := packedPages(t, h)
	h.client.Transport = http.DefaultTransport // which leaves packed what it is asked to ask for
	for _, encoding := range []string{"gzip", "zstd", "identity"} {
		head, get := h.do(t, http.MethodHead, path, token, "Accept-Encoding", encoding), h.do(t, http.MethodGet, path, token, "Accept-Encoding", encoding)
		if length := head.header.Get("Content-Length"); length != "" && length != get.header.Get("Content-Length") {
			t.Errorf("%s: HEAD says %s bytes, GET has %d", encoding, length, len(get.body))
		}
		if head.status != http.StatusOK || head.header.Get("ETag") != get.header.Get("ETag") || head.header.Get("ETag") == "" {
			t.Errorf("%s: HEAD is %d with the tag %s", encoding, head.status, head.header.Get("ETag"))
		}
	}
	if plain := h.do(t, http.MethodHead, path, token); plain.header.Get("Content-Length") == "" {
		t.Error("where nothing is compressed, HEAD tells no length")
	}
}
