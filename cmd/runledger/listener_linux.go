package main

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// handshake is how long a client may take to answer the kernel's part of a handshake, so that it is
// let in before the listener closes.
const handshake = 50 * time.Millisecond

// refuseNew is a filter of the kernel that drops the packets which ask for a connection, and no others.
// A client whose packet is dropped asks again, and finds another server or nobody by then.
var refuseNew = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 13},                // the flags of a TCP header (RFC 9293 section 3.1)
	{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, Jf: 1, K: 0b000010}, // SYN
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},                               // drop it
	{Code: unix.BPF_RET | unix.BPF_K, K: 1<<32 - 1},                       // keep all of it
}

// closeAfterLast closes l and returns the connections that waited to be accepted. Before that it lets
// no new ones begin and those that have begun be made; where the kernel does not do that, a client that
// connects between the look which finds no more and the close is reset.
func closeAfterLast(l *net.TCPListener) ([]net.Conn, error) {
	var waiting []int
	if raw, err := l.SyscallConn(); err == nil {
		refused := errors.ErrUnsupported
		_ = raw.Control(func(fd uintptr) {
			refused = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
				&unix.SockFprog{Len: uint16(len(refuseNew)), Filter: &refuseNew[0]}) //nolint:gosec // four
		})
		if refused == nil {
			time.Sleep(handshake) // meanwhile they are accepted as ever
		}
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
