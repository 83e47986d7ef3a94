//go:build !windows

package bench

import "os"

// inOrder tells whether interrupt lets a process end in order, and with 0.
const inOrder = true

// interrupt asks a process to end in order.
func interrupt(p *os.Process) error { return p.Signal(os.Interrupt) }
