package faults

import "syscall"

// mountSmall mounts a file system of four megabytes in memory.
func mountSmall(dir string) error { return syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m,mode=755") }

// unmount takes it away, at the latest when PostgreSQL has closed its files.
func unmount(dir string) error { return syscall.Unmount(dir, syscall.MNT_DETACH) }
