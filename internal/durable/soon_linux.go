package durable

import (
	"os"

	"golang.org/x/sys/unix"
)

// WriteSoon has the kernel begin to write a part of a file to the disk, and does not wait for it: so whoever syncs the file later waits for less. It
// makes nothing durable, and whatever is wrong the sync will tell.
func WriteSoon(f *os.File, offset, bytes int64) {
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.SyncFileRange(int(fd), offset, bytes, unix.SYNC_FILE_RANGE_WRITE) })
	}
}
