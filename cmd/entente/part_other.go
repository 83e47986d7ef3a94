//go:build !linux && !darwin

package main

import (
	"io/fs"
	"os"
)

// claim refuses: what could tell that a file was made by us, and is at nobody else's mercy, is another thing on each system.
func claim(*os.File, fs.FileInfo) bool { return false }
