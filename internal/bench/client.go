package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// loader sends one request again and again over one connection. It does as little as can be done: it
// runs on the machine that it measures, and what it takes is what the contenders do not get.
type loader struct {
	conn    net.Conn
	read    *bufio.Reader
	request []byte
}

// newLoader connects to the contender. Each loader wants the same in words of its own, so that the page
// it asks for is nobody else's, unless all are to ask for one.
func (c *contender) newLoader(ctx context.Context, number int) (*loader, error) {
	addr := strings.TrimPrefix(c.base, "http://")
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\n", c.path, addr)
	if c.token != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", c.token)
	}
	if !c.together {
		fmt.Fprintf(&b, "Accept: application/json;q=0.%03d\r\n", number+1)
	}
	_ = c.header.Write(&b)
	b.WriteString("\r\n")
	const longestWait = time.Minute
	_ = conn.SetDeadline(time.Now().Add(longestWait))
	const buffer = 64 << 10
	return &loader{conn: conn, read: bufio.NewReaderSize(conn, buffer), request: b.Bytes()}, nil
}

var (
	contentLength   = []byte("Content-Length: ") // as net/http writes it
	errNoLength     = errors.New("an answer without Content-Length")
	errUnexpected   = errors.New("an answer of another status than 200 and 304")
	statusLineStart = len("HTTP/1.1 ")
)

// ask sends the request, and reads the answer to its end.
func (l *loader) ask() error {
	if _, err := l.conn.Write(l.request); err != nil {
		return err
	}
	line, err := l.read.ReadSlice('\n')
	if err != nil {
		return err
	}
	status, _ := strconv.Atoi(string(line[statusLineStart : statusLineStart+3]))
	if status != http.StatusOK && status != http.StatusNotModified {
		return fmt.Errorf("%w: %s", errUnexpected, bytes.TrimSpace(line))
	}
	length := -1
	for {
		line, err = l.read.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if value, ok := bytes.CutPrefix(line, contentLength); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return err
			}
		}
	}
	switch {
	case status == http.StatusNotModified:
		return nil
	case length < 0:
		return errNoLength
	}
	_, err = io.CopyN(io.Discard, l.read, int64(length))
	return err
}
