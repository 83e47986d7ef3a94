// Package memo remembers what is expensive to find out and cannot become wrong: that a signature over certain bytes is good, what certain bytes parse to.
//
// The key must hold everything that the answer depends on, usually a hash of the bytes. What depends on the time, or on anything that may
// change, is no business of a memo's.
package memo

import (
	"cmp"
	"sync"

	"entente.example/internal/limit"
)

// Memo remembers at most Most values, or limit.Remembered if that is 0; then it forgets all of them and begins again, so that nobody can make it
// grow. The zero value is ready, and may be used concurrently. Values are shared: nobody may change one.
type Memo[K comparable, V any] struct {
	Most int

	mu     sync.Mutex
	values map[K]V
}

// Get gives the value of a key, which find finds if it is not remembered. An error is not remembered. Several callers may find the same
// value at the same time.
func (m *Memo[K, V]) Get(key K, find func() (V, error)) (V, error) {
	m.mu.Lock()
	v, ok := m.values[key]
	m.mu.Unlock()
	if ok {
		return v, nil
	}
	v, err := find()
	if err == nil {
		m.Put(key, v)
	}
	return v, err
}

// Put remembers a value that is known already.
func (m *Memo[K, V]) Put(key K, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values == nil || len(m.values) >= cmp.Or(m.Most, limit.Remembered) {
		m.values = make(map[K]V)
	}
	m.values[key] = v
}
