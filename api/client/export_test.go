package client_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/runledger/runledger/api/client"
	"github.com/runledger/runledger/internal/auth"
	"github.com/runledger/runledger/internal/dbtest"
)

func TestAnExportIsHeldToItsReceipt(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	w := dbtest.NewWorkspace(t, pool)
	for _, name := range []string{"Ada", "a \"quote\",\n and a line", "=1+1"} {
		if _, err := pool.Exec(t.Context(), "INSERT INTO operation_runs (workspace_id, type, initiator_name) VALUES ($1, 'inventory_sync', $2)", w.ID, name); err != nil {
			t.Fatal(err)
		}
	}
	url := service(t, pool)
	for _, format := range []client.ExportFormat{client.ExportNDJSON, client.ExportCSV} {
		var sent bytes.Buffer
		receipt, err := clientOf(t, url, w.Readonly.Subject).ExportOperationRuns(t.Context(), w.ID, client.ListOperationRunsParams{}, format, &sent)
		if err != nil || receipt.Rows != 3 || receipt.First == nil || receipt.First.CreatedAt == nil || receipt.Last.ID >= receipt.First.ID {
			t.Fatalf("%s: %+v, %v", format, receipt, err)
		}
		tampered := map[string]func([]byte) []byte{
			"a byte is another": func(b []byte) []byte {
				return bytes.Replace(b, []byte("Ada"), []byte("Adb"), 1)
			},
			"a row is missing": func(b []byte) []byte {
				before, _, _ := bytes.Cut(b, []byte("Ada"))
				at := bytes.LastIndexByte(bytes.TrimRight(before, "\n"), '\n') + 1
				return append(bytes.Clone(b[:at]), b[at+bytes.IndexByte(b[at:], '\n')+1:]...)
			},
			"a line break is added": func(b []byte) []byte { return append([]byte("\n"), b...) },
		}
		if format == client.ExportNDJSON {
			tampered["the receipt is missing"] = func(b []byte) []byte {
				rows, _, _ := bytes.Cut(b, []byte(`{"receipt"`))
				return rows
			}
			tampered["the receipt is cut"] = func(b []byte) []byte { return b[:len(b)-5] }
			tampered["something follows"] = func(b []byte) []byte { return append(bytes.Clone(b), "{}\n"...) }
		}
		for what, change := range tampered {
			proxy := httptest.NewServer(tampering(t, url, change))
			var out bytes.Buffer
			// What is tampered with is not held to the contract.
			api, err := client.New(proxy.URL, client.StaticToken(bearer(t, w.Readonly.Subject)))
			if err != nil {
				t.Fatal(err)
			}
			_, err = api.ExportOperationRuns(t.Context(), w.ID, client.ListOperationRunsParams{}, format, &out)
			if !errors.Is(err, client.ErrIncomplete) {
				t.Errorf("%s: %s: %v", format, what, err)
			}
			proxy.Close()
		}
	}
	var refused *client.Error
	if _, err := clientOf(t, url, w.Readonly.Subject).ExportOperationRuns(t.Context(), 1<<62, client.ListOperationRunsParams{}, client.ExportCSV, io.Discard); !errors.As(err, &refused) || refused.StatusCode != http.StatusNotFound {
		t.Errorf("of no workspace: %v", err)
	}
}

// tampering passes requests on and changes the bodies of the answers.
func tampering(t *testing.T, url string, change func([]byte) []byte) http.Handler {
	t.Helper()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), r.Method, url+r.URL.RequestURI(), http.NoBody)
		if err != nil {
			t.Error(err)
			return
		}
		req.Header = r.Header.Clone()
		req.Header.Del("Accept-Encoding")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
		w.Header().Set("Trailer", "Digest, Receipt")
		_, _ = w.Write(change(body))
		for name := range resp.Trailer {
			w.Header().Set(name, resp.Trailer.Get(name))
		}
		w.Header().Set("Connection", "close")
	})
}

// bearer is a token of a subject.
func bearer(t *testing.T, subject string) string {
	t.Helper()
	signer, err := auth.NewSecretSigner([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	token, err := signer.Sign(subject, issuer, audience, time.Minute, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return token
}
