//go:build torture && unix

package crash

import "syscall"

// stop stops the program until it is continued.
func stop() error { return syscall.Kill(syscall.Getpid(), syscall.SIGSTOP) }
