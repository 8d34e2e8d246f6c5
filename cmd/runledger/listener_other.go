//go:build !linux

package main

import "net"

// closeAfterLast closes l. Who waited to be accepted is reset: only on Linux can it be helped.
func closeAfterLast(l *net.TCPListener) ([]net.Conn, error) { return nil, l.Close() }
