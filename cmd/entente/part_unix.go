//go:build linux || darwin

package main

import (
	"io/fs"
	"os"
	"syscall"
)

// claim takes a part for this run alone, as long as it is open, and tells whether it is one that we may go on with.
func claim(f *os.File, info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode() == 0o600 && int(s.Uid) == os.Geteuid() && s.Nlink == 1 &&
		syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}
