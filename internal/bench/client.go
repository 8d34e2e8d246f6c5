package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
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

// ask sends the request, and reads the answer to its end.
func (l *loader) ask() error {
	answer, err := l.exchange()
	if err == nil && answer.status != http.StatusOK && answer.status != http.StatusNotModified {
		return fmt.Errorf("%w: %d", errUnexpected, answer.status)
	}
	return err
}

// exchange sends the request, and reads the answer to its end, whatever it is.
func (l *loader) exchange() (head, error) {
	if _, err := l.conn.Write(l.request); err != nil {
		return head{}, err
	}
	answer, err := readHead(l.read)
	if err != nil {
		return head{}, err
	}
	_, err = l.read.Discard(answer.length)
	return answer, err
}

// head is what a load wants to know of an answer before its body.
type head struct {
	status     int
	length     int // of the body
	retryAfter bool
	closing    bool // whether the connection ends with it
}

var (
	errNoLength   = errors.New("an answer without Content-Length")
	errUnexpected = errors.New("an answer of another status than 200 and 304")
	errNoAnswer   = errors.New("no answer of HTTP/1.1")
)

// readHead reads an answer up to its body, in a fraction of the time that net/http takes to make a
// Response of it. The names of headers are as net/http writes them.
func readHead(from *bufio.Reader) (head, error) {
	const version = "HTTP/1.1 "
	line, err := from.ReadSlice('\n')
	if err != nil {
		return head{}, err
	}
	rest, ok := bytes.CutPrefix(line, []byte(version))
	if !ok || len(rest) < len("200\r\n") {
		return head{}, fmt.Errorf("%w: %.80q", errNoAnswer, line)
	}
	h := head{length: -1, status: int(rest[0]-'0')*100 + int(rest[1]-'0')*10 + int(rest[2]-'0')} //nolint:mnd // digits
	for {
		if line, err = from.ReadSlice('\n'); err != nil {
			return head{}, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch string(name) {
		case "Content-Length":
			if h.length, err = strconv.Atoi(string(value)); err != nil {
				return head{}, err
			}
		case "Retry-After":
			h.retryAfter = true
		case "Connection":
			h.closing = string(value) == "close"
		}
	}
	switch {
	case h.status == http.StatusNoContent || h.status == http.StatusNotModified:
		h.length = 0
	case h.length < 0:
		return head{}, errNoLength
	}
	return h, nil
}
