//go:build !torture

package crash

// Step does one durable step.
func Step(_ string, do func() error) error { return do() }

// Weak is false.
func Weak(string) bool { return false }
