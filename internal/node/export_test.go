package node

import (
	"context"
	"log/slog"
	"time"

	"entente.example/internal/store"
)

// Attempt makes one attempt at an item as the outbox read it, however long ago that was.
func (h *Home) Attempt(ctx context.Context, o store.Outgoing) {
	n := &node{Home: h, log: slog.New(slog.DiscardHandler), now: time.Now, wake: make(chan struct{}, 1)}
	n.attempt(ctx, o)
}
