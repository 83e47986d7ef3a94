package bench

import "os"

// inOrder tells whether interrupt lets a process end in order, and with 0.
const inOrder = false

// interrupt ends a process: Windows can ask only a whole console to end. A node loses nothing by that.
func interrupt(p *os.Process) error { return p.Kill() }
