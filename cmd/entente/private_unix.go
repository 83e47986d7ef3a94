//go:build unix

package main

import "syscall"

// keepPrivate makes what this process leaves behind readable for its owner alone: files that libraries make too, and no
// image of its memory, which holds keys and documents.
func keepPrivate() {
	syscall.Umask(0o077)
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) // less is always allowed
}
