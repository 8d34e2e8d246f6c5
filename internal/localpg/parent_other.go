//go:build !linux

package localpg

import "syscall"

// dieWithParent does nothing where the system knows no such thing: a server that outlives its
// caller is stopped by the next Start.
func dieWithParent(*syscall.SysProcAttr) {}

// canDieWithParent tells that dieWithParent works here.
const canDieWithParent = false
