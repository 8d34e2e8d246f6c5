package main

import (
	"net"
	"strconv"
	"sync"
)

// lastingListener is a TCP listener whose Close leaves nobody behind. Clients are connected as soon
// as the kernel has shaken hands with them, and may have sent a request by then; a plain Close
// resets those whom nobody has accepted yet. This one takes them in first, and Accept gives them
// out before it says that the listener is closed.
type lastingListener struct {
	*net.TCPListener

	mu    sync.Mutex
	taken []net.Conn // in by the last look before closing, not given out yet
}

func (l *lastingListener) Accept() (net.Conn, error) {
	conn, err := l.TCPListener.Accept()
	if err == nil {
		return conn, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.taken) == 0 {
		return nil, err
	}
	conn, l.taken = l.taken[0], l.taken[1:]
	return conn, nil
}

func (l *lastingListener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken, err := closeAfterLast(l.TCPListener)
	l.taken = append(l.taken, taken...)
	return err
}

// isAddress tells whether a server could listen there, if the host is one of this machine.
func isAddress(address string) bool {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}
