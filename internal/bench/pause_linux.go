package main

import (
	"syscall"
	"time"
)

// pause sleeps. The scheduler's own timers are up to a millisecond late, which is as long as an
// answer takes.
func pause(d time.Duration) {
	spec := syscall.NsecToTimespec(d.Nanoseconds())
	_ = syscall.Nanosleep(&spec, nil)
}
