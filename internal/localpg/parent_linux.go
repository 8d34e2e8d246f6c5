package localpg

import "syscall"

// dieWithParent asks for an immediate shutdown when the thread that starts the process ends, so
// that a server does not outlive a caller that was killed.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGQUIT }

// canDieWithParent tells that dieWithParent works here.
const canDieWithParent = true
