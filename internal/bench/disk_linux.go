package bench

import "syscall"

// The magic numbers of file systems that live in memory, of statfs(2).
const tmpfs, ramfs = 0x01021994, 0x858458f6

// InMemory tells whether a folder lies in memory, where to sync a file costs nothing.
func InMemory(dir string) bool {
	var s syscall.Statfs_t
	return syscall.Statfs(dir, &s) == nil && (int64(s.Type) == tmpfs || int64(s.Type) == ramfs) //nolint:unconvert // its type differs by architecture
}
