//go:build !unix

package main

// keepPrivate does nothing here. On Windows new files take the access list of their folder, and whether images of memory
// are kept is a setting of the system.
func keepPrivate() {}
