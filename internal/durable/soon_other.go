//go:build !linux

package durable

import "os"

// WriteSoon does nothing here: only Linux can be asked to begin to write a part of a file.
func WriteSoon(*os.File, int64, int64) {}
