package node

import (
	"testing"
	"time"

	"entente.example/internal/statement"
)

// TestQuotaOfEach has one peer's room taken for long: the others do not wait for it.
func TestQuotaOfEach(t *testing.T) {
	t.Parallel()
	var q quota
	alpha := q.of("alpha")
	alpha.mu.Lock()
	defer alpha.mu.Unlock()
	done := make(chan struct{})
	go func() {
		q.release("bravo", statement.Hash{})
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("bravo waits for alpha")
	}
	if q.of("alpha") != alpha {
		t.Error("alpha has two rooms")
	}
}
