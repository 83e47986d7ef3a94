package node

import (
	"slices"
	"sync"

	"entente.example/internal/statement"
)

// bells wakes those who wait for something about a statement. The zero value is ready.
type bells struct {
	mu   sync.Mutex
	ears map[statement.Hash][]chan struct{}
}

// listen gives a channel that holds something once the bell has been rung, as often as that may be, and must be given up with stop.
func (b *bells) listen(about statement.Hash) (rung <-chan struct{}, stop func()) {
	ear := make(chan struct{}, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ears == nil {
		b.ears = map[statement.Hash][]chan struct{}{}
	}
	b.ears[about] = append(b.ears[about], ear)
	return ear, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		left := slices.DeleteFunc(b.ears[about], func(c chan struct{}) bool { return c == ear })
		if b.ears[about] = left; len(left) == 0 {
			delete(b.ears, about)
		}
	}
}

// ring wakes all who listen.
func (b *bells) ring(about statement.Hash) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ear := range b.ears[about] {
		poke(ear)
	}
}
