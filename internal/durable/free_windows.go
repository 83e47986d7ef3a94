package durable

import (
	"fmt"
	"math"

	"golang.org/x/sys/windows"
)

// Free tells how many bytes more may be written where a folder is.
func Free(dir string) (int64, error) {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, fmt.Errorf("ask for free space: %w", err)
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(path, &free, nil, nil); err != nil {
		return 0, fmt.Errorf("ask for free space: %w", err)
	}
	return int64(min(free, math.MaxInt64)), nil
}
