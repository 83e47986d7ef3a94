package node

import (
	"slices"
	"sync"

	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// ending is what became of a delivery.
type ending struct {
	to    string
	state store.State
}

// bells wakes those who wait for the end of a manifest's deliveries. The zero value is ready.
type bells struct {
	mu   sync.Mutex
	ears map[statement.Hash][]chan ending
}

// listen gives a channel that gets the ends of a manifest's deliveries from now on, as many as there is room for, and must be given up with stop.
func (b *bells) listen(about statement.Hash, room int) (rung <-chan ending, stop func()) {
	ear := make(chan ending, room)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ears == nil {
		b.ears = map[statement.Hash][]chan ending{}
	}
	b.ears[about] = append(b.ears[about], ear)
	return ear, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		left := slices.DeleteFunc(b.ears[about], func(c chan ending) bool { return c == ear })
		if b.ears[about] = left; len(left) == 0 {
			delete(b.ears, about)
		}
	}
}

// ring tells all who listen.
func (b *bells) ring(about statement.Hash, e ending) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ear := range b.ears[about] {
		select {
		case ear <- e:
		default:
		}
	}
}
