package server_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/dbtest"
)

// counted is a listener that counts what is read from its connections.
type counted struct {
	net.Listener
	read *atomic.Int64
}

// Accept takes a connection.
func (c counted) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	return countedConn{conn, c.read}, err
}

type countedConn struct {
	net.Conn
	read *atomic.Int64
}

// Read reads, and counts it.
func (c countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read.Add(int64(n))
	return n, err
}

// pour sends a request whose body never ends, and returns the answer once the server has cut the
// connection, and how many bytes it has read of all that.
func pour(t *testing.T, h *harness, header string, body func(w io.Writer) error) (status int, read int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var count atomic.Int64
	serving := &httptest.Server{
		Listener: counted{listener, &count},
		Config:   &http.Server{Handler: h.server, ReadHeaderTimeout: time.Minute},
	}
	serving.Start()
	defer serving.Close()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, header); err != nil {
		t.Fatal(err)
	}
	cut := make(chan error, 1)
	go func() {
		for {
			if err := body(conn); err != nil {
				cut <- err
				return
			}
		}
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Errorf("half an answer: %v", err)
	}
	if !resp.Close {
		t.Error("the connection is kept, and with it what comes of the body")
	}
	if timeout, ok := (<-cut).(net.Error); ok && timeout.Timeout() { //nolint:errorlint // as net returns it
		t.Error("the server has not cut the connection within a minute")
	}
	return resp.StatusCode, count.Load()
}

// chunk is a piece of a body whose length is not told before.
func chunk(w io.Writer) error {
	const size = 32 << 10
	_, err := fmt.Fprintf(w, "%x\r\n%*s\r\n", size, size, "")
	return err
}

func TestABodyWithoutAnEndIsCutAtItsLimit(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w := dbtest.NewWorkspace(t, h.pool)
	const limit = 1 << 20
	// What net/http reads of a body whose length it does not know and that nobody has asked for, in the
	// hope for its end: as much before the answer as behind it.
	const unread = 2 * 256 << 10
	// What it has in hand: the header, a buffer, the lengths of the chunks.
	const more = 32 << 10
	bearer := "Authorization: Bearer " + h.token(t, w.Operator.Subject) + "\r\n"
	for name, c := range map[string]struct {
		header string
		body   func(w io.Writer) error
		status int
		most   int64 // bytes that the server may read
	}{
		"in chunks": {
			bearer + "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n", chunk, http.StatusRequestEntityTooLarge, limit + unread + more,
		},
		"of a terabyte, as it says": {
			bearer + "Content-Type: application/json\r\nContent-Length: 1099511627776\r\n", chunk, http.StatusRequestEntityTooLarge, limit + more,
		},
		"that unpacks to much more": {
			bearer + "Content-Type: application/json\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", bomb,
			http.StatusUnsupportedMediaType, unread + more,
		},
		"by a stranger": {
			"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n", chunk, http.StatusUnauthorized, unread + more,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var status int
			var read int64
			// A machine that is busy enough has no connection to the database in time.
			for tries := 0; tries < 10 && (tries == 0 || status == http.StatusServiceUnavailable); tries++ {
				status, read = pour(t, h, fmt.Sprintf("POST /workspaces/%d/operation-runs HTTP/1.1\r\nHost: runledger\r\n%s\r\n", w.ID, c.header), c.body)
			}
			if status != c.status {
				t.Errorf("status %d, want %d", status, c.status)
			}
			if read > c.most {
				t.Errorf("the server has read %d bytes, more than %d", read, c.most)
			}
		})
	}
}

// bomb is a chunk of a body that unpacks to a thousand times its size.
func bomb(w io.Writer) error {
	packed := packedZeros()
	_, err := fmt.Fprintf(w, "%x\r\n%s\r\n", len(packed), packed)
	return err
}

// packedZeros are packed once: to pack as much as the server reads takes a busy machine longer than
// the connection lives.
var packedZeros = sync.OnceValue(func() []byte {
	const size = 16 << 20
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(make([]byte, size)) // a buffer takes everything
	_ = z.Close()
	return b.Bytes()
})
