package node

import "sync"

// busy is a set of names of what is under way, so that nothing is done twice at the same time.
type busy struct {
	mu    sync.Mutex
	names map[string]bool
}

// begin takes a name; ok tells whether it was free, and then end gives it back.
func (b *busy) begin(name string) (end func(), ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.names[name] {
		return nil, false
	}
	if b.names == nil {
		b.names = map[string]bool{}
	}
	b.names[name] = true
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.names, name)
	}, true
}

// any tells whether anything is under way.
func (b *busy) any() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.names) > 0
}

// has tells whether somebody has taken a name.
func (b *busy) has(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.names[name]
}
