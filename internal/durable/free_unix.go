//go:build unix

package durable

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// Free tells how many bytes more may be written where a folder is.
func Free(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("ask for free space: %w", err)
	}
	if s.Bavail > math.MaxInt64/max(1, uint64(s.Bsize)) {
		return math.MaxInt64, nil
	}
	return int64(s.Bavail) * int64(s.Bsize), nil //nolint:unconvert // the types differ between systems
}
