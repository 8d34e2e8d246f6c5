package main

import (
	"net"
	"os"
	"syscall"
)

// closeAfterLast closes l and returns the connections that waited to be accepted. Between the look
// that finds no more and the close there are microseconds, which is as near as the kernel lets one.
func closeAfterLast(l *net.TCPListener) ([]net.Conn, error) {
	var waiting []int
	if raw, err := l.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			for {
				conn, _, err := syscall.Accept4(int(fd), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
				switch err {
				case nil:
					waiting = append(waiting, conn)
				case syscall.EINTR, syscall.ECONNABORTED: // this one is gone, the next may be there
				default:
					return
				}
			}
		})
	}
	err := l.Close()
	taken := make([]net.Conn, 0, len(waiting))
	for _, fd := range waiting {
		file := os.NewFile(uintptr(fd), "accepted")
		if conn, err := net.FileConn(file); err == nil {
			taken = append(taken, conn)
		}
		_ = file.Close() // FileConn has its own
	}
	return taken, err
}
