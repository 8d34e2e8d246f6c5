//go:build !unix

package dbtest

import "syscall"

// ownDirectory has nothing to check: the directory for temporary files is the user's own.
func ownDirectory(string) error { return nil }

// newSession has no meaning here.
func newSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

// closeOnExec has no meaning here.
func closeOnExec(int) {}
