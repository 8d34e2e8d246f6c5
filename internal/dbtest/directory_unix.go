//go:build unix

package dbtest

import (
	"fmt"
	"os"
	"syscall"
)

// ownDirectory fails if path, in a directory that everybody may write to, is not a directory that
// we made.
func ownDirectory(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(stat.Uid) != os.Getuid() {
		return fmt.Errorf("%s is somebody else's", path)
	}
	return nil
}

// newSession keeps a process from the signals of our terminal and of go test.
func newSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// closeOnExec keeps a file that we inherited from the processes that we start.
func closeOnExec(fd int) { syscall.CloseOnExec(fd) }
